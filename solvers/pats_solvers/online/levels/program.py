"""The allocation of a large fleet as an integer program, solved by SCIP through OR-Tools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pats_opt.errors import SolverError

#: Slack of the quality that the first program has found, for the second one.
SLACK = 1e-7


def best_counts(
    load: float, capacities: Sequence[float], qualities: Sequence[float], gpus: int
) -> tuple[int, ...]:
    """Return the GPUs of each level, as :func:`.allocation.allocate` asks.

    What can be served at most is known: all GPUs at the fastest level, or the load. One program
    finds the best quality at that, a second one the fewest deep GPUs at that quality.

    Raises:
        SolverError: The backend failed.
    """
    served = min(load, gpus * max(capacities))
    if served <= 0:
        return (gpus, *[0] * (len(capacities) - 1))
    largest = max(qualities) or 1.0
    relative = [quality / largest for quality in qualities]
    worth, _ = _solve(served, capacities, relative, gpus, None)
    _, counts = _solve(served, capacities, relative, gpus, worth)
    return counts


def _solve(
    served: float,
    capacities: Sequence[float],
    qualities: Sequence[float],
    gpus: int,
    worth: float | None,
) -> tuple[float, tuple[int, ...]]:
    """Return the best quality times load, and the counts; with ``worth`` kept, the shallowest."""
    from ortools.math_opt.python import mathopt

    model = mathopt.Model()
    levels = range(len(capacities))
    count = [model.add_integer_variable(lb=0, ub=gpus) for _ in levels]
    # Of what is served, so that the coefficients are near 1 whatever the load.
    share = [model.add_variable(lb=0.0, ub=1.0) for _ in levels]
    model.add_linear_constraint(mathopt.fast_sum(count) == gpus)
    model.add_linear_constraint(mathopt.fast_sum(share) == 1.0)
    for v in levels:  # where one GPU could serve all, its count is as well bounded by 1
        model.add_linear_constraint(share[v] <= min(capacities[v] / served, 1.0) * count[v])
    quality: Any = mathopt.fast_sum([qualities[v] * share[v] for v in levels])
    if worth is None:
        model.maximize(quality)
    else:
        model.add_linear_constraint(quality >= worth - SLACK)
        model.minimize(mathopt.fast_sum([v * count[v] for v in levels]))
    params = mathopt.SolveParameters(
        threads=1, relative_gap_tolerance=0.0, absolute_gap_tolerance=0.0, random_seed=0
    )
    result = mathopt.solve(model, mathopt.SolverType.GSCIP, params=params)
    if result.termination.reason != mathopt.TerminationReason.OPTIMAL:
        raise SolverError(f"the allocation of GPUs failed: {result.termination.reason.name}")
    values = result.variable_values()
    return result.objective_value(), tuple(round(values[c]) for c in count)
