"""From records to the report's table: what each run is worth once all runs are known.

A run's gap is taken against the best bound that any run proved for its instance, its excess against
the optimum that any run proved. Nothing is dropped: a run without a schedule counts as a gap of
100 % and as its whole time limit; only refusals and instances that are proven infeasible stay out
of means.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations

from msgspec import Struct

from pats_opt.core.solver import Kind
from pats_opt.model.checker import TOLERANCE
from pats_opt.model.loss import gap
from pats_opt.model.schedule import SolutionStatus, StopReason
from pats_opt.runs.record import FAILURES, InstanceInfo, Record, RunOutcome, SolverInfo, Task
from pats_opt.runs.statistics import (
    GAP_SHIFT,
    TIME_SHIFT_S,
    Interval,
    PairwiseComparison,
    Spread,
    compare_pairs,
    ratio,
    shifted_geometric_interval,
    shifted_geometric_mean,
    spread,
)


class Row(Struct, frozen=True, kw_only=True):
    """One run in the table.

    Attributes:
        solver: The solver.
        record: What it left, or None where it has not been run.
        gap: To the best bound of the instance, as PROBLEM.md section 6 defines it; 1 for a failure;
            None where there is no bound, or the run was refused or not done.
        optimum_gap: The same to the proven optimum, where it is proven.
        excess: loss / optimum - 1, where it is proven.
        bound_excess: loss / best bound - 1, where there is a bound: at least the true excess.
    """

    solver: SolverInfo
    record: Record | None
    gap: float | None = None
    optimum_gap: float | None = None
    excess: float | None = None
    bound_excess: float | None = None

    @property
    def loss(self) -> float | None:
        """The loss, or None."""
        return self.record.loss if self.record else None

    @property
    def proven(self) -> bool:
        """Whether the run itself proved its schedule optimal."""
        status = self.record.status if self.record else None
        return status is not None and status.point is SolutionStatus.OPTIMAL

    @property
    def counts(self) -> bool:
        """Whether the run enters means: it was done and not refused."""
        return self.record is not None and self.record.end not in (
            RunOutcome.NOT_APPLICABLE,
            RunOutcome.INFEASIBLE,
        )

    @property
    def verdict(self) -> str:
        """How the run ended, in a word or two."""
        record = self.record
        if record is None:
            return "not run"
        if record.status is not None and record.end is RunOutcome.SOLVED:
            return "optimal" if self.proven else str(record.status.stop)
        return str(record.end)


class Case(Struct, frozen=True, kw_only=True):
    """One instance with all its runs.

    Attributes:
        instance: The instance.
        label: Its name, told apart where two share it.
        bound: Best bound any run proved, or None.
        optimum: The proven optimum, or None.
        best: Lowest loss of any run, or None.
        infeasible: Whether a run proved that there is no schedule.
        rows: Its runs, in the solvers' order.
        latency_price: The price per second of a sweep that the runs and their figures are at; None
            for the instance's own.
    """

    instance: InstanceInfo
    label: str
    bound: float | None
    optimum: float | None
    best: float | None
    infeasible: bool
    rows: tuple[Row, ...]
    latency_price: float | None = None

    @property
    def price(self) -> float | None:
        """The latency price per second that the runs are at."""
        return self.instance.latency_price if self.latency_price is None else self.latency_price

    def row(self, spec: str) -> Row | None:
        """The run of a solver, by its spec."""
        return next((row for row in self.rows if row.solver.spec == spec), None)


class Total(Struct, frozen=True, kw_only=True):
    """A solver over the instances of a class.

    Attributes:
        group: The class; empty for all of them.
        solver: The solver.
        runs: Runs asked for.
        proven: Runs that proved their schedule optimal.
        stopped: Runs with a schedule that stopped at a limit.
        ends: How many runs ended in each way; ``not run`` for those not done.
        gap: Shifted geometric mean of gaps to the best bound, over ``gaps`` runs.
        gap_interval: Bootstrap interval of that mean; None of fewer than two runs.
        gaps: Runs that have a gap.
        excess: Spread of the excess over the proven optima.
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
    excess: Spread | None
    time_s: float | None


