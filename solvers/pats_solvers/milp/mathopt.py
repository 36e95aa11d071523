"""What the two MathOpt backends share: the model as MathOpt's, and MathOpt's answer as ours."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
from ortools.math_opt import model_pb2
from ortools.math_opt.python import mathopt

from pats_opt.errors import SolverError
from pats_opt.schedule import Stop
from pats_solvers.milp.backends import Answer
from pats_solvers.milp.model import Floats, Model

_REASONS = {
    mathopt.TerminationReason.OPTIMAL: Stop.OPTIMAL,
    mathopt.TerminationReason.INFEASIBLE: Stop.INFEASIBLE,
    mathopt.TerminationReason.INFEASIBLE_OR_UNBOUNDED: Stop.INFEASIBLE,  # no column is unbounded
}

_LIMITS = {
    mathopt.Limit.TIME: Stop.TIME_LIMIT,
    mathopt.Limit.INTERRUPTED: Stop.INTERRUPTED,
    mathopt.Limit.MEMORY: Stop.MEMORY_LIMIT,
}


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


def parameters(seed: int, time_limit: float | None) -> Any:
    """Solve parameters that ask for a proven optimum without any gap."""
    return mathopt.SolveParameters(
        time_limit=None if time_limit is None else timedelta(seconds=time_limit),
        relative_gap_tolerance=0.0,
        absolute_gap_tolerance=0.0,
        random_seed=seed % 2**31,
        enable_output=False,
    )


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
