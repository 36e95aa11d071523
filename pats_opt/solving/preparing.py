"""Compile what solvers need before a run's clock starts.

Kernels are compiled once per machine, which takes up to minutes: in as many processes as there are
cores, and only those that a problem needs. Meanwhile a solver without kernels tries the problem.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from pats_opt.core.solver import Outcome, Run, Solver, require
from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason

if TYPE_CHECKING:
    from types import TracebackType

    from pats_solvers.common.kernel_sets import KernelSet

log = logging.getLogger(__name__)

#: Compiles the set of kernels whose module and name it is given.
COMMAND = "import sys, pydoc; pydoc.locate(sys.argv[1].replace(':', '.'))()"


def prepare(solver: Solver, problem: Problem | None = None) -> None:
    """Let a solver do its one-off work, such as compiling, outside the clock of a run.

    Args:
        solver: The solver.
        problem: The problem that it will solve; None for any.
    """
    began = time.monotonic()
    needed = kernels_of(solver, problem)
    with Compilation(needed) as compilation:
        compilation.over.wait()
    for kernels in needed:
        kernels()
    _do_once(solver, problem)
    if (seconds := time.monotonic() - began) > 1.0:
        log.info("%s: ready after %.1f s, most of it compiling", solver.name, seconds)


def compile_all(
    solvers: Iterable[Solver],
    jobs: int | None = None,
    done: Callable[[str], object] = lambda _: None,
) -> None:
    """Compile what solvers need for any problem, so that all processes find it.

    Args:
        solvers: The solvers.
        jobs: Processes at a time; None for the number of cores.
        done: Called with the name of each set of kernels that a process has compiled.
    """
    every = list(solvers)
    needed = list(chain(*(kernels_of(x, None) for x in every)))
    with Compilation(needed, jobs, done) as compilation:
        compilation.over.wait()
    for kernels in needed:
        if not kernels.is_ready():  # here it is compiled, or its error is seen
            kernels()
    for solver in every:
        _do_once(solver, None)


def solved_meanwhile(solver: Solver, problem: Problem, run: Run) -> Outcome | None:
    """Compile what a solver lacks, and let another try the problem until that is done.

    Args:
        solver: The solver; its ``meanwhile(problem)`` returns the other one, or None.
        problem: The problem.
        run: The seed is for the other one. Limits do not count yet.

    Returns:
        The optimum, or the proof that there is no schedule; else None, and nothing is kept, so that
        the result does not depend on what was compiled before.
    """
    compilation = Compilation(kernels_of(solver, problem))
    find = getattr(solver, "meanwhile", None) if compilation.missing else None
    other: Solver | None = None if find is None else find(problem)
    if other is None:
        return None
    with compilation:
        log.info("compiling %s; %s tries meanwhile", ", ".join(compilation.missing), other.name)
        attempt = Run(seed=run.seed, interrupted=compilation.over)
        try:
            require(other, problem)
            outcome = other.solve(problem, attempt)
        except InputError:
            outcome = Outcome(StopReason.MEMORY_LIMIT)
        if outcome.stop in (StopReason.OPTIMAL, StopReason.INFEASIBLE):
            return outcome
        compilation.over.wait()
    return None


def kernels_of(solver: Solver, problem: Problem | None) -> tuple[KernelSet, ...]:
    """Return the sets of kernels that a solver needs for a problem, or for any."""
    find = getattr(solver, "kernels", None)
    return () if find is None else tuple(find(problem))


def _do_once(solver: Solver, problem: Problem | None) -> None:
    if (ready := getattr(solver, "prepare", None)) is not None:
        ready(problem)


class Compilation:
    """Processes that compile sets of kernels, and are killed where nobody waits for them any more.

    What a process cannot do is left to those that need the kernels, with its error.

    Attributes:
        missing: Names of the sets that were not ready.
        over: Set when all processes have ended.
    """

    def __init__(
        self,
        needed: Iterable[KernelSet],
        jobs: int | None = None,
        done: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Start nothing yet.

        Args:
            needed: The sets, those that others build on first.
            jobs: Processes at a time; None for the number of cores.
            done: Called with the name of each set that a process has compiled.
        """
        self.over = threading.Event()
        sets = dict.fromkeys(needed)
        self.missing = [kernels.name for kernels in sets if not kernels.is_ready()]
        self._jobs, self._done = jobs or os.cpu_count() or 1, done
        self._lock, self._alive, self._left = threading.Lock(), set[subprocess.Popen[Any]](), False

    def __enter__(self) -> Self:
        if self.missing:
            threading.Thread(target=self._run, daemon=True).start()
        else:
            self.over.set()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._left = True
            for process in self._alive:
                process.kill()
        self.over.wait()

    def _run(self) -> None:
        try:
            with ThreadPoolExecutor(min(self._jobs, len(self.missing))) as threads:
                list(threads.map(self._compile, self.missing))
        except OSError as error:
            log.warning("no process to compile in: %s", error)
        finally:
            self.over.set()

    def _compile(self, name: str) -> None:
        with self._lock:
            if self._left:
                return
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", COMMAND, name],  # no module of the working folder
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is this process's
            )
            self._alive.add(process)
        status = process.wait()
        with self._lock:
            self._alive.discard(process)
        if status == 0:
            self._done(name)
