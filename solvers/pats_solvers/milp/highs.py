"""HiGHS through MathOpt: at once where a moment is enough, else in a process that can be stopped.

MathOpt's HiGHS neither takes a start nor stops when asked. So it runs as a child that saves every
better point it finds: to stop, the child is ended and the last point read. A start is used by the
caller, through the windows it leaves.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from queue import Empty, Queue

import numpy as np

from pats_opt.errors import SolverError
from pats_opt.schedule import Stop
from pats_solvers.milp.backends import Answer, Limits
from pats_solvers.milp.model import Floats, Model

#: Models up to this many columns first get a moment in this process: starting a child costs more.
SMALL = 5_000
MOMENT = 0.5  #: seconds of it
POLL = 0.05  #: seconds between two looks at the user's wish to stop
GRACE = 5.0  #: seconds past the time limit after which a child is ended

#: Printed numbers have about ten digits: a printed bound is lowered by this, relative to its size.
PRINTED = 1e-8


def solve(model: Model, limits: Limits, hint: Floats | None) -> Answer:  # noqa: ARG001
    """Solve with HiGHS; ``hint`` is of no use to it."""
    if len(model.cost) <= SMALL:
        remaining = limits.remaining()
        moment = MOMENT if remaining is None else min(MOMENT, remaining)
        quick = _here(model, limits.seed, moment)
        if quick.stop is not Stop.TIME_LIMIT or moment != MOMENT:
            return quick
    return _Child(model, limits).run()


def _here(model: Model, seed: int, time_limit: float) -> Answer:
    from ortools.math_opt.python import mathopt

    from pats_solvers.milp.mathopt import answer, native, parameters

    result = mathopt.solve(
        native(model), mathopt.SolverType.HIGHS, params=parameters(seed, time_limit)
    )
    return answer(model, result)


class _Child:
    """One run of HiGHS in a process of its own."""

    def __init__(self, model: Model, limits: Limits) -> None:
        self.model, self.limits = model, limits
        self.bound: float | None = None
        self.best: float | None = None

    def run(self) -> Answer:
        with tempfile.TemporaryDirectory(prefix="pats-milp-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            remaining = self.limits.remaining()
            np.savez(
                folder / "model.npz",
                **{f: getattr(self.model, f) for f in self.model.__dataclass_fields__},
            )
            command = [sys.executable, "-m", "pats_solvers.milp.worker", name]
            command += [str(self.limits.seed), str(-1.0 if remaining is None else remaining)]
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                start_new_session=True,  # Ctrl-C reaches us alone
            )
            try:
                lines = self._watch(child)
            finally:
                child.kill()
                child.wait()
            return self._answer(folder, child.returncode, lines)

    def _watch(self, child: subprocess.Popen[str]) -> list[str]:
        """Follow the child's log until it ends, the user stops it, or it is late."""
        queue: Queue[str | None] = Queue()
        assert child.stdout is not None

        def read(stream: object = child.stdout) -> None:
            for line in stream:  # type: ignore[attr-defined]
                queue.put(line)
            queue.put(None)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        tail: list[str] = []
        late = None
        while not self.limits.interrupted():
            if self.limits.remaining() == 0.0:
                late = late or time.monotonic() + GRACE
                if time.monotonic() > late:
                    break
            try:
                line = queue.get(timeout=POLL)
            except Empty:
                continue
            if line is None:
                child.wait()
                break
            tail = [*tail[-20:], line]
            self._read(line)
        return tail

    def _read(self, line: str) -> None:
        """Bound and best objective from a line of HiGHS' table."""
        found = re.search(r"%\s+(\S+)\s+(\S+)\s+(?:\S+%|Large|inf)\s", line)
        if found is None:
            return
        bound, best = float(found[1]), float(found[2])
        if np.isfinite(bound):
            self.bound = bound - PRINTED * abs(bound)
        if np.isfinite(best):
            self.best = best
        self.limits.progress(self.bound, self.best)

    def _answer(self, folder: Path, code: int, tail: list[str]) -> Answer:
        done = folder / "answer.npz"
        if done.exists():
            with np.load(done) as saved:
                x = saved["x"] if saved["x"].size else None
                bound = float(saved["bound"])
                return Answer(Stop(str(saved["stop"])), x, bound if np.isfinite(bound) else None)
        x = improving(folder / "improving.sol", len(self.model.cost))
        if self.limits.interrupted():
            return Answer(Stop.INTERRUPTED, x, self.bound)
        if self.limits.remaining() == 0.0:
            return Answer(Stop.TIME_LIMIT, x, self.bound)
        if code == -9:
            return Answer(Stop.MEMORY_LIMIT, x, self.bound)  # the system ends what is too large
        raise SolverError(f"HiGHS ended with status {code}: {' '.join(tail)[-300:]}")


def improving(path: Path, columns: int) -> Floats | None:
    """The last complete point of a file of improving points, or None."""
    if not path.exists():
        return None
    blocks = path.read_text().split("Objective")[1:]
    for block in reversed(blocks):
        lines = block.splitlines()
        head = re.match(r"# Columns (-?\d+)", lines[1]) if len(lines) > 1 else None
        if head is None:
            continue
        entries = lines[2 : 2 + abs(int(head[1]))]
        if len(entries) < abs(int(head[1])):
            continue  # cut off while it was written
        x = np.zeros(columns)
        for entry in entries:
            _, index, value = entry.split()
            x[int(index)] = float(value)
        return x
    return None
