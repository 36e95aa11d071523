"""Figures over many runs. Means are shifted geometric, so that no single instance rules them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median
from typing import TypeVar

from msgspec import Struct

from pats_opt.model.checker import TOLERANCE

T = TypeVar("T")

#: Shift of the mean of gaps: gaps well below 1 % count alike.
GAP_SHIFT = 0.01

#: Shift of the mean of seconds: times well below a second count alike.
TIME_SHIFT_S = 1.0

#: Level of confidence intervals, and how often the values are drawn again for one.
LEVEL, DRAWS = 0.95, 10_000

#: Draws made at once, to bound memory.
BLOCK = 100

#: With fewer values than this an interval is shown as rough.
ROUGH_BELOW = 8

#: Lower and upper end.
Interval = tuple[float, float]


class Spread(Struct, frozen=True):
    """Smallest, median and largest of some values, and how many there are."""

    count: int
    low: float
    median: float
    high: float


class PairwiseComparison(Struct, frozen=True, kw_only=True):
    """Comparison of the losses of two solvers on the same instances.

    Attributes:
        first: Label of one solver.
        second: Label of the other.
        wins: Instances on which the first's loss is lower, or only the first has a schedule.
        ties: Instances on which they are equal, or neither has a schedule.
        losses: The rest.
        ratio: Median of first's loss / second's where both have one, or None.
    """

    first: str
    second: str
    wins: int
    ties: int
    losses: int
    ratio: float | None


def shifted_geometric_mean(values: Sequence[float], shift: float) -> float | None:
    """``exp(mean(log(v + shift))) - shift``, or None of nothing. Values are at least 0."""
    if not values:
        return None
    mean = math.fsum(math.log(v + shift) for v in values) / len(values)
    return max(0.0, math.exp(mean) - shift)


def mean_interval(values: Sequence[float], seed: int) -> Interval | None:
    """Percentile bootstrap interval of the mean; None of fewer than two values.

    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.

    Args:
        values: One of each instance, drawn again with replacement :data:`DRAWS` times.
        seed: Of the draws.
    """
    if len(values) < 2:
        return None
    import numpy as np

    known = np.asarray(values)
    rng = np.random.default_rng(seed)
    means = [
        known[rng.integers(len(known), size=(BLOCK, len(known)))].mean(axis=1)
        for _ in range(DRAWS // BLOCK)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def shifted_geometric_interval(values: Sequence[float], shift: float) -> Interval | None:
    """Bootstrap interval of :func:`shifted_geometric_mean`; None of fewer than two values."""
    found = mean_interval([math.log(v + shift) for v in values], seed=0)
    if found is None:
        return None
    low, high = (max(0.0, math.exp(end) - shift) for end in found)
    return low, high


def spread(values: Sequence[float]) -> Spread | None:
    """The spread of values, infinite ones included; None of nothing."""
    if not values:
        return None
    return Spread(len(values), min(values), median(values), max(values))


def thinned(points: Sequence[T], most: int) -> list[T]:
    """At most ``most`` points of a curve, evenly spread, both ends included."""
    if len(points) <= most:
        return list(points)
    last = len(points) - 1
    return [points[k * last // (most - 1)] for k in range(most)]


def ratio(loss: float, reference: float) -> float:
    """``loss / reference``: 1 where both are 0, infinite where only the reference is."""
    if reference > 0:
        return loss / reference
    return 1.0 if loss <= TOLERANCE else math.inf


def compare(first: float | None, second: float | None) -> int:
    """-1 where the first loss is lower, 1 where the second is, 0 where they are the same.

    A loss that is missing is higher than any other.
    """
    if first is None or second is None:
        return (first is None) - (second is None)
    slack = TOLERANCE * max(1.0, abs(first), abs(second))
    return 0 if abs(first - second) <= slack else (-1 if first < second else 1)


def compare_pairs(
    names: tuple[str, str], losses: Sequence[tuple[float | None, float | None]]
) -> PairwiseComparison:
    """Head to head over instances, each with the two losses (None where there is no schedule)."""
    results = [compare(a, b) for a, b in losses]
    ratios = [ratio(a, b) for a, b in losses if a is not None and b is not None]
    return PairwiseComparison(
        first=names[0],
        second=names[1],
        wins=results.count(-1),
        ties=results.count(0),
        losses=results.count(1),
        ratio=median(ratios) if ratios else None,
    )
