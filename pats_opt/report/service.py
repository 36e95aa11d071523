"""Service of solvers: means over instances, waiting, and latency at other prices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from pats_opt.core.solver import Kind
from pats_opt.report.collect import Table
from pats_opt.report.frame import DECISIONS, METRICS, SCHEDULED, by_solver, shared
from pats_opt.report.frame import ratio as ratio_of
from pats_opt.runs.record import SolverInfo
from pats_opt.runs.statistics import spread
from pats_opt.tables import bound_on_waiting

#: A row of a table, by the names of its columns.
Row = dict[str, Any]

#: Parameters that bound waiting: a policy is compared with itself without them.
BOUNDS = ("max_wait_s", "adaptive_wait")

_NUMBERS = [name for name, kind in {**METRICS, **DECISIONS}.items() if kind is not str]


def services(table: Table) -> tuple[int, list[Row]]:
    """The number of instances, and means of every metric over them by solver."""
    runs = shared(table.own)
    means = runs.group_by("solver", maintain_order=True).agg(pl.col(_NUMBERS).mean())
    return runs["case"].n_unique(), means.to_dicts()


def glance(table: Table) -> list[Row]:
    """Service of every solver that has schedules, the smallest gap first.

    Means over the instances that all of them have a schedule for, as :func:`services`.
    """
    runs = shared(table.own)
    gpu_s = pl.col("gpus") * pl.col("makespan_s") / pl.col("served")
    rows = (
        runs.with_columns(gpu_s_per_request=pl.when(pl.col("served") > 0).then(gpu_s))
        .group_by("solver", maintain_order=True)
        .agg(pl.col(*_NUMBERS, "gap", "gpu_s_per_request", "loss_over_central").mean())
    )
    return rows.sort("gap", nulls_last=True, maintain_order=True).to_dicts()


def starvations(table: Table) -> list[Row]:
    """Waiting under every online policy that has a schedule, and the cost of its bound on waiting.

    Returns:
        By policy: the number of instances with a schedule, the hard bound on waiting, means of the
        mean wait, its p99 and Jain's index, the worst wait, and the requests that waited longer
        than the bound. If the same policy has runs without a bound (``without``), over the
        instances with both schedules: their worst waits, and the spread of the relative loss that
        the bound costs (``cost``).
    """
    runs = table.own.filter((pl.col("kind") == Kind.ONLINE) & SCHEDULED)
    policies = list(by_solver(table.solvers, runs))
    return [_starvation(solver, part, policies) for solver, part in policies]


def _starvation(
    policy: SolverInfo, runs: pl.DataFrame, policies: Sequence[tuple[SolverInfo, pl.DataFrame]]
) -> Row:
    bound = bound_on_waiting(policy.params)
    starved = pl.col("starved")
    (row,) = runs.select(
        pl.first("solver"),
        pl.col("wait_mean_s", "wait_p99_s", "jain").mean(),
        instances=pl.len(),
        bound_s=pl.lit(bound, pl.Float64),
        worst_s=pl.col("wait_max_s").max(),
        starved=pl.when(starved.count() > 0).then(starved.sum()),
    ).to_dicts()
    row |= dict.fromkeys(("without", "worst_shared_s", "worst_without_s", "cost"))
    for other, without in policies:
        if bound is not None and _unbounded(policy, other):
            both = runs.join(without, on="case")
            row["without"] = other.spec
            row["worst_shared_s"] = both["wait_max_s"].max()
            row["worst_without_s"] = both["wait_max_s_right"].max()
            costs = both.select(ratio_of(pl.col("loss"), pl.col("loss_right")) - 1).to_series()
            row["cost"] = spread(costs.to_list())
            break
    return row


def _unbounded(policy: SolverInfo, other: SolverInfo) -> bool:
    """Whether ``other`` is ``policy`` without its bound on waiting."""
    alike = policy.apart_from(BOUNDS) == other.apart_from(BOUNDS)
    return bound_on_waiting(other.params) is None and alike


def tradeoffs(table: Table) -> list[pl.DataFrame]:
    """The runs of each instance that was run at other latency prices than its own.

    By solver, then by rising price.
    """
    swept = table.runs.filter("swept")["sha256"].unique().to_list()
    runs = table.runs.filter(pl.col("sha256").is_in(swept))
    order = pl.col("solver").cast(pl.Enum([solver.spec for solver in table.solvers]))
    return [
        case.with_columns(pl.col("latency_price_per_s").fill_null(0.0)).sort(
            order, "latency_price_per_s", maintain_order=True
        )
        for case in runs.partition_by("sha256", maintain_order=True)
    ]
