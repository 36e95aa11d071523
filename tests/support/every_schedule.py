"""Every schedule of a tiny instance worth having: all trade-offs of latency against other losses.

For one GPU with one resident adapter. No loss term and no latency falls when a batch starts later,
so each batch starts as early as what comes before it allows, and what is tried is every next batch
with every option of its members, and every end at which the rest is rejected.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import NamedTuple

from pats_opt.core.solver import Feature
from pats_opt.model.loss import late_loss, switching_loss
from pats_opt.model.problem import Adapters, Job, Problem
from pats_opt.model.timing import shape_of

#: Features of the instances that can be enumerated.
ENUMERATED = frozenset(Feature) - {
    Feature.GPUS,
    Feature.RESIDENT,
    Feature.MIXED_BATCH,
    Feature.ACTIVATE,
}


class Outline(NamedTuple):
    """A schedule's loss without latency, and the latency of each request that it serves."""

    other: float = 0.0
    latency_s: tuple[tuple[Job, float], ...] = ()
    rejected: tuple[Job, ...] = ()

    @property
    def mean(self) -> float:
        """Mean seconds over those served; 0 where nobody is."""
        waits = [seconds for _, seconds in self.latency_s]
        return sum(waits) / len(waits) if waits else 0.0

    @property
    def p95(self) -> float:
        """The smallest latency that 95 % of those served do not exceed."""
        waits = sorted(seconds for _, seconds in self.latency_s)
        return next((w for i, w in enumerate(waits) if (i + 1) >= 0.95 * len(waits) - 1e-9), 0.0)

    def waited(self, budget_s: float) -> float:
        """Weight x latency of those served and weight x budget of those rejected, in all."""
        served = sum(job.weight * seconds for job, seconds in self.latency_s)
        return served + budget_s * sum(job.weight for job in self.rejected)


def every_schedule(problem: Problem) -> Iterator[Outline]:
    """All of them."""
    site = problem.site
    assert len(site.gpus) == 1
    assert site.max_resident == 1
    resident = site.gpus[0].resident
    yield from _from(problem, problem.jobs, Outline(), free=0, resident=resident)


def _from(
    problem: Problem,
    left: tuple[Job, ...],
    so_far: Outline,
    *,
    free: int,
    resident: Adapters,
) -> Iterator[Outline]:
    site = problem.site
    losses = [job.reject_loss for job in left]
    if None not in losses:
        rest = sum(loss for loss in losses if loss is not None)
        yield Outline(so_far.other + rest, so_far.latency_s, left)
    for batch in _batches(problem, left):
        after = frozenset({batch[0].adapter})
        switch = site.switch(resident, after, after, None)  # with one resident nothing is activated
        start = max(free + switch.ticks, *(job.arrival for job in batch))
        rest_of = tuple(job for job in left if job not in batch)
        for options in product(*(range(len(job.options)) for job in batch)):
            steps = [job.options[o].steps for job, o in zip(batch, options, strict=True)]
            shape = shape_of(steps)
            ends = dict(zip([s for s, _ in shape], site.clock.completions(shape), strict=True))
            end = start + site.clock.duration(shape)
            if site.horizon is not None and end > site.horizon:
                continue
            other, waits = so_far.other + switching_loss(site, switch.seconds), []
            for job, option, s in zip(batch, options, steps, strict=True):
                completion = start + ends[s]
                other += job.options[option].quality_loss + late_loss(site, job, completion)
                waits.append((job, (completion - job.arrival) * site.tick_s))
            grown = Outline(other, (*so_far.latency_s, *waits))
            yield from _from(problem, rest_of, grown, free=end, resident=after)


def _batches(problem: Problem, left: tuple[Job, ...]) -> Iterator[tuple[Job, ...]]:
    """Every set of the jobs left that share their adapter and fit."""
    site = problem.site
    for size in range(1, len(left) + 1):
        if site.clock.largest is not None and size > site.clock.largest:
            return
        for batch in combinations(left, size):
            if len({job.adapter for job in batch}) > 1:
                continue
            room = site.room(0, frozenset({batch[0].adapter}))
            used = [sum(job.demand[i] for job in batch) for i in range(len(room))]
            if all(free is None or u <= free for u, free in zip(used, room, strict=True)):
                yield batch
