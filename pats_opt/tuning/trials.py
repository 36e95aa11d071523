"""Trials of a search, and comparisons of them.

A trial that is surely worse than the best so far is ended early, by a signed-rank test paired by
instance. Optuna has this as its ``WilcoxonPruner``. Here trials and the best often tie on some
instances, and there SciPy's exact test enumerates every sign: with 12 instances it takes longer
than most policies take to run. The distribution below is the same, by dynamic programming, ties
included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from msgspec import Struct

from pats_opt.runs.statistics import ratio

#: Level of the test that ends a trial early.
SURE = 0.05

#: Most differences with an exact p-value; for more the normal approximation is used.
EXACT = 50

#: Bounds of a ratio of losses, as one of them may be 0.
LEAST_RATIO, MOST_RATIO = 1e-6, 1e6


class TrialState(StrEnum):
    """End of a trial."""

    COMPLETE = "complete"  #: every train instance was run
    PRUNED = "pruned"  #: ended early, surely worse than the best
    FAILED = "failed"  #: no schedule on some instance


class Trial(Struct, frozen=True, kw_only=True):
    """One parameter setting on the train instances.

    Attributes:
        number: 0 for the defaults, then in the order of trying.
        params: Values of the searched parameters.
        value: Mean of ``log(loss / the defaults' loss)``; infinite where it failed. Of a pruned
            trial an estimate: the value of the best trial at that time, plus the mean difference
            to it on the instances that were run.
        losses: By train instance; None where it was not run or has no schedule.
        runs: Number of runs; 0 where an earlier trial had the same parameters.
        seconds: Time of all its runs together.
        error: The first failure, or None.
    """

    number: int
    params: dict[str, Any]
    end: TrialState
    value: float
    losses: list[float | None]
    runs: int
    seconds: float
    error: str | None = None


def log_ratio(loss: float, reference: float) -> float:
    """Return ``log(loss / reference)``, finite where one of them is 0; 0 where both are."""
    return math.log(min(max(ratio(loss, reference), LEAST_RATIO), MOST_RATIO))


def best(trials: Sequence[Trial]) -> Trial:
    """Return the best complete trial; of equals the first, so that the defaults win a tie."""
    complete = (t for t in trials if t.end is TrialState.COMPLETE)
    return min(complete, key=lambda t: (t.value, t.number))


def surely_worse(values: Sequence[float], best_values: Sequence[float]) -> bool:
    """Test whether a trial's values are worse (higher) than the best's on the same instances.

    A trial whose mean is no worse than the best's is never ended, whatever the ranks.
    """
    differences = [a - b for a, b in zip(values, best_values, strict=True)]
    return math.fsum(differences) > 0 and signed_rank_p(differences) < SURE


def signed_rank_p(differences: Sequence[float]) -> float:
    """One-sided p-value of Wilcoxon's signed-rank test: are the differences above 0?

    The share of all assignments of signs whose sum of positive ranks is at least this one's. Zeros
    are dropped, equal sizes share their mean rank. With more than :data:`EXACT` differences the
    normal distribution of the same mean and variance is used, with a continuity correction of half
    a rank.

    F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1(6), 1945.
    """
    values = np.array([d for d in differences if d != 0.0])
    if not len(values):
        return 1.0
    _, place, count = np.unique(np.abs(values), return_inverse=True, return_counts=True)
    # Twice the mean rank of each group of equal sizes, which is whole.
    doubled = (2 * np.cumsum(count) - count + 1)[place]
    positive, total = int(doubled[values > 0].sum()), int(doubled.sum())
    if len(values) > EXACT:
        spread = math.sqrt(float((doubled * doubled).sum())) / 2
        return math.erfc((positive - 1 - total / 2) / spread / math.sqrt(2)) / 2
    ways = np.zeros(total + 1)
    ways[0] = 1.0
    for rank in doubled:  # ways[s]: share of sign assignments whose doubled positive ranks sum to s
        ways[rank:] = (ways[rank:] + ways[:-rank]) / 2
        ways[:rank] /= 2
    return min(1.0, float(ways[positive:].sum()))
