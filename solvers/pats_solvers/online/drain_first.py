"""Drain first: no switch while the active queue is non-empty, but for who has waited too long."""

from __future__ import annotations

from typing import ClassVar

from pats_solvers.online.base import MaxWait, QueuePolicy
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.visits import Draining, route


class DrainFirst(QueuePolicy, frozen=True, kw_only=True):
    """Serve the adapter until its queue is empty, then go to the longest queue.

    Rule: ``exhaustive`` service and the route ``longest``, with a bound on waiting by default: the
    only thing that ends a visit early is a request that has waited ``max_wait_s``. It begins a
    visit of its own, so its whole queue is drained before the GPU goes back. Source: the exhaustive
    end of the llmux scheduling problem's first axis, and its staleness bound. Ties, several GPUs,
    several residents and mixed batches: as ``exhaustive``.
    """

    name: ClassVar[str] = "drain-first"

    max_wait_s: MaxWait = 60.0

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return Draining(desk, route("longest", desk))
