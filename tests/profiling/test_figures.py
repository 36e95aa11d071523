"""Figures from measurements: lines of least relative error, and the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.profiling.figures import fitted_line, tick_s

seconds = st.floats(1e-3, 100)


def squared(points: dict[int, float], base: float, slope: float) -> float:
    return sum(((base + slope * n - y) / y) ** 2 for n, y in points.items())


@given(base=seconds, slope=seconds, sizes=st.sets(st.integers(1, 64), min_size=2, max_size=6))
def test_a_line_is_found_again(base: float, slope: float, sizes: set[int]) -> None:
    (a, b, _), error = fitted_line({n: base + slope * n for n in sorted(sizes)})
    assert [a, b] == pytest.approx([base, slope], rel=1e-6)
    assert error < 1e-9


@given(st.dictionaries(st.integers(1, 64), seconds, min_size=1, max_size=6))
def test_no_line_without_negative_parts_fits_better(points: dict[int, float]) -> None:
    (base, slope, _), error = fitted_line(points)
    assert base >= 0
    assert slope >= 0
    assert error == pytest.approx(
        max(abs(base + slope * n - y) / y for n, y in points.items()), abs=1e-9
    )
    least = squared(points, base, slope)
    largest = max(points.values())
    for a in np.linspace(0, largest, 21):
        for b in np.linspace(0, largest / min(points), 21):
            assert least <= squared(points, float(a), float(b)) + 1e-9


@pytest.mark.parametrize(
    ("step", "tick"),
    [(0.148, 0.05), (0.0519, 0.02), (0.25, 0.1), (0.125, 0.05), (30.0, 10.0), (1e-9, 1e-6)],
)
def test_a_tick_is_at_most_2_percent_of_twenty_steps(step: float, tick: float) -> None:
    assert tick_s(step) == tick
    assert tick <= max(1e-6, 0.02 * 20 * step) < 2.5 * tick


def test_a_single_batch_size_halves_its_time_between_base_and_slope() -> None:
    assert fitted_line({1: 0.08}) == ((0.04, 0.04, False), 0.0)
