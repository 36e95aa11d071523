"""``pats-opt execute --latents`` from end to end, with the tiny model on the CPU."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pats_opt.cli import run
from pats_opt.execute.latent_folder import LatentCacheSettings, LatentFolder
from pats_opt.execute.options import latent_cache
from pats_opt.model.files import write_instance, write_schedule
from pats_opt.perceptual import METRICS
from tests.execute.runs import makings, of, schedule
from tests.support.zoo import gpu, request

ROOT = Path(__file__).parents[2]

FOX, PORTRAIT, SOUP = "a red fox in the snow", "a red fox in the snow, portrait", "hot soup"

#: Thresholds of levels 2 and 3.
COSINES = ["--cache-thresholds", "0.2,0.5"]


def asks(name: str, prompt: str, skip: int, at: float, seed: int) -> dict[str, Any]:
    """A request of five steps that skips some."""
    option = {"steps": 5 - skip, "skip": skip, "quality": 1.0 - 0.1 * skip}
    others: dict[str, Any] = {"prompt": prompt, "seed": seed, "arrival_s": at, "options": [option]}
    return request(name, adapter="base", **others)


def written(folder: Path, *requests: dict[str, Any], gpus: int = 1) -> list[str]:
    """A command that executes the schedule of these requests."""
    story = of(*requests, gpus=[gpu(f"gpu-{g}", ()) for g in range(gpus)])
    write_instance(story.instance, folder / "instance.json")
    write_schedule(schedule(story), folder / "schedule.json")
    files = [str(folder / name) for name in ("schedule.json", "instance.json")]
    return ["execute", files[0], "--instance", files[1], "--device", "cpu"]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A prompt, two that are near it and one that is not; the first comes alone."""
    return written(
        tmp_path_factory.mktemp("story"),
        asks("fox", FOX, 0, 0.0, 1),
        asks("portrait", PORTRAIT, 3, 0.01, 2),
        asks("again", FOX, 2, 0.01, 3),
        asks("soup", SOUP, 3, 0.02, 4),
    )


def lookups(folder: Path) -> dict[str, dict[str, Any]]:
    """The look-up of each request."""
    document = json.loads((folder / "execution.json").read_bytes())
    members = [m for g in document["gpus"] for b in g["batches"] for m in b["members"]]
    return {member["id"]: member["latents"] for member in members}


def text_of(image: Path) -> dict[str, str]:
    """The text in an image's file."""
    with Image.open(image) as file:
        return {str(k).removeprefix("pats-opt:"): str(v) for k, v in file.info.items()}


