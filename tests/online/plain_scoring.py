"""Rules that rank requests by a score, restated plainly: requests scored one by one, no columns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

from pats_opt.core.policy import GpuState, Start, State
from pats_opt.model.problem import Job, Site
from pats_solvers.online.base import OnlinePolicy
from pats_solvers.online.common.batch import BatchBuilder, open_batch
from pats_solvers.online.common.eviction import LeastRecentlyUsed
from pats_solvers.online.common.options import fewest_steps
from pats_solvers.online.scored import Atcs

Jobs = dict[int, Job]


class Place(NamedTuple):
    """Where and when a request is scored: what it would pay there, and what is free."""

    switching_s: float
    gpu: int
    room: Sequence[int | None]
    tick: int


class PlainScoring(ABC):
    """Decides as a scored rule does. Evictions and what fits come from the shared packing."""

    #: Whether other residents' requests may follow where batches may mix adapters.
    mixes = True

    def __init__(self, policy: OnlinePolicy[Any], site: Site) -> None:
        self.site = site
        self.evict = LeastRecentlyUsed(site)
        self.option = policy.chooser(site)

    @abstractmethod
    def score(self, job: Job, at: Place) -> float:
        """The score of one request."""

    def __call__(self, state: State) -> list[Start]:
        """Batches for the idle GPUs, the best pair of request and GPU first."""
        waiting, idle = dict(state.waiting), list(state.idle)
        starts: list[Start] = []
        while (found := self.lead(waiting, idle, state.tick)) is not None:
            batch, leader = found
            del waiting[leader.index]
            self.follow(batch, leader, waiting, state.tick)
            gpu = batch.gpu
            self.evict.served(gpu.index, gpu.resident, batch.resident, batch.active)
            starts.append(batch.start())
            idle.remove(gpu)
        return starts

    def lead(
        self, waiting: Jobs, idle: list[GpuState], tick: int
    ) -> tuple[BatchBuilder, Job] | None:
        """The batch of the best leader that can end by the horizon."""
        failed = set[tuple[int, int]]()
        while True:
            bests = []
            for place, gpu in enumerate(idle):
                pairs = [
                    (self.leading(job, gpu, tick), -job.index)
                    for job in waiting.values()
                    if (place, job.index) not in failed
                    and self.site.fits(gpu.index, frozenset((job.adapter,)), (job,))
                ]
                if pairs:
                    score, index = max(pairs)
                    bests.append((score, -self.seconds(waiting[-index], gpu), -place, index))
            if not bests:
                return None
            _, _, place, index = max(bests)
            leader, gpu = waiting[-index], idle[-place]
            options = (self.option(leader), fewest_steps(leader))
            batch = open_batch(self.site, gpu, leader, options, tick=tick, evict=self.evict)
            if batch is not None:
                return batch, leader
            failed.add((-place, -index))

    def seconds(self, job: Job, gpu: GpuState) -> float:
        """Seconds of switching that a batch led by ``job`` pays."""
        active = frozenset((job.adapter,))
        return self.site.switch(gpu.resident, gpu.resident | active, active, gpu.active).seconds

    def leading(self, job: Job, gpu: GpuState, tick: int) -> float:
        """The score for leading."""
        room = self.site.room(gpu.index, gpu.resident)
        return self.score(job, Place(self.seconds(job, gpu), gpu.index, room, tick))

    def follow(self, batch: BatchBuilder, leader: Job, waiting: Jobs, tick: int) -> None:
        """Add followers, scored again after each, as long as one can be added."""
        adapters = {leader.adapter}
        if self.mixes and self.site.max_per_batch > 1:
            adapters |= batch.resident

        def rank(job: Job) -> tuple[float, int]:
            return self.score(job, Place(0.0, batch.gpu.index, batch.free, tick)), -job.index

        while True:
            train = [job for job in waiting.values() if job.adapter in adapters]
            for job in sorted(train, key=rank, reverse=True):
                if batch.add(job, self.option(job)):
                    del waiting[job.index]
                    break
            else:
                return

    def steps_s(self, job: Job) -> float:
        """Seconds of the steps of ``job`` alone."""
        if self.site.clock.slotted:
            return self.site.tick_s
        return job.options[self.option(job)].steps * self.site.clock.step_s(1)

    def service_s(self, job: Job) -> float:
        """Seconds of service of ``job`` alone."""
        return self.site.clock.overhead_s(1) + self.steps_s(job)

    def due_in_s(self, job: Job, tick: int) -> float:
        """Seconds until ``job`` is due."""
        return (job.arrival + (job.deadline or 0) - tick) * self.site.tick_s


class PlainSrpt(PlainScoring):
    """``srpt``."""

    def score(self, job: Job, at: Place) -> float:
        """Shortest first."""
        return -(self.service_s(job) + at.switching_s)


class PlainEdd(PlainScoring):
    """``edd``."""

    def score(self, job: Job, at: Place) -> float:
        """Earliest due date first."""
        return -self.due_in_s(job, at.tick)


class PlainMdd(PlainScoring):
    """``mdd``."""

    def score(self, job: Job, at: Place) -> float:
        """The due date, or the earliest finish where that is later."""
        return -max(self.service_s(job) + at.switching_s, self.due_in_s(job, at.tick))


class PlainAtcs(PlainScoring):
    """``atcs``, by the logarithm of its index."""

    def __init__(self, policy: Atcs, site: Site) -> None:
        super().__init__(policy, site)
        self.policy = policy
        self.work_s: list[float] = []
        sources: list[int | None] = [None, *range(len(site.load_s))]
        self.loads = [
            site.load_seconds(to, frozenset() if source is None else frozenset((source,)))
            for to in range(len(site.load_s))
            for source in sources
            if source != to
        ]

    def __call__(self, state: State) -> list[Start]:
        """Those that have arrived count in the mean."""
        self.work_s += [self.service_s(job) for job in state.arrived]
        return super().__call__(state)

    def score(self, job: Job, at: Place) -> float:
        """Weight per second of work, less for slack, less for a set-up."""
        work_s = self.service_s(job)
        mean_s = sum(self.work_s) / len(self.work_s)
        load_s = sum(self.loads) / len(self.loads)
        slack_s = max(self.due_in_s(job, at.tick) - work_s, 0.0)
        weight = job.weight if job.weight > 0 else 1e-300
        setup = at.switching_s / (self.policy.k2 * load_s) if load_s > 0 else 0.0
        return math.log(weight / work_s) - slack_s / (self.policy.k1 * mean_s) - setup
