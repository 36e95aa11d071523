"""Polling policies that weigh what waits at a queue against the switch to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Adapters, Job
from pats_solvers.online.base import MaxWait
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunSetup
from pats_solvers.online.common.estimates import ArrivalRates, BatchTimer, Demand, MemoryS
from pats_solvers.online.common.visits import ROUTES, Heads, PollingRun, RouteRule, Visit
from pats_solvers.online.polling import PollingPolicy

#: A multiple of seconds.
Factor = Annotated[float, Meta(ge=0, le=1e9, extra={"search": [0.0, 10.0]})]

#: A load by what decides its cost: the adapter resident before it, and the adapter loaded.
Load = tuple[int | None, int]


class DemandRun(PollingRun):
    """Visits, and the work that waits at each queue."""

    def __init__(self, setup: RunSetup) -> None:
        super().__init__(setup)
        self.demand = Demand(self)


class Amortized(PollingPolicy[DemandRun], frozen=True, kw_only=True):
    """Serve the adapter at least for the next switch's cost, then leave if demand justifies it.

    Rule: let the route lead from here to queue b, with C seconds of switching, and let W be the
    seconds that a queue takes to serve in batches. The visit goes on while its own queue is not
    empty and one of these holds:

    * it has served for less than ``quantum`` x C seconds: the switch is not paid for yet, and while
      queues last at most 1 / (1 + quantum) of the time goes into switching;
    * W_b < ``demand`` x C: what waits there is not worth the switch;
    * W_b <= ``balance`` x W_own: less waits there than would be left behind.

    An empty queue is left at once. The bound on waiting, 60 s by default, holds whatever these say.
    With several residents a switch between them costs ``activate_s`` or nothing, so only the
    balance counts there. Several GPUs: each weighs its own visit against the queues that no other
    GPU visits. A queue's work is an estimate: requests of its mean demand and steps, in batches of
    as many as fit. Source: amortised service and its quantum "proportional to the switch cost to
    the next model" in the llmux scheduling problem, which leaves open what demand justifies.

    Args:
        quantum: Service of a visit, as a multiple of the next switch's seconds.
        demand: Work waiting at the next queue, as a multiple of the switch's seconds.
        balance: The same as a multiple of the own queue's work; 0: that does not matter.
        route: Where to go next: ``longest`` queue, ``cyclic`` order, ``cheapest`` switch or
            ``oldest`` head.
    """

    name: ClassVar[str] = "amortized"

    quantum: Factor = 1.0
    demand: Factor = 1.0
    balance: Annotated[float, Meta(ge=0, le=1e9, extra={"search": [0.0, 4.0]})] = 1.0
    route: RouteRule = "longest"
    max_wait_s: MaxWait = 60.0

    @override
    def new_run(self, setup: RunSetup) -> DemandRun:
        return DemandRun(setup)

    @override
    def stays(self, run: DemandRun, gpu: GpuState, visit: Visit, head: Job) -> bool:
        others = self._others(run, gpu, visit)
        if not others or visit.adapter in others:  # nothing waits elsewhere
            return True
        to = self.next_adapter(run, gpu, others)
        switch_s = run.switching_s(to, gpu)
        if visit.busy * run.site.tick_s < self.quantum * switch_s:
            return True
        waits_s = run.demand.work_s(to, gpu)
        own_s = run.demand.work_s(visit.adapter, gpu)
        return waits_s < self.demand * switch_s or waits_s <= self.balance * own_s

    @override
    def next_head(self, run: DemandRun, gpu: GpuState) -> Job | None:
        heads = self._others(run, gpu, run.visits.get(gpu.index))
        return heads[self.next_adapter(run, gpu, heads)] if heads else None

    @override
    def next_adapter(self, run: DemandRun, gpu: GpuState, heads: Heads) -> int:
        return ROUTES[self.route](run, gpu, heads)

    @override
    def served(self, run: DemandRun, batch: BatchBuilder) -> None:
        super().served(run, batch)
        run.visits[batch.gpu.index].busy += batch.ticks

    def _others(self, run: DemandRun, gpu: GpuState, visit: Visit | None) -> Heads:
        """Heads of the queues to go to: not the own one where there is another."""
        heads = run.free_heads(gpu)
        own = None if visit is None else visit.adapter
        return {a: job for a, job in heads.items() if a != own} or heads


class CostAwareRun(PollingRun):
    """Visits, and the seconds that loads take: as stated, then moving averages of measurements.

    Attributes:
        timer: Times batches that load one adapter; the note has the load, the seconds that the
            instance states for it, and the ticks of the batch itself.
    """

    def __init__(self, setup: RunSetup) -> None:
        super().__init__(setup)
        self.timer = BatchTimer[tuple[Load, float, int]]()
        self._average_s: dict[Load, float] = {}

    def load(self, resident: Adapters, adapter: int) -> Load:
        """Return the load of ``adapter`` where ``resident`` is held, as averages are kept."""
        source = next(iter(resident), None) if self.site.max_resident == 1 else None
        return source, adapter

    def learn(self, load: Load, stated_s: float, took_s: float, newest: float) -> None:
        """Move the average of a load to what it took, by the share ``newest``."""
        known_s = self._average_s.get(load, stated_s)
        self._average_s[load] = known_s + newest * (took_s - known_s)

    def expected_s(self, adapter: int, gpu: GpuState) -> float:
        """Seconds of switching to expect before a batch of ``adapter`` on ``gpu``."""
        stated_s = self.switching_s(adapter, gpu)
        if adapter in gpu.resident:
            return stated_s
        return self._average_s.get(self.load(gpu.resident, adapter), stated_s)


class CostAware(PollingPolicy[CostAwareRun], frozen=True, kw_only=True):
    """Serve the adapter until its queue is empty, then go where most waits per second of switching.

    Rule: of the queues the one with the largest (requests waiting) / C(from, to) ^ ``power``. Where
    C is 0 (a resident adapter without activation time) that is more than any other; ties go to the
    longer queue, then to the earlier head. Several GPUs: each goes where no other one visits.

    C(from, to) starts as the seconds that the instance states. After each load of one adapter it
    moves to what the load took: the time from the decision until the GPU was idle again, less the
    batch's. With ``max_resident`` 1 it is kept for each pair of adapters, above that for each
    adapter that is loaded, as then the time does not depend on the others. Where service is slotted
    switches take no time, so there is nothing to measure. Source: directional cost awareness in the
    llmux scheduling problem, whose own estimates are such averages too.

    Args:
        newest: Share of the newest measurement in the moving average, above 0 to 1.
        power: How much costs count: 0 not at all (that is the longest queue), 1 in proportion.
    """

    name: ClassVar[str] = "cost-aware"

    newest: Annotated[float, Meta(gt=0, le=1)] = 0.2
    power: Annotated[float, Meta(ge=0, le=100, extra={"search": [0.0, 3.0]})] = 1.0

    @override
    def new_run(self, setup: RunSetup) -> CostAwareRun:
        return CostAwareRun(setup)

    @override
    def select_leader(self, run: CostAwareRun, idle: Sequence[GpuState]) -> Leader | None:
        for gpu in idle:
            self._measure(run, gpu)
        return super().select_leader(run, idle)

    @override
    def next_adapter(self, run: CostAwareRun, gpu: GpuState, heads: Heads) -> int:
        def worth(adapter: int) -> tuple[float, int, int]:
            count = run.waiting.count(adapter, gpu.index)
            cost = run.expected_s(adapter, gpu) ** self.power
            return count / cost if cost > 0 else float("inf"), count, -heads[adapter].index

        return max(heads, key=worth)

    @override
    def served(self, run: CostAwareRun, batch: BatchBuilder) -> None:
        super().served(run, batch)
        self._measure(run, batch.gpu)
        before = batch.gpu.resident
        loaded = batch.resident - before
        if len(loaded) == 1 and not run.site.clock.slotted:
            (adapter,) = loaded
            note = run.load(before, adapter), run.site.load_seconds(adapter, before), batch.ticks
            run.timer.start(batch.gpu.index, run.tick, batch.start_tick, note)

    def _measure(self, run: CostAwareRun, gpu: GpuState) -> None:
        read = run.timer.read(gpu)
        if read is not None:
            ticks, (load, stated_s, batch_ticks) = read
            took_s = (ticks - batch_ticks) * run.site.tick_s
            run.learn(load, stated_s, took_s, self.newest)


class FamilyRun(DemandRun):
    """Visits, the work that waits at each queue, and arrival rates."""

    def __init__(self, setup: RunSetup, memory_s: float) -> None:
        super().__init__(setup)
        self.rates = ArrivalRates(setup.site, memory_s)


class FamilyIndex(PollingPolicy[FamilyRun], frozen=True, kw_only=True):
    """Serve, or switch to, the adapter that earns most per second until its queue is empty.

    Rule: at each decision, of the adapters with waiting requests the one with the largest ::

        h mu (x + lambda D) / (x + mu D)

    where x is how many requests wait, D the seconds of switching to it now (0 for the active one,
    whose index is so h mu), h the price of their waiting: mean weight x latency price; the price is
    common to all and left out. mu is the service rate in requests per second: those that wait,
    taken for equal, in batches of as many as fit the GPU at once (all of them, where that is
    fewer), by the time of such a batch. lambda is the arrival rate, an exponentially decaying
    count, and mu where it is above it (a queue that outgrows the GPU). The index is the mean reward
    per second of switching to the queue and draining it: it serves (x + lambda D) mu / (mu -
    lambda) requests in (x + mu D) / (mu - lambda) seconds.

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

    @override
    def new_run(self, setup: RunSetup) -> FamilyRun:
        return FamilyRun(setup, self.memory_s)

    @override
    def arrived(self, run: FamilyRun, job: Job) -> None:
        run.rates.arrived(job.adapter, run.tick)

    @override
    def stays(self, run: FamilyRun, gpu: GpuState, visit: Visit, head: Job) -> bool:
        return False  # the index decides at each batch anew

    @override
    def next_adapter(self, run: FamilyRun, gpu: GpuState, heads: Heads) -> int:
        found, best = -1, 0.0
        for adapter, head in heads.items():
            if found >= 0 and self._largest(run, gpu, adapter) < best:
                continue
            index = self.index(run, gpu, adapter)
            if found < 0 or (index, -head.index) > (best, -heads[found].index):
                found, best = adapter, index
        return found

    def index(self, run: FamilyRun, gpu: GpuState, adapter: int) -> float:
        """Return the index of an adapter with waiting requests."""
        largest, switch_s = self._largest(run, gpu, adapter), run.switching_s(adapter, gpu)
        if switch_s == 0.0:
            return largest
        mu = run.demand.rate(adapter, gpu)
        x = run.waiting.count(adapter, gpu.index)
        arrivals = min(run.rates(adapter, run.tick), mu)
        return largest * (x + arrivals * switch_s) / (x + mu * switch_s)

    def _largest(self, run: FamilyRun, gpu: GpuState, adapter: int) -> float:
        """The part h mu of an adapter's index, which the index does not exceed."""
        return run.demand.mean_weight(adapter) * run.demand.rate(adapter, gpu)
