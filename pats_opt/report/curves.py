"""Comparisons of solvers as curves: performance profiles, gaps over time, latencies, attainment.

*Performance profile* (E. D. Dolan and J. J. Moré, "Benchmarking optimization software with
performance profiles", Mathematical Programming 91, 2002): on each instance a solver's ratio is its
figure over the lowest of all solvers compared, its profile the share of all instances on which the
ratio is at most tau. An instance on which it has no figure never counts, whatever tau.

*Gaps over time*: of a loss to the best known one (the primal gap of T. Berthold, "Measuring the
impact of primal heuristics", Operations Research Letters 41, 2013), and of the best known loss to a
bound (his dual gap); 1 as long as there is none. An integral is a gap summed over the seconds of
the time limit.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import polars as pl
from msgspec import Struct

from pats_opt.core.solver import Kind
from pats_opt.model.loss import gap
from pats_opt.report.collect import Table
from pats_opt.report.frame import NOT_RUN, by_solver, ratio, shared
from pats_opt.runs.record import FAILURES, ProgressPoint, Record, SolverInfo

#: A gap as long as nothing is known.
UNKNOWN_GAP = 1.0

#: A step function: from each x on, until the next, it has this y; x rises.
Steps = Sequence[tuple[float, float]]


class PerformanceProfile(Struct, frozen=True, kw_only=True):
    """The performance profile of one solver.

    Attributes:
        ratios: Its ratios to the best, rising, one for each instance with a figure.
        instances: Number of instances compared.
    """

    solver: SolverInfo
    ratios: tuple[float, ...]
    instances: int

    def share(self, tau: float) -> float:
        """The share of the instances on which the ratio is at most ``tau``."""
        return bisect_right(self.ratios, tau) / self.instances


class GapCurve(Struct, frozen=True, kw_only=True):
    """The gap of a solver over time, mean over instances.

    Attributes:
        curve: Its mean gap from each second on; :data:`UNKNOWN_GAP` before the first.
        integral_s: The gap integrated over the time limit, mean over the instances, seconds.
        final: The mean gap at the time limit.
    """

    solver: SolverInfo
    curve: Steps
    integral_s: float
    final: float


class GapCurves(Struct, frozen=True, kw_only=True):
    """The gaps of losses (primal) or of bounds (dual) of all solvers that have any.

    Attributes:
        instances: Number of instances, those on which all these solvers were run.
        lines: Curves by the solver's spec.
    """

    instances: int
    lines: dict[str, GapCurve]


class GapsOverTime(Struct, frozen=True, kw_only=True):
    """Gaps of losses (primal) and bounds (dual) over time, up to a time limit."""

    limit_s: float
    primal: GapCurves
    dual: GapCurves

    @property
    def solvers(self) -> list[SolverInfo]:
        """The solvers that have any gap."""
        return [line.solver for line in (self.primal.lines | self.dual.lines).values()]


class LatencyCurve(Struct, frozen=True, kw_only=True):
    """Share of a solver's requests served within each latency, mean over instances.

    Latencies are seconds, or multiples of the deadline. It ends below 1 where requests are
    rejected.
    """

    solver: SolverInfo
    curve: Steps


def loss_profiles(table: Table) -> list[PerformanceProfile]:
    """The profiles of the losses; a run that was refused or failed never counts."""
    return _profiles(table, pl.col("loss"))


def time_profiles(table: Table) -> list[PerformanceProfile]:
    """The profiles of the seconds to a proven optimum; empty unless two exact solvers have any."""
    exact = (pl.col("kind") == Kind.EXACT) & pl.col("proven")
    seconds = pl.col("seconds").clip(1e-6)  # a tick of the clock at least
    found = _profiles(table, pl.when(exact).then(seconds))
    return found if len(found) > 1 else []


def _profiles(table: Table, figure: pl.Expr) -> list[PerformanceProfile]:
    """The profiles of the solvers that have a figure at all, over the instances all were run on."""
    all_done = (pl.col("end") != NOT_RUN).all().over("case")
    runs = table.own.filter(pl.col("best").is_not_null() & ~pl.col("infeasible") & all_done)
    best = figure.min().over("case")
    rated = runs.with_columns(ratio=ratio(figure, best)).drop_nulls("ratio")
    return [
        PerformanceProfile(
            solver=solver,
            ratios=tuple(part["ratio"].sort()),
            instances=runs["case"].n_unique(),
        )
        for solver, part in by_solver(table.solvers, rated)
    ]


def gaps_over_time(table: Table) -> GapsOverTime | None:
    """The gaps of the table's runs over time; None where no record has a trace.

    A run that failed has a gap of 1 throughout. Online policies decide as time goes by in the
    instance, not on the clock, and are not shown.
    """
    limit_s = max((r.config.time_limit or 0.0 for r in table.records.values()), default=0.0)
    primal = _gap_curves(table, lambda moment, best: gap(moment.loss, best), limit_s)
    dual = _gap_curves(table, lambda moment, best: gap(best, moment.bound), limit_s)
    if not primal.lines and not dual.lines:
        return None
    return GapsOverTime(limit_s=limit_s, primal=primal, dual=dual)


def _gap_curves(
    table: Table, known: Callable[[ProgressPoint, float], float | None], limit_s: float
) -> GapCurves:
    """The mean gaps over the instances that all solvers with such values were run on."""
    timed = table.own.filter(pl.col("kind") != Kind.ONLINE)
    having = {
        solver.spec
        for solver, runs in by_solver(table.solvers, timed)
        if any(known(moment, 0.0) is not None for r in _records(table, runs) for moment in r.trace)
    }
    rated = timed.filter(
        pl.col("best").is_not_null() & ~pl.col("infeasible") & pl.col("solver").is_in(list(having))
    )
    traced = [key for key, record in table.records.items() if record.trace]
    both = shared(rated, pl.col("key").is_in(traced) | pl.col("end").is_in(list(FAILURES)))
    lines = {}
    for solver, runs in by_solver(table.solvers, both):
        traces = (table.records[key].trace for key in runs["key"])
        curve = mean_steps(
            [
                [(moment.seconds, _at_most_1(known(moment, best))) for moment in trace]
                for trace, best in zip(traces, runs["best"], strict=True)
            ],
            UNKNOWN_GAP,
        )
        lines[solver.spec] = GapCurve(
            solver=solver,
            curve=curve,
            integral_s=integral(curve, UNKNOWN_GAP, limit_s),
            final=value(curve, UNKNOWN_GAP, limit_s),
        )
    return GapCurves(instances=both["case"].n_unique(), lines=lines)


def _at_most_1(gap: float | None) -> float:
    """A gap; a bound below 0 says as little as none."""
    return UNKNOWN_GAP if gap is None else min(UNKNOWN_GAP, gap)


def latencies(table: Table) -> tuple[int, list[LatencyCurve]]:
    """The number of instances, and the solvers' mean latency distributions over them."""
    return _latency_curves(table, _served)


