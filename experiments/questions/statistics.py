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

#: 97.5 % quantiles of Student's distribution, from 1 degree of freedom on.
STUDENT = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its interval, and of how many values it is.

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


def student(values: Sequence[float]) -> Interval:
    """Arithmetic mean with Student's interval, for few values: a bootstrap's is too narrow."""
    array = np.asarray(values, dtype=float)
    middle, count = float(array.mean()), len(array)
    if count < 2:
        return Interval(middle, middle, middle, count)
    quantile = STUDENT[min(count - 1, len(STUDENT)) - 1]
    half = quantile * float(array.std(ddof=1)) / math.sqrt(count)
    return Interval(middle, middle - half, middle + half, count)


def student_ratio(values: Sequence[float]) -> Interval:
    """Geometric mean of ratios with Student's interval of their logarithms."""
    found = student([math.log(value) for value in values])
    return Interval(math.exp(found.mean), math.exp(found.low), math.exp(found.high), found.count)


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
