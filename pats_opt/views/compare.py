"""Differences between two schedules of one instance, in figures and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pats_opt.tables import METRICS, Metrics, ScheduleTable, shown
from pats_opt.views.text import attainment_shares, level_shares
from pats_opt.views.view import Chart, ScheduleView
from pats_opt.wording import DASH, SAME, figure, label, number, percent, signed

#: Requests that a page lists as those that differ most.
MOST_LISTED = 20


class ComparedValue(NamedTuple):
    """One figure of both schedules, B less A, and that by the largest such difference, if any."""

    name: str
    first: str
    second: str
    change: str
    share: float = 0.0


class RequestOutcome(NamedTuple):
    """Outcome of a request in one schedule; None where it is rejected or unknown.

    Attributes:
        option: Index of its option.
        start: Second at which its batch starts.
        latency: Seconds from its arrival to its completion.
        loss: Its loss, served or rejected.
        mates: Indices of all requests in its batch.
    """

    option: int | None = None
    start: float | None = None
    latency: float | None = None
    loss: float = 0.0
    mates: frozenset[int] = frozenset()


class ScheduleComparison(NamedTuple):
    """Two schedules side by side.

    Attributes:
        terms: The loss by term, and the loss.
        metrics: Their figures.
        parted: The second at which they first do different things; None where they never do.
        both: Requests that both serve.
        same_mates: Those of them whose batch has the same members in both.
        changed: Requests with another option, start, completion or outcome.
        requests: The requests whose loss differs most: cells of a table.
    """

    names: tuple[str, str]
    terms: list[ComparedValue]
    metrics: list[ComparedValue]
    parted: float | None
    both: int
    same_mates: int
    changed: int
    requests: list[list[str]]


def names_of(first: ScheduleView, second: ScheduleView) -> tuple[str, str]:
    """Return the names of two schedules: A and B, with their solvers."""
    a, b = (label(view.schedule.solver.name) for view in (first, second))
    return f"A: {a}", f"B: {b}"


def compared(first: ScheduleView, second: ScheduleView) -> ScheduleComparison:
    """Compare two schedules of one instance."""
    problem = first.problem
    outcomes = _outcomes(first.chart), _outcomes(second.chart)
    unknown = RequestOutcome()
    pairs = [
        (job, outcomes[0].get(job.index, unknown), outcomes[1].get(job.index, unknown))
        for job in problem.jobs
    ]
    served = [(a, b) for _, a, b in pairs if a.option is not None and b.option is not None]
    differ = [pair for pair in pairs if pair[1][:3] != pair[2][:3]]
    differ.sort(key=lambda pair: (-abs(pair[2].loss - pair[1].loss), pair[0].index))
    return ScheduleComparison(
        names=names_of(first, second),
        terms=_terms(first, second),
        metrics=[*_metrics(first.metrics, second.metrics), *_service(first, second)],
        parted=_parted(first, second),
        both=len(served),
        same_mates=sum(a.mates == b.mates for a, b in served),
        changed=len(differ),
        requests=[
            [
                label(job.id),
                label(problem.site.adapter_ids[job.adapter]),
                *(
                    DASH if one.option is None else str(job.options[one.option].steps)
                    for one in (a, b)
                ),
                *(number(moment, 6) for moment in (a.start, b.start)),
                *(number(seconds) for seconds in (a.latency, b.latency)),
                signed(b.loss - a.loss),
            ]
            for job, a, b in differ[:MOST_LISTED]
        ],
    )


def _outcomes(chart: Chart) -> dict[int, RequestOutcome]:
    requests = chart.seconds.requests
    mates = [frozenset([job for job, _ in members]) for members in _members(chart.table)]
    found = {job.index: RequestOutcome(loss=job.reject_loss or 0.0) for job in chart.rejected}
    columns = (
        requests.job,
        requests.option,
        requests.start,
        requests.completion - requests.arrival,
        chart.table.losses.total,
        requests.batch,
    )
    for job, option, start, latency, loss, batch in zip(
        *(column.tolist() for column in columns), strict=True
    ):
        found[job] = RequestOutcome(option, start, latency, loss, mates[batch])
    return found


def _members(table: ScheduleTable) -> list[set[tuple[int, int]]]:
    """Requests and options of each batch."""
    requests = table.requests
    members: list[set[tuple[int, int]]] = [set() for _ in table.batches.resident]
    columns = (requests.batch.tolist(), requests.job.tolist(), requests.option.tolist())
    for batch, job, option in zip(*columns, strict=True):
        members[batch].add((job, option))
    return members


def _terms(first: ScheduleView, second: ScheduleView) -> list[ComparedValue]:
    a, b = first.verdict.terms, second.verdict.terms
    values = {name: (getattr(a, name), getattr(b, name)) for name in a.__struct_fields__}
    largest = max(abs(y - x) for x, y in values.values()) or 1.0
    values["loss"] = a.total, b.total
    return [
        ComparedValue(
            name,
            figure(x),
            figure(y),
            signed(y - x),
            0.0 if name == "loss" else (y - x) / largest,
        )
        for name, (x, y) in values.items()
    ]


def _metrics(a: Metrics, b: Metrics) -> Iterator[ComparedValue]:
    for name in shown(a, b):
        x, y = getattr(a, name), getattr(b, name)
        spec, change = METRICS[name], ""
        if isinstance(x, int | float) and isinstance(y, int | float):
            change = _points(y - x) if spec.unit == "%" else signed(y - x)
        yield ComparedValue(spec.heading, spec.text(x), spec.text(y), change)


def _service(first: ScheduleView, second: ScheduleView) -> Iterator[ComparedValue]:
    """Requests by multiple of their deadline and by level, where there are such."""
    within = zip(attainment_shares(first), attainment_shares(second), strict=True)
    for (most, x), (_, y) in within:
        change = _points(y - x)
        yield ComparedValue(f"within {most:g} deadlines", percent(x), percent(y), change)
    for a, b in zip(level_shares(first)[:-1], level_shares(second)[:-1], strict=True):
        change = signed(b.requests - a.requests)
        yield ComparedValue(a.name, str(a.requests), str(b.requests), change)


def _points(value: float) -> str:
    """A difference of shares, in percentage points."""
    return "0" if abs(value) < SAME else f"{signed(round(100 * value, 1))} points"


def _parted(first: ScheduleView, second: ScheduleView) -> float | None:
    """The second at which they first differ in what a GPU does."""
    a, b = (set(_actions(view.table)) for view in (first, second))
    apart = [min(begin, start) for begin, start, *_ in a ^ b]
    return min(apart) * first.table.unit_s if apart else None


def _actions(table: ScheduleTable) -> Iterator[tuple[Any, ...]]:
    """Each batch with its switch, and each load, as something that both schedules have or not."""
    batches, members = table.batches, map(frozenset, _members(table))
    columns = (batches.switch_start.tolist(), batches.start.tolist(), batches.gpu.tolist())
    yield from zip(*columns, batches.resident, members, strict=True)
    if (loads := table.loads) is not None:
        start = loads.start.tolist()
        yield from zip(
            start, start, loads.gpu.tolist(), loads.adapter.tolist(), loads.evict, strict=True
        )


def sentences(of: ScheduleComparison, first: ScheduleView, second: ScheduleView) -> Iterator[str]:
    """Yield sentences on what differs, first of all which schedule breaks rules."""
    for name, seen in zip(of.names, (first, second), strict=True):
        if not seen.verdict.ok:
            yield f"{name} is not valid: its loss is of what can be read of it."
    a, b = first.verdict.loss, second.verdict.loss
    if abs(b - a) < SAME:
        yield f"Both lose {figure(a)}."
    else:
        less, more = (of.names, of.names[::-1])[b < a]
        low, high = min(a, b), max(a, b)
        by = f"{percent((high - low) / low)} more" if low > 0 else "more"
        yield f"{more} loses {by} than {less}: {figure(high)} against {figure(low)}."
        apart = [row for row in of.terms[:-1] if row.share]
        largest = max(apart, key=lambda row: abs(row.share))
        yield f"They differ most in {largest.name} (B less A: {largest.change})."
    if of.parted is None:
        yield "Their GPUs do the same at all times."
        return
    yield f"They part at {number(of.parted)} s."
    yield (
        f"{of.changed} of {len(first.problem.jobs)} requests fare differently; "
        f"{of.same_mates} of the {of.both} that both serve have the same batch mates."
    )
