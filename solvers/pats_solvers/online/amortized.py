"""Amortised switching: serve for as long as the next switch takes, then leave for enough demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from msgspec import Meta

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.base import MaxWait, QueuePolicy
from pats_solvers.online.dispatch.demand import Demand
from pats_solvers.online.dispatch.packing import switching_seconds
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.visits import RouteRule, Visit, Visits, route

#: A multiple of seconds.
Factor = Annotated[float, Meta(ge=0, le=1e9, extra={"search": [0.0, 10.0]})]


class Amortized(QueuePolicy, frozen=True, kw_only=True):
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

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Amortized(desk, self)


class _Amortized(Visits):
    def __init__(self, desk: Desk, policy: Amortized) -> None:
        super().__init__(desk, route(policy.route, desk))
        self._policy = policy
        self._demand = Demand(desk.site, desk.option, desk.waiting)

    def arrived(self, job: Job, tick: int) -> None:  # noqa: ARG002
        """A job waits."""
        self._demand.add(job)

    def left(self, job: Job) -> None:
        """A job waits no longer."""
        self._demand.remove(job)

    def free_heads(self, gpu: GpuState) -> Mapping[int, Job]:
        """Heads of the queues to go to: not the own one where there is another."""
        heads = super().free_heads(gpu)
        visit = self.visits.get(gpu.index)
        own = None if visit is None else visit.adapter
        return {a: job for a, job in heads.items() if a != own} or heads

    def stays(self, gpu: GpuState, visit: Visit, head: Job, tick: int) -> bool:  # noqa: ARG002
        """Until the switch is paid for and demand justifies it."""
        policy, others = self._policy, self.free_heads(gpu)
        if not others or visit.adapter in others:  # nobody waits elsewhere
            return True
        to = self.where(gpu, others)
        switch_s = switching_seconds(self.site, to, gpu)
        if visit.busy * self.site.tick_s < policy.quantum * switch_s:
            return True
        waits_s = self._demand.work_s(to, gpu)
        own_s = self._demand.work_s(visit.adapter, gpu)
        return waits_s < policy.demand * switch_s or waits_s <= policy.balance * own_s
