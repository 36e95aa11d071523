"""Fix and optimize over GPUs: a few of them are planned anew with the requests that they serve.

Loss adds up over GPUs, so a few GPUs of a schedule, with the requests that they serve, are a
problem of their own, and what it gains the whole gains. It is small enough for what a whole fleet
is too large for: prices that settle, and wide beams. (POPMUSIC: Taillard and Voss, "Partial
optimization metaheuristic under special intensification conditions", 2002.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from msgspec.structs import replace

from pats_opt.core.solver import Run, Solver
from pats_opt.model.plan import Plan, PlannedBatch, PlannedLoad
from pats_opt.model.problem import Problem
from pats_solvers.common.incumbent import Incumbent

#: GPUs of a part, at most; fewer than all.
MOST = 3

#: Share of the time left that a round may take, divided by the number of disjoint parts.
SHARE = 0.25


class FleetPart(NamedTuple):
    """A part of a plan as a problem of its own.

    Attributes:
        gpus: Indices of its GPUs.
        problem: These, and the jobs that they serve or that nobody serves.
        plan: What the whole plan does with them.
        jobs: Index in the whole problem of each of its jobs.
    """

    gpus: tuple[int, ...]
    problem: Problem
    plan: Plan
    jobs: tuple[int, ...]

    @classmethod
    def of(cls, problem: Problem, plan: Plan, gpus: tuple[int, ...]) -> FleetPart:
        """Take GPUs out of a plan."""
        elsewhere = {
            job
            for g, batches in enumerate(plan.gpus)
            if g not in gpus
            for batch in batches
            for job, _ in batch.members
        }
        mine = [job for job in problem.jobs if job.index not in elsewhere]
        instance = replace(
            problem.instance,
            gpus=tuple(problem.instance.gpus[g] for g in gpus),
            requests=tuple(
                problem.instance.requests[position]
                for position in sorted(job.position for job in mine)
            ),
        )
        part = Problem(instance)
        index = problem.job_index()
        jobs = tuple(index[job.id] for job in part.jobs)
        within = {job: i for i, job in enumerate(jobs)}
        batches = tuple(_renamed(plan.gpus[g], within) for g in gpus)
        return cls(
            gpus, part, Plan(batches, tuple(plan.loads[g] for g in gpus if plan.loads)), jobs
        )

    def put_into(self, whole: Plan, part: Plan) -> Plan:
        """Return a whole plan whose GPUs of this part follow another plan of it."""
        outside = dict(enumerate(self.jobs))
        batches = list(whole.gpus)
        loads: list[tuple[PlannedLoad, ...]] = list(whole.loads)
        for place, g in enumerate(self.gpus):
            batches[g] = _renamed(part.gpus[place], outside)
            if part.loads:
                loads[g] = part.loads[place]
        return Plan(tuple(batches), tuple(loads))


def _renamed(batches: Sequence[PlannedBatch], names: Mapping[int, int]) -> tuple[PlannedBatch, ...]:
    """Return batches with other indices of their jobs."""
    return tuple(
        replace(batch, members=tuple(sorted((names[job], option) for job, option in batch.members)))
        for batch in batches
    )


class PartSearch:
    """Rounds that plan a few GPUs anew: one at a time, and where that changes nothing, more.

    Args:
        incumbent: Best plan of the whole fleet.
        solver: What plans the parts.
    """

    def __init__(self, incumbent: Incumbent, solver: Solver) -> None:
        from numpy.random import default_rng

        self._incumbent, self._solver = incumbent, solver
        self._count = len(incumbent.problem.site.gpus)
        self._rng = default_rng(incumbent.run.seed)
        self._queue: list[tuple[int, ...]] = []
        self._tried: dict[tuple[int, ...], tuple[tuple[PlannedBatch, ...], ...]] = {}

    @property
    def ended(self) -> bool:
        """Whether no part has changed since it was planned."""
        return self._incumbent.plan is None or self._next() is None

    def advance(self) -> None:
        """Plan a part anew that has changed since it was planned last."""
        incumbent, run, gpus = self._incumbent, self._incumbent.run, self._next()
        if incumbent.plan is None or gpus is None:
            return
        part = FleetPart.of(incumbent.problem, incumbent.plan, gpus)
        start = Incumbent(part.problem, Run())
        start.offer(part.plan)
        left, share = run.remaining(), SHARE * len(gpus) / self._count
        inner = Run(
            time_limit=None if left is None else share * left,
            seed=run.seed,
            jobs=run.jobs,
            start=start.start,
            interrupted=run.interrupted,
        )
        outcome = self._solver.solve(part.problem, inner)
        if outcome.plan is not None:
            incumbent.offer(part.put_into(incumbent.plan, outcome.plan))
        self._tried[gpus] = self._now(gpus)

    def _next(self) -> tuple[int, ...] | None:
        """Return the next part that has changed, small ones first, or None where none has."""
        while self._queue and not self._changed(self._queue[-1]):
            self._queue.pop()
        if not self._queue:
            for size in range(1, min(MOST, self._count - 1) + 1):
                parts = combinations(range(self._count), size)
                self._queue = [gpus for gpus in parts if self._changed(gpus)]
                if self._queue:
                    self._rng.shuffle(self._queue)
                    break
        return self._queue[-1] if self._queue else None

    def _changed(self, gpus: tuple[int, ...]) -> bool:
        return self._tried.get(gpus) != self._now(gpus)

    def _now(self, gpus: tuple[int, ...]) -> tuple[tuple[PlannedBatch, ...], ...]:
        plan = self._incumbent.plan
        return () if plan is None else tuple(tuple(plan.gpus[g]) for g in gpus)
