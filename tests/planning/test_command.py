"""``pats-opt plan`` from the outside: answer, files, refusals, kills, resuming."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pats_opt.cli import run
from pats_opt.runs.task import perform_missing
from tests.report.test_command import wait_for

Capture = pytest.CaptureFixture[str]

#: A search without bounds, which take seconds.
FAST = ("--policies", "fifo", "--bound-windows", "0", "--windows", "3", "--jobs", "2")


def planned(args: list[str], capsys: Capture) -> dict[str, Any]:
    assert run([*args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_fewest_gpus_are_found(tmp_path: Path, load: str, capsys: Capture) -> None:
    """As simulating every cell finds them; the files say the same, and the instance stays one."""
    args = ["plan", load, "--gpus", "1..6", "--slo", "9:0.9", "--gpu-hour", "2", *FAST]
    out = tmp_path / "out"
    found = planned([*args, "-o", str(out)], capsys)
    every = planned([*args, "--every-cell", "-o", str(tmp_path / "every")], capsys)
    met = [cell for cell in every["cells"] if cell["meets"]]
    answer = found["answer"]
    assert answer["gpus"] == min(cell["gpus"] for cell in met) > 1
    assert len(every["cells"]) == 6
    assert answer["cost_per_1000"] == pytest.approx(2 * answer["gpu_hours_per_1000"])
    assert {step["gpus"] for step in found["steps"]} == {
        answer["gpus"] - 1,
        answer["gpus"] + 1,
    }
    kept = json.loads((out / "plan.json").read_text())
    assert kept["answer"] == answer
    rows = list(csv.DictReader((out / "cells.csv").read_text().splitlines()))
    assert len(rows) == len(found["cells"])
    assert not (out / "schedules").exists()
    assert not (out / "instance.json").exists()
    page = (out / "plan.html").read_text()
    assert found["summary"][0].replace("'", "&#39;") in page
    assert "default-src 'none'; script-src 'none'" in page


def test_a_log_is_imported_once(tmp_path: Path, log: str, capsys: Capture) -> None:
    out = tmp_path / "out"
    args = ["plan", log, "--gpus", "1,2", "--resident", "1,2", *FAST]
    assert run([*args, "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert "has the least loss of the grid" in printed.out
    assert "steps: those of the log" in printed.err
    assert [path.name for path in out.glob("*.json")].count("instance.json") == 1
    assert len(list((out / "runs").iterdir())) == 4


def test_an_objective_that_nothing_meets(tmp_path: Path, load: str, capsys: Capture) -> None:
    args = ["plan", load, "--gpus", "1,2", "--slo", "p99<=1", *FAST, "-o", str(tmp_path / "out")]
    assert run(args) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("No cell of the grid serves 99 % within 1 s. ")
    assert "comes nearest" in printed
    assert "missed" in printed


def test_every_axis_reaches_the_runs(tmp_path: Path, load: str, capsys: Capture) -> None:
    args = ["plan", load, "--gpus", "2", "--resident", "1,2", "--load-channels", "0,1"]
    args += ["--batch", "1", "--tier", "host", "--profile", "tiers"]
    args += ["--dispatch", "central,hash", *FAST, "-o", str(tmp_path / "out")]
    found = planned(args, capsys)
    cells = found["cells"]
    assert len(cells) == 8
    assert {cell["end"] for cell in cells} == {"solved"}
    assert {(c["residents"], c["channels"], c["dispatch"]) for c in cells} == {
        (k, c, d) for k in (1, 2) for c in (0, 1) for d in ("central", "hash")
    }
    runs = [json.loads(path.read_text()) for path in (tmp_path / "out" / "runs").iterdir()]
    for one in runs:
        assert one["config"]["solver"]["params"]["dispatch"] in ("central", "hash")
        fleet = one["config"]["setting"]["fleet"]
        assert (fleet["gpus"], fleet["batch"]) == (2, 1)
        assert 0 < fleet["load_factor"] < 1
        assert one["metrics"]["batches"] == 12
        assert (one["metrics"].get("loader_busy_share") is not None) == (fleet["channels"] == 1)


def test_the_bound_says_what_no_policy_saves(tmp_path: Path, load: str, capsys: Capture) -> None:
    args = ["plan", load, "--gpus", "1", "--policies", "fifo,exhaustive", "--bound-time", "5"]
    found = planned([*args, "--slo", "60", "-o", str(tmp_path / "out")], capsys)
    bound = found["bound"]
    assert bound["windows"] == 1
    assert bound["requests"] == 12
    losses = [policy["loss"] for policy in bound["policies"]]
    assert losses == sorted(losses)
    assert 0 < bound["bound"] <= losses[0]
    assert bound["unavoidable_share"] == pytest.approx(bound["bound"] / losses[0])
    gaps = [policy["gap"] for policy in bound["policies"]]
    assert gaps == pytest.approx([(loss - bound["bound"]) / loss for loss in losses])
    assert any("beyond any policy" in line for line in found["summary"])


def test_killed_and_resumed(tmp_path: Path, load: str) -> None:
    """A kill -9 in the middle loses no finished run, and resuming ends where no kill would."""
    args = [load, "--gpus", "1..4", "--resident", "1,2", "--every-cell", "--slo", "9:0.9", *FAST]
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert run(["plan", *args, "-o", str(whole)]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "pats_opt", "plan", *args, "-o", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        wait_for(lambda: len(list(out.glob("runs/*.json"))) >= 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (out / "plan.json").exists()
    kept = {path: path.read_bytes() for path in out.glob("runs/*.json")}
    assert run(["plan", "--resume", "-o", str(out)]) == 0
    assert {path: path.read_bytes() for path in kept} == kept
    one, other = (json.loads((path / "plan.json").read_text()) for path in (whole, out))
    for result in (one, other):
        for found in (result["answer"], result["reference"], *result["cells"]):
            found.pop("seconds")
    assert one["answer"] == other["answer"]
    assert one["cells"] == other["cells"]


def test_ctrl_c_keeps_what_is_done(
    tmp_path: Path, load: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 4, how to go on, and a page of the finished runs."""
    calls = []

    def interrupted(tasks: Any, *args: Any) -> None:
        calls.append(tasks)
        if len(calls) > 1:
            raise KeyboardInterrupt
        perform_missing(tasks, *args)

    name = "pats_opt.planning.study.perform_missing"
    monkeypatch.setattr(name, interrupted)
    out = tmp_path / "out"
    assert run(["plan", load, "--gpus", "1..9", "--slo", "9:0.9", *FAST, "-o", str(out)]) == 4
    printed = capsys.readouterr()
    assert f"'pats-opt plan --resume -o {out}' does them" in printed.err
    assert "An interrupt left out cells: 2 of 9 are simulated" in printed.out
    assert "the search left out" not in printed.out
    assert len(json.loads((out / "plan.json").read_text())["cells"]) == 2
    monkeypatch.setattr(name, perform_missing)
    assert run(["plan", "--resume", "-o", str(out)]) == 0
    assert json.loads((out / "plan.json").read_text())["missing"] == 0


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (["{load}", "--gpus", "x"], ["--gpus", "'x'", "write it as N,M..K"]),
        (["{load}", "--gpus", "0"], ["--gpus", "'0'"]),
        (["{load}", "--slo", "soon"], ["--slo", "'soon'", "S[:SHARE]"]),
        (["{load}", "--policies", "fivo"], ["no solver or policy 'fivo'", "fifo"]),
        (["{load}", "--policies", "exact"], ["'exact' is no online policy"]),
        (["{load}", "--dispatch", "hush"], ["'fifo'", "hash"]),
        (["{load}", "--policies", "fifo:dispatch=hash", "--dispatch", "hash"], ["in one place"]),
        (["{load}", "--tier", "host"], ["names no profile", "--profile"]),
        (["{load}", "--tier", "tape", "--profile", "documents"], ["no tier 'tape'"]),
        (["{load}", "--batch", "9"], ["no batch of 9 fits 'gpu-0'"]),
        (["{load}", "--windows", "13"], ["13 windows of 12 requests would be empty"]),
        (["{load}", "--residents", "4", "--gpu", "2"], ["'--gpu'"]),
        (["none.csv"], ["none.csv: ", "no such file"]),
        (["none.json"], ["none.json: ", "no such file"]),
        ([], ["no load is named"]),
        (["--resume"], ["add -o DIR"]),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, load: str, capsys: Capture, args: list[str], parts: list[str]
) -> None:
    """Exit status 2, and nothing half written."""
    out = [] if args == ["--resume"] else ["-o", str(tmp_path / "out")]
    before = sorted(tmp_path.iterdir())
    assert run(["plan", *(arg.format(load=load) for arg in args), *out]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    for piece in parts:
        assert piece in told
    assert sorted(tmp_path.iterdir()) == before


def test_a_folder_of_another_plan(tmp_path: Path, load: str, log: str, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert run(["plan", load, "--gpus", "1", *FAST, "-o", str(out)]) == 0
    capsys.readouterr()
    assert run(["plan", load, "--gpus", "1", *FAST, "-o", str(out)]) == 2
    assert "this folder is not empty" in capsys.readouterr().err
    assert run(["plan", log, "--resume", "-o", str(out)]) == 2
    assert "holds another plan (load load.json, not log.csv)" in capsys.readouterr().err
    assert run(["plan", "--resume", "-o", str(tmp_path / "none")]) == 2
    assert "no plan to resume" in capsys.readouterr().err
