"""The index rule for families with set-up times of Duenyas and Van Oyen."""

from __future__ import annotations

from typing import ClassVar

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.demand import Demand
from pats_solvers.online.dispatch.packing import switching_seconds
from pats_solvers.online.dispatch.rates import MemoryS, Rates
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.visits import Visit, Visits, route


class FamilyIndex(QueuePolicy, frozen=True, kw_only=True):
    """Serve, or switch to, the adapter that earns most per second until its queue is empty.

    Rule: at each decision, of the adapters with waiting requests the one with the largest ::

        h mu (x + lambda D) / (x + mu D)

    where x is how many requests wait, D the seconds of switching to it now (0 for the active one,
    whose index is so h mu), h the price of their waiting: mean weight x latency price; the price is
    common to all and left out. mu is the service rate in requests a second: those that wait, taken
    for equal, in batches of as many as fit the GPU at once (all of them, where that is fewer), by
    the time of such a batch. lambda is the arrival rate, an exponentially decaying count, and mu
    where it is above it (a queue that outgrows the GPU). The index is the mean reward per second of
    switching to the queue and draining it: it serves (x + lambda D) mu / (mu - lambda) requests in
    (x + mu D) / (mu - lambda) seconds.

    An empty queue is never waited at. Ties go to the earlier head. Several GPUs: each goes where no
    other one visits, while such queues last. Several residents: D of a resident adapter is its
    activation time, if any. Source: Duenyas and Van Oyen, Heuristic scheduling of parallel
    heterogeneous queues with set-ups, Management Science 42 (1996), for one server and batches of
    one.

    Args:
        memory_s: How long an arrival counts in the estimate of its adapter's rate, seconds.
    """

    name: ClassVar[str] = "family-index"

    memory_s: MemoryS = 120.0

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _FamilyIndex(desk, self.memory_s)


class _FamilyIndex(Visits):
    def __init__(self, desk: Desk, memory_s: float) -> None:
        super().__init__(desk, route("oldest", desk))
        self._rates = Rates(desk.site, memory_s)
        self._demand = Demand(desk.site, desk.option, desk.waiting)

    def arrived(self, job: Job, tick: int) -> None:
        """A job waits."""
        self._rates.arrived(job.adapter, tick)
        self._demand.add(job)

    def left(self, job: Job) -> None:
        """A job waits no longer."""
        self._demand.remove(job)

    def stays(self, gpu: GpuState, visit: Visit, head: Job, tick: int) -> bool:  # noqa: ARG002
        """The index decides at each batch anew."""
        return False

    def next_head(self, gpu: GpuState, tick: int) -> Job | None:
        """The head of the queue with the largest index."""
        found, best = None, 0.0
        for head in self.free_heads(gpu).values():
            most = self._most(gpu, head.adapter)
            if found is not None and most < best:
                continue  # the index is h mu at the most
            index = self.index(gpu, head.adapter, tick)
            if found is None or (index, -head.index) > (best, -found.index):
                found, best = head, index
        return found

    def index(self, gpu: GpuState, adapter: int, tick: int) -> float:
        """The index of an adapter with waiting requests."""
        most = self._most(gpu, adapter)
        switch_s = switching_seconds(self.site, adapter, gpu)
        if switch_s == 0.0:
            return most
        served = self._demand.rate(adapter, gpu)
        waits = self.waiting.count(adapter, gpu.index)
        arrive = min(self._rates(adapter, tick), served)
        return most * (waits + arrive * switch_s) / (waits + served * switch_s)

    def _most(self, gpu: GpuState, adapter: int) -> float:
        """The part h mu of its index."""
        return self._demand.mean_weight(adapter) * self._demand.rate(adapter, gpu)
