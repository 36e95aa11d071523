"""What differs between two schedules of one instance, in figures and words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pats_opt.model.checker import ReplayedBatch
from pats_opt.tables import METRICS, Metrics
from pats_opt.views.columns import Columns
from pats_opt.views.seen import Seen
from pats_opt.wording import DASH, figure, label, number, percent

#: Requests that a page lists as those that differ most.
MOST_LISTED = 20

#: Losses closer than this are the same.
SAME = 1e-9


class Row(NamedTuple):
    """One figure of both schedules, B less A, and that by the largest such difference, if any."""

    name: str
    first: str
    second: str
    change: str
    share: float = 0.0


class Fate(NamedTuple):
    """What becomes of a request in one schedule; None where it is rejected, or nobody knows it.

    Attributes:
        option: Index of its option.
        start: Second at which its batch starts.
        latency: Seconds from its arrival to its completion.
        loss: What it loses, served or rejected.
        mates: Indices of all requests in its batch.
    """

    option: int | None
    start: float | None
    latency: float | None
    loss: float
    mates: frozenset[int]


class Compared(NamedTuple):
    """Two schedules side by side.

    Attributes:
        names: What they are called.
        terms: The loss by term, and the loss.
        metrics: Their figures.
        parted: The second at which they first do different things; None where they never do.
        both: Requests that both serve.
        same_mates: Those of them whose batch has the same members in both.
        changed: Requests with another option, start, completion or fate.
        requests: The requests whose loss differs most: cells of a table.
    """

    names: tuple[str, str]
    terms: list[Row]
    metrics: list[Row]
    parted: float | None
    both: int
    same_mates: int
    changed: int
    requests: list[list[str]]


def names_of(first: Seen, second: Seen) -> tuple[str, str]:
    """What two schedules are called: A and B, with their solvers."""
    return (
        f"A: {label(first.schedule.solver.name)}",
        f"B: {label(second.schedule.solver.name)}",
    )


def compared(first: Seen, second: Seen) -> Compared:
    """Compare two schedules of one instance."""
    problem = first.problem
    fates = _fates(first.columns), _fates(second.columns)
    nobody = Fate(None, None, None, 0.0, frozenset())
    pairs = [
        (job, fates[0].get(job.index, nobody), fates[1].get(job.index, nobody))
        for job in problem.jobs
    ]
    served = [(a, b) for _, a, b in pairs if a.option is not None and b.option is not None]
    differ = [pair for pair in pairs if pair[1][:3] != pair[2][:3]]
    differ.sort(key=lambda pair: (-abs(pair[2].loss - pair[1].loss), pair[0].index))
    return Compared(
        names=names_of(first, second),
        terms=_terms(first, second),
        metrics=list(_metrics(first.metrics, second.metrics)),
        parted=_parted(first, second),
        both=len(served),
        same_mates=sum(a.mates == b.mates for a, b in served),
        changed=len(differ),
        requests=[
            [
                label(job.id),
                label(problem.site.adapter_ids[job.adapter]),
                *(
                    DASH if fate.option is None else str(job.options[fate.option].steps)
                    for fate in (a, b)
                ),
                *(number(value, 6) for value in (a.start, b.start, a.latency, b.latency)),
                signed(b.loss - a.loss),
            ]
            for job, a, b in differ[:MOST_LISTED]
        ],
    )


def _fates(columns: Columns) -> dict[int, Fate]:
    members = columns.members
    loss = {one.job.index: one.total for one in columns.lost}
    mates: dict[int, set[int]] = {}
    for job, batch in zip(members.jobs, members.batch.tolist(), strict=True):
        mates.setdefault(batch, set()).add(job.index)
    together = {batch: frozenset(jobs) for batch, jobs in mates.items()}
    fates = {
        job.index: Fate(None, None, None, loss[job.index], frozenset()) for job in columns.rejected
    }
    for job, option, start, done, arrival, batch in zip(
        members.jobs,
        members.options,
        members.start.tolist(),
        members.done.tolist(),
        members.arrival.tolist(),
        members.batch.tolist(),
        strict=True,
    ):
        fates[job.index] = Fate(option, start, done - arrival, loss[job.index], together[batch])
    return fates


def _terms(first: Seen, second: Seen) -> list[Row]:
    a, b = first.verdict.terms, second.verdict.terms
    names = a.__struct_fields__
    values = [(name, getattr(a, name), getattr(b, name)) for name in names]
    largest = max(abs(y - x) for _, x, y in values) or 1.0
    rows = [
        Row(name, figure(x), figure(y), signed(y - x), (y - x) / largest) for name, x, y in values
    ]
    return [*rows, Row("loss", figure(a.total), figure(b.total), signed(b.total - a.total))]


def _metrics(a: Metrics, b: Metrics) -> Iterator[Row]:
    for name in a.__struct_fields__:
        x, y = getattr(a, name), getattr(b, name)
        spec, change = METRICS[name], ""
        if isinstance(x, int | float) and isinstance(y, int | float):
            change = _points(y - x) if spec.unit == "%" else signed(y - x)
        yield Row(spec.heading, spec.text(x), spec.text(y), change)


def signed(value: float) -> str:
    """A difference with its sign; 0 where there is none."""
    if abs(value) < SAME:
        return "0"
    text = figure(abs(value))
    return f"+{text}" if value > 0 else f"\N{MINUS SIGN}{text}"


def _points(value: float) -> str:
    """A difference of shares, in percentage points."""
    return "0" if abs(value) < SAME else f"{signed(round(100 * value, 1))} points"


def _parted(first: Seen, second: Seen) -> float | None:
    """The second at which they first differ in what a GPU does."""
    a, b = ({_did(batch) for batch in seen.batches} for seen in (first, second))
    apart = [min(begin, start) for begin, start, *_ in a ^ b]
    return min(apart) * first.problem.site.tick_s if apart else None


def _did(
    replayed: ReplayedBatch,
) -> tuple[int, int, int, frozenset[int], frozenset[tuple[int, int]]]:
    """A batch and its switch, as something that is equal in both schedules or not."""
    batch = replayed.batch
    members = frozenset([(job.index, option) for job, option, _ in replayed.members])
    return batch.switch_start, batch.start, replayed.gpu, replayed.resident, members


def in_words(of: Compared, first: Seen, second: Seen) -> Iterator[str]:
    """Sentences that tell what differs; first of all which of them breaks rules."""
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