def test_runs_share_latents_and_distances_are_measured(
    story: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full, one, two = (str(tmp_path / name) for name in ("full", "one", "two"))
    cached = [*story, "--latents", str(tmp_path / "latents"), *COSINES, "--reference", full]
    assert run([*cached, "-o", one]) == 2  # there is no such run yet
    assert "no such file" in capsys.readouterr().err
    assert run([*story, "-o", full]) == 0
    capsys.readouterr()
    assert run([*cached, "-o", one, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["latents"] == {"look_ups": 3, "hits": 2, "asked": 8, "skipped": 5, "stored": 2}
    assert any("2 of 3 requests whose option skips steps" in line for line in told["summary"])
    found = lookups(tmp_path / "one")
    assert {name: one["level"] for name, one in found.items()} == {
        "fox": 0,
        "portrait": 3,
        "again": 2,
        "soup": 0,
    }
    assert found["portrait"]["request"] == found["again"]["request"] == "fox"
    text = text_of(tmp_path / "one" / "images" / "portrait.png")
    start = {k: text[f"latents_{k}"] for k in ("level", "prompt", "request", "similarity")}
    assert start == {
        "level": "3",
        "prompt": FOX,
        "request": "fox",
        "similarity": str(found["portrait"]["similarity"]),
    }
    assert (text["steps"], text["skip"]) == ("2", "3")
    missed = text_of(tmp_path / "one" / "images" / "soup.png")
    assert (missed["steps"], missed["skip"]) == ("5", "0")
    assert "latents_prompt" not in missed

    assert run([*cached, "-o", two]) == 0
    out = capsys.readouterr().out
    assert "3 of 3 requests whose option skips steps" in out
    assert "this is a distance, not a quality" in out
    assert "Distance to the image of all steps" in (tmp_path / "two" / "report.html").read_text()
    with (tmp_path / "two" / "latent_distances.csv").open() as file:
        rows = {row.pop("request"): row for row in csv.DictReader(file)}
    assert {name: (row["level"], row["similarity"]) for name, row in rows.items()} == {
        "portrait": ("3", str(lookups(tmp_path / "two")["portrait"]["similarity"])),
        "again": ("2", "1"),
        "soup": ("3", "1"),
    }
    names = set(rows["soup"]) & set(METRICS)
    assert names
    for name in names:
        away = {n: abs(float(row[name]) - METRICS[name].similarity) for n, row in rows.items()}
        assert away["soup"] < 1e-3 < min(away["again"], away["portrait"])  # its own latents

    assert run([*story, "-o", one, "--resume"]) == 2
    assert "holds another run (--latents " in capsys.readouterr().err
    assert run([*cached, "-o", one, "--resume"]) == 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--latents", "L"], "level 2 has no published threshold; "),
        (["--latents", "L", "--cache-thresholds", "0.5"], "give one for each of the levels 2, 3"),
        (["--latents", "L", "--cache-thresholds", "0.5,0.2"], "none below the last"),
        (["--latents", "L", "--cache-thresholds", "0.5,2"], "expected a number < 1.0"),
        (["--latents", "L", *COSINES, "--embedder", "word"], "there is no embedder 'word'"),
        (["--latents", "L", *COSINES, "--latents-limit", "0"], "--latents-limit"),
        (["--latents", "out", *COSINES], "name the same folder"),
        (["--latents", "F", *COSINES], "F: cannot be used as a folder (File exists)"),
        ([*COSINES], "need --latents"),
        (["--reference", "out"], "need --latents"),
    ],
)
def test_what_is_refused(
    story: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    why: str,
) -> None:
    """One line, status 2, and no image."""
    (tmp_path / "F").write_text("")
    named = {name: str(tmp_path / name) for name in ("L", "F", "out")}
    given = [named.get(argument, argument) for argument in arguments]
    assert run([*story, *given, "-o", named["out"]]) == 2
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_instance_without_skipped_steps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = written(tmp_path, asks("fox", FOX, 0, 0.0, 1))
    assert run([*command, "--latents", str(tmp_path / "l"), "-o", str(tmp_path / "out")]) == 2
    assert "no option of the instance skips steps" in capsys.readouterr().err


def test_a_policy_live(story: list[str], tmp_path: Path) -> None:
    """What a batch finds depends on the time; what it ran is what it says."""
    out = tmp_path / "out"
    command = ["execute", story[3], "--policy", "fifo", "--device", "cpu", *COSINES]
    assert run([*command, "--latents", str(tmp_path / "latents"), "-o", str(out)]) == 0
    found = lookups(out)
    assert {name: one["asked"] for name, one in found.items()} == {
        "fox": 0,
        "portrait": 3,
        "again": 2,
        "soup": 3,
    }
    assert found["fox"]["stored"] == [2, 3]
    for name, one in found.items():
        text = text_of(out / "images" / f"{name}.png")
        assert (int(text["skip"]), int(text["steps"])) == (one["level"], 5 - one["level"])
    events = json.loads((out / "trace.json").read_bytes())["traceEvents"]
    looked_up = [e["args"]["ids"] for e in events if e["name"].startswith("latents ")]
    assert {name for ids in looked_up for name in ids} == set(found)


def test_damage_is_one_line(
    story: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And the run goes on with what is left."""
    (tmp_path / "latents").mkdir()
    for name in ("notes.txt", f"{'0' * 32}-5.safetensors"):
        (tmp_path / "latents" / name).write_text("mine")
    command = [*story, "--latents", str(tmp_path / "latents"), *COSINES, "-o"]
    assert run([*command, str(tmp_path / "out")]) == 0
    (warning,) = caplog.records
    assert "left out: 2 foreign files" in warning.message


def test_two_gpus_share_a_folder_and_a_kill_leaves_it_whole(tmp_path: Path) -> None:
    """SIGKILL of the processes of two GPUs, then --resume; every file left is in the index."""
    prompts = [f"picture{i % 6} of a castle{i % 6}" for i in range(24)]
    requests = [asks(f"r{i}", prompt, 2 + i % 2, 0.002 * i, i) for i, prompt in enumerate(prompts)]
    command = written(tmp_path, *requests, gpus=2)
    folder, out = tmp_path / "latents", tmp_path / "out"
    command += ["--latents", str(folder), *COSINES, "-o", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "pats_opt", *command],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'solvers'}"},
    )
    while not list((out / "images").glob("*.png")):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run([*command, "--resume", "--engine", "thread"]) == 0
    assert set(makings(out).values()) == {1}
    found = lookups(out)
    assert len(found) == 24
    assert sum(one["level"] > 0 for one in found.values()) >= 6
    by_prompt = dict(zip([f"r{i}" for i in range(24)], prompts, strict=True))
    assert all(one["prompt"] in (None, by_prompt[name]) for name, one in found.items())
    from pats_opt.model.files import read_instance

    given: LatentCacheSettings = latent_cache(
        read_instance(tmp_path / "instance.json"), str(folder), 1.0, thresholds=(0.2, 0.5)
    )
    again = LatentFolder(given)
    again.verify()
    known = {f"{k.line.key}-{level}.safetensors" for k in again._kept.values() for level in k.files}
    assert known == {path.name for path in folder.glob("*.safetensors")}
