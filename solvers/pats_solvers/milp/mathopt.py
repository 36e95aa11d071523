"""A model as OR-Tools MathOpt's, solved by its HiGHS or SCIP in this process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from ortools.math_opt import model_pb2
from ortools.math_opt.python import mathopt

from pats_opt.errors import SolverError
from pats_opt.model.schedule import StopReason
from pats_solvers.milp.contract import Answer, Name
from pats_solvers.milp.model import Floats, Model

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

#: Seconds that are as good as no limit.
LONGEST = 1e8


def native(model: Model) -> Any:
    """The model as a MathOpt model, filled array by array; variable i has id i."""
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
    name: Name,
    model: Model,
    seed: int,
    seconds: float,
    hint: Floats | None,
    *,
    folder: Path | None = None,
    interrupter: Any = None,
) -> Answer:
    """Solve with one thread, asking for a proven optimum without any gap.

    Args:
        name: HiGHS or SCIP.
        model: What to solve.
        seed: Seed of its random choices.
        seconds: Time limit; infinity for none.
        hint: A feasible point; HiGHS has no use for it.
        folder: Where HiGHS keeps ``improving.sol``; with it, the log goes to standard output.
        interrupter: Stops SCIP.
    """
    program = native(model)
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
    return answer(model, result)


def _print(lines: Sequence[str]) -> None:
    print(*lines, sep="\n", flush=True)  # noqa: T201 - the log of a child, read by its parent


def answer(model: Model, result: Any) -> Answer:
    """MathOpt's result as ours.

    Raises:
        SolverError: The backend failed or lost its footing numerically.
    """
    termination = result.termination
    stop = _REASONS.get(termination.reason) or _LIMITS.get(termination.limit)
    if stop is None:
        raise SolverError(f"the MIP backend failed: {termination.reason.name} {termination.detail}")
    bound = termination.objective_bounds.dual_bound
    return Answer(stop, point(model, result), bound if math.isfinite(bound) else None)


def point(model: Model, result: Any) -> Floats | None:
    """The best point of a result."""
    if not result.has_primal_feasible_solution():
        return None
    x = np.zeros(len(model.cost))
    for variable, value in result.variable_values().items():
        x[variable.id] = value
    return x
