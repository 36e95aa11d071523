"""The report's main results as sentences, computed from the table and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pats_opt.core.solver import Kind
from pats_opt.model.schedule import StopReason
from pats_opt.report.collect import Case, Row, Table
from pats_opt.report.service import starvations
from pats_opt.runs.record import FAILURES, RunOutcome, SolverInfo
from pats_opt.runs.statistics import Spread, spread
from pats_opt.wording import number, percent


def sentences(table: Table) -> list[str]:
    """What the numbers say, the main result first."""
    if not table.cases:
        return ["There are no instances."]
    provers = (Kind.EXACT, Kind.BOUND)
    headline = list(_headline(table))
    proofs = [_proves(table.cases, s) for s in table.solvers if s.kind in provers]
    losses = [_loses(table.cases, s) for s in table.solvers if s.kind == Kind.ONLINE]
    return [
        *table.contradictions,
        *(headline + proofs if headline else losses + proofs),
        *_incomplete(table),
        *_waits(table),
        *(losses if headline else ()),
        *(_loses(table.cases, s) for s in table.solvers if s.kind == Kind.HEURISTIC),
    ]


def _headline(table: Table) -> Iterator[str]:
    """Which online policies lose least and most, where several have schedules everywhere."""
    online = [solver for solver in table.solvers if solver.kind == Kind.ONLINE]
    cases = [case for case in table.cases if not case.infeasible]
    proven = [case for case in cases if case.optimum is not None]
    medians = {}
    for solver in online:
        found = spread([r.excess for r in _rows(proven, solver) if r.excess is not None])
        if found is not None and found.count == len(proven):  # else it failed where others did not
            medians[solver.spec] = found.median
    if len(medians) < 2:
        return
    least, most = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    yield (
        f"The optimum is proven on {len(proven)} of {_number(len(cases))}; against it online "
        f"{least} loses least, {percent(medians[least])} in the median, and {most} most, "
        f"{percent(medians[most])}."
    )


def _loses(cases: Sequence[Case], solver: SolverInfo) -> str:
    """How much an online policy or a heuristic loses, against what is proven."""
    rows = list(_rows(cases, solver))
    proven = spread([row.excess for row in rows if row.excess is not None])
    bounded = [row for row in rows if row.excess is None and row.bound_excess is not None]
    rest = spread([row.bound_excess for row in bounded if row.bound_excess is not None])
    name = f"{'Online' if solver.kind == Kind.ONLINE else 'Heuristic'} {solver.spec}"
    if proven is None and rest is None:
        return f"{name}: no instance has both its schedule and a bound to hold it against."
    parts = []
    if proven is not None:
        parts.append(
            f"loses {spread_text(proven)} against the proven optimum over {_cases(proven)}"
        )
    if rest is not None:
        where = "" if proven is None else "the other "
        parts.append(
            f"{'and ' if parts else 'loses '}at most {spread_text(rest)} against the best bound "
            f"over {where}{_cases(rest)} whose optimum is not proven"
        )
    return f"{name} {', '.join(parts)}."


def _proves(cases: Sequence[Case], solver: SolverInfo) -> str:
    """What an exact solver proved, and how far it got where it did not."""
    rows = list(_rows(cases, solver))
    if not rows:
        return f"{solver.spec} has no run that counts."
    proven = sum(row.proven for row in rows)
    opened = spread([row.gap for row in rows if row.gap is not None and not row.proven])
    text = f"{solver.spec} proved its schedule optimal on {proven} of {_number(len(rows))}"
    if opened is not None and solver.kind == Kind.EXACT:
        text += f"; on the rest its gap to the best bound is {spread_text(opened)}"
    return text + "."


def _waits(table: Table) -> Iterator[str]:
    """What a bound on waiting costs, and what it is good for."""
    for s in starvations(table):
        if s.without is not None and s.cost is not None:
            yield (
                f"{s.solver.spec} against {s.without.spec}: a bound of {number(s.bound_s)} s on "
                f"waiting costs {spread_text(s.cost)} of loss over {_cases(s.cost)}; the worst "
                f"wait is {number(s.worst_shared_s)} s with it, {number(s.worst_without_s)} s "
                "without."
            )


def _incomplete(table: Table) -> Iterator[str]:
    """Runs that gave no schedule, by the way they ended."""
    rows = [row for _, row in table.rows]
    ends = {end: sum(1 for r in rows if r.record and r.record.end is end) for end in RunOutcome}
    told = [f"{ends[end]} {end}" for end in RunOutcome if end in FAILURES and ends[end]]
    if ends[RunOutcome.NOT_APPLICABLE]:
        told.append(
            f"{ends[RunOutcome.NOT_APPLICABLE]} not applicable (the solver lacks a feature)"
        )
    if missing := sum(1 for row in rows if row.record is None):
        told.append(f"{missing} not run")
    limited = sum(1 for row in rows if row.verdict == StopReason.TIME_LIMIT)
    if limited:
        told.append(f"{limited} stopped at the time limit with a schedule")
    if told:
        yield f"Of {_number(len(rows), 'run')}: {', '.join(told)}."
    infeasible = sum(case.infeasible for case in table.cases)
    if infeasible:
        yield f"{_number(infeasible)} proven infeasible."


def _rows(cases: Iterable[Case], solver: SolverInfo) -> Iterator[Row]:
    """A solver's runs that count."""
    for case in cases:
        row = case.row(solver.spec)
        if row is not None and row.counts and not case.infeasible:
            yield row


def spread_text(values: Spread) -> str:
    """The median, with the smallest and largest where they differ."""
    if values.low == values.high:
        return percent(values.median)
    return f"{percent(values.median)} (median; {percent(values.low)} to {percent(values.high)})"


def _cases(values: Spread) -> str:
    return _number(values.count)


def _number(count: int, of: str = "instance") -> str:
    return f"{count} {of}" + ("" if count == 1 else "s")
