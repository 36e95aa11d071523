"""Means with confidence intervals by instance, and agreement of rankings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Resamples of a bootstrap, and the share of them that an interval holds.
RESAMPLES = 2000
CONFIDENCE = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its bootstrap interval, and of how many values it is.

    With one value the interval is that value, which says nothing of others.
    """

    mean: float
    low: float
    high: float
    count: int


def mean(values: Sequence[float]) -> Interval:
    """Arithmetic mean, percentile bootstrap. The same seed, so equal counts share resamples."""
    array = np.asarray(values, dtype=float)
    means = array[resamples(len(array))].mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(array.mean()), float(low), float(high), len(array))


def mean_ratio(values: Sequence[float]) -> Interval:
    """Geometric mean of ratios: 2 and 1/2 average to 1."""
    found = mean([math.log(value) for value in values])
    return Interval(math.exp(found.mean), math.exp(found.low), math.exp(found.high), found.count)


def resamples(count: int) -> NDArray[np.int64]:
    """Indices of each resample, a row each."""
    return np.random.default_rng(0).integers(0, count, size=(RESAMPLES, count))


def kendall(first: Floats, second: Floats) -> float:
    """Kendall's tau-b of two lists of scores: 1 the same order, -1 the reverse; ties count half.

    0 where either ties everything.
    """
    a = np.sign(first[:, None] - first[None, :])
    b = np.sign(second[:, None] - second[None, :])
    length = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return float((a * b).sum()) / length if length else 0.0
