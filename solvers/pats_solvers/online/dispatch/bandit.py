"""LinUCB: a contextual bandit with one linear model an arm (Li, Chu, Langford, Schapire 2010)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class LinUcb:
    """Ridge regression of rewards on contexts for each arm, and its upper confidence bounds.

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
        """A pull of ``arm`` in ``context`` gave ``reward`` (Sherman and Morrison's update)."""
        inverse = self._inverse[arm]
        along = inverse @ context
        inverse -= np.outer(along, along) / (1.0 + context @ along)
        self._sums[arm] += reward * context
        self.coefficients[arm] = inverse @ self._sums[arm]

    def bounds(self, arms: Sequence[int], contexts: Floats) -> Floats:
        """The upper confidence bound of each of ``arms`` in its context, one a row."""
        chosen = np.asarray(arms)
        means: Floats = np.einsum("ai,ai->a", self.coefficients[chosen], contexts)
        variances = np.einsum("ai,aij,aj->a", contexts, self._inverse[chosen], contexts)
        spread: Floats = np.sqrt(np.maximum(variances, 0.0))
        return means + self._width * spread
