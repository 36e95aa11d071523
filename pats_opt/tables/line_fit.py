"""Line of a time over a batch size: weighted least squares with base and slope at least 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LineFit(NamedTuple):
    """A fitted line; ``bounded`` where its base or slope would be negative and was set to 0."""

    base: float
    slope: float
    bounded: bool


def fit_line(
    n: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]
) -> LineFit:
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
