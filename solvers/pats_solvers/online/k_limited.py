"""k-limited polling: at most so many requests a visit."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.packing import BatchBuilder
from pats_solvers.online.dispatch.rule import Desk, Rule, take_along
from pats_solvers.online.dispatch.visits import Route, RouteRule, Visit, Visits, route


class KLimited(QueuePolicy, frozen=True, kw_only=True):
    """Serve at most ``limit`` requests of the adapter, or until its queue is empty; then move on.

    Rule: the earliest request leads and the next ones follow while they fit, up to the limit. Where
    the route leads back, another visit begins at once. In a batch that mixes adapters requests of
    other residents come along; they do not count. Each GPU counts its own visits. Source: the
    k-limited discipline of polling systems (Takagi 1986).

    Args:
        limit: Requests a visit, at most.
        route: Where to go next: ``longest`` queue, ``cyclic`` order, ``cheapest`` switch or
            ``oldest`` head.
    """

    name: ClassVar[str] = "k-limited"

    limit: Annotated[int, Meta(ge=1, le=10**9, extra={"search": [1, 64], "log": True})] = 8
    route: RouteRule = "cyclic"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _KLimited(desk, route(self.route, desk), self.limit)


class _KLimited(Visits):
    def __init__(self, desk: Desk, route: Route, limit: int) -> None:
        super().__init__(desk, route)
        self._limit = limit

    def stays(self, gpu: GpuState, visit: Visit, head: Job, tick: int) -> bool:  # noqa: ARG002
        """Until the limit is reached."""
        return visit.requests < self._limit

    def continues(self, visit: Visit, batch: BatchBuilder) -> bool:  # noqa: ARG002
        """Past the limit another visit begins."""
        return visit.requests < self._limit

    def fill(self, batch: BatchBuilder, tick: int) -> None:  # noqa: ARG002
        """Only what the limit leaves."""
        adapter, gpu = batch.jobs[0].adapter, batch.gpu.index
        visit = self.visits.get(gpu)
        goes_on = visit is not None and visit.adapter == adapter and self.continues(visit, batch)
        served = visit.requests if visit is not None and goes_on else 0
        jobs = self.waiting.of(adapter, gpu)
        take_along(batch, jobs, self.option, most=self._limit - served - 1)
        self.mix(batch)
