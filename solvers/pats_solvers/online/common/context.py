"""The state of one run of a policy, and the steps that policies share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.common.batch import BatchBuilder, switching_seconds
from pats_solvers.online.common.eviction import Eviction
from pats_solvers.online.common.options import Chooser
from pats_solvers.online.common.queue import WaitingJobs

#: The GPU of the next batch and the request that leads it.
Leader = tuple[GpuState, Job]


class RunSetup(NamedTuple):
    """Site, rules and seed that a run starts from.

    Attributes:
        site: What is known from the start.
        option: Which option a job gets.
        eviction: Which residents go when room is needed.
        seed: Seed of random choices.
    """

    site: Site
    option: Chooser
    eviction: Eviction
    seed: int = 0


class RunContext:
    """One run of a policy: its site, its waiting jobs and the time.

    A policy with more to remember derives a class of its own.

    Attributes:
        site: What is known from the start.
        option: Which option a job gets.
        eviction: Which residents go when room is needed.
        seed: Seed of random choices.
        waiting: The waiting jobs.
        tick: The current tick.
    """

    def __init__(self, setup: RunSetup) -> None:
        self.site, self.option, self.eviction, self.seed = setup
        self.waiting = WaitingJobs(self.site)
        self.tick = 0

    def option_on(self, gpu: int, job: Job) -> int:  # noqa: ARG002 - for runs where it counts
        """Return the option that a job gets on a GPU: by default the same on all."""
        return self.option(job)

    def earliest(self, idle: Sequence[GpuState]) -> Leader | None:
        """Return the earliest job that an idle GPU can serve, on the GPU of least switching.

        Ties go to the first GPU. None where they can serve nothing.
        """
        return self._least_switching(self.waiting.leaders(idle))

    def least_switching(self, queues: Iterable[tuple[GpuState, Iterator[Job]]]) -> Leader | None:
        """Return the earliest of the jobs that head each GPU's queue, where it switches least.

        Ties go to the first GPU. None where all queues are empty.
        """
        return self._least_switching(
            [(gpu, job) for gpu, queue in queues if (job := next(queue, None))]
        )

    def _least_switching(self, heads: Sequence[Leader]) -> Leader | None:
        best, least = None, math.inf
        for leader in heads:
            gpu, job = leader
            if best is not None and job is not best[1]:
                if job.index > best[1].index:
                    continue
                least = math.inf
            if least > 0.0 and (seconds := switching_seconds(self.site, job.adapter, gpu)) < least:
                best, least = leader, seconds
        return best

    def switching_s(self, adapter: int, gpu: GpuState) -> float:
        """Seconds of loading or activation that a batch of ``adapter`` on ``gpu`` pays now."""
        return switching_seconds(self.site, adapter, gpu)

    def add_fitting(
        self,
        batch: BatchBuilder,
        jobs: Iterable[Job],
        *,
        load: bool = False,
        most: int | None = None,
        demands: int | None = None,
    ) -> None:
        """Add those of ``jobs`` that fit to the batch, in their order; the others are skipped.

        Args:
            batch: The batch, with its leader.
            jobs: Jobs that may join; members of the batch among them are left out.
            load: Whether adapters may be loaded for them.
            most: Largest number that joins.
            demands: Number of different demands among them, where it is known: once so many are
                too large, no other job can fit.
        """
        end = None if most is None else len(batch.jobs) + most
        members = {job.index for job in batch.jobs}
        too_large, refused = set(), set()
        for job in jobs:
            if batch.full or len(batch.jobs) == end:
                return
            need = job.adapter, job.demand
            if job.index in members or need in too_large:
                continue
            if not batch.admits(job, load=load):
                too_large.add(need)
                if len(too_large) == demands:
                    return
                continue
            chosen = self.option_on(batch.gpu.index, job)
            kind = need, job.options[chosen].steps
            if kind not in refused and not batch.add(job, chosen, load=load):
                refused.add(kind)  # it cannot end by the horizon, or its adapter has no room

    def add_same_adapter(self, batch: BatchBuilder) -> None:
        """Add waiting jobs of the leader's adapter that fit, in order of arrival."""
        adapter, waiting = batch.jobs[0].adapter, self.waiting
        jobs = waiting.of(adapter, batch.gpu.index)
        self.add_fitting(batch, jobs, demands=waiting.demands(adapter))

    def add_other_adapters(self, batch: BatchBuilder) -> None:
        """Where batches may mix adapters, add jobs of residents other than the leader's."""
        if self.site.max_per_batch > 1 and len(batch.resident) > 1:
            others = batch.resident - {batch.jobs[0].adapter}
            self.add_fitting(batch, self.waiting.among(others, batch.gpu.index))

    def add_loading(self, batch: BatchBuilder, jobs: Iterator[Job]) -> None:
        """Add those of ``jobs`` that fit, in their order, loading adapters for them.

        Args:
            batch: The batch, with its leader.
            jobs: In order of arrival, with all waiting jobs of the adapters that they use.
        """
        self.add_fitting(batch, self._open_to(batch, jobs), load=True)

    def _open_to(self, batch: BatchBuilder, jobs: Iterator[Job]) -> Iterator[Job]:
        """Those of ``jobs`` that the number of adapters allows while the batch grows.

        Once the batch uses ``max_per_batch`` adapters, only jobs of these go on, so that a decision
        does not walk over all that wait.
        """
        last = -1
        while len(batch.active) < self.site.max_per_batch:
            job = next(jobs, None)
            if job is None:
                return
            last = job.index
            yield job
        among = self.waiting.among(batch.active, batch.gpu.index)
        yield from (job for job in among if job.index > last)
