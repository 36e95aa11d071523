"""The base of the policies: common parameters and the hooks.

A policy is an immutable struct of parameters. What it has to remember during one run is in a
:class:`~pats_solvers.online.common.context.RunContext`, which every hook gets first. One hook is
a must: :meth:`OnlinePolicy.select_leader` says which request leads the next batch, and on which
idle GPU. :class:`~pats_solvers.online.decider.Decider` keeps the queues and the evictions,
opens the batch, has it filled, and goes on until no idle GPU can be used.
:class:`~pats_solvers.online.overlap.OverlapDecider` starts loads too, where they run beside
serving. Whatever a policy decides, the batch keeps every rule of the problem, a request that is
past the bound on waiting goes first, and one that can no longer end by a hard horizon is passed
over.

See :mod:`pats_solvers.online.simple` for the smallest policies,
:mod:`pats_solvers.online.scored` for those that rank requests by a score and
:mod:`pats_solvers.online.polling` for those that serve adapter by adapter.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Generic, cast

import msgspec
from msgspec import Meta
from typing_extensions import TypeVar, override

from pats_opt.core.policy import Decide, GpuState
from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind
from pats_opt.model.problem import Job, Site
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunContext, RunSetup
from pats_solvers.online.common.eviction import Eviction, EvictionRule, eviction
from pats_solvers.online.common.options import Chooser, OptionRule, chooser
from pats_solvers.online.common.staleness import Staleness
from pats_solvers.online.decider import Decider
from pats_solvers.online.dispatch.rules import DispatchRule, dispatched
from pats_solvers.online.overlap import OverlapDecider, PrefetchRule

#: A bound on waiting in seconds, or None for none.
MaxWait = Annotated[float, Meta(ge=0, le=1e9, extra={"search": [5.0, 500.0], "log": True})] | None

#: Complexity, 0 to 1.
Threshold = Annotated[float, Meta(ge=0, le=1)]

#: What belongs to a fleet rather than to a policy; the parameter search leaves it out by default.
UNSEARCHED = Meta(extra={"search": None})

#: What a policy remembers during a run.
RunT = TypeVar("RunT", bound=RunContext, default=RunContext)


class PolicyClass(msgspec.StructMeta, ABCMeta):
    """Class of policy classes: one of which a hook is missing cannot be made."""


class OnlinePolicy(msgspec.Struct, Generic[RunT], metaclass=PolicyClass, frozen=True, kw_only=True):
    """An online policy with what all of them take besides their own parameters.

    Args:
        eviction: Which residents go when room is needed (``max_resident`` above 1): ``lru``, least
            recently used; ``lfu``, least frequently; ``cost``, GreedyDual-Size;
            ``polar``, least learnt value; ``ghost``, least recently requested or least load seconds
            x requests, whichever would have loaded less so far.
        max_wait_s: Hard bound on waiting, seconds: a request that has waited this long leads the
            next batch, whatever the policy says. None: no bound.
        adaptive_wait: Whether the bound adapts to switching cost, queues and burstiness.
        prefetch: Which adapters are loaded beside serving (``overlap``): ``none``, a load starts
            when its GPU is idle and the policy wants that adapter next; ``next``, what a busy GPU
            would serve next if it were idle; ``ahead``, what it would serve next of what it does
            not hold.
        dispatch: Which GPU a request is bound to when it arrives, if any: ``central``, none, all
            GPUs share one queue; ``round-robin``, the next in turn; ``join-shortest-queue``, the
            fewest waiting; ``power-of-two``, the better of two at random; ``least-work``, the least
            seconds of work; ``earliest-completion``, that and the load it would need; ``hash``, the
            adapter's home on a ring; ``bounded-hash``, the next one clockwise without too many;
            ``dualmap``, one of two homes. Each GPU's policy then sees only its own requests.
        steal: Whether an idle GPU takes requests that are bound to others.
        rebalance: Whether an overloaded GPU gives requests bound to it to others.
    """

    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities(ALL_FEATURES | {Feature.OVERLAP})
    name: ClassVar[str]

    eviction: EvictionRule = "lru"
    max_wait_s: MaxWait = None
    adaptive_wait: bool = False
    prefetch: PrefetchRule = "none"
    dispatch: Annotated[DispatchRule, UNSEARCHED] = "central"
    steal: Annotated[bool, UNSEARCHED] = False
    rebalance: Annotated[bool, UNSEARCHED] = False

    def start(self, site: Site, seed: int) -> Decide:
        """Return the decision function of a new run."""
        if self.dispatch == "central":
            return self.decider(site, seed)
        return dispatched(
            self.dispatch,
            site,
            seed,
            local=self.decider,
            option=self.chooser(site),
            steal=self.steal,
            rebalance=self.rebalance,
        )

    def decider(self, site: Site, seed: int) -> Decider[RunT]:
        """Return the decisions of a new run on GPUs that share one queue."""
        setup = RunSetup(site, self.chooser(site), self.make_eviction(site), seed)
        run = self.new_run(setup)
        stale = None
        if self.max_wait_s is not None:
            stale = Staleness(site, run.waiting, self.max_wait_s, self.adaptive_wait)
        if site.channels is None:
            return Decider(self, run, stale)
        return OverlapDecider(self, run, stale, self.prefetch)

    @abstractmethod
    def chooser(self, site: Site) -> Chooser:
        """Return the rule by which each request gets its option."""

    def make_eviction(self, site: Site) -> Eviction:
        """Return the rule by which residents go when room is needed."""
        return eviction(self.eviction, site)

    def new_run(self, setup: RunSetup) -> RunT:
        """Return the state of a new run; a policy with more to remember overrides this."""
        return cast("RunT", RunContext(setup))

    @abstractmethod
    def select_leader(self, run: RunT, idle: Sequence[GpuState]) -> Leader | None:
        """Return the next batch's GPU, one of ``idle``, and its leader; None leaves them idle.

        Called again after each batch with the GPUs that are left, and after a leader that could not
        start there (it is then hidden in ``run.waiting``).
        """

    def fill_batch(self, run: RunT, batch: BatchBuilder) -> None:
        """Add members to a batch that holds its leader; the batch may yet be dropped.

        By default those of the leader's adapter in order of arrival, then, where batches may mix
        adapters, those of other residents: they cost no load.
        """
        run.add_same_adapter(batch)
        run.add_other_adapters(batch)

    def wake(self, run: RunT, idle: Sequence[GpuState]) -> int | None:  # noqa: ARG002 - a hook
        """Return a tick at which to decide again at the latest where GPUs are left idle."""
        return None

    def arrived(self, run: RunT, job: Job) -> None:
        """Note that ``job`` has arrived; it waits already."""

    def served(self, run: RunT, batch: BatchBuilder) -> None:
        """Note that ``batch`` starts; its members do not wait any more."""


class QueuePolicy(OnlinePolicy[RunT], frozen=True, kw_only=True):
    """A policy that decides on order only; a common rule says which option a request gets.

    Args:
        option: ``best`` quality, ``fewest`` or ``most`` steps, ``pruned`` (the documents' rule: the
            fewest for simple requests, the most for others), or ``priced`` (the least quality loss
            plus price of its own latency).
        threshold: Complexity below which ``pruned`` calls a request simple.
    """

    option: OptionRule = "best"
    threshold: Threshold = 0.5

    @override
    def chooser(self, site: Site) -> Chooser:
        return chooser(self.option, site, self.threshold)
