"""POLAR on two time scales: a bandit says what to serve, a learnt cache what stays resident."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.base import MaxWait
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import RunSetup
from pats_solvers.online.common.estimates import BatchTimer
from pats_solvers.online.common.eviction import Eviction, EvictionRule, LearntValue
from pats_solvers.online.common.visits import Visit
from pats_solvers.online.demand import DemandRun
from pats_solvers.online.polling import PollingPolicy

Floats = NDArray[np.float64]

#: Numbers of a context.
CONTEXT = 5

#: A head's wait of so many seconds is half of the longest there can be, as contexts count it.
HALF_WAIT_S = 30.0


class LinUcb:
    """LinUCB, a contextual bandit: ridge regression of rewards for each arm, with upper bounds.

    Li, Chu, Langford and Schapire 2010, with one linear model per arm.

    Args:
        arms: How many arms.
        size: Length of a context.
        ridge: Weight of the penalty on the coefficients' squares, above 0.
        width: How many standard deviations of the estimate the bound is above it.
    """

    def __init__(self, arms: int, size: int, ridge: float, width: float) -> None:
        self._width = width
        self._inverse: Floats = np.tile(np.eye(size) / ridge, (arms, 1, 1))  # (ridge I + X'X)^-1
        self._sums: Floats = np.zeros((arms, size))  # X'y
        self.coefficients: Floats = np.zeros((arms, size))

    def learn(self, arm: int, context: Floats, reward: float) -> None:
        """Learn that ``arm`` in ``context`` gave ``reward`` (Sherman and Morrison's update)."""
        inverse = self._inverse[arm]
        along = inverse @ context
        inverse -= np.outer(along, along) / (1.0 + context @ along)
        self._sums[arm] += reward * context
        self.coefficients[arm] = inverse @ self._sums[arm]

    def bounds(self, arms: Sequence[int], contexts: Floats) -> Floats:
        """Return the upper confidence bound of each of ``arms`` in its context, one per row."""
        chosen = np.asarray(arms)
        means: Floats = np.einsum("ai,ai->a", self.coefficients[chosen], contexts)
        variances = np.einsum("ai,aij,aj->a", contexts, self._inverse[chosen], contexts)
        spread: Floats = np.sqrt(np.maximum(variances, 0.0))
        return means + self._width * spread


class PolarRun(DemandRun):
    """Visits, the work that waits at each queue, and what the bandit has learnt.

    Attributes:
        bandit: One arm per adapter.
        context: Context in which the leader of the batch under construction was chosen.
        timer: Times batches; the note has the adapter, the context, the weight served, and the
            seconds of switching that no clock shows.
    """

    def __init__(self, setup: RunSetup, bandit: LinUcb) -> None:
        super().__init__(setup)
        self.bandit = bandit
        self.context: Floats = np.zeros(CONTEXT)
        self.timer = BatchTimer[tuple[int, Floats, float, float]]()
        site = self.site
        self._longest_s = max((*site.load_s, *site.pairs.values()), default=0.0) or 1.0

    def features(self, gpu: GpuState, head: Job) -> tuple[float, ...]:
        """Return the context of serving the queue of ``head`` on ``gpu``."""
        adapter, site = head.adapter, self.site
        batch = self.demand.batch(adapter, gpu)
        waited_s = (self.tick - head.arrival) * site.tick_s
        return (
            1.0,
            batch.size / batch.full,
            waited_s / (waited_s + HALF_WAIT_S),
            float(adapter in gpu.resident),
            self.switching_s(adapter, gpu) / self._longest_s,
        )

    def learn(self, gpu: GpuState) -> None:
        """Learn from the last batch of an idle GPU, once."""
        read = self.timer.read(gpu)
        if read is not None:
            ticks, (adapter, context, weight, untimed_s) = read
            reward = weight / (ticks * self.site.tick_s + untimed_s)
            self.bandit.learn(adapter, context, reward)


class Polar(PollingPolicy[PolarRun], frozen=True, kw_only=True):
    """Serve the adapter whose served weight per GPU second may be the largest, as a bandit learns.

    POLAR routes requests of unknown utility to adapters. Here a request needs its own adapter, so
    its two time scales are read so:

    * fast: which waiting adapter to serve next, at each batch anew. One linear model per adapter
      (LinUCB, ridge regression with an upper confidence bound of ``width`` standard deviations)
      estimates the reward of serving it: weight of the batch's members per second from the decision
      to the GPU's being idle again, switching included (its stated seconds where service is
      slotted). Context: 1; the share of a full batch that waits; the head's wait w as w / (w + 30
      s); 1 where it is resident, else 0; its switch over the longest load. Ties: earlier head.
    * slow: per epoch of batches the cache controller
      :class:`~pats_solvers.online.common.eviction.LearntValue` sets which adapters are to
      stay, by the switching that their residency saved. It is the eviction rule ``polar``, which
      every policy can take; here with the parameters below. ``doubling`` epochs are POLAR+'s; its
      forced exploration is left out, as what waits is served in the end whatever the bandit thinks.

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

    @override
    def make_eviction(self, site: Site) -> Eviction:
        if self.eviction != "polar":
            return super().make_eviction(site)
        return LearntValue(site, self.epoch, self.doubling, self.bonus)

    @override
    def new_run(self, setup: RunSetup) -> PolarRun:
        arms = len(setup.site.adapter_ids)
        return PolarRun(setup, LinUcb(arms, CONTEXT, self.ridge, self.width))

    @override
    def stays(self, run: PolarRun, gpu: GpuState, visit: Visit, head: Job) -> bool:
        return False  # the bandit decides at each batch anew

    @override
    def next_head(self, run: PolarRun, gpu: GpuState) -> Job | None:
        run.learn(gpu)
        heads = list(run.free_heads(gpu).values())
        if not heads:
            return None
        contexts = np.array([x for job in heads for x in run.features(gpu, job)])
        bounds = run.bandit.bounds([job.adapter for job in heads], contexts.reshape(-1, CONTEXT))
        best = np.flatnonzero(bounds == bounds.max())
        return min((heads[i] for i in best), key=lambda job: job.index)

    @override
    def fill_batch(self, run: PolarRun, batch: BatchBuilder) -> None:
        run.context = np.array(run.features(batch.gpu, batch.jobs[0]))
        super().fill_batch(run, batch)

    @override
    def served(self, run: PolarRun, batch: BatchBuilder) -> None:
        super().served(run, batch)
        run.learn(batch.gpu)
        site, gpu = run.site, batch.gpu
        untimed_s = 0.0
        if site.clock.slotted:
            switch = site.switch(gpu.resident, batch.resident, batch.active, gpu.active)
            untimed_s = switch.seconds
        weight = sum([job.weight for job in batch.jobs])
        note = batch.jobs[0].adapter, run.context, weight, untimed_s
        run.timer.start(gpu.index, run.tick, batch.start_tick, note)
