"""A schedule in sentences and tables, from the data that its picture is drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pats_opt.model.checker import Verdict
from pats_opt.model.loss import LossTerms, gap
from pats_opt.model.problem import ids
from pats_opt.model.schedule import Schedule, SolutionStatus
from pats_opt.tables import Metrics, attainment, level_counts
from pats_opt.tables.service_levels import MULTIPLES, share_within
from pats_opt.views import style
from pats_opt.views.bars import served_legend
from pats_opt.views.view import Chart, ScheduleView
from pats_opt.wording import DASH, counted, figure, label, number, percent

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Floats

#: Batches that a page lists, and loads.
MOST_BATCHES = 300

#: Requests that a batch's row names.
MOST_NAMED = 6

#: Requests that a page lists as those that lose most.
MOST_LOSING = 10


class ServedLevel(NamedTuple):
    """A level: its name, colour, the requests served at it, and their share of all requests."""

    name: str
    colour: str
    requests: int
    share: float


class TermShare(NamedTuple):
    """A term of the loss: its name, colour, amount and share."""

    name: str
    colour: str
    loss: float
    share: float


def term_shares(terms: LossTerms) -> list[TermShare]:
    """The loss by term, with the share of each."""
    total = terms.total if terms.total > 0 else math.inf
    return [
        TermShare(name, colour, getattr(terms, name), getattr(terms, name) / total)
        for name, colour in zip(terms.__struct_fields__, style.BASE_COLOURS, strict=False)
    ]


def level_shares(view: ScheduleView) -> list[ServedLevel]:
    """The requests by level of approximate caching, then those not served; nothing without."""
    if not view.chart.levels:
        return []
    many = len(view.problem.jobs) or 1
    shares = [
        ServedLevel(key.name, key.colour, key.requests or 0, (key.requests or 0) / many)
        for key in served_legend(view.table).keys
    ]
    missing = many - sum(one.requests for one in shares)
    return [*shares, ServedLevel("not served", style.OTHER, missing, missing / many)]


def attainment_shares(view: ScheduleView) -> list[tuple[float, float]]:
    """Multiples of the deadline, and the share of requests served within each; none without."""
    if view.metrics.violation_share is None:
        return []
    found = attainment(view.table)
    return [(most, share_within(found, most)) for most in MULTIPLES]


def sentences(view: ScheduleView) -> Iterator[str]:
    """Yield sentences that describe the schedule."""
    metrics, chart, terms = view.metrics, view.chart, view.verdict.terms
    problem, gpus = view.problem, len(view.problem.site.gpus)
    name, requests = label(view.schedule.solver.name), counted(len(problem.jobs), "request")
    if not metrics.served:
        yield f"{name} serves none of {requests}."
    else:
        yield (
            f"{name} serves {metrics.served} of {requests} in "
            f"{counted(metrics.batches, 'batch', 'batches')} on {counted(gpus, 'GPU')}, the last "
            f"done after {number(metrics.makespan_s)} s."
        )
        yield from _use(chart, metrics)
        yield from _beside(metrics)
        yield (
            f"{label(str(metrics.wait_max_request))} waits longest, "
            f"{number(metrics.wait_max_s)} s; the mean latency is "
            f"{number(metrics.latency_mean_s)} s."
        )
    if chart.rejected:
        yield f"It rejects {counted(len(chart.rejected), 'request')}."
    if bounded := sum(job.deadline is not None for job in chart.table.jobs):
        yield f"{metrics.deadline_misses} of {counted(bounded, 'deadline')} are missed."
    if chart.levels and metrics.served:
        level, count = max(level_counts(view.table), key=lambda pair: pair[1])
        yield f"{count} of those served skip {level} steps, more than at any other level."
    if terms.total > 0:
        largest = max(term_shares(terms), key=lambda term: term.loss)
        yield (
            f"The loss is {figure(terms.total)}, most of it {largest.name} "
            f"({percent(largest.share)})" + _proof(view.schedule, view.verdict)
        )


def _use(chart: Chart, metrics: Metrics) -> Iterator[str]:
    """Use of the GPUs."""
    gpus = chart.problem.site.gpus
    switching, idle = percent(metrics.switching_share), percent(metrics.idle_share)
    spent = f"switching takes {switching} of GPU time, and {idle} is idle"
    busy = serving_shares(chart)
    if len(gpus) == 1:
        yield f"The GPU serves {percent(metrics.busy_share)} of that time; {spent}."
        return
    most = int(busy.argmax())
    yield (
        f"{label(gpus[most].id)} is busiest, serving {percent(float(busy[most]))} of that "
        f"time; over all GPUs {spent}."
    )


def _beside(metrics: Metrics) -> Iterator[str]:
    """Loads beside serving, where there are any."""
    if metrics.hidden_load_share is not None:
        yield (
            f"{percent(metrics.hidden_load_share)} of the time of its "
            f"{counted(metrics.loads, 'load')} is hidden behind serving; GPUs wait "
            f"{number(metrics.load_wait_s)} s for loads."
        )


def serving_shares(chart: Chart) -> Floats:
    """Return the share of the time to the last batch's end that each GPU serves."""
    import numpy as np

    batches, gpus = chart.seconds.batches, len(chart.problem.site.gpus)
    busy = batches.end - batches.start
    return np.bincount(batches.gpu, weights=busy, minlength=gpus) / (chart.seconds.makespan or 1.0)


