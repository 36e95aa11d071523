"""The process in which HiGHS runs: ``python -m pats_solvers.milp.worker FOLDER SEED SECONDS``.

It reads ``model.npz``, logs to standard output, keeps ``improving.sol`` up to date, and writes
``answer.npz`` in the end. It ends when its parent does, which closes standard input.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import numpy as np


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main(folder: Path, seed: int, seconds: float) -> None:
    """Solve ``folder``'s model."""
    from ortools.math_opt.python import mathopt

    from pats_solvers.milp.mathopt import answer, native, parameters
    from pats_solvers.milp.model import Model

    threading.Thread(target=_end_with_parent, daemon=True).start()
    with np.load(folder / "model.npz") as saved:
        model = Model(**saved)
    params = parameters(seed, None if seconds < 0 else seconds)
    params.highs.bool_options["mip_improving_solution_save"] = True
    params.highs.bool_options["mip_improving_solution_report_sparse"] = True
    params.highs.string_options["mip_improving_solution_file"] = str(folder / "improving.sol")
    result = mathopt.solve(
        native(model),
        mathopt.SolverType.HIGHS,
        params=params,
        msg_cb=lambda lines: print(*lines, sep="\n", flush=True),  # noqa: T201
    )
    found = answer(model, result)
    partial = folder / "partial.npz"
    np.savez(
        partial,
        stop=str(found.stop),
        x=np.empty(0) if found.x is None else found.x,
        bound=np.nan if found.bound is None else found.bound,
    )
    partial.rename(folder / "answer.npz")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
