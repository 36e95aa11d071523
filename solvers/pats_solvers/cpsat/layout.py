"""Plans in the shape the model has: batches in order per GPU, timed as early as they can be.

The model keeps one of many equivalent plans (identical GPUs in order of their first request,
interchangeable requests first come first served); :func:`normal` turns any plan into that one,
without raising its loss, so that a warm start is a solution of the model.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import msgspec

from pats_opt.model.plan import Plan, PlannedBatch, earliest
from pats_opt.model.problem import Adapters, Job, Problem
from pats_solvers.common.loading import timed_beside_loads


def timed(problem: Problem, plan: Plan) -> Plan:
    """Return a plan's batches in their order, each as early as arrivals and switches allow.

    With loads beside serving these keep their place in the order, and need not be in ``resident``.
    """
    if problem.site.channels is None:
        untimed = [[(batch.members, batch.resident) for batch in gpu] for gpu in plan.gpus]
        return Plan(tuple(earliest(problem, gpu, batches) for gpu, batches in enumerate(untimed)))
    return timed_beside_loads(problem, plan)


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


def normal(problem: Problem, plan: Plan, kept: Sequence[Adapters]) -> Plan:
    """Return a plan in the model's order, without residents not ``kept`` (per GPU).

    Starts stay as they are; :func:`timed` makes them early.
    """
    gpus = _first_come_first_served(problem, plan, kept)
    order = list(range(len(gpus)))
    for group in identical_gpus(problem):
        for g, source in zip(group, sorted(group, key=lambda g: _first_job(gpus[g])), strict=True):
            order[g] = source
    loads = tuple(plan.loads[g] for g in order) if plan.loads else ()
    return Plan(tuple(gpus[g] for g in order), loads)


def by_steps(job: Job) -> list[int]:
    """Return the job's options by step count."""
    return sorted(range(len(job.options)), key=lambda o: (job.options[o].steps, o))


def _first_job(batches: Sequence[PlannedBatch]) -> tuple[bool, int]:
    jobs = [j for batch in batches for j, _ in batch.members]
    return (not jobs, min(jobs, default=0))


def _first_come_first_served(
    problem: Problem, plan: Plan, kept: Sequence[Adapters]
) -> list[tuple[PlannedBatch, ...]]:
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
        tuple(
            msgspec.structs.replace(
                batch,
                members=tuple((takes.get((g, b, j), j), o) for j, o in batch.members),
                resident=batch.resident & kept[g],
            )
            for b, batch in enumerate(gpu)
        )
        for g, gpu in enumerate(plan.gpus)
    ]
