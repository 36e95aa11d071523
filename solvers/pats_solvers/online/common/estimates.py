"""Estimates from what a run has shown so far: service and arrival rates, times of batches."""

from __future__ import annotations

import math
from typing import Annotated, Generic, NamedTuple, TypeVar

from msgspec import Meta

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.common.context import RunContext

#: How long an arrival counts in the estimate of a rate, seconds.
MemoryS = Annotated[float, Meta(gt=0, le=1e9, extra={"search": [5.0, 1000.0], "log": True})]

Note = TypeVar("Note")


class ExpectedBatch(NamedTuple):
    """A batch of a queue on a GPU.

    Attributes:
        full: Jobs that fit at once, if so many waited; all that wait where nothing limits it.
        size: Jobs in the batch.
        seconds: How long it runs, its switch left out.
    """

    full: int
    size: int
    seconds: float


class Demand:
    """Work that waits at each adapter, and the rate at which a GPU serves it.

    A queue is taken for equal requests of its mean demand and mean steps, served in batches of as
    many as fit the GPU beside their adapter (of the whole queue where it is shorter). Answers are
    kept until the queue changes.
    """

    def __init__(self, run: RunContext) -> None:
        adapters = len(run.site.adapter_ids)
        self._site, self._option, self._waiting = run.site, run.option, run.waiting
        self._count = [0] * adapters
        self._steps = [0] * adapters
        self._weight = [0.0] * adapters
        self._amounts = [[0] * len(run.site.resources) for _ in range(adapters)]
        self._known: dict[int, dict[int, ExpectedBatch]] = {}  # adapter -> GPU -> its batch
        run.waiting.followers.append(self)

    def add(self, job: Job) -> None:
        """Count a job that waits from now on."""
        self._change(job, 1)

    def remove(self, job: Job) -> None:
        """Leave out a job that waits no longer."""
        self._change(job, -1)
        if not self._count[job.adapter]:
            self._weight[job.adapter] = 0.0  # leaves no rounding behind

    def mean_weight(self, adapter: int) -> float:
        """Mean weight of the adapter's waiting jobs, of which there is one at least."""
        return self._weight[adapter] / self._count[adapter]

    def batch(self, adapter: int, gpu: GpuState) -> ExpectedBatch:
        """Return a batch of the queue, in which a job waits at least, on ``gpu``."""
        known = self._known.setdefault(adapter, {})
        if gpu.index not in known:
            known[gpu.index] = self._batch(adapter, gpu.index)
        return known[gpu.index]

    def rate(self, adapter: int, gpu: GpuState) -> float:
        """Jobs per second that ``gpu`` serves of the queue, switching left out."""
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

    def _batch(self, adapter: int, gpu: int) -> ExpectedBatch:
        site, clock, count = self._site, self._site.clock, self._count[adapter]
        limits = [] if clock.largest is None else [clock.largest]
        amounts = self._amounts[adapter]
        for room, total in zip(site.room(gpu, frozenset((adapter,))), amounts, strict=True):
            if room is not None and total > 0:
                limits.append(room * count // total)
        full = max(1, min(limits, default=count))
        size = min(full, count)
        if clock.slotted:
            return ExpectedBatch(full, size, site.tick_s)
        steps = self._steps[adapter] / count
        seconds = clock.overhead_s(size) + steps * clock.step_s(size)
        return ExpectedBatch(full, size, max(site.tick_s, seconds))


class ArrivalRates:
    """Arrivals per second of each adapter: a count in which an arrival's share decays with age.

    An arrival that is a seconds old counts exp(-a / memory_s) / memory_s. The estimate starts at 0,
    so it is low until about ``memory_s`` seconds have passed.
    """

    def __init__(self, site: Site, memory_s: float) -> None:
        self._memory_s, self._ticks = memory_s, memory_s / site.tick_s
        self._count = [0.0] * len(site.adapter_ids)
        self._at = [0] * len(site.adapter_ids)

    def arrived(self, adapter: int, tick: int) -> None:
        """Count an arrival of ``adapter`` at ``tick``."""
        self._count[adapter] = self._decayed(adapter, tick) + 1.0
        self._at[adapter] = tick

    def __call__(self, adapter: int, tick: int) -> float:
        """Return the arrivals per second."""
        return self._decayed(adapter, tick) / self._memory_s

    def _decayed(self, adapter: int, tick: int) -> float:
        return self._count[adapter] * math.exp((self._at[adapter] - tick) / self._ticks)


class BatchTimer(Generic[Note]):
    """Ticks from a decision to when its GPU is idle again, as a live server would measure them."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[int, int, Note]] = {}

    def start(self, gpu: int, decided: int, start: int, note: Note) -> None:
        """Start timing a batch, its switch included.

        Args:
            gpu: The GPU.
            decided: The tick at which it was decided on.
            start: The tick at which its switch is done.
            note: Given back by :meth:`read`.
        """
        self._running[gpu] = decided, start, note

    def read(self, gpu: GpuState) -> tuple[int, Note] | None:
        """Return the ticks that an idle GPU's last batch took, and its note; once per batch.

        None while the batch has not started: its adapters are being loaded beside serving.
        """
        if gpu.index not in self._running:
            return None
        decided, start, note = self._running[gpu.index]
        if gpu.free_at <= start:
            return None
        del self._running[gpu.index]
        return gpu.free_at - decided, note
