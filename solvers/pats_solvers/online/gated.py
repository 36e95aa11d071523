"""Gated polling: serve those who were there when the visit began."""

from __future__ import annotations

from typing import ClassVar

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.packing import BatchBuilder
from pats_solvers.online.dispatch.rule import Desk, Rule, take_along
from pats_solvers.online.dispatch.visits import RouteRule, Visit, Visits, route


class Gated(QueuePolicy, frozen=True, kw_only=True):
    """Serve the requests of the adapter that had arrived when the visit began, then move on.

    Rule: the gate closes at the start of the visit's first batch, its switch done. Who arrives
    later waits for the next visit, which begins at once where the route leads back. Source: the
    gated discipline of polling systems (Takagi 1986).

    Args:
        route: Where to go next: ``longest`` queue, ``cyclic`` order, ``cheapest`` switch or
            ``oldest`` head.
    """

    name: ClassVar[str] = "gated"

    route: RouteRule = "cyclic"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Gated(desk, route(self.route, desk))


class _Gated(Visits):
    def stays(self, gpu: GpuState, visit: Visit, head: Job, tick: int) -> bool:  # noqa: ARG002
        """As long as a request waits that arrived before the gate closed."""
        return head.arrival <= visit.began

    def continues(self, visit: Visit, batch: BatchBuilder) -> bool:
        """One whose leader came after the gate begins another visit."""
        return batch.jobs[0].arrival <= visit.began

    def fill(self, batch: BatchBuilder, tick: int) -> None:
        """Only those before the gate join."""
        leader, gpu = batch.jobs[0], batch.gpu.index
        visit = self.visits.get(gpu)
        inside = visit is not None and visit.adapter == leader.adapter
        gate = visit.began if visit is not None and inside else tick
        if leader.arrival > gate:  # another visit of the same adapter begins
            gate = tick
        jobs = self.waiting.of(leader.adapter, gpu)
        take_along(batch, (job for job in jobs if job.arrival <= gate), self.option)
