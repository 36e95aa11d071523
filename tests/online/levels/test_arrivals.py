"""The estimate of demand, against the formula written out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_solvers.online.levels.arrivals import ArrivalCount, weighted_mean
from pats_solvers.online.levels.hysteresis import Hysteresis

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=30)


@given(COUNTS, st.floats(0.1, 5.0))
def test_weighted_mean_is_the_sum_of_weights(counts: list[int], centre: float) -> None:
    """As documented for ``ewm(com)``: weights (1 - a)^i with a = 1 / (1 + com)."""
    alpha = 1 / (1 + centre)
    weights = [(1 - alpha) ** i for i in range(len(counts))]
    expected = sum(w * x for w, x in zip(weights, reversed(counts), strict=True)) / sum(weights)
    assert weighted_mean(counts, centre) == pytest.approx(expected)


def test_weighted_mean_of_nothing() -> None:
    assert weighted_mean([]) == 0.0


@given(
    st.lists(st.integers(0, 300), max_size=80),
    st.sampled_from((0.1, 0.25, 1.0)),
    st.sampled_from((1.0, 2.0)),
    st.lists(st.integers(0, 400), max_size=10),
)
def test_rates_are_those_of_the_last_windows(
    arrivals: list[int], tick_s: float, window_s: float, asks: list[int]
) -> None:
    """However often it is asked, the rate at a window's end is that of the windows before it."""
    count = ArrivalCount(window_s, tick_s)
    rates = dict[int, float]()
    for tick, arrives in sorted([(a, True) for a in arrivals] + [(a, False) for a in asks]):
        rates.update(count.ended(tick))
        if arrives:
            count.arrived()
    length = round(window_s / tick_s)
    for window, rate in rates.items():
        seen = [
            sum(w * length <= a < (w + 1) * length for a in arrivals)
            for w in range(max(0, window - 20), window)
        ]
        assert rate == pytest.approx(weighted_mean(seen) / window_s)


@given(st.integers(1, 60), st.integers(1, 10), st.integers(1, 500))
def test_only_silence_is_skipped(busy: int, keep: int, silence: int) -> None:
    """A window that is left out has rate 0, and the last ``keep`` never are."""
    count = ArrivalCount(1.0, 1.0)
    rates = dict[int, float]()
    for tick in range(busy):
        rates.update(count.ended(tick, keep))
        count.arrived()
    end = busy + silence
    rates.update(count.ended(end, keep))
    skipped = set(range(1, end + 1)) - rates.keys()
    assert all(busy + 20 < window <= end - keep for window in skipped)


def test_hysteresis() -> None:
    """On from the upper threshold, off below the lower one, and as it was between them."""
    switch = Hysteresis(up=0.5, down=0.4)
    ratios = (0.45, 0.5, 0.45, 0.4, 0.39, 0.45, 0.6)
    assert [switch.update(r) for r in ratios] == [False, True, True, True, False, False, True]