def _proof(schedule: Schedule, verdict: Verdict) -> str:
    """End of a sentence on what is proven: nothing of a schedule that breaks rules."""
    if not verdict.ok:
        return "; the schedule is not valid."
    if schedule.status.point is SolutionStatus.OPTIMAL:
        return "; it is proven optimal."
    share = gap(verdict.loss, schedule.bound)
    return "." if share is None else f"; at most {percent(share)} of it could be saved."


def losing(chart: Chart) -> list[list[str]]:
    """Cells of the requests that lose most: id, adapter, and their loss by term."""
    adapter_ids = chart.problem.site.adapter_ids
    return [
        [label(one.job.id), label(adapter_ids[one.job.adapter]), *map(figure, one[1:])]
        for one in chart.losses()[:MOST_LOSING]
        if one.total > 0
    ]


def batch_rows(chart: Chart) -> list[list[str]]:
    """Cells of the first batches: GPU, switch start, start, end, size, adapters and requests."""
    site, batches = chart.problem.site, chart.seconds.batches
    jobs, stops = chart.table.jobs, batches.size.cumsum().tolist()
    rows = []
    for k in range(min(MOST_BATCHES, len(stops))):
        inside = jobs[stops[k] - int(batches.size[k]) : stops[k]]
        adapters = dict.fromkeys(label(site.adapter_ids[job.adapter]) for job in inside)
        more = f" and {len(inside) - MOST_NAMED} more" if len(inside) > MOST_NAMED else ""
        start = batches.start[k]
        times = (min(batches.switch_start[k], start), start, batches.end[k])
        rows.append(
            [
                label(site.gpus[int(batches.gpu[k])].id),
                *(number(float(time), 6) for time in times),
                str(len(inside)),
                ", ".join(adapters),
                ", ".join(label(job.id) for job in inside[:MOST_NAMED]) + more,
            ]
        )
    return rows


def load_rows(chart: Chart) -> list[list[str]]:
    """Cells of the first loads beside serving: GPU, times, adapter and what it evicts."""
    site, loads = chart.problem.site, chart.seconds.loads
    if loads is None:
        return []
    columns = (loads.gpu, loads.adapter, loads.start, loads.end, chart.hidden)
    return [
        [
            label(site.gpus[gpu].id),
            *(number(time, 6) for time in times),
            label(site.adapter_ids[adapter]),
            ", ".join(map(label, ids(site, evict))) or DASH,
        ]
        for evict, gpu, adapter, *times in zip(
            loads.evict[:MOST_BATCHES],
            *(column[:MOST_BATCHES].tolist() for column in columns),
            strict=True,
        )
    ]
