"""OR-Tools MathOpt: its models, and its HiGHS and SCIP in this process.

``python -m pats_solvers.milp.backends.mathopt NAME FOLDER SEED SECONDS`` is the child process of
:mod:`pats_solvers.milp.backends.highs_scip`: it reads ``model.npz`` (and ``hint.npy``), logs to
standard output, and writes ``result.npz`` in the end. The line "stop" on standard input asks it to
stop; it ends at once when its parent has gone.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
from ortools.math_opt import model_pb2
from ortools.math_opt.python import mathopt
from ortools.util.python.solve_interrupter import SolveInterrupter

from pats_opt.errors import SolverError
from pats_opt.model.schedule import StopReason
from pats_solvers.milp.backends import BackendName, BackendResult
from pats_solvers.milp.model import Floats, LinearModel

_REASONS = {
    mathopt.TerminationReason.OPTIMAL: StopReason.OPTIMAL,
    mathopt.TerminationReason.INFEASIBLE: StopReason.INFEASIBLE,
    mathopt.TerminationReason.INFEASIBLE_OR_UNBOUNDED: StopReason.INFEASIBLE,  # columns are bounded
}

_LIMITS = {
    mathopt.Limit.TIME: StopReason.TIME_LIMIT,
    mathopt.Limit.INTERRUPTED: StopReason.INTERRUPTED,
    mathopt.Limit.MEMORY: StopReason.MEMORY_LIMIT,
}

#: Seconds that count as no limit.
LONGEST = 1e8

#: How often the removal of a folder is tried.
REMOVALS = 100


def mathopt_model(model: LinearModel) -> Any:
    """Return the model as a MathOpt model; variable i has id i."""
    proto = model_pb2.ModelProto()
    variables, rows, matrix = (
        proto.variables,
        proto.linear_constraints,
        proto.linear_constraint_matrix,
    )
    variables.ids.extend(range(len(model.cost)))
    variables.lower_bounds.extend(model.lower)
    variables.upper_bounds.extend(model.upper)
    variables.integers.extend(model.integer)
    priced = np.flatnonzero(model.cost)
    proto.objective.linear_coefficients.ids.extend(priced)
    proto.objective.linear_coefficients.values.extend(model.cost[priced])
    rows.ids.extend(range(len(model.row_lower)))
    rows.lower_bounds.extend(model.row_lower)
    rows.upper_bounds.extend(model.row_upper)
    matrix.row_ids.extend(model.rows)
    matrix.column_ids.extend(model.columns)
    matrix.coefficients.extend(model.values)
    return mathopt.Model.from_model_proto(proto)


def solve(
    name: BackendName,
    model: LinearModel,
    seed: int,
    seconds: float,
    hint: Floats | None,
    *,
    folder: Path | None = None,
    interrupter: Any = None,
) -> BackendResult:
    """Solve with one thread to a proven optimum without any gap.

    Args:
        name: HiGHS or SCIP.
        model: What to solve.
        seed: Seed of its random choices.
        seconds: Time limit; infinity for none.
        hint: A feasible point; HiGHS has no use for it.
        folder: Where HiGHS keeps ``improving.sol``; with it, the log goes to standard output.
        interrupter: Stops SCIP.
    """
    program = mathopt_model(model)
    params = mathopt.SolveParameters(
        time_limit=timedelta(seconds=seconds) if seconds < LONGEST else None,
        relative_gap_tolerance=0.0,
        absolute_gap_tolerance=0.0,
        random_seed=seed % 2**31,
    )
    start = mathopt.ModelSolveParameters()
    if name == "scip":
        params.threads = 1
        if hint is not None:
            values = dict(zip(program.variables(), hint.tolist(), strict=True))
            start.solution_hints.append(mathopt.SolutionHint(variable_values=values))
    else:
        params.highs.string_options["parallel"] = "off"
        if folder is not None:
            params.highs.bool_options["mip_improving_solution_save"] = True
            params.highs.bool_options["mip_improving_solution_report_sparse"] = True
            file = str(folder / "improving.sol")
            params.highs.string_options["mip_improving_solution_file"] = file
    result = mathopt.solve(
        program,
        mathopt.SolverType.GSCIP if name == "scip" else mathopt.SolverType.HIGHS,
        params=params,
        model_params=start,
        msg_cb=None if folder is None else _print,
        interrupter=interrupter,
    )
    return _result(model, result)


def _print(lines: Sequence[str]) -> None:
    print(*lines, sep="\n", flush=True)  # noqa: T201 - the log of a child, read by its parent


def _result(model: LinearModel, result: Any) -> BackendResult:
    """Return MathOpt's result as ours.

    Raises:
        SolverError: The backend failed, or has numerical trouble.
    """
    termination = result.termination
    stop = _REASONS.get(termination.reason) or _LIMITS.get(termination.limit)
    if stop is None:
        raise SolverError(f"the MIP backend failed: {termination.reason.name} {termination.detail}")
    bound = termination.objective_bounds.dual_bound
    return BackendResult(stop, _point(model, result), bound if math.isfinite(bound) else None)


def _point(model: LinearModel, result: Any) -> Floats | None:
    """Return the best point of a result, or None."""
    if not result.has_primal_feasible_solution():
        return None
    x = np.zeros(len(model.cost))
    for variable, value in result.variable_values().items():
        x[variable.id] = value
    return x


def main(name: BackendName, folder: Path, seed: int, seconds: float) -> None:
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
        _solve_folder(name, folder, seed, seconds, interrupter)
    finally:
        if orphaned.is_set():  # a failure without the folder waits for its removal
            listener.join()


def _solve_folder(
    name: BackendName, folder: Path, seed: int, seconds: float, interrupter: SolveInterrupter | None
) -> None:
    """Read the model, solve it, write the result."""
    with np.load(folder / "model.npz") as saved:
        model = LinearModel(**saved)
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
    partial.rename(folder / "result.npz")


def _remove(folder: Path) -> None:
    """Remove a folder in which the solver may just be creating a file."""
    for _ in range(REMOVALS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.01)


if __name__ == "__main__":
    main(cast(BackendName, sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
