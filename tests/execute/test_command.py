"""``pats-opt execute`` from end to end, with the tiny model on the CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pats_opt.cli import run
from pats_opt.execute.journal import SessionStarted
from pats_opt.model.files import write_instance, write_schedule
from tests.execute.runs import journals, makings, pictures, problem, schedule

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A schedule of six requests on one GPU, and its instance."""
    return written(tmp_path, gpus=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of that schedule that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    scheduled, instance = written(folder, gpus=1)
    command = ["execute", scheduled, "--instance", instance, "--device", "cpu"]
    assert run([*command, "-o", str(folder / "out")]) == 0
    return folder / "out"


def written(folder: Path, gpus: int) -> tuple[str, str]:
    """A schedule's file and its instance's."""
    story = problem(6, gpus=gpus, times=4)
    write_instance(story.instance, folder / "instance.json")
    write_schedule(schedule(story), folder / "schedule.json")
    return str(folder / "schedule.json"), str(folder / "instance.json")


def pixels(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """The images of a folder."""
    return {
        path.name: np.asarray(Image.open(path), dtype=int)
        for path in sorted((folder / "images").iterdir())
    }


def alike(one: Path, two: Path) -> None:
    """The same images, but for rounding: other neighbours in a batch may tip a shade."""
    first, second = pixels(one), pixels(two)
    assert first.keys() == second.keys()
    for name, image in first.items():
        assert np.abs(image - second[name]).max() <= 1


def test_a_schedule(whole: Path) -> None:
    """An image for each request, a document, a trace and a page."""
    assert {p.name for p in whole.iterdir()} == {
        "adapters",
        "execution.json",
        "images",
        "journal",
        ".lock",
        "report.html",
        "trace.json",
    }
    made = pixels(whole)
    assert list(made) == [f"r{i}.png" for i in range(6)]
    assert all(image.shape == (64, 64, 3) for image in made.values())
    assert len({image.tobytes() for image in made.values()}) == 6
    execution = json.loads((whole / "execution.json").read_bytes())
    assert execution["complete"]
    assert execution["model"]["name"] == "tiny"
    assert execution["model"]["scheduler"] == "EulerDiscreteScheduler"
    assert execution["versions"].keys() >= {"python", "pats-opt", "torch", "diffusers", "peft"}
    phases = {s["phase"] for g in execution["gpus"] for b in g["batches"] for s in b["spans"]}
    assert phases >= {"load", "encode", "step", "decode", "save"}


def test_a_folder_with_a_run_is_protected(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing happens without --resume, nothing more with it, and another run is refused."""
    files = [str(whole.parent / "schedule.json"), "--instance", str(whole.parent / "instance.json")]
    command = ["execute", *files, "--device", "cpu", "-o", str(whole)]
    before = pictures(whole)
    assert run(command) == 2
    assert "add --resume" in capsys.readouterr().err
    assert run([*command, "--resume", "--json"]) == 0
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert told["complete"]
    assert (told["images"], told["new"], told["failed"]) == (6, 0, {})
    assert told["seconds"] > 0
    assert {t["name"] for t in told["totals"]} >= {"makespan_s", "serving_s", "switching_s"}
    assert told["summary"]
    assert run([*command, "--resume", "--guidance", "2"]) == 2
    assert "guidance 5.0, not 2.0" in capsys.readouterr().err
    assert pictures(whole) == before


def test_a_killed_run_goes_on(tmp_path: Path, whole: Path) -> None:
    """SIGKILL of two GPUs' processes, then --resume with threads: the images of an unhurt run.

    Two engines of one process do not get into each other's way, and the images depend neither on
    which GPU makes them nor on where loads come from.
    """
    scheduled, instance = written(tmp_path, gpus=2)
    out = tmp_path / "out"
    command = ["execute", scheduled, "--instance", instance, "--device", "cpu", "-o", str(out)]
    command += ["--load-from", "disk"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pats_opt", *command],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'solvers'}"},
    )
    while not list((out / "images").glob("*.png")):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = pictures(out)
    assert run([*command, "--engine", "thread", "--resume"]) == 0
    after = pictures(out)
    assert all(after[name] == data for name, data in before.items() if name.endswith(".png"))
    assert set(makings(out).values()) == {1}
    alike(out, whole)
    sat = [line for j in journals(out) for line in j.lines if isinstance(line, SessionStarted)]
    assert {(line.number, line.engine) for line in sat} == {(1, "process"), (2, "thread")}
    execution = json.loads((out / "execution.json").read_bytes())
    assert execution["complete"]
    assert (execution["sittings"], execution["engine"]) == (2, "thread")
    assert all(gpu["batches"] for gpu in execution["gpus"])


@pytest.mark.parametrize("policy", ["pats", "fifo"])
def test_a_policy_live(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], policy: str
) -> None:
    """The instance's arrivals in real time, simulated against live."""
    out = tmp_path / "out"
    command = ["execute", files[1], "--policy", policy, "--seed", "7", "--device", "cpu"]
    assert run([*command, "-o", str(out)]) == 0
    told = capsys.readouterr().out
    assert told.startswith("The loss was ")
    assert "simulated" in told.splitlines()[0]
    assert "\n6 images in " in told
    assert len(pictures(out)) == 6
    execution = json.loads((out / "execution.json").read_bytes())
    assert execution["live"]
    assert execution["pace"] == "schedule"
    assert (execution["maker"]["name"], execution["maker"]["seed"]) == (policy, 7)
    assert (out / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["S"], "give either a schedule and its --instance, or an instance and a --policy"),
        (["S", "--instance", "I", "--policy", "fifo"], "give either"),
        (["I", "--policy", "fifo", "--pace", "fast"], "--pace fast works for schedules only"),
        (["I", "--policy", "milp"], "is no online policy"),
        (["S", "--instance", "I", "--param", "a=1"], "--param needs a --policy"),
        (["I", "--instance", "I"], "format"),
        (["S", "--instance", "nowhere.json"], "no such file"),
        (["S", "--instance", "I", "--device", ","], "names no device"),
        (["S", "--instance", "I", "--device", "gpu:7"], "no device 'gpu:7'"),
        (["S", "--instance", "I", "--device", "cpu", "--model", "./none"], "no file"),
        (["S", "--instance", "I", "--device", "cpu", "--adapters", "none"], "no such folder"),
    ],
)
def test_what_is_refused(
    files: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    why: str,
) -> None:
    """Bad usage and bad input: one line, status 2, and no image."""
    named = {"S": files[0], "I": files[1]}
    given = [named.get(argument, argument) for argument in arguments]
    assert run(["execute", *given, "-o", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert why in err
    assert err.count("\n") == 1
    assert not list((tmp_path / "out").rglob("*.png"))


def test_an_invalid_schedule_is_refused(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the file, the rule and where; nothing is made."""
    document = json.loads(Path(files[0]).read_text())
    document["gpus"][0]["batches"][-1]["load"] = []
    Path(files[0]).write_text(json.dumps(document))
    status = run(["execute", files[0], "--instance", files[1], "-o", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert status == 2
    assert "schedule.json: " in err
    assert "breaks rule" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("extra", ["execute", "ray"])
def test_without_the_extras(
    files: tuple[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    extra: str,
) -> None:
    """One plain line says what to install."""
    missing = {"execute": ("torch", "diffusers"), "ray": ("ray",)}[extra]
    real = importlib.util.find_spec

    def find(name: str) -> Any:
        return None if name in missing else real(name)

    monkeypatch.setattr("pats_opt.execute.engine.find_spec", find)
    monkeypatch.setattr(importlib.util, "find_spec", find)
    command = ["execute", files[0], "--instance", files[1], "--device", "cpu", "--engine", "ray"]
    assert run([*command, "-o", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert f"pip install 'pats-opt[{extra}]'" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
