"""``pats-opt tune`` from the outside: output, refusals, kills, Ctrl-C, resuming."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pats_opt.cli import run
from tests.report.test_command import gone, wait_for
from tests.tuning.conftest import write

pytestmark = pytest.mark.usefixtures("dial")

Capture = pytest.CaptureFixture[str]

#: Slow enough to be stopped in the middle.
SLOW = "dial:wait_s=0.02"


@contextmanager
def started(*args: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pats_opt", "tune", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def finished(folder: Path) -> int:
    """How many trials the journal of a search says are complete."""
    journal = folder / "journal.log"
    lines = journal.read_text().splitlines() if journal.is_file() else []
    return sum('"user_attr":{"trial"' in line or '"user_attrs":{"trial"' in line for line in lines)


def test_files_and_output(tmp_path: Path, instances: str, capsys: Capture) -> None:
    """The table, the object, and the files in the folder say the same."""
    out = tmp_path / "out"
    args = ["tune", "dial", instances, "--only", "x", "--trials", "8"]
    assert run([*args, "-o", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    lines = printed.out.splitlines()
    assert lines[0].startswith("tuned      dial over x: 0.5 -> ")
    assert [line.split()[0] for line in lines[3:5]] == ["train", "test"]
    assert lines[-1] == f"folder     {out}"
    assert run([*args, "-o", str(tmp_path / "json"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    kept = json.loads((out / "result.json").read_text())
    assert {**result, "folder": None} == {**kept, "folder": None}
    assert lines[-2] == f"spec       {result['spec']}"
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == [str(i) for i in range(8)]
    assert rows[0]["loss_ratio"] == "1.0"
    best = rows[result["best_trial"]]
    assert float(best["x"]) == result["best_params"]["x"]
    assert float(best["loss_ratio"]) == pytest.approx(result["train"]["ratio"])
    page = (out / "report.md").read_text()
    assert result["verdict"] in page
    assert f"`{result['spec']}`" in page
    config = json.loads((out / "config.json").read_text())
    assert config["config"]["instances"] == ["../instances"]
    assert all(case["file"].startswith("../instances/") for case in config["train"])
    assert run(["simulate", f"{instances}/small/small-1.json", "--policy", "pats"]) == 0


def test_killed_and_resumed(tmp_path: Path, instances: str) -> None:
    """A kill -9 in the middle loses no finished trial, and resuming ends where no kill would."""
    args = [SLOW, instances, "--only", "x", "--trials", "10"]
    assert run(["tune", *args, "-o", str(tmp_path / "whole")]) == 0
    out = tmp_path / "out"
    with started(*args, "-o", str(out)) as process:
        wait_for(lambda: finished(out) >= 3)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert 3 <= finished(out) < 10
    assert not (out / "result.json").exists()
    assert run(["tune", "--resume", "-o", str(out)]) == 0
    assert (out / "result.json").read_bytes() == (tmp_path / "whole" / "result.json").read_bytes()
    assert finished(out) == 10


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_cleanly(tmp_path: Path, instances: str, capsys: Capture, jobs: str) -> None:
    """Status 4, a note, and the result of what is there; resuming does the rest.

    The whole group of processes gets the signal, as from a terminal.
    """
    out = tmp_path / "out"
    args = [SLOW, instances, "--only", "x", "--trials", "400", "--jobs", jobs, "-o", str(out)]
    with started(*args) as process:
        wait_for(lambda: finished(out) >= 3)
        os.killpg(process.pid, signal.SIGINT)
        printed, told = process.communicate()
    assert process.returncode == 4
    result = json.loads((out / "result.json").read_text())
    count = result["trials"]["finished"]
    assert 3 <= count < 400
    assert result["interrupted"] is True
    assert (
        f"interrupted after {count} of 400 trials; continue with 'pats-opt tune --resume -o {out}'"
        in told
    )
    assert "Traceback" not in told
    assert f"{count} trials (interrupted)" in printed
    assert run(["tune", "--resume", "-o", str(out), "--trials", str(count + 1), "--json"]) == 0
    resumed = json.loads(capsys.readouterr().out)
    assert resumed["trials"]["finished"] == count + 1
    assert resumed["interrupted"] is False


def test_ctrl_c_before_anything(tmp_path: Path, instances: str) -> None:
    """Nothing to tell yet: status 4."""
    out = tmp_path / "out"
    with started("dial:wait_s=2", instances, "--only", "x", "-o", str(out)) as process:
        wait_for(lambda: finished(out) == 0 and (out / "journal.log").is_file())
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 4
    assert "interrupted before the defaults were run" in told


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the kernel's process table")
def test_no_worker_outlives_a_kill(tmp_path: Path, instances: str) -> None:
    """Workers end with the process that started them."""
    out = tmp_path / "out"
    args = [SLOW, instances, "--only", "x", "--trials", "400", "--jobs", "2", "-o", str(out)]
    with started(*args) as process:
        wait_for(lambda: finished(out) >= 2)
        tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
        children = [child for task in tasks for child in task.read_text().split()]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(children) >= 2
    for pid in map(int, children):
        wait_for(lambda pid=pid: gone(pid))  # type: ignore[misc]


def test_refusals(tmp_path: Path, instances: str, capsys: Capture) -> None:
    """One line each, status 2, and no folder for what cannot begin."""
    one = write(tmp_path / "one.json", requests=2)
    out = str(tmp_path / "out")
    wrong = {
        ("dail", instances): "choose one of: dial",
        ("dial", one): "1 instance cannot be split into train and test; name at least two",
        ("dial", one, one): "1 instance cannot be split",
        ("dial", one, "--test", one): "every train instance is a test instance as well",
        ("dial", instances, "--fix", "y=1"): "'dial' has no parameter 'y'",
        ("dial", instances, "--fix", "x"): "write it as NAME=VALUE",
        ("dial", instances, "--fix", "x=2"): "Expected `float` <= 1.0",
        ("dial", instances, "--only", " , "): "write it as A,B",
        ("dial", instances, "--range", "x=1:0"): "the lower one first",
        ("dial", instances, "--test-share", "1"): "not in the range",
        ("dial", instances, "--suite", "dem"): "choose one of: demo",
        ("dial", "nowhere.json"): "no such file",
        ("dial",): "no instances are named",
        (): "no policy is named",
        ("--resume",): "no search to resume in this folder",
    }
    for args, told in wrong.items():
        assert run(["tune", *args, "-o", out]) == 2, args
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out" / "config.json").exists()
    assert run(["tune", "--resume"]) == 2
    assert "add -o DIR" in capsys.readouterr().err


def test_a_search_that_was_stopped_before_it_began_is_begun(
    tmp_path: Path, instances: str, capsys: Capture
) -> None:
    """The same command with --resume: in a folder that holds no search yet."""
    out = tmp_path / "out"
    out.mkdir()
    args = ["dial", instances, "--only", "x", "--trials", "2", "--resume", "-o", str(out)]
    assert run(["tune", *args]) == 0
    assert run(["tune", *args]) == 0
    assert (out / "config.json").exists()
    assert "error" not in capsys.readouterr().err


def test_resume_with_other_instances(tmp_path: Path, instances: str, capsys: Capture) -> None:
    """Refused in one line; the same in full, or the folder alone, is accepted."""
    out = str(tmp_path / "out")
    args = ["dial", instances, "--only", "x", "--trials", "2"]
    assert run(["tune", *args, "-o", out]) == 0
    assert run(["tune", *args, "-o", out]) == 2
    assert "holds a search already; add --resume" in capsys.readouterr().err
    assert run(["tune", "dial", f"{instances}/small", "--resume", "-o", out]) == 2
    error = capsys.readouterr().err
    assert "another set of train instances; another set of test instances" in error
    assert error.count("\n") == 1
    for again in ([*args, "--resume", "-o", out], ["--resume", "-o", out, "--trials", "3"]):
        assert run(["tune", *again]) == 0


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert run(["tune", "pats", "--suite", "demo"]) == 2
    assert "pip install 'pats-opt[tune]'" in capsys.readouterr().err
