"""Moves of waiting requests between GPUs: an idle one steals, an overloaded one gives away."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pats_opt.model.problem import Amounts, Job
from pats_opt.model.timing import to_ticks
from pats_solvers.online.dispatch.fleet import BoundFleet
from pats_solvers.online.dispatch.routers import Router
from pats_solvers.online.dispatch.workload import Floats

#: Seconds of waiting from which on a GPU counts as overloaded.
LONGEST_WAIT_S = 3.0


def steal(fleet: BoundFleet, tick: int) -> set[int]:
    """Let idle GPUs for which nothing waits take a batch from others; return those that did.

    One takes from the GPU with the most work that is busy, or loads for a batch, and has a request
    that the thief can hold (ties: the first). It takes the earliest request of an adapter that it
    holds itself, where there is none the earliest of all; then those of the same adapter in order
    of arrival, as many as fit a batch. Source: work stealing (Blumofe and Leiserson 1999).
    """
    workload, runs, thieves = fleet.workload, fleet.runs, set[int]()
    if not workload.waiting.any():
        return thieves
    victims = [
        g for g in workload.waiting.nonzero()[0].tolist() if g not in fleet.idle or runs[g].decided
    ]
    for thief in sorted(fleet.idle) if victims else ():
        if workload.waiting[thief] or not workload.any_for(thief):
            continue
        work = workload.work(tick)
        for victim in sorted(victims, key=lambda g: (-work[g], g)):
            batch = _batch(fleet, thief, victim)
            for job in batch:
                fleet.move(job, thief)
            if batch:
                thieves.add(thief)
                break
    return thieves


def _batch(fleet: BoundFleet, thief: int, victim: int) -> list[Job]:
    """Return the requests that a thief takes."""
    site, hosts = fleet.workload.site, fleet.workload.hosts
    jobs = [job for job in fleet.runs[victim].movable() if thief in hosts(job)]
    held = fleet.workload.resident[thief]
    first = next((job for job in jobs if job.adapter in held), next(iter(jobs), None))
    batch: list[Job] = []
    if first is not None:
        resident = frozenset((first.adapter,))
        for job in jobs:
            if job.adapter == first.adapter:
                if not site.fits(thief, resident, [*batch, job]):
                    break
                batch.append(job)
    return batch


class Rebalancing:
    """Lets overloaded GPUs give waiting requests to others.

    A GPU is overloaded while its work exceeds the objective of its earliest waiting request, or
    that has waited for 3 s. Its waiting requests then move, those first that gain most by it: the
    gain is its work, less the estimate at the target (work, the request's own, and a load where the
    target has nothing of the adapter). The router says which GPUs are targets, none of them
    overloaded. It ends once the GPU is not overloaded, or the next move would gain nothing. Source:
    DualMap's published scheduler (A-zhudong/DualMap).

    Args:
        router: Names the targets.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._longest = to_ticks(LONGEST_WAIT_S, router.workload.site.tick_s)

    def __call__(self, fleet: BoundFleet, tick: int, looked_at: set[int]) -> set[int]:
        """Move requests away from overloaded GPUs among some; return those that got one."""
        got = set[int]()
        for source in sorted(looked_at):
            if self._overloaded(fleet, source, tick, fleet.workload.work(tick)):
                got.update(self._relieve(fleet, source, tick))
        return got

    def _overloaded(self, fleet: BoundFleet, gpu: int, tick: int, work: Floats) -> bool:
        first = next(iter(fleet.runs[gpu].waiting.values()), None)
        if first is None:
            return False
        late = tick - first.arrival >= self._longest
        return late or bool(work[gpu] > fleet.workload.objective(first))

    def _busy(self, fleet: BoundFleet, tick: int, work: Floats) -> frozenset[int]:
        everyone = range(len(fleet.runs))
        return frozenset([g for g in everyone if self._overloaded(fleet, g, tick, work)])

    def _relieve(self, fleet: BoundFleet, source: int, tick: int) -> Iterator[int]:
        """Move requests away from a GPU, and yield where each goes."""
        workload = fleet.workload
        work = workload.work(tick)
        busy = self._busy(fleet, tick, work)
        if len(busy) == len(fleet.runs):
            return
        costs: dict[tuple[int, Amounts, int], float] = {}  # alike for requests that are alike
        ranked = []
        for job in fleet.runs[source].movable():
            kind = job.adapter, job.demand, workload.steps(job)
            if kind not in costs:
                costs[kind] = self._best(fleet, job, source, busy, work)[0]
            ranked.append((costs[kind], job.index, job))
        for _, _, job in sorted(ranked):
            cost, target = self._best(fleet, job, source, busy, work)
            if cost >= 0.0:
                return
            fleet.move(job, target)
            yield target
            work = workload.work(tick)
            if not self._overloaded(fleet, source, tick, work):
                return
            busy = self._busy(fleet, tick, work)

    def _best(
        self, fleet: BoundFleet, job: Job, source: int, busy: frozenset[int], work: Floats
    ) -> tuple[float, int]:
        """Return the least cost of moving a job, infinite where it cannot, and the target."""
        workload = fleet.workload
        targets = self._router.targets(job, source, busy)
        if not targets:
            return math.inf, source
        there = work + workload.to_load(job.adapter) - work[source]
        return min([(float(there[g]) + workload.own(job, g), g) for g in targets])
