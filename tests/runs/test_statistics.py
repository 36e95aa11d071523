"""Statistics by hand-worked numbers."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pats_opt.runs.statistics import (
    Spread,
    compare,
    compare_pairs,
    mean_interval,
    ratio,
    shifted_geometric_interval,
    shifted_geometric_mean,
    spread,
)


@pytest.mark.parametrize(
    ("values", "shift", "expected"),
    [
        ([3.0], 1.0, 3.0),
        ([0.0, 3.0], 1.0, 1.0),  # sqrt(1 * 4) - 1
        ([1.0, 7.0], 1.0, 3.0),  # sqrt(2 * 8) - 1
        ([0.0, 0.0, 7.0], 1.0, 1.0),  # cbrt(8) - 1
        ([0.03, 0.0], 0.01, 0.01),  # sqrt(0.04 * 0.01) - 0.01
    ],
)
def test_shifted_geometric_mean(values: list[float], shift: float, expected: float) -> None:
    assert shifted_geometric_mean(values, shift) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=30), st.floats(0.001, 10))
def test_mean_lies_between_its_values(values: list[float], shift: float) -> None:
    mean = shifted_geometric_mean(values, shift)
    assert mean is not None
    assert min(values) - 1e-6 <= mean <= max(values) * (1 + 1e-9) + 1e-6


def test_nothing_has_no_mean_and_no_spread() -> None:
    assert shifted_geometric_mean([], 1.0) is None
    assert spread([]) is None


def test_spread() -> None:
    """The median of an even number of values is the mean of the middle two; infinity is a value."""
    assert spread([3.0, 1.0, 2.0]) == Spread(3, 1.0, 2.0, 3.0)
    assert spread([4.0, 1.0, 2.0, 3.0]) == Spread(4, 1.0, 2.5, 4.0)
    assert spread([1.0, math.inf, math.inf]) == Spread(3, 1.0, math.inf, math.inf)


def test_ratio_of_zeros() -> None:
    """Nothing over nothing is the same; something over nothing is infinite."""
    assert ratio(3.0, 2.0) == 1.5
    assert ratio(0.0, 0.0) == 1.0
    assert ratio(0.5, 0.0) == math.inf


def test_compare_forgives_rounding_and_ranks_failures_last() -> None:
    assert compare(1.0, 1.0 + 1e-9) == 0
    assert compare(1.0, 1.1) == -1
    assert compare(None, 1.0) == 1
    assert compare(1.0, None) == -1
    assert compare(None, None) == 0


def test_pairwise_comparison() -> None:
    """Two wins, one by the other's failure, a tie and a loss; the ratio is of those with both."""
    found = compare_pairs(("a", "b"), [(1.0, 2.0), (3.0, None), (2.0, 2.0), (3.0, 2.0)])
    assert (found.wins, found.ties, found.losses) == (2, 1, 1)
    assert found.ratio == 1.0  # of 0.5, 1.0 and 1.5
    assert compare_pairs(("a", "b"), [(None, None)]).ratio is None


def test_mean_interval_is_the_bootstrap_of_the_mean() -> None:
    """Against all 27 equally likely draws of three values, whose means are the exact bootstrap."""
    values = (0.0, 1.0, 5.0)
    means = np.array([sum(drawn) / 3 for drawn in product(values, repeat=3)])
    found = mean_interval(values, 0)
    assert found is not None
    # 1 of 27 draws has each extreme mean, more than 2.5 %: both ends are the extremes themselves.
    assert found == pytest.approx((means.min(), means.max()))
    many = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    low, high = mean_interval(many.tolist(), 0) or (0.0, 0.0)
    error = 1.96 * many.std() / 20  # the normal theory, which holds for so many
    assert (low, high) == pytest.approx((many.mean() - error, many.mean() + error), abs=0.02)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=12))
@settings(max_examples=15)
def test_shifted_interval_holds_the_mean_and_stays_within_the_values(values: list[float]) -> None:
    found = shifted_geometric_interval(values, 0.01)
    mean = shifted_geometric_mean(values, 0.01)
    assert found is not None
    assert mean is not None
    assert min(values) - 1e-9 <= found[0] <= mean + 1e-9
    assert mean - 1e-9 <= found[1] <= max(values) + 1e-9


def test_one_value_has_no_interval() -> None:
    assert mean_interval([1.0], 0) is shifted_geometric_interval([0.5], 0.01) is None
    assert shifted_geometric_interval([0.0, 0.0], 0.01) == pytest.approx((0.0, 0.0))
