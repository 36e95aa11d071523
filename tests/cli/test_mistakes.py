"""A newcomer's mistakes: one line with the file, the place in it and the mend."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pats_opt.cli import run
from pats_opt.errors import LONGEST
from pats_opt.memory import out_of_memory
from tests.support.overlap_zoo import overlapping
from tests.support.zoo import adapter, document, request

#: A name as long as nobody means it, and that no system takes for a file.
LONG = "x" * 5000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two instances, a schedule of each, run files and logs."""
    where = tmp_path_factory.mktemp("mistakes")
    for name, weight in (("one", 1.0), ("two", 2.0)):
        text = json.dumps(document(request("r0", weight=weight), name=name))
        (where / f"{name}.json").write_text(text)
        made = where / f"{name}-schedule.json"
        assert run(["solve", str(where / f"{name}.json"), "--solver", "fifo", "-o", str(made)]) == 0
    for name, text in {
        "solver": 'solvers = ["fifo", "fifoo"]',
        "suite": 'suites = ["demoo"]',
        "instance": 'instances = ["none.json"]',
        "key": 'instance = ["one.json"]',
    }.items():
        (where / f"{name}.toml").write_text(f"{text}\n")
    beside = overlapping(
        request("r0"), request("r1", adapter="b"), adapters=[adapter("a"), adapter("b", 2.0)]
    )
    (where / "beside.json").write_text(json.dumps(beside))
    made = where / "beside-schedule.json"
    assert run(["solve", str(where / "beside.json"), "--solver", "fifo", "-o", str(made)]) == 0
    wrong: dict[str, dict[str, Any]] = {
        "pairs": {"max_resident": 1, "pairs": [{"from": None, "to": "a", "load_s": 1.0}]},
        "channels": {"overlap": {"channels": 0}},
        "keys": {"overlap": {"channels": 1, "lanes": 2}},
    }
    for name, change in wrong.items():
        document_ = beside | {"switching": beside["switching"] | change}
        (where / f"{name}.json").write_text(json.dumps(document_))
    slot = beside | {"service": beside["service"] | {"kind": "slot"}}
    (where / "slot.json").write_text(json.dumps(slot))
    schedule = json.loads(made.read_text())
    for name, load in {
        "early": {"start": -1},
        "who": {"adapter": "who"},
        "again": {"adapter": "a"},
    }.items():
        broken = json.loads(json.dumps(schedule))
        broken["gpus"][0]["loads"][0].update(load)
        (where / f"load-{name}.json").write_text(json.dumps(broken))
    (where / "twice.csv").write_text("t,id\n0,a\n1,b\n2,a\n")
    (where / "empty.csv").write_text("t,id\n0,a\n1,\n")
    return where


