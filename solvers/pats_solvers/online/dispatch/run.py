"""One run with requests bound to GPUs on arrival: who is asked at an event, and what it sees."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from itertools import compress
from operator import is_not

from pats_opt.core.policy import Action, GpuState, State, WakeAt
from pats_solvers.online.dispatch.fleet import BoundFleet
from pats_solvers.online.dispatch.moving import Rebalancing, steal
from pats_solvers.online.dispatch.routers import Router


class DispatchRun:
    """A fleet in one run: a router, and a policy on each GPU that sees only its own requests.

    A GPU's policy is asked when requests come to it or are withdrawn, when its batch, its switch or
    a load ends, and when its own timer is due; an event that is none of these for any GPU is
    everyone's. So an event takes no more work with more GPUs, but for one look at their states.

    Args:
        fleet: The GPUs.
        router: Binds requests to GPUs.
        steal: Whether idle GPUs take waiting requests from others.
        rebalance: Whether overloaded GPUs give waiting requests to others.
    """

    def __init__(self, fleet: BoundFleet, router: Router, *, steal: bool, rebalance: bool) -> None:
        self._fleet, self._router = fleet, router
        self._steal = steal
        self._rebalance = Rebalancing(router) if rebalance else None
        self._all = range(len(fleet.runs))
        self._gpus: Sequence[GpuState | None] = [None for _ in self._all]  # as last seen
        self._due: list[tuple[int, int]] = []  # a heap of ticks at which a GPU may have news

    def __call__(self, state: State) -> list[Action]:
        """Return what GPUs do next."""
        fleet, tick = self._fleet, state.tick
        asked = self._news(state)
        for job in state.withdrawn:
            asked.add(fleet.release(job))
        for job in state.arrived:
            gpu = self._router(job, fleet.workload.hosts(job), tick)
            fleet.bind(job, gpu)
            asked.add(gpu)
        asked = asked or set(self._all)
        if self._rebalance is not None:
            asked |= self._rebalance(fleet, tick, asked)
        actions = self._ask(asked, state)
        if self._steal and fleet.idle:
            actions += self._ask(steal(fleet, tick), state)
        return actions

    def _ask(self, gpus: set[int], state: State) -> list[Action]:
        actions = list[Action]()
        for g in sorted(gpus):
            for action in self._fleet.ask(state.gpus[g], state.tick):
                actions.append(action)
                if isinstance(action, WakeAt):
                    heappush(self._due, (action.tick, g))
        return actions

    def _news(self, state: State) -> set[int]:
        """Take in the states of the GPUs; return those that became idle, loaded, or are due."""
        gpus, tick, news = state.gpus, state.tick, set[int]()
        for g in compress(self._all, map(is_not, gpus, self._gpus)):
            if self._changed(self._gpus[g], gpus[g], tick):
                news.add(g)
        self._gpus = gpus
        while self._due and self._due[0][0] <= tick:
            g = heappop(self._due)[1]
            news.add(g)
            if gpus[g].free_at <= tick:
                self._idle(g)
        return news

    def _changed(self, before: GpuState | None, gpu: GpuState, tick: int) -> bool:
        """Take in a GPU's new state; whether its batch or a load has ended since the last."""
        fleet, g = self._fleet, gpu.index
        fleet.workload.observe(gpu)
        loading = {adapter for adapter, _ in gpu.loading}
        ended = not fleet.loading[g] <= loading
        for adapter, end in gpu.loading:
            if before is None or (adapter, end) not in before.loading:
                heappush(self._due, (end, g))
        fleet.loading[g] = loading
        if gpu.free_at <= tick:
            ended |= g not in fleet.idle
            self._idle(g)
        elif before is None or gpu.free_at != before.free_at:
            heappush(self._due, (gpu.free_at, g))
            fleet.idle.discard(g)
        return ended

    def _idle(self, g: int) -> None:
        self._fleet.idle.add(g)
        self._fleet.workload.running[g] = 0
