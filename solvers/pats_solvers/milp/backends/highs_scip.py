"""HiGHS and SCIP through OR-Tools MathOpt, in a process that can be stopped.

MathOpt's HiGHS cannot be stopped, and its SCIP prints to standard error when it can. So a solver
runs as a child (:mod:`pats_solvers.milp.backends.mathopt`): SCIP ends by itself when it is asked
to; HiGHS, which takes no hint either, saves every better point it finds, and to stop it the child
is ended and the last point read. Small models first get a moment in this process: starting a child
would take longer.
"""

from __future__ import annotations

import math
import os
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from pats_opt.errors import SolverError
from pats_opt.model.schedule import StopReason
from pats_solvers.milp.backends import BackendLimits, BackendName, BackendResult
from pats_solvers.milp.backends.process import LATE, follow, start
from pats_solvers.milp.model import Floats, LinearModel

#: Models up to this many columns first get a moment in this process.
SMALL = 5_000

#: Seconds of that moment.
MOMENT = 0.5

#: Seconds a child gets to end by itself when it is asked to.
GRACE = {"highs": 1.0, "scip": 1.5}

#: Printed numbers have about ten digits: a printed bound is lowered by this, relative to its size.
PRINTED = {"highs": 1e-8, "scip": 1e-5}


def solve(
    name: BackendName, model: LinearModel, limits: BackendLimits, hint: Floats | None
) -> BackendResult:
    """Solve with HiGHS or SCIP, from ``hint`` where it takes one."""
    if len(model.cost) <= SMALL and not limits.interrupted():
        from pats_solvers.milp.backends.mathopt import solve as solve_here

        remaining = limits.remaining()
        moment = MOMENT if remaining is None else min(MOMENT, remaining)
        quick = solve_here(name, model, limits.seed, moment, hint)
        if quick.stop is not StopReason.TIME_LIMIT or moment < MOMENT:
            return quick
    with tempfile.TemporaryDirectory(prefix="pats-milp-", ignore_cleanup_errors=True) as folder:
        return _MathOptProcess(name, model, limits, Path(folder)).run(hint)


class _MathOptProcess:
    """A run in a child process; ``bound`` and ``best`` are the last ones of its log."""

    def __init__(
        self, name: BackendName, model: LinearModel, limits: BackendLimits, folder: Path
    ) -> None:
        self.name, self.model, self.limits, self.folder = name, model, limits, folder
        self.bound: float | None = None
        self.best: float | None = None

    def run(self, hint: Floats | None) -> BackendResult:
        """Write the model, run the child, read its result."""
        arrays = {f: getattr(self.model, f) for f in self.model.__dataclass_fields__}
        np.savez(self.folder / "model.npz", **arrays)
        if hint is not None:
            np.save(self.folder / "hint.npy", hint)
        # SCIP would measure a limit on the system's clock, which may jump; it ends when asked.
        remaining = None if self.name == "scip" else self.limits.remaining()
        command = [
            sys.executable,
            "-m",
            "pats_solvers.milp.backends.mathopt",
            self.name,
            str(self.folder),
        ]
        command += [str(self.limits.seed), str(math.inf if remaining is None else remaining)]
        child = start(command, PYTHONPATH=os.pathsep.join(p for p in sys.path if p))
        asked, tail = follow(
            child,
            self.limits.remaining,
            self.limits.interrupted,
            self._read,
            GRACE[self.name],
            late=LATE if self.name == "highs" else 0.0,
        )
        return self._result(child.returncode, None if asked is None else StopReason(asked), tail)

    def _read(self, line: str) -> None:
        """Read bound and best objective from a line of the solver's table."""
        if self.name == "highs":
            found = re.search(r"%\s+(\S+)\s+(\S+)\s+(?:\S+%|Large|inf)\s", line)
        else:
            found = re.search(r"\|\s*(\S+)\s*\|\s*(\S+)\s*\|[^|]*\|[^|]*$", line)
        if found is None:
            return
        bound, best = _number(found[1]), _number(found[2])
        if bound is not None:
            self.bound = bound - PRINTED[self.name] * abs(bound)
        if best is not None:
            self.best = best
        self.limits.progress(self.bound, self.best)

    def _result(self, code: int, asked: StopReason | None, tail: str) -> BackendResult:
        done = self.folder / "result.npz"
        if done.exists():
            with np.load(done) as saved:
                x = saved["x"] if saved["x"].size else None
                bound = float(saved["bound"])
                stop = StopReason(str(saved["stop"]))
                if stop is StopReason.INTERRUPTED and asked is not None:
                    stop = asked  # it may have been for the time limit
                return BackendResult(stop, x, bound if np.isfinite(bound) else None)
        x = last_point(self.folder / "improving.sol", len(self.model.cost))
        if asked is not None:
            return BackendResult(asked, x, self.bound)
        if code == -9:  # the system ends what takes too much
            return BackendResult(StopReason.MEMORY_LIMIT, x, self.bound)
        raise SolverError(f"{self.name} ended with status {code}: {tail[-300:]}")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and abs(value) < 1e19 else None


def last_point(path: Path, columns: int) -> Floats | None:
    """Return the last complete point of HiGHS' file of improving points, or None."""
    if not path.exists():
        return None
    for block in reversed(path.read_text().split("Objective ")[1:]):
        _, _, body = block.partition("\n")
        head, _, entries = body.partition("\n")
        count = re.fullmatch(r"# Columns (-?\d+)", head)
        lines = entries.split("\n")[:-1]  # the last line ends, or is not whole
        if count is None or len(lines) < abs(int(count[1])):
            continue
        x = np.zeros(columns)
        for line in lines[: abs(int(count[1]))]:
            value, index = line.split()  # the name before them is empty
            x[int(index)] = float(value)
        return x
    return None
