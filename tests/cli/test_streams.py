"""Standard output and error that are full, closed, or a pipe that nobody reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pats_opt.cli import run

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")

PROGRAM = (sys.executable, "-m", "pats_opt")

#: Redirections of a shell, and what a command that prints then says and ends with.
STREAMS = {
    ">/dev/full": (2, "pats-opt: error: standard output: cannot be written (No space left on dev"),
    ">&-": (2, "pats-opt: error: standard output: cannot be written (Bad file descriptor)"),
}


def shell(redirection: str, *args: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of a command line."""
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("streams") / "instance.json")
    assert run(["generate", "--requests", "3", "--seed", "1", "-o", path]) == 0
    return path


def test_a_name_that_is_no_text_is_written_as_an_escape(instance: str, tmp_path: Path) -> None:
    """Under any locale."""
    command: list[str | bytes] = [*PROGRAM, "solve", instance, "--solver", "fifo", "-o"]
    command.append(b"\xff.json")
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"},
    )
    assert (done.returncode, b"bug" in done.stderr) == (0, False)
    assert b"written     \\udcff.json" in done.stdout


@pytest.mark.parametrize("redirection", STREAMS)
@pytest.mark.parametrize("args", [("solvers",), ("--help",)])
def test_output_that_cannot_be_written(args: tuple[str, ...], redirection: str) -> None:
    """One line that says so, whether the command prints or click does."""
    expected, begins = STREAMS[redirection]
    status, _, said = shell(redirection, *args)
    assert status == expected
    assert said.startswith(begins)
    assert said.count("\n") == 1


@pytest.mark.parametrize("args", [("solvers",), ("schema", "instance")])
def test_a_pipe_that_nobody_reads(args: tuple[str, ...]) -> None:
    """It ends quietly, with the status of what SIGPIPE ends."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as pipe:
        done = subprocess.run(
            [*PROGRAM, *args], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_the_schedule_is_written_first(instance: str, tmp_path: Path) -> None:
    """A full standard output loses what is printed, not the schedule."""
    out = tmp_path / "schedule.json"
    solve = ("solve", instance, "--solver", "fifo", "--json", "-o", str(out))
    assert shell(">/dev/full", *solve)[0] == 2
    assert json.loads(out.read_bytes())["format"] == "pats-opt/schedule"


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_messages_that_cannot_be_written(redirection: str, instance: str, tmp_path: Path) -> None:
    """They are lost; results and exit statuses are the same, and no file gets their number."""
    out = str(tmp_path / "schedule.json")
    assert shell(redirection, "solve", instance, "--solver", "none") == (2, "", "")
    solve = ("-v", "solve", instance, "--solver", "fifo", "--json", "-o", out)
    status, printed, _ = shell(redirection, *solve)
    assert status == 0
    assert json.loads(printed)["solver"] == "fifo"
    assert json.loads(Path(out).read_bytes())["format"] == "pats-opt/schedule"


def test_all_streams_closed(tmp_path: Path) -> None:
    """A command that prints nothing works without any."""
    out = tmp_path / "instance.json"
    generate = ("generate", "--requests", "3", "--seed", "1", "-o", str(out))
    assert shell("<&- >&- 2>&-", *generate) == (0, "", "")
    assert json.loads(out.read_bytes())["format"] == "pats-opt/instance"