class Table(Struct, frozen=True, kw_only=True):
    """The whole report as data.

    Attributes:
        solvers: The solvers, in the order asked for.
        cases: The instances with their runs.
        totals: Over all classes where there are several, then per class and solver.
        duels: Online policies head to head.
        contradictions: Runs whose claims cannot both be true: a bug in a solver.
        sweeps: The instances again, at each other latency price of the sweep.
    """

    solvers: tuple[SolverInfo, ...]
    cases: tuple[Case, ...]
    totals: tuple[Total, ...]
    duels: tuple[PairwiseComparison, ...]
    contradictions: tuple[str, ...]
    sweeps: tuple[Case, ...] = ()

    @property
    def rows(self) -> Iterator[tuple[Case, Row]]:
        """Every run with its case, those of the sweep last."""
        return ((case, row) for case in (*self.cases, *self.sweeps) for row in case.rows)


def collect(tasks: Sequence[Task], records: Iterable[Record]) -> Table:
    """The table of a report's runs; those without a record are shown as not run."""
    done = {record.config.key: record for record in records}
    solvers = tuple({t.config.solver.spec: t.config.solver for t in tasks}.values())
    instances = list({t.config.instance.sha256: t.config.instance for t in tasks}.values())
    names = Counter(instance.name for instance in instances)
    runs: dict[tuple[str, float | None], list[tuple[SolverInfo, Record | None]]] = {}
    for task in tasks:
        run = (task.config.solver, done.get(task.config.key))
        at = (task.config.instance.sha256, task.config.latency_price)
        runs.setdefault(at, []).append(run)
    by_digest = {instance.sha256: instance for instance in instances}
    found = [
        _case(by_digest[sha256], _label(by_digest[sha256], names), made, price)
        for (sha256, price), made in runs.items()
    ]
    cases = tuple(case for case in found if case.latency_price is None)
    return Table(
        solvers=solvers,
        cases=cases,
        totals=tuple(_totals(cases, solvers)),
        duels=tuple(_duels(cases, solvers)),
        contradictions=tuple(text for case in found for text in _contradictions(case)),
        sweeps=tuple(case for case in found if case.latency_price is not None),
    )


def scheduled(row: Row) -> bool:
    """Whether a run has a schedule."""
    return row.loss is not None


def shared(
    cases: Sequence[Case],
    solvers: Sequence[SolverInfo],
    good: Callable[[Row], bool] = scheduled,
) -> tuple[list[Case], list[SolverInfo]]:
    """Instances and solvers that can be compared: each of these has a good run of each of those.

    Solvers with a good run of less than half of the instances are left out.

    Args:
        cases: The instances.
        solvers: The solvers.
        good: Which runs are; those with a schedule.
    """

    def has(case: Case, solver: SolverInfo) -> bool:
        row = case.row(solver.spec)
        return row is not None and good(row)

    kept = [s for s in solvers if 2 * sum(has(case, s) for case in cases) >= len(cases)]
    return [case for case in cases if all(has(case, s) for s in kept)], kept


def _label(instance: InstanceInfo, names: Counter[str]) -> str:
    """An instance's name, told apart where two share it."""
    alone = names[instance.name] == 1
    return instance.name if alone else f"{instance.name} ({instance.sha256[:6]})"


def _case(
    instance: InstanceInfo,
    label: str,
    runs: Sequence[tuple[SolverInfo, Record | None]],
    latency_price: float | None,
) -> Case:
    records = [record for _, record in runs if record is not None]
    bound = max((b for r in records if (b := _bound(r)) is not None), default=None)
    best = min((r.loss for r in records if r.loss is not None), default=None)
    proven = [r.loss for r in records if r.status and r.status.point is SolutionStatus.OPTIMAL]
    optimum = min((loss for loss in proven if loss is not None), default=None)
    infeasible = any(r.end is RunOutcome.INFEASIBLE for r in records)
    return Case(
        instance=instance,
        label=label,
        bound=bound,
        optimum=optimum,
        best=best,
        infeasible=infeasible,
        rows=tuple(_row(solver, record, bound, optimum, infeasible) for solver, record in runs),
        latency_price=latency_price,
    )


def _bound(record: Record) -> float | None:
    """What a run proved: its bound, or the loss of a schedule it proved optimal."""
    proven = record.status is not None and record.status.point is SolutionStatus.OPTIMAL
    return record.loss if record.bound is None and proven else record.bound


