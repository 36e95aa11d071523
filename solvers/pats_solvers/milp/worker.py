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
from pathlib import Path
from typing import cast

import numpy as np
from ortools.util.python.solve_interrupter import SolveInterrupter

from pats_solvers.milp.contract import Name
from pats_solvers.milp.mathopt import solve
from pats_solvers.milp.model import Model


def main(name: Name, folder: Path, seed: int, seconds: float) -> None:
    """Solve the model of ``folder``."""
    interrupter = SolveInterrupter() if name == "scip" else None

    def obey() -> None:
        asked = sys.stdin.readline()
        if asked and interrupter is not None:
            interrupter.interrupt()
            asked = sys.stdin.readline()
        if not asked:  # the parent has gone, and cleans up no more
            shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=obey, daemon=True).start()
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


if __name__ == "__main__":
    main(cast(Name, sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
