"""When a trial is surely worse than the best so far: a signed-rank test, paired by instance.

Optuna has this as its ``WilcoxonPruner``. Here trials and the best often tie on some instances, and
there SciPy's exact test enumerates every sign: 12 instances take it longer than most policies take
to run. The distribution below is the same, by dynamic programming, ties included.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

#: Level of the test that ends a trial early.
SURE = 0.05

#: Up to so many instances the p-value is exact, beyond them the normal law's.
EXACT = 50


def surely_worse(values: Sequence[float], best: Sequence[float]) -> bool:
    """Whether a trial's values are worse (higher) than the best's on the same instances.

    A trial whose mean is no worse than the best's is never ended, whatever the ranks say.
    """
    differences = [a - b for a, b in zip(values, best, strict=True)]
    return math.fsum(differences) > 0 and signed_rank_p(differences) < SURE


def signed_rank_p(differences: Sequence[float]) -> float:
    """One-sided p-value of Wilcoxon's signed-rank test: are the differences above 0?

    The share of all assignments of signs whose sum of positive ranks is at least this one's. Zeros
    are dropped, equal sizes share their mean rank. Beyond :data:`EXACT` differences the normal law
    with the same mean and variance, half a rank towards the mean.

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