def mistake(arguments: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error about bad usage or input, in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        status = run(arguments.replace("LONG", LONG).split())
    finally:
        os.chdir(before)
    out, err = capsys.readouterr()
    assert (status, out) == (2, ""), err
    assert err.count("\n") == 1
    assert len(err) < 4 * LONGEST
    assert "bug" not in err
    return err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("show one-schedule.json --instance two.json", ["one-schedule.json: ", "another instance"]),
        ("check two.json one-schedule.json", ["one-schedule.json: ", "another instance"]),
        ("check one-schedule.json one.json", ["one-schedule.json: ", "'schedule'", "swapped"]),
        ("show one.json --instance one-schedule.json", ["one-schedule.json: ", "swapped"]),
        ("check one.json one.json", ["one.json: ", "'instance', not 'schedule'"]),
        ("gap-report --config solver.toml", ["solver.toml: solvers[1]: ", "fifo"]),
        ("gap-report --config suite.toml", ["suite.toml: suites[0]: ", "demo"]),
        ("gap-report --config instance.toml", ["instance.toml: instances[0]: ", "none.json"]),
        ("gap-report --config key.toml", ["key.toml: ", "'instances'"]),
        ("tune fifo one.json --trials 9223372036854775808", ["'--trials'", "too many"]),
        ("import timestamps one.json -o x.json --count 9223372036854775808", ["too many"]),
        ("gap-report one.json --solvers fifo pats", ["'pats'", "commas"]),
        ("gap-report one.json --solvers ,", ["--solvers", "write it as A,B"]),
        ("gap-report --resume -o none", ["none: ", "no report to resume"]),
        ("gap-report one.json --solver fifo", ["'--solver'; use --solvers (see"]),
        ("export", ["Choose from: bin-packing, tsplib"]),
        ("gap-report --solvers fifo pats:gamma=1 one.json", ["'pats:gamma=1'", "commas"]),
        ("import trace twice.csv --time t --id id -o x.json", ["twice.csv: row 3, column 'id'"]),
        ("import trace empty.csv --time t --id id -o x.json", ["empty.csv: row 2, column 'id'"]),
        ("solve one.json --policy pats", ["'--policy'", "use --solver"]),
        ("simulate one.json --solver pats", ["'--solver'", "use --policy"]),
        ("solve one.json pats", ["(pats)", "use --solver"]),
        ("solve one.json --threads 2", ["use --jobs"]),
        ("solve --instance one.json", ["write the instance without an option"]),
        ("tune --policy pats one.json", ["write the policy without an option"]),
        ("tune one.json", ["no solver or policy 'one.json'"]),
        ("solve one.json --time-limit 3s", ["--time-limit", "'3s' is no number"]),
        ("solve pairs.json", ["pairs.json: switching.pairs: ", "set overlap to null"]),
        ("solve channels.json", ["channels.json: switching.overlap.channels: ", ">= 1"]),
        ("solve keys.json", ["keys.json: switching.overlap: ", "did you mean 'channels'?"]),
        ("solve slot.json", ["slot.json: switching.overlap: ", "service of kind 'steps'"]),
        (
            "solve beside.json --solver dp",
            ["beside.json: ", "'dp' cannot handle", "overlap", "--solver"],
        ),
        ("check beside.json load-early.json", ["gpus[0].loads[0].start: ", ">= 0"]),
        (
            "execute load-again.json --instance beside.json -o x",
            ["load-again.json: ", "gpu 'gpu-0' load 0: load: 'a' is resident already"],
        ),
        (
            "execute load-who.json --instance beside.json -o x",
            ["load-who.json: ", "gpu 'gpu-0' load 0", "'who' is unknown"],
        ),
        ("solve one.json --seed 1.5", ["--seed", "'1.5' is no whole number"]),
    ],
)
def test_a_mistake_names_its_place_and_its_mend(
    arguments: str, parts: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = mistake(arguments, folder, capsys)
    assert [part for part in parts if part not in line] == []


@pytest.mark.parametrize(
    "arguments",
    [
        "solve LONG",
        "solve one.json --solver LONG",
        "solve one.json --param LONG=1",
        "solve one.json --backend LONG",
        "solve one.json --solver fifo -o LONG",
        "check one.json LONG",
        "show one-schedule.json --instance one.json -o LONG.svg",
        "gap-report LONG",
        "gap-report --config LONG",
        "gap-report --resume -o LONG",
        "generate --profile LONG -o x.json",
        "import trace LONG --time t -o x.json",
        "import tsplib LONG -o x.json",
        "LONG",
        "solvers LONG",
        "solve one.json --LONG",
        "solve one.json LONG",
    ],
)
def test_what_a_message_quotes_is_shortened(
    arguments: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name of thousands of characters, where the system takes no such name too."""
    assert "x…x" in mistake(arguments, folder, capsys)


@pytest.mark.parametrize("arguments", [[], ["import"]])
def test_a_group_alone_shows_its_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: pats-opt")
    assert err == ""


def test_ids_in_a_file_are_shortened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "long.json").write_text(json.dumps(document(request("r0")) | {LONG: 1}))
    assert "long.json: unknown key 'xx" in mistake("solve long.json", tmp_path, capsys)


def command(arguments: str, folder: Path, before: str = "") -> tuple[int, str]:
    """Status and standard error of a command in a shell, which does something before it."""
    line = f"{before}exec {sys.executable} -m pats_opt {arguments}"
    done = subprocess.run(
        ["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="a folder that is open cannot be deleted there")
def test_a_working_folder_that_is_gone(folder: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    report = f"gap-report {folder / 'one.json'} --solvers fifo --no-pictures"
    status, err = command(report, gone, f"rmdir {gone}; ")
    assert (status, err) == (
        2,
        "pats-opt: error: the working folder does not exist any more; change to another\n",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the limit and the library are of Linux")
@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_an_address_space_that_is_too_small(folder: Path) -> None:
    """A library that cannot be loaded is too little memory, whichever way it says so."""
    (folder / "log.csv").write_text("t\n1\n")
    assert command("solve one.json --solver fifo -o one-fifo.json", folder)[0] == 0
    for arguments, limit in (
        ("solve one.json --solver milp", 200_000),
        ("import trace log.csv --time t -o imported.json", 400_000),
        ("import trace log.csv --time t -o imported.json", 700_000),
        ("gap-report one.json --solvers fifo -o report", 700_000),
        ("show one-fifo.json --instance one.json -o picture.svg", 210_000),
    ):
        status, err = command(arguments, folder, f"ulimit -v {limit}; ")
        assert status == 4, err
        assert err.startswith("pats-opt: error: out of memory (")
        assert err.count("\n") == 1


def test_which_errors_are_of_too_little_memory() -> None:
    wrapped = RuntimeError("could not load the library")
    wrapped.__cause__ = OSError("libllvmlite.so: failed to map segment from shared object")
    assert out_of_memory(wrapped)
    assert out_of_memory(MemoryError())
    assert not out_of_memory(ImportError("no module named 'x'"))
    assert not out_of_memory(FileNotFoundError(2, "No such file or directory"))
