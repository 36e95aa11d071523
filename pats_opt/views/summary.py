"""What a schedule's picture shows, in words and tables: for those who read, and who cannot see it.

Everything is computed from the columns that are drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pats_opt.model.checker import Verdict
from pats_opt.model.loss import LossTerms, gap
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolutionStatus
from pats_opt.tables import Metrics
from pats_opt.views import style
from pats_opt.views.coarse import SHOWN
from pats_opt.views.columns import Columns, Lost
from pats_opt.wording import figure, label, number, percent

if TYPE_CHECKING:
    from pats_opt.tables.request_table import Floats

#: Batches that a page lists.
MOST_BATCHES = 300

#: Requests that a batch's row names.
MOST_NAMED = 6

#: Requests that a page lists as those that lose most.
MOST_LOSING = 10

#: Adapters that a legend names, those with most requests first.
MOST_KEYS = 24


class Part(NamedTuple):
    """A term of the loss: its name, colour, amount and share."""

    name: str
    colour: str
    loss: float
    share: float


class Key(NamedTuple):
    """An entry of the legend: a colour, an adapter's name, and how many requests ask for it."""

    colour: str
    name: str
    requests: int


class Legend(NamedTuple):
    """What the colours mean.

    Attributes:
        keys: The entries that are named.
        more: How many adapters are not.
        repeat: Whether a colour means several adapters.
        others: Whether the far view takes some adapters together, in grey.
    """

    keys: tuple[Key, ...]
    more: int
    repeat: bool
    others: bool


def adapter_colours(problem: Problem) -> dict[int, str]:
    """A colour for each adapter that is asked for, the most wanted first; they repeat at last."""
    wanted = Counter([job.adapter for job in problem.jobs])
    order = [adapter for adapter, _ in wanted.most_common()]
    return dict(zip(order, style.cycled(len(order)), strict=True))


def colour_list(problem: Problem) -> list[str]:
    """The colour of every adapter by its index, grey where nobody asks for it."""
    colours = adapter_colours(problem)
    return [colours.get(a, style.OTHER) for a in range(len(problem.site.adapter_ids))]


def legend(problem: Problem, most: int = MOST_KEYS) -> Legend:
    """What the colours mean, the most wanted adapters first."""
    colours = adapter_colours(problem)
    wanted = Counter([job.adapter for job in problem.jobs])
    keys = tuple(
        Key(colour, label(problem.site.adapter_ids[adapter]), wanted[adapter])
        for adapter, colour in list(colours.items())[:most]
    )
    many = len(colours)
    return Legend(keys, many - len(keys), len({*colours.values()}) < many, many > SHOWN)


def parts(terms: LossTerms) -> list[Part]:
    """The loss by term, with the share of each."""
    total = terms.total
    return [
        Part(name, colour, value, value / total if total > 0 else 0.0)
        for (name, value), colour in zip(_terms(terms), style.BASE_COLOURS, strict=False)
    ]


def _terms(terms: LossTerms) -> Iterator[tuple[str, float]]:
    return ((name, getattr(terms, name)) for name in terms.__struct_fields__)


def in_words(
    schedule: Schedule, columns: Columns, metrics: Metrics, verdict: Verdict
) -> Iterator[str]:
    """Sentences that tell what the picture shows."""
    terms = verdict.terms
    problem, gpus = columns.problem, len(columns.problem.site.gpus)
    who = label(schedule.solver.name)
    if not metrics.served:
        yield f"{who} serves none of {_many(len(problem.jobs), 'request')}."
    else:
        yield (
            f"{who} serves {metrics.served} of {_many(len(problem.jobs), 'request')} in "
            f"{_many(metrics.batches, 'batch', 'batches')} on {_many(gpus, 'GPU')}, the last done "
            f"after {number(metrics.makespan_s)} s."
        )
        yield from _use(columns, metrics)
        yield (
            f"{label(str(metrics.wait_max_request))} waits longest, "
            f"{number(metrics.wait_max_s)} s; the mean latency is "
            f"{number(metrics.latency_mean_s)} s."
        )
    if columns.rejected:
        yield f"It rejects {_many(len(columns.rejected), 'request')}."
    if bounded := sum(job.deadline is not None for job in columns.members.jobs):
        yield f"{metrics.deadline_misses} of {_many(bounded, 'deadline')} are missed."
    largest = sorted(parts(terms), key=lambda part: -part.loss)
    if terms.total > 0:
        yield (
            f"The loss is {figure(terms.total)}, most of it {largest[0].name} "
            f"({percent(largest[0].share)})" + _proof(schedule, verdict)
        )


def _use(columns: Columns, metrics: Metrics) -> Iterator[str]:
    """How the GPUs spend their time."""
    gpus = columns.problem.site.gpus
    spent = (
        f"switching takes {percent(metrics.switching_share)} of GPU time, and "
        f"{percent(metrics.idle_share)} is idle"
    )
    busy = serving_shares(columns)
    if len(gpus) == 1:
        yield f"The GPU serves {percent(metrics.busy_share)} of that time; {spent}."
        return
    most = int(busy.argmax())
    yield (
        f"{label(gpus[most].id)} is busiest, serving {percent(float(busy[most]))} of that "
        f"time; over all GPUs {spent}."
    )


def serving_shares(columns: Columns) -> Floats:
    """Share of the time to the last batch's end that each GPU serves."""
    import numpy as np

    batches = columns.batches
    seconds = np.bincount(
        batches.gpu,
        weights=batches.end - batches.start,
        minlength=len(columns.problem.site.gpus),
    )
    return seconds / (columns.end or 1.0)


def _proof(schedule: Schedule, verdict: Verdict) -> str:
    """What is proven, as the end of a sentence; nothing is of a schedule that breaks rules."""
    if not verdict.ok:
        return "; the schedule is not valid."
    if schedule.status.point is SolutionStatus.OPTIMAL:
        return "; it is proven optimal."
    share = gap(verdict.loss, schedule.bound)
    return "." if share is None else f"; at most {percent(share)} of it could be saved."


def _many(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or one + 's'}"


def losing(lost: Sequence[Lost], problem: Problem) -> list[list[str]]:
    """The requests that lose most: id, adapter, and their loss by term."""
    return [
        [
            label(one.job.id),
            label(problem.site.adapter_ids[one.job.adapter]),
            *(figure(x) for x in (one.quality, one.latency, one.late, one.rejection, one.total)),
        ]
        for one in lost[:MOST_LOSING]
        if one.total > 0
    ]


def batch_rows(columns: Columns) -> list[list[str]]:
    """The first batches: GPU, start, end, adapters and requests, and when the GPU began on it."""
    site, members, batches = columns.problem.site, columns.members, columns.batches
    shown = min(MOST_BATCHES, len(batches.size))
    inside: list[list[int]] = [[] for _ in range(shown)]
    for place, batch in enumerate(members.batch.tolist()):
        if batch < shown:
            inside[batch].append(place)
    rows = []
    for k, places in enumerate(inside):
        jobs = [members.jobs[place] for place in places]
        adapters = dict.fromkeys(label(site.adapter_ids[job.adapter]) for job in jobs)
        more = f" and {len(jobs) - MOST_NAMED} more" if len(jobs) > MOST_NAMED else ""
        rows.append(
            [
                label(site.gpus[int(batches.gpu[k])].id),
                number(float(batches.first[k]), 6),
                number(float(batches.start[k]), 6),
                number(float(batches.end[k]), 6),
                str(len(jobs)),
                ", ".join(adapters),
                ", ".join(label(job.id) for job in jobs[:MOST_NAMED]) + more,
            ]
        )
    return rows
