"""``pats-opt gap-report`` from the outside: folders, resuming, kills, Ctrl-C, run files."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pats_opt.cli import run
from pats_opt.report.config import DEFAULT_LIMIT_S, DEFAULT_SOLVERS, ReportConfig, tasks
from pats_opt.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("stubs", "plain")

Capture = pytest.CaptureFixture[str]

PATIENCE_S = 120


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records in a report's folder by file name."""
    return {p.name: json.loads(p.read_text()) for p in sorted((folder / "runs").glob("*.json"))}


@contextmanager
def started(*args: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, gone at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pats_opt", "gap-report", "--no-pictures", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(happened: Callable[[], bool]) -> None:
    """Wait until something has happened; give up after long."""
    until = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Whether a process has ended (one that nobody has asked after yet has ended, too)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_report_from_end_to_end(tmp_path: Path, write: Callable[..., str], capsys: Capture) -> None:
    """Files, folders, names that are no file names, and solvers good and bad."""
    write("class-a/one.json", name="../x")
    write("class-a/two.json", name="../x", requests=4)
    three = write("three.json", requests=2, extra={"class": "own"})
    out = tmp_path / "out"
    specs = "steady,steady:option=1,proud,bad,picky,bad:how=kill"
    args = [str(tmp_path / "class-a"), three, "--solvers", specs, "-o", str(out), "--jobs", "2"]
    assert run(["gap-report", "--no-pictures", *args]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(
        "The optimum is proven on 3 of 3 instances; of the online policies steady has the small"
    )
    assert printed[-1] == f"The report is {out / 'report.html'}"
    found = records(out)
    assert len(found) == 18
    assert {r["config"]["instance"]["group"] for r in found.values()} == {"class-a", "own"}
    ends = [r["end"] for r in found.values()]
    assert {e: ends.count(e) for e in ends} == {
        "solved": 9,
        "failed": 3,
        "not applicable": 3,
        "crashed": 3,
    }
    for name in ("report.html", "report.md", "runs.csv", "config.json"):
        assert (out / name).is_file()
    assert {p.parent for p in tmp_path.rglob("*.json")} == {
        *(tmp_path / "class-a", tmp_path, out, out / "runs", out / "schedules")
    }


def test_json_is_one_object(tmp_path: Path, write: Callable[..., str], capsys: Capture) -> None:
    args = [write(), "--solvers", "steady,proud", "-o", str(tmp_path / "out"), "--json"]
    assert run(["gap-report", "--no-pictures", *args]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["folder"] == str(tmp_path / "out")
    assert printed["summary"][0].startswith("Online steady")
    assert [r["proven"] for r in printed["runs"]] == [False, True]


def test_a_disproved_claim_ends_with_status_1(
    tmp_path: Path, write: Callable[..., str], capsys: Capture
) -> None:
    """The report is written all the same."""
    args = [write(), "--solvers", "steady,boastful", "-o", str(tmp_path / "out")]
    assert run(["gap-report", "--no-pictures", *args]) == 1
    assert "boastful claims the bound 1e+06" in capsys.readouterr().err
    assert "boastful claims" in (tmp_path / "out" / "report.md").read_text()


def test_a_folder_in_use_is_refused(
    tmp_path: Path, write: Callable[..., str], capsys: Capture
) -> None:
    out = tmp_path / "out"
    args = ["gap-report", "--no-pictures", write(), "--solvers", "steady", "-o", str(out)]
    assert run(args) == 0
    before = records(out)
    capsys.readouterr()
    assert run(args) == 2
    message = capsys.readouterr().err
    assert "not empty" in message
    assert "--resume" in message
    assert len(message.splitlines()) == 1
    assert records(out) == before


def test_a_folder_that_another_report_is_using_is_refused(
    tmp_path: Path, write: Callable[..., str], capsys: Capture
) -> None:
    """Neither a new report nor a resumed one writes into it."""
    out = tmp_path / "out"
    args = ["gap-report", "--no-pictures", write(), "--solvers", "steady", "-o", str(out)]
    with RunFolder(out).locked():
        for resume in ([], ["--resume"]):
            assert run([*args, *resume]) == 2
            (line,) = capsys.readouterr().err.splitlines()
            assert "another report is using this folder" in line
    assert not records(out)
    assert run(args) == 0


def test_resume_keeps_what_matches_and_runs_the_rest(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    """A finished run stays as it is; a damaged one, and one of a changed instance, is run again."""
    out, one, two = tmp_path / "out", write("one.json"), write("two.json", requests=2)
    args = ["gap-report", "--no-pictures", one, two, "--solvers", "steady,proud", "-o", str(out)]
    assert run(args) == 0
    before = records(out)
    marked = {name: text for name, text in before.items() if name.startswith("one")}
    for name, content in marked.items():
        (out / "runs" / name).write_text(json.dumps({**content, "started": "kept"}))
    damaged = next(name for name in before if name.startswith("two--proud"))
    (out / "runs" / damaged).write_text("{")
    assert run([*args, "--resume"]) == 0
    after = records(out)
    assert set(after) == set(before)
    assert {after[name]["started"] for name in marked} == {"kept"}
    assert after[damaged]["end"] == "solved"
    write("one.json", requests=4)
    assert run([*args, "--resume"]) == 0
    assert len(records(out)) == len(before) + 2


def test_names_like_formulas_survive_resuming(tmp_path: Path, write: Callable[..., str]) -> None:
    """They are marked in ``runs.csv`` once, however often the report is made."""
    out = tmp_path / "out"
    path = write("one.json", name="=1+1", extra={"class": "@x"})
    args = ["gap-report", "--no-pictures", path, "--solvers", "steady", "-o", str(out)]
    assert run(args) == 0
    table = (out / "runs.csv").read_bytes()
    assert table.splitlines()[1].startswith(b"'=1+1,")
    assert run([*args, "--resume"]) == 0
    assert (out / "runs.csv").read_bytes() == table
    (kept,) = records(out).values()
    assert kept["config"]["instance"]["name"] == "=1+1"


def test_killed_and_resumed(tmp_path: Path, write: Callable[..., str], capsys: Capture) -> None:
    """A kill -9 in the middle: no half file, no worker left, and resuming finishes the rest."""
    paths = [write(f"i{k}.json", requests=k + 1) for k in range(4)]
    out = tmp_path / "out"
    with started(*paths, "--solvers", "slow:seconds=0.5", "--jobs", "1", "-o", str(out)) as process:
        wait_for(lambda: (out / "runs").is_dir() and any((out / "runs").glob("*.json")))
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = records(out)
    assert 1 <= len(kept) < 4
    assert run(["gap-report", "-o", str(out), "--resume", "--jobs", "2"]) == 0
    after = records(out)
    assert len(after) == 4
    assert {name: after[name] for name in kept} == kept
    assert "Of 4 runs" not in capsys.readouterr().out


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_the_report(
    tmp_path: Path, write: Callable[..., str], how: signal.Signals
) -> None:
    """However the report ends, its workers end, and the processes that those have started."""
    note = tmp_path / "pids"
    spec = f"bad:how=child={note}"
    with started(write(), "--solvers", spec, "-o", str(tmp_path / "out")) as process:
        wait_for(lambda: note.is_file() and len(note.read_text().split()) == 2)
        process.send_signal(how)
        process.wait()
    for pid in map(int, note.read_text().split()):
        wait_for(lambda pid=pid: gone(pid))  # type: ignore[misc]


def test_ctrl_c_writes_the_report_of_what_is_there(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    with started(
        write(), "--solvers", "steady,bad:how=hang", "--jobs", "1", "-o", str(out)
    ) as process:
        wait_for(lambda: (out / "runs").is_dir() and any((out / "runs").glob("*steady*.json")))
        process.send_signal(signal.SIGINT)
        printed, message = process.communicate()
    assert process.returncode == 4
    assert "interrupted with 1 run to go" in message
    assert "Traceback" not in message
    assert printed.splitlines()[-1].endswith("report.html")
    assert "1 not run" in (out / "report.md").read_text()
    assert len(records(out)) == 1


def test_a_run_file(tmp_path: Path, write: Callable[..., str], monkeypatch: Any) -> None:
    """Its paths count from its folder, the command line rules over it, and it is kept."""
    write("data/one.json")
    file = tmp_path / "config.toml"
    file.write_text(
        'title = "First | run"\ninstances = ["data"]\nsolvers = ["steady"]\ntime_limit = 30\n'
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    out = tmp_path / "out"
    assert run(["gap-report", "--config", str(file), "--seed", "3", "-o", str(out)]) == 0
    (record,) = records(out).values()
    assert (record["config"]["time_limit"], record["config"]["seed"]) == (30.0, 3)
    assert record["config"]["instance"]["file"] == "../data/one.json"
    assert (out / "report.md").read_text().startswith("# First \\| run\n")
    assert json.loads((out / "config.json").read_text())["instances"] == ["../data"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("solvers = 3", "solvers"),
        ("solvers = []", "solvers"),
        ("speed = 3", "unknown key"),
        ("time_limit = -1", "time_limit"),
        ("a = ", "TOML"),
        ("seed = 1", "nothing to run"),
    ],
)
def test_a_wrong_run_file_is_refused_in_one_line(
    tmp_path: Path, capsys: Capture, text: str, message: str
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    assert run(["gap-report", "--config", str(file), "-o", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(file) in line
    assert message in line


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--solvers", "stedy"], "stedy"),
        (["--solvers", "steady:colour=1"], "colour"),
        (["--suite", "demmo", "--solvers", "steady"], "demmo"),
        (["--resume"], "-o DIR"),
        (["missing.json", "--solvers", "steady"], "missing.json"),
        ([".", "--solvers", "steady"], "no *.json"),
        (["--time-limit", "0"], "time-limit"),
    ],
)
def test_bad_usage_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: Any, capsys: Capture, args: list[str], message: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    assert run(["gap-report", *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(empty.rglob("runs"))


def test_same_instance_and_solver_twice_are_one_run(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    one = write()
    specs = "steady,steady,steady:option=0"
    assert (
        run(
            [
                "gap-report",
                "--no-pictures",
                one,
                one,
                "--solvers",
                specs,
                "-o",
                str(tmp_path / "out"),
            ]
        )
        == 0
    )
    assert len(records(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("extra", "group"),
    [
        ({"class": "own"}, "own"),
        ({"class": "one"}, "folder"),  # only its name: it would be alone in its class
        ({"class": 3}, "folder"),
        ({}, "folder"),
    ],
)
def test_class_of_an_instance(
    tmp_path: Path, write: Callable[..., str], extra: dict[str, Any], group: str
) -> None:
    path = write("folder/one.json", extra=extra)
    (task,) = tasks(ReportConfig(instances=(path,), solvers=("steady",)), tmp_path / "out")
    assert task.config.instance.group == group


def test_only_online_policies_have_no_time_limit_unless_asked(
    write: Callable[..., str], tmp_path: Path
) -> None:
    config = ReportConfig(instances=(write("one.json"),), solvers=("dp", "fifo"))
    assert [task.config.time_limit for task in tasks(config, tmp_path)] == [DEFAULT_LIMIT_S, None]
    limited = msgspec.structs.replace(config, time_limit=3.0)
    assert [task.config.time_limit for task in tasks(limited, tmp_path)] == [3.0, 3.0]


def test_help_has_the_defaults(capsys: Capture) -> None:
    assert run(["gap-report", "--help"]) == 0
    said = "".join(capsys.readouterr().out.split())
    assert f"[default:{','.join(DEFAULT_SOLVERS)}]" in said
    assert f"[default:{DEFAULT_LIMIT_S:g};noneforonlinepolicies]" in said
