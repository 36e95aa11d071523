"""The process a MathOpt solver runs in.

``python -m pats_solvers.milp.worker NAME FOLDER SEED SECONDS`` reads ``model.npz`` (and
``hint.npy``), logs to standard output, and writes ``answer.npz`` in the end. The line "stop" on
standard input asks it to stop; it ends at once when its parent has gone.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import cast

import numpy as np
from ortools.util.python.solve_interrupter import SolveInterrupter

from pats_solvers.milp.contract import Name
from pats_solvers.milp.mathopt import solve
from pats_solvers.milp.model import Model

#: How often a folder's removal is tried.
REMOVALS = 100


def main(name: Name, folder: Path, seed: int, seconds: float) -> None:
    """Solve the model of ``folder``."""
    interrupter = SolveInterrupter() if name == "scip" else None
    orphaned = threading.Event()

    def obey() -> None:
        asked = sys.stdin.readline()
        if asked and interrupter is not None:
            interrupter.interrupt()
            asked = sys.stdin.readline()
        if not asked:  # the parent has gone, and cleans up no more
            orphaned.set()
            _remove(folder)
        os._exit(1)

    listener = threading.Thread(target=obey, daemon=True)
    listener.start()
    try:
        _answer(name, folder, seed, seconds, interrupter)
    finally:
        if orphaned.is_set():  # whatever failed for want of the folder: it is removed first
            listener.join()


def _answer(
    name: Name, folder: Path, seed: int, seconds: float, interrupter: SolveInterrupter | None
) -> None:
    """Read the model, solve it, write the answer."""
    with np.load(folder / "model.npz") as saved:
        model = Model(**saved)
    hint = folder / "hint.npy"
    found = solve(
        name,
        model,
        seed,
        seconds,
        np.load(hint) if hint.exists() else None,
        folder=folder,
        interrupter=interrupter,
    )
    partial = folder / "partial.npz"
    np.savez(
        partial,
        stop=str(found.stop),
        x=np.empty(0) if found.x is None else found.x,
        bound=np.nan if found.bound is None else found.bound,
    )
    partial.rename(folder / "answer.npz")


def _remove(folder: Path) -> None:
    """Remove a folder in which the solver may be making a file just now."""
    for _ in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.01)


if __name__ == "__main__":
    main(cast(Name, sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
