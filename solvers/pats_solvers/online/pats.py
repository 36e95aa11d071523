"""PATS, perception-aware Tetris scheduling, as its document states it (section 4)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.base import OnlinePolicy, Threshold
from pats_solvers.online.dispatch.options import Chooser, chooser, steps_s
from pats_solvers.online.dispatch.packing import BatchBuilder
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.scoring import Floats, Followers, Ints, Scoring


class Pats(OnlinePolicy, frozen=True, kw_only=True):
    """Serve first what is short, fits well and has waited; then build a train of its adapter.

    Pruning: a simple request (complexity below ``threshold``) gets its fewest steps, a complex one
    its most; one of unknown complexity counts as complex. Score of request j on an idle GPU::

        score_j = 1 / EffTime_j * cos(demand_j, residual) * (1 + gamma * wait_j)

    with EffTime_j = steps x step time alone, plus the seconds of switching its adapter would pay
    on that GPU now (the whole tick of a ``slot`` batch stands for steps x step time there), and
    wait_j in seconds since arrival. The best is the leader; in the simulated state its adapter is
    ready and the residual smaller by its demand. Waiting requests of that adapter are scored again
    in that state, the best that fits joins, and so on until none fits.

    What the document leaves open is settled so. Vectors are over the resources that the GPU limits,
    each as a share of its capacity; the residual before the leader is what the idle GPU has free
    beside its residents. A vector of zeros has cosine 1; with memory alone every cosine is 1.
    Several idle GPUs: the pair of request and GPU with the highest score goes first. Ties on a GPU
    go to the earliest request, ties between GPUs to the one where less switching is paid, then to
    the first. ``max_resident`` above 1: residents are evicted by the
    policy's rule, as few as let the leader fit. ``max_per_batch`` above 1 changes nothing, as a
    train has one adapter. Where the hard horizon leaves no time for a leader's option its fewest
    steps are taken, and a request that has no time even so is passed over.

    Args:
        threshold: Complexity, 0 to 1, below which a request is simple.
        gamma: Weight of waiting, per second.
        use_cosine: Whether the score has its cosine factor (off: an ablation).
        prune: Whether simple requests get their fewest steps (off: all get the most).
        followers: Whether the leader takes others along (off: batches of one).
    """

    name: ClassVar[str] = "pats"
    threshold: Threshold = 0.5
    gamma: Annotated[float, Meta(ge=0, le=1e9, extra={"search": [0.001, 10], "log": True})] = 0.1
    use_cosine: bool = True
    prune: bool = True
    followers: bool = True

    def chooser(self, site: Site) -> Chooser:
        """The pruning rule."""
        return chooser("pruned" if self.prune else "most", site, self.threshold)

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Pats(desk, self)


class Angles:
    """Cosines between demands, one a column, and a residual, all as shares of a capacity.

    Unlimited resources, and those of which there is nothing, are left out; zeros give 1.
    """

    def __init__(self, demand: Ints, capacity: tuple[int | None, ...]) -> None:
        self._limited = [(i, most) for i, most in enumerate(capacity) if most]
        self._count = demand.shape[1]
        self._shares: list[Floats] = [demand[i] / most for i, most in self._limited]
        square = np.zeros(self._count)
        for share in self._shares:  # one after another, so that a column's place cannot matter
            square += share * share
        self._length = np.sqrt(square)
        self._none = self._length == 0.0
        self._length[self._none] = 1.0

    def cosine(self, residual: list[int | None]) -> Floats:
        """Cosine of each demand with ``residual``."""
        left = [(residual[i] or 0) / most for i, most in self._limited]
        length = math.sqrt(sum(x * x for x in left))
        if len(left) < 2 or length == 0.0:
            return np.ones(self._count)
        dot = np.zeros(self._count)
        for share, x in zip(self._shares, left, strict=True):
            dot += share * x
        dot /= self._length * length
        dot[self._none] = 1.0
        return np.minimum(dot, 1.0, out=dot)


class _Pats(Scoring):
    mixes = False

    def __init__(self, desk: Desk, policy: Pats) -> None:
        super().__init__(desk, features=1)
        self._policy = policy

    def features(self, job: Job) -> tuple[float]:
        """Seconds of work: steps x step time."""
        return (steps_s(self.site, job, self.option(job)),)

    def leader_scores(self, gpu: GpuState, tick: int) -> Floats:
        """With the switching that the adapter would pay on ``gpu``, and what ``gpu`` has free."""
        waiting = self.candidates
        effective_s = waiting.feature[0] + self.switching_s(gpu)[waiting.adapter]
        scores: Floats = self._urgency(waiting.arrival, tick) / effective_s
        if self._policy.use_cosine:
            angles = Angles(waiting.demand, self.site.gpus[gpu.index].capacity)
            scores *= angles.cosine(list(self.site.room(gpu.index, gpu.resident)))
        return scores

    def fill(self, batch: BatchBuilder, tick: int) -> None:
        """Add followers to the leader: intra-batch simulation, no switching for them."""
        if self._policy.followers:
            super().fill(batch, tick)

    def follower_scores(
        self, followers: Followers, batch: BatchBuilder, tick: int
    ) -> Callable[[], Floats]:
        """In the simulated state: no switching, and what the batch leaves free."""
        work_s = followers.feature[0]
        angles = Angles(followers.demand, self.site.gpus[batch.gpu.index].capacity)

        def scores() -> Floats:
            found: Floats = self._urgency(followers.arrival, tick) / work_s
            return found * angles.cosine(batch.free) if self._policy.use_cosine else found

        return scores

    def _urgency(self, arrival: Any, tick: int) -> Any:
        """1 + gamma x seconds waited."""
        return 1.0 + self._policy.gamma * ((tick - arrival) * self.site.tick_s)
