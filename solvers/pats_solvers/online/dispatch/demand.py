"""What waits at each adapter, in sums: how fast a GPU serves it, and how long that takes."""

from __future__ import annotations

from pats_opt.policy import GpuState
from pats_opt.problem import Job, Site
from pats_solvers.online.dispatch.options import Chooser
from pats_solvers.online.dispatch.waiting import Waiting


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
        self._known: dict[int, dict[int, tuple[int, float]]] = {}  # adapter -> GPU -> batch

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

    def batch(self, adapter: int, gpu: GpuState) -> tuple[int, float]:
        """How many jobs one batch of the queue takes on ``gpu``, and for how many seconds."""
        known = self._known.setdefault(adapter, {})
        if gpu.index not in known:
            known[gpu.index] = self._batch(adapter, gpu.index)
        return known[gpu.index]

    def rate(self, adapter: int, gpu: GpuState) -> float:
        """Jobs a second that ``gpu`` serves of the queue, switching left out."""
        size, seconds = self.batch(adapter, gpu)
        return size / seconds

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

    def _batch(self, adapter: int, gpu: int) -> tuple[int, float]:
        site, clock, count = self._site, self._site.clock, self._count[adapter]
        size = count if clock.largest is None else min(count, clock.largest)
        for room, total in zip(
            site.room(gpu, frozenset((adapter,))), self._amounts[adapter], strict=True
        ):
            if room is not None and total > 0:
                size = min(size, room * count // total)
        size = max(size, 1)
        if clock.slotted:
            return size, site.tick_s
        steps = self._steps[adapter] / count
        return size, max(site.tick_s, clock.overhead_s(size) + steps * clock.step_s(size))
