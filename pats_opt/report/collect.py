"""From records to the report's table: a row for each run, compared with all runs of its instance.

A run without a schedule counts as a gap of 100 % and as its whole time limit; only refusals and
instances that are proven infeasible are left out of means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import NamedTuple

import polars as pl
from msgspec import Struct

from pats_opt.core.solver import Kind
from pats_opt.model.checker import TOLERANCE
from pats_opt.model.schedule import StopReason
from pats_opt.report.dispatch import against_central
from pats_opt.report.frame import SCHEDULED, frame_of
from pats_opt.runs.record import Record, RunOutcome, SolverInfo, Task
from pats_opt.runs.statistics import (
    GAP_SHIFT,
    TIME_SHIFT_S,
    Interval,
    PairwiseComparison,
    compare_pairs,
    shifted_geometric_interval,
    shifted_geometric_mean,
)

_LIMITS = (StopReason.TIME_LIMIT, StopReason.MEMORY_LIMIT, StopReason.INTERRUPTED)


class SolverTotal(Struct, frozen=True, kw_only=True):
    """A solver over the instances of a class.

    Attributes:
        group: The class; empty for all.
        proven: Runs that proved their schedule optimal.
        stopped: Runs with a schedule that stopped at a limit.
        ends: Number of runs by outcome; ``not run`` for those not done.
        gap: Shifted geometric mean of gaps, over ``gaps`` runs.
        gap_interval: Bootstrap interval of that mean; None for fewer than two runs.
        gaps: Runs that have a gap.
        time_s: Shifted geometric mean of seconds, failures at their time limit.
    """

    group: str
    solver: SolverInfo
    runs: int
    proven: int
    stopped: int
    ends: dict[str, int]
    gap: float | None
    gap_interval: Interval | None
    gaps: int
    time_s: float | None


class Table(NamedTuple):
    """The whole report as data.

    Attributes:
        solvers: The solvers, in the order of the configuration.
        runs: A row for each run (see the module), those of a sweep last.
        records: The records by their keys.
        totals: Over all classes where there are several, then per class and solver.
        duels: Each pair of online policies.
        contradictions: Claims of runs that contradict each other: a bug in a solver.
    """

    solvers: tuple[SolverInfo, ...]
    runs: pl.DataFrame
    records: dict[str, Record]
    totals: tuple[SolverTotal, ...]
    duels: tuple[PairwiseComparison, ...]
    contradictions: tuple[str, ...]

    @property
    def own(self) -> pl.DataFrame:
        """The runs at their instances' own latency prices."""
        return self.runs.filter(~pl.col("swept"))


def collect(tasks: Sequence[Task], records: Iterable[Record]) -> Table:
    """The table of a report's runs; those without a record are shown as not run."""
    done = {record.config.key: record for record in records}
    solvers = tuple({t.config.solver.spec: t.config.solver for t in tasks}.values())
    runs = against_central(frame_of(tasks, done), solvers)
    own = runs.filter(~pl.col("swept"))
    return Table(
        solvers=solvers,
        runs=runs,
        records=done,
        totals=tuple(_totals(own, solvers)),
        duels=tuple(_comparisons(own, solvers)),
        contradictions=tuple(_contradictions(runs)),
    )


def _totals(own: pl.DataFrame, solvers: Sequence[SolverInfo]) -> Iterable[SolverTotal]:
    by_spec = {solver.spec: solver for solver in solvers}
    if own["class"].n_unique() > 1:
        own = pl.concat([own.with_columns(pl.lit("").alias("class")), own])
    for row in (
        own.group_by("class", "solver", maintain_order=True)
        .agg(
            "end",
            runs=pl.len(),
            proven=pl.col("proven").sum(),
            stopped=(SCHEDULED & pl.col("stop").is_in(list(_LIMITS))).sum(),
            gaps=pl.col("gap").drop_nulls(),
            seconds=pl.col("charged_s").filter("counts"),
        )
        .iter_rows(named=True)
    ):
        yield SolverTotal(
            group=row["class"],
            solver=by_spec[row["solver"]],
            **{name: row[name] for name in ("runs", "proven", "stopped")},
            ends=dict(Counter(row["end"])),
            gap=shifted_geometric_mean(row["gaps"], GAP_SHIFT),
            gap_interval=shifted_geometric_interval(row["gaps"], GAP_SHIFT),
            gaps=len(row["gaps"]),
            time_s=shifted_geometric_mean(row["seconds"], TIME_SHIFT_S),
        )


def _comparisons(own: pl.DataFrame, solvers: Sequence[SolverInfo]) -> Iterable[PairwiseComparison]:
    losses = own.filter("counts").select("case", "solver", "loss")
    online = [solver.spec for solver in solvers if solver.kind == Kind.ONLINE]
    for pair in combinations(online, 2):
        one, other = (losses.filter(pl.col("solver") == spec) for spec in pair)
        both = one.join(other, on="case").select("loss", "loss_right").rows()
        if both:
            yield compare_pairs(pair, both)


def _contradictions(runs: pl.DataFrame) -> Iterable[str]:
    for case in runs.partition_by("case"):
        first = case.row(0, named=True)
        name = first["label"]
        if first["swept"]:
            name += f" at latency price {first['latency_price_per_s']:g}"
        losses = case.filter(SCHEDULED).select("solver", "loss").rows()
        for by, bound in case.drop_nulls("claim").select("solver", "claim").rows():
            for of, loss in losses:
                if bound > loss + TOLERANCE * max(1.0, abs(loss)):
                    yield (
                        f"{name}: {by} claims the bound {bound:.6g}, "
                        f"but {of} has a valid schedule of loss {loss:.6g}"
                    )
        if losses:
            for by in case.filter(pl.col("end") == RunOutcome.INFEASIBLE)["solver"]:
                yield (
                    f"{name}: {by} claims that no schedule exists, "
                    f"but {losses[0][0]} has a valid one"
                )
