"""What waits at each adapter, in sums: how fast a GPU serves it, and how long that takes."""

from __future__ import annotations

from typing import NamedTuple

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.dispatch.options import Chooser
from pats_solvers.online.dispatch.waiting import Waiting


class Batch(NamedTuple):
    """A batch of a queue on a GPU.

    Attributes:
        full: Jobs that fit at once, if so many waited; all that wait where nothing limits it.
        size: Those that it takes.
        seconds: How long it runs, its switch left out.
    """

    full: int
    size: int
    seconds: float


class Demand:
    """The waiting jobs of each adapter, told :meth:`add` and :meth:`remove` by the rule that asks.

    A queue is taken for equal requests of its mean demand and mean steps, served in batches of as
    many as fit the GPU beside their adapter (of the whole queue where it is shorter). Answers are
    kept until the queue changes.
    """

    def __init__(self, site: Site, option: Chooser, waiting: Waiting) -> None:
        adapters = len(site.adapter_ids)
        self._site, self._option, self._waiting = site, option, waiting
        self._count = [0] * adapters
        self._steps = [0] * adapters
        self._weight = [0.0] * adapters
        self._amounts = [[0] * len(site.resources) for _ in range(adapters)]
        self._known: dict[int, dict[int, Batch]] = {}  # adapter -> GPU -> its answer

    def add(self, job: Job) -> None:
        """A job waits."""
        self._change(job, 1)

    def remove(self, job: Job) -> None:
        """A job waits no longer."""
        self._change(job, -1)
        if not self._count[job.adapter]:
            self._weight[job.adapter] = 0.0  # leaves no rounding behind

    def mean_weight(self, adapter: int) -> float:
        """Mean weight of the adapter's waiting jobs, of which there is one at least."""
        return self._weight[adapter] / self._count[adapter]

    def batch(self, adapter: int, gpu: GpuState) -> Batch:
        """A batch of the queue, in which a job waits at least, on ``gpu``."""
        known = self._known.setdefault(adapter, {})
        if gpu.index not in known:
            known[gpu.index] = self._batch(adapter, gpu.index)
        return known[gpu.index]

    def rate(self, adapter: int, gpu: GpuState) -> float:
        """Jobs a second that ``gpu`` serves of the queue, switching left out."""
        batch = self.batch(adapter, gpu)
        return batch.size / batch.seconds

    def work_s(self, adapter: int, gpu: GpuState) -> float:
        """Seconds that ``gpu`` takes to serve what it can hold of the queue, switching left out.

        0 where nothing waits there.
        """
        count = self._waiting.count(adapter, gpu.index)
        return count / self.rate(adapter, gpu) if count else 0.0

    def _change(self, job: Job, sign: int) -> None:
        adapter = job.adapter
        self._count[adapter] += sign
        self._steps[adapter] += sign * job.options[self._option(job)].steps
        self._weight[adapter] += sign * job.weight
        amounts = self._amounts[adapter]
        for i, amount in enumerate(job.demand):
            amounts[i] += sign * amount
        self._known.pop(adapter, None)

    def _batch(self, adapter: int, gpu: int) -> Batch:
        site, clock, count = self._site, self._site.clock, self._count[adapter]
        limits = [] if clock.largest is None else [clock.largest]
        amounts = self._amounts[adapter]
        for room, total in zip(site.room(gpu, frozenset((adapter,))), amounts, strict=True):
            if room is not None and total > 0:
                limits.append(room * count // total)
        full = max(1, min(limits, default=count))
        size = min(full, count)
        if clock.slotted:
            return Batch(full, size, site.tick_s)
        steps = self._steps[adapter] / count
        seconds = clock.overhead_s(size) + steps * clock.step_s(size)
        return Batch(full, size, max(site.tick_s, seconds))