def _row(
    solver: SolverInfo,
    record: Record | None,
    bound: float | None,
    optimum: float | None,
    infeasible: bool,
) -> Row:
    if record is None or infeasible or record.end is RunOutcome.NOT_APPLICABLE:
        return Row(solver=solver, record=record)
    loss = record.loss
    if loss is None:
        return Row(
            solver=solver,
            record=record,
            gap=1.0,
            optimum_gap=None if optimum is None else 1.0,
        )
    return Row(
        solver=solver,
        record=record,
        gap=gap(loss, bound),
        optimum_gap=gap(loss, optimum),
        excess=None if optimum is None else max(0.0, ratio(loss, optimum) - 1),
        bound_excess=None if bound is None else max(0.0, ratio(loss, bound) - 1),
    )


def _totals(cases: Sequence[Case], solvers: Sequence[SolverInfo]) -> Iterable[Total]:
    groups = list(dict.fromkeys(case.instance.group for case in cases))
    for group in ["", *groups] if len(groups) > 1 else groups:
        members = [case for case in cases if group in ("", case.instance.group)]
        for solver in solvers:
            rows = [(c, row) for c in members if (row := c.row(solver.spec)) is not None]
            yield _total(group, solver, rows)


def _total(group: str, solver: SolverInfo, rows: Sequence[tuple[Case, Row]]) -> Total:
    counting = [row for case, row in rows if row.counts and not case.infeasible]
    gaps = [row.gap for row in counting if row.gap is not None]
    return Total(
        group=group,
        solver=solver,
        runs=len(rows),
        proven=sum(row.proven for _, row in rows),
        stopped=sum(_stopped(row) for _, row in rows),
        ends=dict(Counter(str(row.record.end) if row.record else "not run" for _, row in rows)),
        gap=shifted_geometric_mean(gaps, GAP_SHIFT),
        gap_interval=shifted_geometric_interval(gaps, GAP_SHIFT),
        gaps=len(gaps),
        excess=spread([row.excess for row in counting if row.excess is not None]),
        time_s=shifted_geometric_mean([_seconds(row) for row in counting], TIME_SHIFT_S),
    )


def _stopped(row: Row) -> bool:
    """Whether a run has a schedule that a limit kept from being better or proven."""
    status = row.record.status if row.record else None
    limits = (StopReason.TIME_LIMIT, StopReason.MEMORY_LIMIT, StopReason.INTERRUPTED)
    return row.loss is not None and status is not None and status.stop in limits


def _seconds(row: Row) -> float:
    """Seconds of a run; of a failure at least its time limit."""
    record = row.record
    assert record is not None
    failed = record.end in FAILURES
    return max(record.seconds, record.config.time_limit) if failed else record.seconds


def _duels(cases: Sequence[Case], solvers: Sequence[SolverInfo]) -> Iterable[PairwiseComparison]:
    online = [solver.spec for solver in solvers if solver.kind == Kind.ONLINE]
    for first, second in combinations(online, 2):
        pairs = [
            (one.loss, other.loss)
            for case in cases
            if not case.infeasible
            and (one := case.row(first)) is not None
            and (other := case.row(second)) is not None
            and one.counts
            and other.counts
        ]
        if pairs:
            yield compare_pairs((first, second), pairs)


def _contradictions(case: Case) -> Iterable[str]:
    """Claims about one instance that cannot all hold."""
    label = case.label
    if case.latency_price is not None:
        label += f" at latency price {case.latency_price:g}"
    bounds = [(_bound(row.record), row) for row in case.rows if row.record]
    losses = [(row.loss, row) for row in case.rows if row.loss is not None]
    for bound, by in bounds:
        for loss, of in losses:
            if bound is not None and bound > loss + TOLERANCE * max(1.0, abs(loss)):
                yield (
                    f"{label}: {by.solver.spec} claims the bound {bound:.6g}, "
                    f"but {of.solver.spec} has a valid schedule of loss {loss:.6g}"
                )
    for _, of in losses[:1]:
        for row in case.rows:
            if row.record and row.record.end is RunOutcome.INFEASIBLE:
                yield (
                    f"{label}: {row.solver.spec} claims that no schedule exists, "
                    f"but {of.solver.spec} has a valid one"
                )
