"""``pats-opt profile``: its options, what it prints and writes, and that others take it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pats_opt.cli import run
from pats_opt.generate import profile as profiles
from pats_opt.generate.quality import read_table
from pats_opt.perceptual import METRICS
from pats_opt.perceptual.metric import Ssim
from tests.profiling.fakes import Constants, Device, write_adapters

QUICK = ["--batches", "1,2", "--sizes", "1024x1024,512x512", "--steps", "4", "--repeats", "1"]

Command = Callable[..., int]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def command(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command on a device with known constants, in a folder of its own."""
    monkeypatch.setattr("pats_opt.execute.engine.open_engine", device.open)
    monkeypatch.setattr("pats_opt.execute.engine.default_device", lambda: "cpu")
    monkeypatch.chdir(tmp_path)
    write_adapters(tmp_path / "loras", ranks=(4, 4, 8))

    def call(*arguments: str) -> int:
        return run(["profile", "--model", "some/model", "--adapters", "loras", *QUICK, *arguments])

    return call


def toml(path: str) -> dict[str, Any]:
    return tomllib.loads(Path(path).read_text(encoding="utf-8"))


def test_json_is_one_object(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("-o", "out", "--json", "--name", "lab") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["complete"] is True
    assert document["profile"]["name"] == "lab"
    assert document["profile"]["step_s"] == {"base": 0.05, "per_sample": 0.1}
    assert sorted(document["files"]) == [
        "out/profile.json",
        "out/profile.toml",
        "out/switching_cost.csv",
    ]
    assert all(Path(file).is_file() for file in document["files"])
    assert not [p for p in Path("out").iterdir() if p.name.startswith(".")]


def test_figures_are_printed(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("-o", "gpu.toml") == 0
    out = capsys.readouterr()
    assert "gpu: Fake 24" in out.out
    assert "step, s     1: 0.15, 2: 0.25" in out.out
    assert "switch, s   resident 0.001, host 0.021, disk 0.901" in out.out
    assert "written to gpu.toml" in out.err


def test_generate_and_import_take_the_profile(command: Command, tmp_path: Path) -> None:
    assert command("-o", "gpu.toml") == 0
    assert run(["generate", "--profile", "gpu.toml", "--tier", "disk", "-o", "a.json"]) == 0
    made = json.loads(Path("a.json").read_text())
    assert made["service"]["step_s"] == {"base": 0.05, "per_sample": 0.1}
    assert made["base_vram_gib"] == pytest.approx(7.0, abs=1e-3)
    assert all(0.9 <= adapter["load_s"] <= 0.902 for adapter in made["adapters"])
    assert made["switching"]["activate_s"] == 0.001
    Path("log.csv").write_text("arrival_s,adapter,prompt\n0,x,a cat\n1,y,a dog\n")
    columns = ["--time", "arrival_s", "--adapter", "adapter", "--prompt", "prompt"]
    arguments = [*columns, "--profile", "gpu.toml", "-o", "b.json"]
    assert run(["import", "trace", "log.csv", *arguments]) == 0
    assert json.loads(Path("b.json").read_text())["tick_s"] == made["tick_s"] == 0.05


def test_too_little_time_ends_with_status_4_and_goes_on_later(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("-o", "gpu.toml", "--time-limit", "1e-9") == 4
    told = capsys.readouterr().err
    assert "goes on from there" in told
    assert "switching (disk)" in told
    assert not Path("gpu.toml").exists()
    assert command("-o", "gpu.toml") == 0
    assert "missing" not in toml("gpu.toml")["sources"]


def test_an_interrupt_ends_with_status_4(
    command: Command, device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    device.constants.stops_after = 8
    assert command("-o", "gpu.toml") == 4
    assert "Traceback" not in capsys.readouterr().err
    assert Path("gpu.json").is_file()
    device.constants.stops_after = None
    assert command("-o", "gpu.toml") == 0
    assert toml("gpu.toml")["sources"]["setup"].endswith("in 2 sessions")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "x.toml", "--batches", "a"], "--batches"),
        (["-o", "x.toml", "--batches", "0"], "--batches"),
        (["-o", "x.toml", "--sizes", "1024"], "--sizes"),
        (["-o", "x.toml", "--sizes", "0x64"], "--sizes"),
        (["-o", "x.toml", "--steps", "2"], "leave nothing to measure"),
        (["-o", "x.toml", "--quality"], "needs prompts"),
        (["-o", "x.toml", "--prompts", "p.txt"], "need --quality"),
        (["-o", "x.toml", "--rank", "8"], "random adapters only"),
        (["-o", "x.toml", "--memory-from", "nope"], "no profile 'nope'"),
        (["-o", "loras/a.safetensors/x.toml"], "cannot be written"),
        ([], "add -o"),
    ],
)
def test_bad_usage_is_one_line(
    command: Command,
    device: Device,
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command(*arguments) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line
    assert device.opened == []


@pytest.fixture
def prompts(tmp_path: Path) -> list[str]:
    (tmp_path / "p.csv").write_text("prompt,complexity\nred,simple\na castle in the fog,0.8\n")
    asked = ["--quality", "--prompts", "p.csv", "--quality-steps", "4,8,16,60", "--full", "30"]
    return [*asked, "--images", "2"]


def rows(path: str) -> list[dict[str, Any]]:
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_quality_table_has_the_metrics_own_name(command: Command, prompts: list[str]) -> None:
    """The document's columns first, the metric in place of lpips; generate takes it."""
    metrics = ["--metric", "ssim", "--metric", "flip", "--images", "1"]
    assert command("-o", "gpu.toml", *prompts, *metrics) == 0
    found = rows("sdxl_step_quality_ssim.csv")
    assert list(found[0]) == [
        "prompt_type",
        "prompt_text",
        "steps",
        "ssim",
        "gen_time_sec",
        "image_path",
        "complexity",
        "seed",
        "flip",
        "quality",
    ]
    assert not Path("sdxl_step_quality_lpips.csv").exists()
    assert len(found) == 2 * 4  # 60 is no count below the full one
    assert {(row["prompt_type"], row["complexity"]) for row in found} == {
        ("simple", "0"),
        ("complex", "0.8"),
    }
    for row in found:
        assert Path(row["image_path"]).is_file()
        assert row["quality"] == row["ssim"]
        assert (float(row["ssim"]) == 1.0) == (row["steps"] == "30") == (float(row["flip"]) == 0.0)
    model = read_table("sdxl_step_quality_ssim.csv")
    assert model(8, 0.0) > model(4, 0.0)
    assert run(["generate", "--quality-table", "sdxl_step_quality_ssim.csv", "-o", "i.json"]) == 0
    assert run(["generate", "--config", "quality.toml", "-o", "j.json"]) == 0


def test_time_of_an_image_is_its_share(command: Command, prompts: list[str]) -> None:
    """Times of all members add up to those of the batch's steps and decodings."""
    assert command("-o", "gpu.toml", *prompts, "--metric", "ssim") == 0
    found = [
        r
        for r in rows("sdxl_step_quality_ssim.csv")
        if (r["seed"], r["complexity"]) == ("1", "0.8")
    ]
    live = [sum(int(r["steps"]) > step for r in found) for step in range(30)]
    slow = [10.0 if step < 2 else 1.0 for step in range(30)]
    expected = sum(w * (0.05 + 0.1 * n) for n, w in zip(live, slow, strict=True)) + 4 * 0.06
    assert sum(float(r["gen_time_sec"]) for r in found) == pytest.approx(expected, abs=1e-3)


def test_learned_distance_where_no_metric_is_named(
    command: Command,
    prompts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TORCH_HOME", "nowhere")
    assert command("-o", "gpu.toml", *prompts) == 0
    found = rows("sdxl_step_quality_stlpips.csv")
    assert all(float(r["quality"]) == pytest.approx(1 - float(r["stlpips"])) for r in found)
    assert "% of the variance explained" in capsys.readouterr().out


def test_images_are_compared_on_the_cpu_where_the_device_has_no_room(
    command: Command, prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that fails in comparing; the table is that of the CPU."""
    opened: list[str] = []

    class Cramped(Ssim):
        def __init__(self, device: str, weights: str | None) -> None:
            super().__init__("cpu", weights)
            opened.append(device)

        def __call__(self, reference: Any, other: Any) -> float:
            if opened[-1] != "cpu":
                raise RuntimeError("CUDA out of memory")
            return super().__call__(reference, other)

    monkeypatch.setitem(METRICS, "ssim", Cramped)
    asked = [*prompts, "--metric", "ssim", "--images", "1"]
    assert command("-o", "gpu.toml", "--device", "cuda", *asked) == 0
    assert opened == ["cuda", "cpu"]
    assert len(rows("sdxl_step_quality_ssim.csv")) == 2 * 4


def test_images_are_not_made_twice_but_for_other_prompts(
    command: Command, device: Device, prompts: list[str]
) -> None:
    assert command("-o", "gpu.toml", *prompts, "--metric", "ssim") == 0
    before = len(device.batches)
    assert command("-o", "gpu.toml", *prompts, "--metric", "ssim") == 0
    assert len(device.batches) == before
    Path("p.csv").write_text("prompt,complexity\nred,simple\nblue,simple\n")
    assert command("-o", "gpu.toml", *prompts, "--metric", "ssim") == 0
    assert device.batches[before:].count(4) == 2  # two seeds of the new prompt
    texts = {r["prompt_text"] for r in rows("sdxl_step_quality_ssim.csv")}
    assert texts == {"red", "blue"}


def test_images_that_fail_are_missing_and_the_profile_is_not(
    command: Command, device: Device, prompts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("-o", "gpu.toml") == 0
    device.constants = Constants(fails="no room")
    device.constants.memory_gib = 24.0
    assert command("-o", "gpu.toml", *prompts, "--metric", "ssim", "--json") == 0
    document = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert document["missing"] == ["images, 4 times"]
    assert document["fit"] is None
    assert toml("gpu.toml")["sources"]["missing"] == "images, 4 times"


def test_a_real_model_without_the_solvers_packages(tmp_path: Path) -> None:
    """The tiny model on the CPU, where no solver or log reader can be imported."""
    blocked = ["ortools", "pulp", "polars", "pats_solvers"]
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "from pats_opt.cli import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    out = tmp_path / "tiny.toml"
    arguments = ["profile", "--device", "cpu", "--batches", "1,2", "--sizes", "512x512"]
    arguments += ["--steps", "3", "--repeats", "1", "--rank", "2", "-o", str(out), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "switching_cost.csv",
        "tiny.json",
        "tiny.toml",
    ]
    found = profiles.load(str(out))
    assert json.loads(done.stdout)["complete"] is True
    assert found.step_s(1) > 0
    assert set(found.load.tiers) == {"host", "disk"}
    assert set(found.load.beside) == {"host", "disk"}
    for cost in found.load.beside.values():
        assert cost.seconds > 0
        assert 0 < cost.hidden <= 1
    assert found.memory.max_batch == 2
    assert "4 adapters of rank 2" in found.sources["load"]
    assert found.memory.adapter_gib > 0
    (adapter,) = found.memory.adapters
    assert (adapter.rank, adapter.hidden, adapter.layers, adapter.bytes_per_weight) == (
        *(2, 64, 152),
        4,
    )
    # Of the inputs and outputs of the layers, 272 are 64 wide and 32 are 32 wide.
    assert adapter.weights_gib == pytest.approx((272 * 64 + 32 * 32) * 2 * 4 / 2**30, rel=1e-3)
    assert adapter.slot_gib == adapter.weights_gib  # of one rank, so nothing is padded
    assert adapter.formula_gib == pytest.approx(2 * 2 * 64 * 152 * 4 / 2**30, rel=1e-3)
    assert "tiny, float32, guidance 5, EulerDiscreteScheduler; python" in found.sources["setup"]
    assert "widths and heights divided by 16" in found.about


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "from pats_opt.cli import run\n"
        "assert run(['profile', '--help']) == 0\n"
        "assert not {'torch', 'numpy', 'diffusers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--max-batch" in done.stdout
