"""The rule of ``pats`` restated plainly."""

from __future__ import annotations

import math

from pats_opt.model.problem import Job, Site
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.pats import Pats
from tests.online.plain_scoring import Jobs, Place, PlainScoring


class PlainPats(PlainScoring):
    """Decides as ``pats`` does."""

    mixes = False

    def __init__(self, policy: Pats, site: Site) -> None:
        super().__init__(policy, site)
        self.policy = policy

    def follow(self, batch: BatchBuilder, leader: Job, waiting: Jobs, tick: int) -> None:
        """Unless the leader goes alone."""
        if self.policy.followers:
            super().follow(batch, leader, waiting, tick)

    def score(self, job: Job, at: Place) -> float:
        """The score of one request."""
        effective_s = self.steps_s(job) + at.switching_s
        value = (
            1.0 + self.policy.gamma * ((at.tick - job.arrival) * self.site.tick_s)
        ) / effective_s
        capacity = [(i, most) for i, most in enumerate(self.site.gpus[at.gpu].capacity) if most]
        if not self.policy.use_cosine or len(capacity) < 2:
            return value
        square = length = dot = 0.0
        for i, most in capacity:
            need, left = job.demand[i] / most, (at.room[i] or 0) / most
            dot, square, length = dot + need * left, square + need * need, length + left * left
        scale = math.sqrt(square) * math.sqrt(length)
        return value * (min(dot / scale, 1.0) if scale > 0 else 1.0)
