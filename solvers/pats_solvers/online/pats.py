"""PATS, perception-aware Tetris scheduling, as its document states it (section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Site
from pats_solvers.online.base import OnlinePolicy, Threshold
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunSetup
from pats_solvers.online.common.kinds import Floats
from pats_solvers.online.common.options import Chooser, chooser
from pats_solvers.online.common.scoring import Queue, ScoringRun


class Pats(OnlinePolicy[ScoringRun], frozen=True, kw_only=True):
    """Serve first what is short, fits well and has waited; then build a train of its adapter.

    Pruning: a simple request (complexity below ``threshold``) gets its fewest steps, a complex one
    its most; one of unknown complexity counts as complex. Score of request j on an idle GPU::

        score_j = 1 / EffTime_j * cos(demand_j, residual) * (1 + gamma * wait_j)

    with EffTime_j = steps x step time alone (the whole tick of a ``slot`` batch), plus the seconds
    of switching its adapter would pay on that GPU now, and wait_j in seconds since arrival. The
    best is the leader; in the simulated state its adapter is ready and the residual smaller by its
    demand. Waiting requests of that adapter are scored again in that state, the best that fits
    joins, and so on until none fits.

    What the document leaves open is settled so. Vectors are over the resources that the GPU limits,
    each as a share of its capacity; the residual before the leader is what the idle GPU has free
    beside its residents. A vector of zeros has cosine 1; with memory alone every cosine is 1.
    Several idle GPUs: the pair of request and GPU with the highest score goes first. Ties on a GPU
    go to the earliest request, ties between GPUs to the one where less switching is paid, then to
    the first. ``max_resident`` above 1: residents are evicted by the policy's rule, as few as let
    the leader fit. ``max_per_batch`` above 1 changes nothing, as a train has one adapter. Where the
    hard horizon leaves no time for a leader's option its fewest steps are taken, and a request that
    has no time even so is passed over.

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

    @override
    def chooser(self, site: Site) -> Chooser:
        """Pruning: the fewest steps for simple requests, the most for complex ones."""
        return chooser("pruned" if self.prune else "most", site, self.threshold)

    def score(self, q: Queue) -> Floats:
        """Efficiency score (section 4.2); ``switch_s`` is 0 for what is cached."""
        effective_s = q.work_s + q.switch_s
        score: Floats = (1.0 + self.gamma * q.wait_s) / effective_s
        return score * q.cosine if self.use_cosine else score

    @override
    def select_leader(self, run: ScoringRun, idle: Sequence[GpuState]) -> Leader | None:
        """The leader has the highest score; it determines the next adapter (section 4.1)."""
        return run.best_leader(self.score, idle)

    @override
    def fill_batch(self, run: ScoringRun, batch: BatchBuilder) -> None:
        """Followers of the same adapter switch nothing in the simulated state (section 4.1)."""
        if self.followers:
            run.add_followers(self.score, batch, batch.active)

    @override
    def new_run(self, setup: RunSetup) -> ScoringRun:
        return ScoringRun(setup, columns=("work_s",))
