"""The base of the policies here: common parameters, and the decisions that all of them share.

A policy is an :class:`OnlinePolicy`, an immutable struct of parameters; :meth:`OnlinePolicy.rule`
gives the :class:`~pats_solvers.online.dispatch.rule.Rule` that decides during one run. The
:class:`~pats_solvers.online.dispatch.dispatcher.Dispatcher` drives it: it keeps the
queues and the evictions, asks the rule which request leads the next batch and on which idle GPU,
opens the batch, lets the rule fill it, and goes on until no idle GPU can be used. Whatever a rule
says, the batch keeps every rule of the problem, a request that is past the bound on waiting goes
first, and one that can no longer end by a hard horizon is passed over.

So a new policy says one thing only: who leads. See :mod:`pats_solvers.online.fifo` for the
smallest, :mod:`pats_solvers.online.dispatch.visits` for those that serve adapter by adapter and
:mod:`pats_solvers.online.dispatch.scoring` for those that rank requests by a score.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from pats_opt.core.policy import Decide
from pats_opt.core.solver import Capabilities, Kind
from pats_opt.model.problem import Site
from pats_solvers.online.dispatch.dispatcher import Dispatcher
from pats_solvers.online.dispatch.eviction import Eviction, EvictionRule, eviction
from pats_solvers.online.dispatch.options import Chooser, OptionRule, chooser
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.staleness import Staleness

#: A bound on waiting in seconds, or None for none.
MaxWait = Annotated[float, Meta(ge=0, le=1e9, extra={"search": [5.0, 500.0], "log": True})] | None

#: Complexity, 0 to 1.
Threshold = Annotated[float, Meta(ge=0, le=1)]


class OnlinePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """An online policy with what all of them take besides their own parameters.

    Args:
        eviction: Which residents go when room is needed (``max_resident`` above 1): ``lru``, least
            recently used; ``lfu``, least frequently; ``cost``, GreedyDual-Size;
            ``polar``, least learnt value.
        max_wait_s: Hard bound on waiting, seconds: a request that has waited this long leads the
            next batch, whatever the policy says. None: no bound.
        adaptive_wait: Whether the bound adapts to switching cost, queues and burstiness.
    """

    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities()
    name: ClassVar[str]

    eviction: EvictionRule = "lru"
    max_wait_s: MaxWait = None
    adaptive_wait: bool = False

    def start(self, site: Site, seed: int) -> Decide:
        """Fresh memory for one run."""
        desk = Desk(site, self.chooser(site), self.evictions(site), seed)
        stale = None
        if self.max_wait_s is not None:
            stale = Staleness(site, desk.waiting, self.max_wait_s, self.adaptive_wait)
        return Dispatcher(desk, self.rule(desk), stale)

    def evictions(self, site: Site) -> Eviction:
        """Which residents go when room is needed."""
        return eviction(self.eviction, site)

    @abstractmethod
    def chooser(self, site: Site) -> Chooser:
        """Which option each request gets."""

    @abstractmethod
    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""


class QueuePolicy(OnlinePolicy, frozen=True, kw_only=True):
    """A policy that decides on order only; a common rule says which option a request gets.

    Args:
        option: ``best`` quality, ``fewest`` or ``most`` steps, ``pruned`` (the documents' rule: the
            fewest for simple requests, the most for others), or ``priced`` (the least quality loss
            plus price of its own latency).
        threshold: Complexity below which ``pruned`` calls a request simple.
    """

    option: OptionRule = "best"
    threshold: Threshold = 0.5

    def chooser(self, site: Site) -> Chooser:
        """Which option each request gets."""
        return chooser(self.option, site, self.threshold)
