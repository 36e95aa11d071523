"""Fewer classes: the most alike become one that is at least as easy as each of them.

A merged class asks for the least of each resource that its parts ask for, loses the least quality
at each step count, has the least weight, and no deadline. Any plan for the parts is one for the
merged class, at no more loss, so a bound on the latter bounds the former. What every job of a part
loses beyond the merged class is added back as a constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from pats_opt.model.problem import Job, JobOption, Problem
from pats_solvers.common.classes import JobClass


@dataclass(frozen=True, slots=True)
class MergedClasses:
    """Classes of one adapter, and the loss that merging them left out."""

    kinds: tuple[JobClass, ...]
    left_out: float = 0.0


def merge(problem: Problem, kinds: Sequence[JobClass], most: int) -> MergedClasses:
    """The classes of one adapter, merged until there are at most ``most``."""
    merged, left_out = list(kinds), 0.0
    while len(merged) > most:
        one, other = _most_alike(problem, merged)
        pair = merged[one], merged[other]
        both, lost = _union(problem, *pair)
        merged = [kind for i, kind in enumerate(merged) if i not in (one, other)] + [both]
        left_out += lost
    return MergedClasses(tuple(merged), left_out)


def _most_alike(problem: Problem, kinds: Sequence[JobClass]) -> tuple[int, int]:
    """The pair that loses least in being merged."""
    pairs = ((i, j) for i in range(len(kinds)) for j in range(i + 1, len(kinds)))
    return min(pairs, key=lambda pair: _distance(problem, kinds[pair[0]], kinds[pair[1]]))


def _distance(problem: Problem, one: JobClass, other: JobClass) -> tuple[float, float]:
    """Rough cost of merging for the bound: options, weight and deadline; then memory."""
    a, b = one.jobs[0], other.jobs[0]
    typical = 10 * max((problem.site.clock.quickest(o.steps) for o in a.options), default=1)
    losses = [{o.steps: o.quality_loss for o in job.options} for job in (a, b)]
    steps = losses[0].keys() | losses[1].keys()
    apart = sum(abs(losses[0].get(s, 1.0) - losses[1].get(s, 1.0)) for s in steps)
    apart += typical * abs(one.price - other.price)
    reject = [j.reject_loss for j in (a, b)]
    if reject[0] != reject[1]:
        apart += 1.0 if None in reject else abs((reject[0] or 0.0) - (reject[1] or 0.0))
    if (one.late_loss, a.deadline) != (other.late_loss, b.deadline):
        apart += max(one.late_loss, other.late_loss)
    # Deadlines are lost in any merger; a class that has lost its own has no more to lose.
    apart += 0.5 * (one.late_loss + other.late_loss)
    memory = sum(abs(x - y) / max(x, y) for x, y in zip(a.demand, b.demand, strict=True) if x != y)
    size = min(len(one.jobs), len(other.jobs))
    return (size * (apart + 0.1 * memory), memory)


def _union(problem: Problem, one: JobClass, other: JobClass) -> tuple[JobClass, float]:
    """Two classes as one, and the loss that it leaves out."""
    first = one.jobs[0]
    best: dict[int, float] = {}
    for kind in (one, other):
        for option in kind.jobs[0].options:
            at = best.get(option.steps, math.inf)
            best[option.steps] = min(at, option.quality_loss)
    rejects = [r for kind in (one, other) if (r := kind.reject_loss) is not None]
    price = min(one.price, other.price)
    easiest = msgspec.structs.replace(
        first,
        demand=tuple(map(min, one.jobs[0].demand, other.jobs[0].demand)),
        options=tuple(JobOption(s, 1.0, loss) for s, loss in sorted(best.items())),
        weight=min(first.weight, other.jobs[0].weight),
        deadline=None,
        reject_loss=min(rejects, default=None),
    )
    left_out = 0.0
    for kind in (one, other):
        left_out += len(kind.jobs) * _beyond(problem, kind, easiest, price)
    jobs = sorted((*one.jobs, *other.jobs), key=lambda job: (job.arrival, job.index))
    arrivals = np.array([job.arrival for job in jobs], dtype=np.int64)
    union = replace(
        one,
        jobs=tuple(_as(easiest, job) for job in jobs),
        ways=tuple(range(len(best))),
        price=price,
        reject_loss=easiest.reject_loss,
        late_loss=0.0,
        arrivals=arrivals,
        before=np.concatenate(([0], np.cumsum(arrivals))),
    )
    return union, left_out


def _beyond(problem: Problem, kind: JobClass, easiest: Job, price: float) -> float:
    """Least loss of each job of ``kind`` beyond that of the easiest, however it is served."""
    loss = {option.steps: option.quality_loss for option in easiest.options}
    clock = problem.site.clock
    ways = [
        option.quality_loss
        - loss[option.steps]
        + (0.0 if clock.slotted else (kind.price - price) * clock.quickest(option.steps))
        for option in kind.jobs[0].options
    ]
    if kind.reject_loss is not None and easiest.reject_loss is not None:
        ways.append(kind.reject_loss - easiest.reject_loss)
    return max(0.0, min(ways))


def _as(easiest: Job, job: Job) -> Job:
    return msgspec.structs.replace(
        easiest, index=job.index, id=job.id, position=job.position, arrival=job.arrival
    )
