"""Ctrl-C and SIGTERM mean the same in every command, whenever they come."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pats_opt import check, read_instance, read_schedule
from pats_opt.cli import run

#: A process that gets a signal as soon as it begins to import a module.
IMPORTING = """
import os, runpy, sys
class Finder:
    def find_spec(name, *_):
        if name == {module!r}:
            sys.meta_path.remove(Finder)
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Finder)
runpy.run_module("pats_opt", run_name="__main__")
"""

#: Seconds within which a command ends, on a machine that is busy with other tests too.
SOON_S = 30.0


def children(pid: int) -> list[Path]:
    """Processes that a process has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [Path("/proc", child) for task in tasks for child in task.read_text().split()]


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An instance that no solver solves within a minute."""
    path = str(tmp_path_factory.mktemp("hard") / "hard.json")
    options = ["--requests", "60", "--adapters", "5", "--seed", "1"]
    assert run(["generate", *options, "-o", path]) == 0
    return path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["click", "msgspec", "pats_opt.simulate"])
def test_during_imports(module: str, number: signal.Signals, instance: str) -> None:
    """One line and status 4, not a traceback."""
    code = IMPORTING.format(module=module, number=int(number))
    command = [sys.executable, "-c", code, "simulate", instance, "--policy", "fifo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.strip() == "pats-opt: error: interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_the_end(number: signal.Signals) -> None:
    """What the command has ended with is its status, if it has ended."""
    command = [sys.executable, "-m", "pats_opt", "check", "none.json", "none.json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "none.json" in process.stderr.readline()
        process.send_signal(number)
    assert process.returncode in {2, 4}


def test_a_package_that_catches_interrupts(instance: str) -> None:
    """Its own error in place of the interrupt is no bug of ours."""
    kill = f"os.kill(os.getpid(), {int(signal.SIGINT)})"
    code = IMPORTING.format(module="msgspec", number=int(signal.SIGINT)).replace(
        kill,
        f"try: {kill}; sum(range(9999))\n            "
        "except KeyboardInterrupt: raise ImportError('loaded twice')",
    )
    command = [sys.executable, "-c", code, "simulate", instance, "--policy", "fifo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (4, "pats-opt: error: interrupted")


def test_an_interrupt_within_a_callback_is_not_lost() -> None:
    """Compilers call back from C, where an exception goes nowhere."""
    code = (
        "import ctypes, os, signal, time\n"
        "from pats_opt.interrupts import take_interrupts\n"
        "take_interrupts()\n"
        "call = ctypes.CFUNCTYPE(None)(lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        "try:\n    call()\n    time.sleep(30)\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_an_interrupt_within_exec_does_not_decide_the_status(tmp_path: Path) -> None:
    """As dataclasses and named tuples use it, while modules are imported."""
    (tmp_path / "caught.py").write_text(
        "from pats_opt.interrupts import leave\n"
        "try:\n    exec('raise KeyboardInterrupt')\nexcept KeyboardInterrupt:\n    leave(4)\n"
    )
    done = subprocess.run([sys.executable, "-m", "caught"], cwd=tmp_path, check=False)
    assert done.returncode == 4


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads the kernel's process table")
@pytest.mark.parametrize(
    ("solver", "number"),
    [
        ("cpsat", signal.SIGINT),
        ("cpsat", signal.SIGTERM),
        ("milp:backend=highs", signal.SIGTERM),
        ("milp:backend=scip", signal.SIGTERM),
        ("milp:backend=cbc", signal.SIGTERM),
    ],
)
def test_solve_writes_its_best_schedule(
    solver: str, number: signal.Signals, instance: str, tmp_path: Path
) -> None:
    """Status 0, a valid schedule that says why it ends, and no process left."""
    out = tmp_path / "schedule.json"
    command = [sys.executable, "-m", "pats_opt", "-v", "solve", instance, "--solver", solver]
    with subprocess.Popen([*command, "-o", str(out)], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if "starts from loss" in line)
        until = time.monotonic() + SOON_S
        while solver != "cpsat" and not children(process.pid) and time.monotonic() < until:
            time.sleep(0.05)
        started = children(process.pid)
        process.send_signal(number)
        process.communicate(timeout=SOON_S)
    assert process.returncode == 0
    schedule = read_schedule(out)
    assert check(read_instance(instance), schedule).ok
    assert json.loads(out.read_text())["status"]["stop"] == "interrupted"
    assert started or solver == "cpsat"
    assert not any(map(Path.exists, started))
