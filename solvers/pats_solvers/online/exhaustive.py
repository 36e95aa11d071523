"""Exhaustive polling: drain the queue, then go to the next."""

from __future__ import annotations

from typing import ClassVar

from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.visits import Draining, RouteRule, route


class Exhaustive(QueuePolicy, frozen=True, kw_only=True):
    """Serve the adapter until its queue is empty; requests that arrive meanwhile are served too.

    Rule: a GPU that has become idle serves its adapter again while a request waits there, the
    earliest leading and the next ones following while they fit. Then it goes where the route says.
    Source: the exhaustive discipline of polling systems (Takagi 1986).

    Args:
        route: Where to go next: ``longest`` queue, ``cyclic`` order, ``cheapest`` switch or
            ``oldest`` head.
    """

    name: ClassVar[str] = "exhaustive"

    route: RouteRule = "longest"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return Draining(desk, route(self.route, desk))
