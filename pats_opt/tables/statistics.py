"""Quantiles, fairness and line fits; quantiles over all values or group by group."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

#: Shares at which a distribution is kept, every 2 %, and more of the largest values.
SHARES = (*(k / 50 for k in range(50)), 0.99, 0.995, 0.999, 1.0)

#: A share of some requests, and the value that so many of them do not exceed.
Quantile = tuple[float, float]


def rank(count: int, q: float) -> int:
    """Return the place of the ``q`` quantile among ``count`` sorted values.

    It is the smallest value that at least a share ``q`` of them does not exceed: a value that
    occurred, never one between two. The slack forgives rounding of ``q * count``.
    """
    return max(0, math.ceil(q * count - 1e-9) - 1)


def quantile(rising: Floats, q: float) -> float | None:
    """Return the ``q`` quantile of rising values (see :func:`rank`); None of nothing."""
    return float(rising[rank(len(rising), q)]) if len(rising) else None


def kept_quantiles(
    rising: Floats, count: int, shares: Iterable[float] = ()
) -> tuple[Quantile, ...]:
    """Return the quantiles of ``count`` values at :data:`SHARES` and some more shares.

    Only the smallest values are known, ``rising``; the rest are larger than all of them, and shares
    that reach so far are left out. The last share is that of the known values.
    """
    if not len(rising):
        return ()
    asked = sorted({*SHARES, *shares, len(rising) / count})
    places = ((share, rank(count, share)) for share in asked)
    return tuple([(share, float(rising[at])) for share, at in places if at < len(rising)])


def mean(values: Floats) -> float | None:
    """Return the mean of some values; None of nothing."""
    return float(values.mean()) if len(values) else None


def ratio(predicted: float | None, measured: float | None) -> float | None:
    """Return measured by predicted: 1 where both are 0, None where that is no number."""
    if predicted is None or measured is None:
        return None
    if predicted == 0:
        return 1.0 if measured == 0 else None
    return measured / predicted


def group_sums(values: Floats, group: Ints, groups: int) -> Floats:
    """Return the sum of the values of each group."""
    import numpy as np

    return np.bincount(group, weights=values, minlength=groups).astype(np.float64)


def group_means(values: Floats, group: Ints, counts: Ints) -> Floats:
    """Return the mean of the values of each group; NaN where its count is 0."""
    import numpy as np

    means = np.full(len(counts), np.nan)
    np.divide(group_sums(values, group, len(counts)), counts, out=means, where=counts > 0)
    return means


def group_quantiles(values: Floats, group: Ints, counts: Ints, *qs: float) -> list[Floats]:
    """Return quantiles of the values of each group (see :func:`rank`); NaN where it has none."""
    import numpy as np

    rising = values[np.lexsort((values, group))]
    first = np.cumsum(counts) - counts
    found = []
    for q in qs:
        place = np.maximum(np.ceil(q * counts - 1e-9).astype(np.int64) - 1, 0)
        of_group = np.full(len(counts), np.nan)
        of_group[counts > 0] = rising[(first + place)[counts > 0]]
        found.append(of_group)
    return found


def commonest(values: Ints, group: Ints, groups: int) -> Ints:
    """Return the value that is most frequent in each group; of several, the first one's.

    -1 where a group has none. Values are at least 0.
    """
    import numpy as np

    many = int(values.max(initial=0)) + 1
    pairs, first, counts = np.unique(group * many + values, return_index=True, return_counts=True)
    of = pairs // many
    order = np.lexsort((first, -counts, of))
    found = np.full(groups, -1, dtype=np.int64)
    found[of[order][::-1]] = (pairs % many)[order][::-1]
    return found


def jain(values: Floats) -> float | None:
    """Return Jain's fairness index ``(sum x)^2 / (n * sum x^2)``, in (0, 1]; None of nothing.

    1 where all n values are alike (all of them 0 included), 1 / n where all but one are 0. After
    Jain, Chiu, Hawe: A quantitative measure of fairness and discrimination for resource allocation
    in shared computer systems, DEC-TR-301, 1984.
    """
    if not len(values):
        return None
    largest = float(values.max())
    if largest <= 0:
        return 1.0
    scaled = values / largest  # so that squares neither overflow nor vanish
    return min(1.0, float(scaled.sum() ** 2 / (len(values) * (scaled**2).sum())))


class LineFit(NamedTuple):
    """A fitted line; ``bounded`` where its base or slope would be negative and was set to 0."""

    base: float
    slope: float
    bounded: bool


def fit_line(n: Floats, y: Floats, weights: Floats) -> LineFit:
    """Fit a line through points (n, y), n and y positive, by weighted least squares.

    A line through the origin where all n are the same.
    """
    import numpy as np

    mean_n, mean_y = np.average(n, weights=weights), np.average(y, weights=weights)
    spread = float((weights * (n - mean_n) ** 2).sum())
    slope = float((weights * (n - mean_n) * (y - mean_y)).sum()) / spread if spread else 0.0
    base = float(mean_y - slope * mean_n)
    if slope < 0:
        return LineFit(float(mean_y), 0.0, True)
    if base < 0 or not spread:
        return LineFit(0.0, float((weights * n * y).sum() / (weights * n * n).sum()), True)
    return LineFit(base, slope, False)
