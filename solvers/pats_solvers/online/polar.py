"""POLAR on two time scales: a bandit says what to serve, a learnt cache what stays resident."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.base import MaxWait, QueuePolicy
from pats_solvers.online.dispatch.bandit import Floats, LinUcb
from pats_solvers.online.dispatch.demand import Demand
from pats_solvers.online.dispatch.eviction import Eviction, EvictionRule
from pats_solvers.online.dispatch.learnt import LearntValue
from pats_solvers.online.dispatch.packing import BatchBuilder, switching_seconds
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.stopwatch import Stopwatch
from pats_solvers.online.dispatch.visits import Visit, Visits, route

#: Numbers of a context.
CONTEXT = 5

#: A head's wait of so many seconds is half of the longest there can be, as contexts count it.
HALF_WAIT_S = 30.0


class Polar(QueuePolicy, frozen=True, kw_only=True):
    """Serve the adapter whose served weight per GPU second may be the largest, as a bandit learns.

    POLAR routes requests of unknown utility to adapters. Here a request needs its own adapter, so
    its two time scales are read so:

    * fast: which waiting adapter to serve next, at each batch anew. One linear model an adapter
      (LinUCB, ridge regression with an upper confidence bound of ``width`` standard deviations)
      estimates the reward of serving it: weight of the batch's members per second from the decision
      to the GPU's being idle again, switching included (its stated seconds where service is
      slotted). Context: 1; the share of a full batch that waits; the head's wait w as w / (w + 30
      s); 1 where it is resident, else 0; its switch over the longest load. Ties: earlier head.
    * slow: per epoch of batches the cache controller
      :class:`~pats_solvers.online.dispatch.learnt.LearntValue` sets which adapters are to stay, by
      the switching that their residency saved. It is the eviction rule ``polar``, which every
      policy can take; here with the parameters below. ``doubling`` epochs are POLAR+'s; its forced
      exploration is left out, as who waits is served in the end whatever the bandit thinks.

    The bound on waiting is 60 s by default: the bandit alone may pass over an adapter for ever.
    Several GPUs: they learn one model from all, each with a cache of its own, and go where no other
    one visits. Mixed batches: the reward is the leader's. Source: Li and Li, POLAR, arXiv
    2604.16583 (abstract); Li, Chu, Langford and Schapire 2010 for LinUCB.

    Args:
        width: Standard deviations of optimism, in units of the reward (weight a second).
        ridge: Penalty on the coefficients' squares, above 0.
        epoch: Batches of an epoch of the cache controller.
        doubling: Whether each epoch is twice as long as the one before.
        bonus: Weight of the cache controller's optimism; 0: none.
    """

    name: ClassVar[str] = "polar"

    width: Annotated[float, Meta(ge=0, le=1e9, extra={"search": [0.01, 5.0], "log": True})] = 0.5
    ridge: Annotated[float, Meta(gt=0, le=1e9, extra={"search": [0.01, 100.0], "log": True})] = 1.0
    epoch: Annotated[int, Meta(ge=1, le=10**9, extra={"search": [10, 500], "log": True})] = 50
    doubling: bool = False
    bonus: Annotated[float, Meta(ge=0, le=1e9, extra={"search": [0.0, 4.0]})] = 1.0
    eviction: EvictionRule = "polar"
    max_wait_s: MaxWait = 60.0

    def evictions(self, site: Site) -> Eviction:
        """The cache controller, where ``eviction`` does not name another rule."""
        if self.eviction != "polar":
            return super().evictions(site)
        return LearntValue(site, self.epoch, self.doubling, self.bonus)

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Polar(desk, self)


class _Polar(Visits):
    def __init__(self, desk: Desk, policy: Polar) -> None:
        super().__init__(desk, route("oldest", desk))
        self._demand = Demand(desk.site, desk.option, desk.waiting)
        self._longest_s = max((*desk.site.load_s, *desk.site.pairs.values()), default=0.0) or 1.0
        adapters = len(desk.site.adapter_ids)
        self.bandit = LinUcb(adapters, CONTEXT, policy.ridge, policy.width)
        self._context: Floats = np.zeros(CONTEXT)  # of the batch under construction
        self._watch = Stopwatch[tuple[int, Floats, float, float]]()

    def arrived(self, job: Job, tick: int) -> None:  # noqa: ARG002
        """A job waits."""
        self._demand.add(job)

    def left(self, job: Job) -> None:
        """A job waits no longer."""
        self._demand.remove(job)

    def stays(self, gpu: GpuState, visit: Visit, head: Job, tick: int) -> bool:  # noqa: ARG002
        """The bandit decides at each batch anew."""
        return False

    def next_head(self, gpu: GpuState, tick: int) -> Job | None:
        """The head of the adapter with the largest upper confidence bound."""
        self._learn(gpu)
        heads = list(self.free_heads(gpu).values())
        if not heads:
            return None
        features = [x for job in heads for x in self._features(gpu, job, tick)]
        contexts = np.array(features).reshape(-1, CONTEXT)
        bounds = self.bandit.bounds([job.adapter for job in heads], contexts)
        best = np.flatnonzero(bounds == bounds.max())
        return min((heads[i] for i in best), key=lambda job: job.index)

    def fill(self, batch: BatchBuilder, tick: int) -> None:
        """Remember the context in which the leader was chosen."""
        self._context = np.array(self._features(batch.gpu, batch.jobs[0], tick))
        super().fill(batch, tick)

    def served(self, batch: BatchBuilder, tick: int) -> None:
        """Measure what it earns."""
        super().served(batch, tick)
        self._learn(batch.gpu)
        site, gpu = self.site, batch.gpu
        untimed_s = 0.0
        if site.clock.slotted:
            switch = site.switch(gpu.resident, batch.resident, batch.active, gpu.active)
            untimed_s = switch.seconds
        weight = sum(job.weight for job in batch.jobs)
        note = batch.jobs[0].adapter, self._context, weight, untimed_s
        self._watch.start(gpu.index, tick, note)

    def _learn(self, gpu: GpuState) -> None:
        read = self._watch.read(gpu)
        if read is not None:
            ticks, (adapter, context, weight, untimed_s) = read
            self.bandit.learn(adapter, context, weight / (ticks * self.site.tick_s + untimed_s))

    def _features(self, gpu: GpuState, head: Job, tick: int) -> tuple[float, ...]:
        adapter, site = head.adapter, self.site
        batch = self._demand.batch(adapter, gpu)
        waited_s = (tick - head.arrival) * site.tick_s
        return (
            1.0,
            batch.size / batch.full,
            waited_s / (waited_s + HALF_WAIT_S),
            float(adapter in gpu.resident),
            switching_seconds(site, adapter, gpu) / self._longest_s,
        )
