"""Rules that go by order of arrival, restated plainly: every request tried, one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from pats_opt.core.policy import GpuState, Start, State
from pats_opt.model.problem import Job, Site
from pats_solvers.online.base import OnlinePolicy
from pats_solvers.online.common.batch import BatchBuilder, open_batch
from pats_solvers.online.common.eviction import LeastRecentlyUsed
from pats_solvers.online.common.options import fewest_steps

Jobs = dict[int, Job]


class PlainOrder(ABC):
    """Serves the first in an order, and goes on in an order. What fits is the shared packing's."""

    def __init__(self, policy: OnlinePolicy, site: Site) -> None:
        self.site = site
        self.evict = LeastRecentlyUsed(site)
        self.option = policy.chooser(site)

    def prefers(self, gpu: GpuState, job: Job) -> bool:  # noqa: ARG002
        """Whether ``gpu`` serves ``job`` before any GPU serves one that none prefers."""
        return False

    @abstractmethod
    def fill(self, batch: BatchBuilder, waiting: Jobs) -> None:
        """Add members."""

    def __call__(self, state: State) -> list[Start]:
        """Batches for the idle GPUs."""
        waiting, idle = dict(state.waiting), list(state.idle)
        starts: list[Start] = []
        while (batch := self.lead(waiting, idle, state.tick)) is not None:
            self.fill(batch, waiting)
            for job in batch.jobs:
                del waiting[job.index]
            gpu = batch.gpu
            self.evict.served(gpu.index, gpu.resident, batch.resident, batch.active)
            starts.append(batch.start())
            idle.remove(gpu)
        return starts

    def lead(self, waiting: Jobs, idle: list[GpuState], tick: int) -> BatchBuilder | None:
        """The first pair of request and GPU that can start."""
        pairs = []
        for place, gpu in enumerate(idle):
            for job in waiting.values():
                active = frozenset((job.adapter,))
                if self.site.fits(gpu.index, active, (job,)):
                    after = gpu.resident | active
                    seconds = self.site.switch(gpu.resident, after, active, gpu.active).seconds
                    pairs.append((not self.prefers(gpu, job), job.index, seconds, place))
        for _, index, _, place in sorted(pairs):
            job = waiting[index]
            options = (self.option(job), fewest_steps(job))
            batch = open_batch(self.site, idle[place], job, options, tick=tick, evict=self.evict)
            if batch is not None:
                return batch
        return None

    def add(self, batch: BatchBuilder, jobs: Iterable[Job]) -> None:
        """Go through ``jobs`` once."""
        for job in jobs:
            if job not in batch.jobs:
                batch.add(job, self.option(job), load=True)


class PlainFcfsGrouped(PlainOrder):
    """``fcfs-grouped``."""

    def fill(self, batch: BatchBuilder, waiting: Jobs) -> None:
        """All, in order of arrival."""
        self.add(batch, waiting.values())


class PlainAffinity(PlainOrder):
    """``affinity``."""

    def prefers(self, gpu: GpuState, job: Job) -> bool:
        """Its adapter is resident."""
        return job.adapter in gpu.resident

    def fill(self, batch: BatchBuilder, waiting: Jobs) -> None:
        """Residents' first."""
        resident = batch.resident
        self.add(
            batch, sorted(waiting.values(), key=lambda j: (j.adapter not in resident, j.index))
        )


class PlainBatchCompletion(PlainOrder):
    """``batch-completion``."""

    def __init__(self, policy: OnlinePolicy, site: Site) -> None:
        super().__init__(policy, site)
        self.running: dict[int, frozenset[int]] = {}

    def prefers(self, gpu: GpuState, job: Job) -> bool:
        """Its adapter is of the running set."""
        return job.adapter in self.running.get(gpu.index, ())

    def fill(self, batch: BatchBuilder, waiting: Jobs) -> None:
        """The running set's only, or where none of them leads a new set."""
        if self.prefers(batch.gpu, batch.jobs[0]):
            self.add(batch, (j for j in waiting.values() if self.prefers(batch.gpu, j)))
        else:
            self.add(batch, waiting.values())
            self.running[batch.gpu.index] = batch.active


class PlainVllmLora(PlainOrder):
    """``vllm-lora``."""

    def fill(self, batch: BatchBuilder, waiting: Jobs) -> None:
        """Sorted again after each admission, as the document's score says."""

        def score(job: Job) -> tuple[int, int]:
            return (0 if job.adapter in batch.active else 1 + job.arrival), job.index

        def admits() -> bool:
            left = sorted((j for j in waiting.values() if j not in batch.jobs), key=score)
            return any(batch.add(job, self.option(job), load=True) for job in left)

        while admits():
            pass
