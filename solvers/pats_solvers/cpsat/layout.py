"""Plans in the shape the model has: batches in order per GPU, timed as early as they can be.

The model keeps one of many equivalent plans (identical GPUs in order of their first request,
interchangeable requests first come first served); :func:`normal` turns any plan into that one,
without raising its loss, so that a warm start is a solution of the model.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from pats_opt.model.plan import Plan, earliest
from pats_opt.model.problem import Adapters, Job, Problem


@dataclass(frozen=True, slots=True)
class OrderedBatch:
    """A batch that has no start yet: members ``(job, option)`` and residents."""

    members: tuple[tuple[int, int], ...]
    resident: Adapters


def timed(problem: Problem, gpus: Sequence[Sequence[OrderedBatch]]) -> Plan:
    """Return the plan that starts every batch as early as arrivals and switches allow."""
    untimed = [[(batch.members, batch.resident) for batch in gpu] for gpu in gpus]
    return Plan(tuple(earliest(problem, gpu, batches) for gpu, batches in enumerate(untimed)))


def identical_gpus(problem: Problem) -> list[list[int]]:
    """Return groups of GPUs with equal capacity and residents: they can swap all their batches."""
    alike: dict[Hashable, list[int]] = {}
    for gpu in problem.site.gpus:
        alike.setdefault((gpu.capacity, gpu.resident), []).append(gpu.index)
    return list(alike.values())


def interchangeable(problem: Problem) -> list[list[int]]:
    """Return groups of 2 or more jobs that can be served first come first served at no loss.

    Jobs alike in adapter, demand, options and weight can trade batches as long as each has arrived.
    Take the served jobs of a group in order of arrival, and their places (batch and option) in
    order of start: by the i-th place's start at least i of the jobs have arrived, so the i-th job
    can take it. The sums of quality losses, of completion ticks and of arrivals stay the same. A
    priced deadline breaks this (it may matter which job is late), so jobs that have one must have
    equal deadlines and arrivals as well: then they are the same job twice.
    """
    priced = problem.site.late_price > 0
    groups: dict[Hashable, list[int]] = {}
    for job in problem.jobs:
        late = (job.deadline, job.arrival) if priced and job.deadline is not None else None
        options = tuple((o.steps, o.quality_loss) for o in job.options)
        key = (job.adapter, job.demand, options, job.weight, job.reject_loss, late)
        groups.setdefault(key, []).append(job.index)
    return [group for group in groups.values() if len(group) > 1]


def normal(problem: Problem, plan: Plan, kept: Sequence[Adapters]) -> list[list[OrderedBatch]]:
    """Return a plan's batches in the model's order, without residents not ``kept`` (per GPU)."""
    gpus = [
        [OrderedBatch(b.members, b.resident & kept[g]) for b in gpu]
        for g, gpu in enumerate(plan.gpus)
    ]
    gpus = _first_come_first_served(problem, plan, gpus)
    for group in identical_gpus(problem):
        parts = sorted((gpus[g] for g in group), key=_first_job)
        for g, part in zip(group, parts, strict=True):
            gpus[g] = part
    return gpus


def by_steps(job: Job) -> list[int]:
    """Return the job's options by step count."""
    return sorted(range(len(job.options)), key=lambda o: (job.options[o].steps, o))


def _first_job(batches: list[OrderedBatch]) -> tuple[bool, int]:
    jobs = [j for batch in batches for j, _ in batch.members]
    return (not jobs, min(jobs, default=0))


def _first_come_first_served(
    problem: Problem, plan: Plan, gpus: list[list[OrderedBatch]]
) -> list[list[OrderedBatch]]:
    jobs = problem.jobs
    place = {
        j: (batch.start, jobs[j].options[o].steps, g, b, o)
        for g, gpu in enumerate(plan.gpus)
        for b, batch in enumerate(gpu)
        for j, o in batch.members
    }
    takes: dict[tuple[int, int, int], int] = {}  # place's (gpu, batch, former job) -> job
    for group in interchangeable(problem):
        served = [j for j in group if j in place]
        for j, former in zip(served, sorted(served, key=place.__getitem__), strict=True):
            takes[(*place[former][2:4], former)] = j
    return [
        [
            OrderedBatch(
                tuple((takes.get((g, b, j), j), o) for j, o in batch.members),
                batch.resident,
            )
            for b, batch in enumerate(gpu)
        ]
        for g, gpu in enumerate(gpus)
    ]
