"""Kernels are compiled in processes of their own, and a solver without any tries meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest
from msgspec import Struct

from pats_opt.core.solver import Capabilities, Kind, Outcome, Run, Solver
from pats_opt.generate import Recipe, generate
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.preparing import Compilation, compile_all, prepare, solved_meanwhile
from pats_opt.solving.solve import solve
from pats_solvers.common import compiled
from pats_solvers.common.kernel_sets import kernel_set
from pats_solvers.cpsat import CpSat
from tests.support import kernel_sets
from tests.support.kernel_sets import FakeKernels

PROBLEM = Problem(generate(Recipe(requests=4), seed=1))

#: What ``compiling`` needs, and what tries meanwhile; the structs of a test see them here.
needed: list[Any] = []
tries: list[Solver] = []


class Compiling(Struct, frozen=True):
    """A solver that needs kernels, and would find nothing with them."""

    name: ClassVar[str] = "compiling"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = CpSat.capabilities

    def kernels(self, _: Problem | None = None) -> tuple[Any, ...]:
        """Return the fake sets."""
        return tuple(needed)

    def meanwhile(self, _: Problem) -> Solver | None:
        """Return the other solver."""
        return tries[0] if tries else None

    def solve(self, _: Problem, __: Run) -> Outcome:
        """Find nothing."""
        return Outcome(StopReason.TIME_LIMIT)


class Waiting(Struct, frozen=True):
    """A solver that proves nothing until it is stopped."""

    name: ClassVar[str] = "waiting"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = CpSat.capabilities

    def solve(self, _: Problem, run: Run) -> Outcome:
        """Wait for the end."""
        run.interrupted.wait()
        return Outcome(StopReason.INTERRUPTED)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder into which the fake sets write."""
    monkeypatch.setenv("FAKE_KERNELS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    needed.clear()
    tries.clear()
    return tmp_path


def fake(name: str, file: Path) -> Any:
    return FakeKernels(f"{kernel_sets.__name__}:{name}", file)


def ended(pid: int) -> bool:
    """Return whether a process is no more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_each_missing_set_has_a_process(folder: Path) -> None:
    """A set that is ready is left alone; two solvers that need the same set share it."""
    (folder / "there").touch()
    needed.extend([fake("quick", folder / "quick"), fake("broken", folder / "there")])
    done: list[str] = []
    compile_all([Compiling(), Compiling()], jobs=2, done=done.append)
    assert done == [needed[0].name]
    assert int((folder / "quick").read_text()) != os.getpid()


def test_what_a_process_cannot_compile_is_left_to_the_solver(folder: Path) -> None:
    """An error ends neither the others nor the run."""
    needed.extend([fake("broken", folder / "none"), fake("quick", folder / "quick")])
    prepare(Compiling(), PROBLEM)
    assert (folder / "quick").exists()


def test_only_what_is_compiled_is_said_to_be_done(folder: Path) -> None:
    needed.extend([fake("broken", folder / "none"), fake("quick", folder / "quick")])
    done: list[str] = []
    compile_all([Compiling()], done=done.append)
    assert done == [needed[1].name]


def test_where_no_process_can_start_the_solver_compiles(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a process that never was."""
    monkeypatch.setattr(sys, "executable", str(folder / "none"))
    needed.append(fake("quick", folder / "quick"))
    prepare(Compiling(), PROBLEM)
    assert not (folder / "quick").exists()


def test_a_compilation_that_is_left_kills_its_processes(folder: Path) -> None:
    with Compilation([fake("endless", folder / "none")]) as compilation:
        while not (folder / "began").exists() or not (folder / "began").read_text():
            time.sleep(0.01)
        assert not compilation.over.is_set()
    assert compilation.over.is_set()
    assert ended(int((folder / "began").read_text()))


def test_a_proof_comes_before_the_kernels(folder: Path) -> None:
    """CP-SAT's optimum is the result; the solver itself has no turn."""
    needed.append(fake("endless", folder / "none"))
    tries.append(CpSat())
    result = solve(PROBLEM, Compiling())
    assert result.status.stop is StopReason.OPTIMAL
    assert result.loss == pytest.approx(solve(PROBLEM, CpSat()).loss)


def test_without_a_proof_the_solver_has_its_whole_turn(folder: Path) -> None:
    """Once the kernels are there the other is stopped, and nothing of it is kept."""
    needed.append(fake("quick", folder / "quick"))
    tries.append(Waiting())
    assert solved_meanwhile(Compiling(), PROBLEM, Run()) is None
    assert (folder / "quick").exists()


def test_nothing_is_tried_where_the_kernels_are_there(folder: Path) -> None:
    (folder / "quick").touch()
    needed.append(fake("quick", folder / "quick"))
    tries.append(CpSat())
    assert solved_meanwhile(Compiling(), PROBLEM, Run()) is None


def test_a_set_is_marked_in_the_folders_of_its_packages(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ready for other processes where all of its packages are as they were."""
    monkeypatch.setattr(compiled, "cache_folder", lambda package: folder / package.name)
    for name in ("dp", "fleet"):
        (folder / name).mkdir()
    calls: list[int] = []

    def numbers() -> None:
        calls.append(1)

    kernels, other = kernel_set("dp", "dp/fleet")(numbers), kernel_set("dp", "dp/fleet")(numbers)
    assert not kernels.is_ready()
    kernels()
    kernels()
    assert calls == [1]
    assert other.is_ready()
    for mark in (folder / "fleet").iterdir():
        mark.unlink()
    assert not other.is_ready()


def test_the_first_solve_of_a_machine(tmp_path: Path) -> None:
    """With nothing compiled yet, a small instance is solved without kernels."""
    file = tmp_path / "instance.json"
    file.write_bytes(pats_bytes())
    code = (
        "import pats_opt, json, sys; r = pats_opt.solve(pats_opt.read_instance(sys.argv[1]));"
        "print(json.dumps([r.status.stop, [t['solver'] for t in r.details['turns']]]))"
    )
    cold = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cold")}
    said = subprocess.run(
        [sys.executable, "-c", code, file], env=cold, capture_output=True, check=True, text=True
    )
    stop, stages = json.loads(said.stdout)
    assert stop == "optimal"
    assert set(stages) <= {"cpsat", "milp"}


def pats_bytes() -> bytes:
    """Return an instance of eight requests, which is more than CP-SAT always has first."""
    from pats_opt.model.files import encode

    return encode(generate(Recipe(requests=8), seed=3))
