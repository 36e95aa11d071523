"""The rule of ``pats`` restated plainly: every request scored one by one, no columns."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pats_opt.policy import GpuState, Start, State
from pats_opt.problem import Job, Site
from pats_solvers.online.dispatch.eviction import LeastRecentlyUsed
from pats_solvers.online.dispatch.options import fewest_steps
from pats_solvers.online.dispatch.packing import BatchBuilder, open_batch
from pats_solvers.online.pats import Pats

Jobs = dict[int, Job]


class PlainPats:
    """Decides as ``pats`` does. Evictions and what fits come from the shared packing."""

    def __init__(self, policy: Pats, site: Site) -> None:
        self.policy, self.site = policy, site
        self.victims = LeastRecentlyUsed(site)
        self.option = policy.chooser(site)

    def __call__(self, state: State) -> list[Start]:
        """Batches for the idle GPUs, the best pair of request and GPU first."""
        waiting, idle = dict(state.waiting), list(state.idle)
        starts: list[Start] = []
        while (found := self.lead(waiting, idle, state.tick)) is not None:
            batch, gpu, leader = found
            del waiting[leader.index]
            self.victims.served(
                gpu.index, gpu.resident, batch.resident, frozenset((leader.adapter,))
            )
            if self.policy.followers:
                self.follow(batch, gpu, leader, waiting, state.tick)
            starts.append(batch.start())
            idle.remove(gpu)
        return starts

    def lead(
        self, waiting: Jobs, idle: list[GpuState], tick: int
    ) -> tuple[BatchBuilder, GpuState, Job] | None:
        """The batch of the best leader that can end by the horizon, with its GPU."""
        site = self.site
        pairs = []
        for place, gpu in enumerate(idle):
            for job in waiting.values():
                active = frozenset((job.adapter,))
                if site.fits(gpu.index, active, (job,)):
                    after = gpu.resident | active
                    seconds = site.switch(gpu.resident, after, active, gpu.active).seconds
                    room = site.room(gpu.index, gpu.resident)
                    value = self.score(job, self.work_s(job) + seconds, gpu.index, room, tick)
                    pairs.append((value, -place, -job.index))
        for _, place, index in sorted(pairs, reverse=True):
            leader, gpu = waiting[-index], idle[-place]
            options = (self.option(leader), fewest_steps(leader))
            batch = open_batch(site, gpu, leader, options, tick=tick, victims=self.victims)
            if batch is not None:
                return batch, gpu, leader
        return None

    def follow(
        self, batch: BatchBuilder, gpu: GpuState, leader: Job, waiting: Jobs, tick: int
    ) -> None:
        """Add followers, scored again after each, as long as one can be added."""

        def rank(job: Job) -> tuple[float, int]:
            value = self.score(job, self.work_s(job), gpu.index, batch.free, tick)
            return value, -job.index

        while True:
            train = [job for job in waiting.values() if job.adapter == leader.adapter]
            for job in sorted(train, key=rank, reverse=True):
                if batch.add(job, self.option(job)):
                    del waiting[job.index]
                    break
            else:
                return

    def work_s(self, job: Job) -> float:
        """Seconds of ``job`` alone."""
        if self.site.clock.slotted:
            return self.site.tick_s
        return job.options[self.option(job)].steps * self.site.clock.step_s(1)

    def score(
        self, job: Job, effective_s: float, gpu: int, room: Sequence[int | None], tick: int
    ) -> float:
        """The score of one request."""
        value = (1.0 + self.policy.gamma * ((tick - job.arrival) * self.site.tick_s)) / effective_s
        capacity = [(i, most) for i, most in enumerate(self.site.gpus[gpu].capacity) if most]
        if not self.policy.use_cosine or len(capacity) < 2:
            return value
        square = length = dot = 0.0
        for i, most in capacity:
            need, left = job.demand[i] / most, (room[i] or 0) / most
            dot, square, length = dot + need * left, square + need * need, length + left * left
        scale = math.sqrt(square) * math.sqrt(length)
        return value * (min(dot / scale, 1.0) if scale > 0 else 1.0)
