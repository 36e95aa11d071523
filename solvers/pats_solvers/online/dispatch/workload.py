"""Work of each GPU as the router estimates it: requests that wait and run, and their seconds.

All seconds are whole nanoseconds in floats, so that sums are exact and a GPU that has served all
it had has no rounding left.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Adapters, Amounts, Job, Site
from pats_solvers.online.common.options import Chooser
from pats_solvers.online.common.queue import Hosts, hosts_of

Floats = NDArray[np.float64]

#: Nanoseconds of a second.
NS = 1e9

#: A request without deadline has an objective of so many times what it takes alone, load included.
SERVICES = 3.0


class Workload:
    """Requests bound to each GPU, and the work that they are.

    A request's work is its share of a full batch of its like: with b requests of its demand beside
    their adapter on the GPU (as many as fit; one, where nothing limits them), the time of a batch
    of b with its steps, over b.

    Args:
        site: The fleet.
        option: The option that a request is expected to get.

    Attributes:
        site: The fleet.
        waiting: Requests bound to each GPU that no batch has started with.
        running: Requests in each GPU's batch in progress.
        resident: Adapters that each GPU holds.
        hosts: Gives the GPUs that can hold a job alone.
    """

    def __init__(self, site: Site, option: Chooser) -> None:
        self.site = site
        count = len(site.gpus)
        self.waiting: Floats = np.zeros(count)
        self.running: Floats = np.zeros(count)
        self._queued: Floats = np.zeros(count)  # nanoseconds of those waiting
        self._free_at: Floats = np.zeros(count)  # ticks
        self._held: Floats = np.zeros((len(site.adapter_ids), count))  # waiting ones, and resident
        self.resident: list[Adapters] = [frozenset()] * count
        self._option = option
        self._tick_ns = float(round(site.tick_s * NS))
        self._waiting_for = Counter[Hosts]()
        self.hosts = hosts_of(site)
        self._shares: dict[tuple[int, Amounts, int, int], float] = {}
        self._bound: dict[int, float] = {}  # by waiting job: nanoseconds on its GPU
        alike: dict[tuple[int | None, ...], int] = {}
        self._kind = [alike.setdefault(gpu.capacity, gpu.index) for gpu in site.gpus]

    def add(self, job: Job, gpu: int) -> None:
        """Count a job that waits at a GPU from now on."""
        own = self._bound[job.index] = self.own(job, gpu)
        self.waiting[gpu] += 1
        self._queued[gpu] += own
        self._held[job.adapter, gpu] += 1
        self._waiting_for[self.hosts(job)] += 1

    def remove(self, job: Job, gpu: int) -> None:
        """Leave out a job that waits at a GPU no longer."""
        self.waiting[gpu] -= 1
        self._queued[gpu] -= self._bound.pop(job.index)
        self._held[job.adapter, gpu] -= 1
        self._waiting_for[self.hosts(job)] -= 1

    def any_for(self, gpu: int) -> bool:
        """Whether a job waits anywhere that a GPU can hold."""
        return any(count and gpu in hosts for hosts, count in self._waiting_for.items())

    def observe(self, gpu: GpuState) -> None:
        """Take in when a GPU will be idle, and what it holds."""
        g, before = gpu.index, self.resident[gpu.index]
        self._free_at[g] = gpu.free_at
        if gpu.resident is not before:
            for adapter in before - gpu.resident:
                self._held[adapter, g] -= 1
            for adapter in gpu.resident - before:
                self._held[adapter, g] += 1
            self.resident[g] = gpu.resident

    def work(self, tick: int) -> Floats:
        """Nanoseconds of work of each GPU: its waiting requests, and the rest of its batch."""
        left: Floats = np.maximum(self._free_at - tick, 0.0)
        return self._queued + left * self._tick_ns

    def steps(self, job: Job) -> int:
        """Steps that a job is expected to run."""
        return job.options[self._option(job)].steps

    def own(self, job: Job, gpu: int) -> float:
        """Nanoseconds that a job adds to a GPU's work: its share of a full batch."""
        steps = self.steps(job)
        key = job.adapter, job.demand, steps, self._kind[gpu]
        if key not in self._shares:
            size = self._full(job, gpu)
            ticks = self.site.clock.duration(((steps, size),))
            self._shares[key] = float(round(ticks * self._tick_ns / size))
        return self._shares[key]

    def has(self, adapter: int) -> Floats:
        """How much each GPU has of an adapter: waiting requests, and one more where resident."""
        held: Floats = self._held[adapter]
        return held

    def load(self, adapter: int) -> Floats | float:
        """Nanoseconds to load an adapter on each GPU, were it absent."""
        site = self.site
        if not site.pairs:
            return float(round(site.load_s[adapter] * NS))
        seconds = [site.load_seconds(adapter, resident) for resident in self.resident]
        return np.round(np.array(seconds) * NS)

    def to_load(self, adapter: int) -> Floats:
        """Nanoseconds to load an adapter on each GPU; 0 where it is resident or requests wait."""
        return np.where(self._held[adapter] > 0, 0.0, self.load(adapter))

    def objective(self, job: Job) -> float:
        """Nanoseconds in which a job is to be served: its deadline, or :data:`SERVICES`."""
        if job.deadline is not None:
            return job.deadline * self._tick_ns
        alone = self.site.clock.duration(((self.steps(job), 1),)) * self._tick_ns
        return SERVICES * (alone + self.site.load_s[job.adapter] * NS)

    def _full(self, job: Job, gpu: int) -> int:
        """Jobs like this one that fit a batch."""
        room = self.site.room(gpu, frozenset((job.adapter,)))
        limits = [
            free // need
            for free, need in zip(room, job.demand, strict=True)
            if free is not None and need > 0
        ]
        if self.site.clock.largest is not None:
            limits.append(self.site.clock.largest)
        return max(1, min(limits, default=1))


def least(values: Floats, hosts: Hosts) -> int:
    """Return the first of ``hosts`` with the least value."""
    if len(hosts) == len(values):
        return int(values.argmin())
    return min(hosts, key=values.__getitem__)
