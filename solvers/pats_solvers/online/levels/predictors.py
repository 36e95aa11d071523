"""Predictors of the level that a prompt tolerates, its optimal K.

What the ground truth is, the documents leave open. Two meanings are kept apart: the level that the
look-up in the cache has found (:class:`LookupPredictor`), which needs no prediction, and the
deepest level whose quality is still good enough (:class:`TolerancePredictor`), of which a predictor
knows more or less.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal, Protocol

from pats_opt.model.problem import Job
from pats_solvers.online.levels.coupling import RankWindow
from pats_solvers.online.levels.ladder import JobLevel

#: Names of the predictors, for parameters.
PredictorRule = Literal["look-up", "tolerance"]

_NORMAL = NormalDist()


class Predictor(Protocol):
    """A predictor in one run."""

    def __call__(self, job: Job, levels: Sequence[JobLevel]) -> float:
        """Return the depth that is predicted for a request: its level, or between two levels."""
        ...


class LookupPredictor:
    """The level that the cache look-up found; 0 where it found none."""

    def __call__(self, job: Job, levels: Sequence[JobLevel]) -> float:  # noqa: ARG002 - protocol
        """Return the depth that is predicted for a request."""
        return float(job.cache_level or 0)


class TolerancePredictor:
    """The depth down to which quality stays at a share of the best, known to a stated degree.

    The truth is :func:`tolerated`. The prediction has Spearman's rank correlation ``rho`` with it:
    the truth's rank among the last requests becomes a normal score, which is mixed with an
    independent one (a Gaussian copula, whose correlation is 2 sin(pi rho / 6)), and the mixture's
    rank is read off as a depth of the same requests.

    Args:
        alpha: Share of the best quality.
        rho: Rank correlation of prediction and truth, 0 (knows nothing) to 1 (knows all).
        window: How many requests count.
        rng: Source of the noise.
    """

    def __init__(self, alpha: float, rho: float, window: int, rng: random.Random) -> None:
        self._alpha, self._rng = alpha, rng
        self._known = 1.0 if rho == 1 else 2.0 * math.sin(math.pi * rho / 6.0)
        self._truths = RankWindow(window)

    def __call__(self, job: Job, levels: Sequence[JobLevel]) -> float:  # noqa: ARG002 - protocol
        """Return the depth that is predicted for a request."""
        truth = tolerated(levels, self._alpha)
        rank = self._truths.rank(truth, self._rng)
        if self._known == 1.0:
            return truth
        noise = math.sqrt(1.0 - self._known * self._known) * self._rng.gauss(0.0, 1.0)
        score = self._known * _NORMAL.inv_cdf(min(max(rank, 1e-12), 1.0 - 1e-12)) + noise
        return self._truths.quantile(_NORMAL.cdf(score))


def tolerated(levels: Sequence[JobLevel], alpha: float) -> float:
    """Return the depth at which a request's quality falls to ``alpha`` times its best.

    Between two levels quality is taken for linear. Where it never falls so far, that is the deepest
    level, plus the share of quality that is to spare there, which is less than 1.

    Args:
        levels: Levels of the request, shallow ones first.
        alpha: Share of its best quality, 0 to 1.
    """
    floor = alpha * max([each.quality for each in levels])
    depth = levels[0]
    if depth.quality < floor:
        return float(depth.level)
    for each in levels[1:]:
        if each.quality < floor:
            share = (depth.quality - floor) / (depth.quality - each.quality)
            return depth.level + share * (each.level - depth.level)
        depth = each
    return depth.level + (depth.quality - floor) / depth.quality if depth.quality else depth.level


def predictor(
    rule: PredictorRule, alpha: float, rho: float, window: int, rng: random.Random
) -> Predictor:
    """Return the predictor of a name, with fresh memory; see :class:`TolerancePredictor`."""
    return LookupPredictor() if rule == "look-up" else TolerancePredictor(alpha, rho, window, rng)
