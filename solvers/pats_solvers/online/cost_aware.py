"""Cost-aware routing: demand per second of switching, at the costs that switches had."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Adapters, Job, Site
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.packing import BatchBuilder, switching_seconds
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.stopwatch import Stopwatch
from pats_solvers.online.dispatch.visits import Draining, route

#: A switch between two states of a GPU: what decides its cost, and the adapter it makes ready.
Move = tuple[int | None, int]


class CostAware(QueuePolicy, frozen=True, kw_only=True):
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

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _CostAware(desk, self)


class Costs:
    """Seconds that switches take: as stated, then exponential moving averages of measurements."""

    def __init__(self, site: Site, newest: float) -> None:
        self._site, self._newest = site, newest
        self._average: dict[Move, float] = {}

    def move(self, resident: Adapters, adapter: int) -> Move:
        """The switch that loads ``adapter`` where ``resident`` is held, as estimates are kept."""
        source = next(iter(resident), None) if self._site.max_resident == 1 else None
        return source, adapter

    def learn(self, move: Move, stated_s: float, took_s: float) -> None:
        """A load took so many seconds; the instance had stated ``stated_s``."""
        known = self._average.get(move, stated_s)
        self._average[move] = known + self._newest * (took_s - known)

    def __call__(self, gpu: GpuState, adapter: int) -> float:
        """Seconds of switching that a batch of ``adapter`` on ``gpu`` would pay now."""
        stated_s = switching_seconds(self._site, adapter, gpu)
        if adapter in gpu.resident:
            return stated_s
        return self._average.get(self.move(gpu.resident, adapter), stated_s)


class _CostAware(Draining):
    def __init__(self, desk: Desk, policy: CostAware) -> None:
        super().__init__(desk, route("longest", desk))
        self._power = policy.power
        self.costs = Costs(desk.site, policy.newest)
        self._watch = Stopwatch[tuple[Move, float, int]]()

    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:
        """The own queue's head, or that of the queue with most demand per second of switching."""
        for gpu in idle:
            self._measure(gpu)
        return super().lead(idle, tick)

    def next_head(self, gpu: GpuState, tick: int) -> Job | None:  # noqa: ARG002
        """Where most waits per second of switching."""
        heads = self.free_heads(gpu)
        return max(heads.values(), key=lambda job: self._worth(gpu, job), default=None)

    def served(self, batch: BatchBuilder, tick: int) -> None:
        """Measures how long the load takes."""
        super().served(batch, tick)
        self._measure(batch.gpu)
        before = batch.gpu.resident
        loaded = batch.resident - before
        if len(loaded) == 1 and not self.site.clock.slotted:
            (adapter,) = loaded
            note = self.costs.move(before, adapter), self.site.load_seconds(adapter, before)
            self._watch.start(batch.gpu.index, tick, (*note, batch.ticks))

    def _worth(self, gpu: GpuState, head: Job) -> tuple[float, int, int]:
        count = self.waiting.count(head.adapter, gpu.index)
        price = self.costs(gpu, head.adapter) ** self._power
        return count / price if price > 0 else float("inf"), count, -head.index

    def _measure(self, gpu: GpuState) -> None:
        read = self._watch.read(gpu)
        if read is not None:
            ticks, (move, stated_s, batch_ticks) = read
            self.costs.learn(move, stated_s, (ticks - batch_ticks) * self.site.tick_s)