def attainments(table: Table) -> tuple[int, list[LatencyCurve]]:
    """The same of latencies by deadline, over the requests that have one."""
    return _latency_curves(table, lambda record: [(y, share) for share, y in record.attainment])


def _latency_curves(
    table: Table, steps: Callable[[Record], Steps]
) -> tuple[int, list[LatencyCurve]]:
    """The mean curves over the instances on which all these solvers have one."""
    found = {key: steps(record) for key, record in table.records.items()}
    runs = comparable(table, lambda record: bool(steps(record)))
    return runs["case"].n_unique(), [
        LatencyCurve(solver=solver, curve=mean_steps([found[key] for key in part["key"]], 0.0))
        for solver, part in by_solver(table.solvers, runs)
    ]


def comparable(table: Table, has: Callable[[Record], bool]) -> pl.DataFrame:
    """The runs of solvers whose records all have something, on the cases where any has it.

    A record of a schedule that serves nobody has nothing to keep, and counts too.
    """
    kept = {key for key, record in table.records.items() if has(record)}
    nobody = {key for key, r in table.records.items() if r.metrics and not r.metrics.served}
    cases = table.own.filter(pl.col("key").is_in(list(kept)))["case"].unique().to_list()
    runs = table.own.filter(pl.col("case").is_in(cases))
    return shared(runs, pl.col("key").is_in(list(kept | nobody)))


def _served(record: Record) -> list[tuple[float, float]]:
    """The share of a run's requests served within each of the kept latencies."""
    metrics = record.metrics
    share = 1.0 if metrics is None else metrics.served / (metrics.served + metrics.rejected)
    return [(seconds, share * part) for part, seconds in record.latencies]


def _records(table: Table, runs: pl.DataFrame) -> Iterator[Record]:
    return (table.records[key] for key in runs["key"] if key in table.records)


def mean_steps(functions: Sequence[Steps], start: float) -> list[tuple[float, float]]:
    """The mean of step functions, each of value ``start`` before its first step."""
    if not functions:
        return []
    changes = [
        (x, y - before)
        for steps in functions
        for (_, before), (x, y) in pairwise([(0.0, start), *steps])
    ]
    mean: dict[float, float] = {}
    total = start * len(functions)
    for x, change in sorted(changes):
        total += change
        mean[x] = round(total / len(functions), 12) + 0.0  # no -0 of rounding
    return list(mean.items())


def integral(steps: Steps, start: float, until: float) -> float:
    """The area below a step function from 0 to ``until``."""
    known = [(0.0, start), *((x, y) for x, y in steps if x < until)]
    ends = [x for x, _ in known[1:]] + [until]
    return sum(y * (end - x) for (x, y), end in zip(known, ends, strict=True))


def value(steps: Steps, start: float, at: float) -> float:
    """The value of a step function at ``at``."""
    return next((y for x, y in reversed(steps) if x <= at), start)
