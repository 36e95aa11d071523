"""What a timeline comes to: the loss of PROBLEM.md section 6 in seconds, times, latencies.

The same functions price the schedule on the grid, the same without rounding, and the run; on the
grid they agree with the checker.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from pats_opt.execute.compare.document import Composition, Differences, Figure, TimedBatch, ratio
from pats_opt.model.loss import LossTerms, switching_loss
from pats_opt.model.problem import Job, Problem
from pats_opt.tables.statistics import quantile

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Floats


class Service(Struct, frozen=True, kw_only=True):
    """Figures of the service of a timeline, in the order they are told; None where none is."""

    served: int
    batches: int
    mean_batch: float | None
    switches: int
    latency_mean_s: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    latency_max_s: float | None
    wait_mean_s: float | None
    wait_p95_s: float | None
    wait_max_s: float | None


class Served(Struct, frozen=True, kw_only=True):
    """A request with its image, on a timeline, in seconds."""

    job: Job
    option: int
    latency_s: float
    wait_s: float


def served(problem: Problem, batches: Iterable[TimedBatch]) -> list[Served]:
    """The requests of a timeline that have their image; arrivals are those on the grid."""
    jobs, tick_s = {job.id: job for job in problem.jobs}, problem.site.tick_s
    found = []
    for batch in batches:
        for member in batch.members:
            if member.completion_s is not None:
                job = jobs[member.id]
                arrival_s = job.arrival * tick_s
                found.append(
                    Served(
                        job=job,
                        option=member.option,
                        latency_s=member.completion_s - arrival_s,
                        wait_s=batch.start_s - arrival_s,
                    )
                )
    return found


def loss_terms(
    problem: Problem, batches: Sequence[TimedBatch], unserved: Iterable[Job]
) -> LossTerms:
    """The loss of a timeline: latencies and deadlines in seconds, switching by seconds paid.

    Args:
        problem: The instance on the grid.
        batches: The timeline.
        unserved: Requests to charge as rejected; those that must be served count nothing.
    """
    site, done = problem.site, served(problem, batches)
    return LossTerms(
        quality=math.fsum([s.job.options[s.option].quality_loss for s in done]),
        latency=math.fsum([site.latency_price_per_s * s.job.weight * s.latency_s for s in done]),
        late=math.fsum([site.late_price * s.job.weight for s in done if is_late(problem, s)]),
        switching=math.fsum([switching_loss(site, b.paid_s) for b in batches]),
        rejection=math.fsum([job.reject_loss or 0.0 for job in unserved]),
    )


def is_late(problem: Problem, done: Served) -> bool:
    """Whether a deadline is missed, in seconds; the slack is the grid's."""
    deadline_s = problem.instance.requests[done.job.position].deadline_s
    return deadline_s is not None and done.latency_s > deadline_s + 1e-9 * problem.site.tick_s


def service(problem: Problem, batches: Sequence[TimedBatch]) -> Service:
    """The figures of a timeline."""
    import numpy as np

    done = served(problem, batches)
    latency = np.sort(np.array([s.latency_s for s in done], dtype=np.float64))
    wait = np.sort(np.array([s.wait_s for s in done], dtype=np.float64))
    return Service(
        served=len(done),
        batches=len(batches),
        mean_batch=len(done) / len(batches) if batches else None,
        switches=sum(bool(b.load) for b in batches),
        latency_mean_s=_mean(latency),
        latency_p50_s=quantile(latency, 0.5),
        latency_p95_s=quantile(latency, 0.95),
        latency_p99_s=quantile(latency, 0.99),
        latency_max_s=quantile(latency, 1.0),
        wait_mean_s=_mean(wait),
        wait_p95_s=quantile(wait, 0.95),
        wait_max_s=quantile(wait, 1.0),
    )


def makespan_s(batches: Iterable[TimedBatch]) -> float:
    """Seconds from 0 to the last batch's end."""
    return max([batch.end_s for batch in batches], default=0.0)


def figure(
    name: str,
    predicted: float | None,
    unrounded: float | None,
    measured: float | None,
    *,
    comparable: bool = True,
) -> Figure:
    """A figure with its ratios, which are left out where measured and predicted do not compare."""
    return Figure(
        name=name,
        predicted=predicted,
        unrounded=unrounded,
        measured=measured,
        ratio=ratio(predicted, measured) if comparable else None,
        unrounded_ratio=ratio(unrounded, measured) if comparable else None,
    )


def differences(
    problem: Problem, predicted: Sequence[TimedBatch], measured: Sequence[TimedBatch]
) -> Differences | None:
    """Measured less predicted latency of each request that both serve."""
    import numpy as np

    expected = {s.job.index: s.latency_s for s in served(problem, predicted)}
    took = [(s.job.index, s.latency_s) for s in served(problem, measured)]
    rising = np.sort(np.array([s - expected[j] for j, s in took if j in expected], dtype=float))
    if not len(rising):
        return None
    low, p5, p25, p50, p75, p95, high = (
        float(quantile(rising, q) or 0.0) for q in (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    )
    return Differences(
        count=len(rising),
        mean_s=float(rising.mean()),
        min_s=low,
        p5_s=p5,
        p25_s=p25,
        p50_s=p50,
        p75_s=p75,
        p95_s=p95,
        max_s=high,
    )


def composition(predicted: Sequence[TimedBatch], measured: Sequence[TimedBatch]) -> Composition:
    """How alike two sets of batches are."""
    simulated = {_members(batch) for batch in predicted}
    options = {m.id: m.option for batch in predicted for m in batch.members}
    run = {m.id: m.option for batch in measured for m in batch.members}
    both = options.keys() & run.keys()
    return Composition(
        simulated=len(predicted),
        live=len(measured),
        same=sum(_members(batch) in simulated for batch in measured),
        same_options=sum(options[name] == run[name] for name in both),
        both=len(both),
    )


def _members(batch: TimedBatch) -> frozenset[tuple[str, int]]:
    return frozenset([(m.id, m.option) for m in batch.members])


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
