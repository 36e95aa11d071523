"""The price of binding early: each policy's runs against the same policy's central queue.

A policy with ``dispatch`` binds requests to GPUs as they arrive. What that costs is its loss over
that of the same policy with ``dispatch=central`` on the same instance, where both were run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from pats_opt.report.frame import by_solver, ratio
from pats_opt.runs.record import SolverInfo
from pats_opt.runs.statistics import spread

#: Parameters of dispatch, in which a policy may differ from its central counterpart.
DISPATCH = ("dispatch", "steal", "rebalance")

#: The value of ``dispatch`` that binds nothing.
CENTRAL = "central"

#: Columns of the ratios, and what they compare.
RATIOS = {"loss_over_central": "loss", "latency_over_central": "latency_mean_s"}


def central_counterparts(solvers: Sequence[SolverInfo]) -> dict[str, str]:
    """The spec of the same policy with the central queue, by that of each that binds early."""
    central = [solver for solver in solvers if solver.params.get("dispatch") == CENTRAL]
    return {
        solver.spec: other.spec
        for solver in solvers
        if solver.params.get("dispatch") not in {None, CENTRAL}
        for other in central
        if solver.apart_from(DISPATCH) == other.apart_from(DISPATCH)
    }


def against_central(runs: pl.DataFrame, solvers: Sequence[SolverInfo]) -> pl.DataFrame:
    """The runs with the columns :data:`RATIOS`, null where there is no counterpart's schedule."""
    counterparts = central_counterparts(solvers)
    of = pl.col("solver").replace_strict(counterparts, default=None, return_dtype=pl.String)
    known = runs.select(
        "case",
        pl.col("solver").alias("central"),
        *(pl.col(value).alias(f"central_{value}") for value in RATIOS.values()),
    )
    both = runs.with_columns(central=of).join(
        known, on=["case", "central"], how="left", maintain_order="left"
    )
    return both.with_columns(
        ratio(pl.col(value), pl.col(f"central_{value}")).alias(name)
        for name, value in RATIOS.items()
    ).drop(f"central_{value}" for value in RATIOS.values())


def prices_of_binding(solvers: Sequence[SolverInfo], runs: pl.DataFrame) -> list[dict[str, Any]]:
    """The spread of both ratios over instances, of each policy that has a counterpart."""
    priced = runs.drop_nulls("loss_over_central")
    return [
        {
            "solver": solver.spec,
            "central": part["central"][0],
            "instances": len(part),
            **{name: spread(part[name].drop_nulls().to_list()) for name in RATIOS},
        }
        for solver, part in by_solver(solvers, priced)
    ]
