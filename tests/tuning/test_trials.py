"""The signed-rank test against every assignment of signs, and what it ends."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.tuning import trials
from pats_opt.tuning.trials import signed_rank_p, surely_worse

#: Few values, so that zeros and ties are frequent.
few = st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0]), max_size=9)


def enumerated(differences: list[float]) -> float:
    """The p-value by its definition: all assignments of signs, one by one."""
    values = [d for d in differences if d]
    sizes = [abs(d) for d in values]
    ranks = [sum(s < x for s in sizes) + (sizes.count(x) + 1) / 2 for x in sizes]
    positive = sum(rank for rank, d in zip(ranks, values, strict=True) if d > 0)
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product([False, True], repeat=len(values))
    ]
    return sum(total >= positive for total in sums) / len(sums)


@given(few | st.lists(st.floats(-1, 1), max_size=9))
def test_p_value(differences: list[float]) -> None:
    """The dynamic program counts what the definition counts."""
    assert signed_rank_p(differences) == pytest.approx(enumerated(differences), abs=1e-12)


def test_known_value() -> None:
    """Wilcoxon's table: the sum of 5 with 8 pairs has the one-sided p-value 10/256."""
    assert signed_rank_p([-1, -4, 2, 3, 5, 6, 7, 8]) == pytest.approx(10 / 256)


def test_many_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the exact range the normal law's value is close to the exact one, ties included."""
    draws = np.random.default_rng(0)
    for shift in (-0.2, 0.0, 0.2, 0.5):
        differences = list(np.round(draws.normal(shift, 1, size=60), 1))
        approximate = signed_rank_p(differences)
        with monkeypatch.context() as patch:
            patch.setattr(trials, "EXACT", 60)
            assert approximate == pytest.approx(signed_rank_p(differences), abs=0.002)
    assert signed_rank_p([1.0] * 1000) == pytest.approx(0.0, abs=1e-12)


@given(few, few)
def test_never_ends_what_is_no_worse_in_the_mean(values: list[float], best: list[float]) -> None:
    count = min(len(values), len(best))
    values, best = values[:count], best[:count]
    if surely_worse(values, best):
        assert sum(values) > sum(best)
    assert not surely_worse(best, best)


def test_needs_five_instances() -> None:
    """Worse on each of four is chance at this level (1/16), on each of five it is not (1/32)."""
    assert not surely_worse([1.0] * 4, [0.0] * 4)
    assert surely_worse([1.0] * 5, [0.0] * 5)
    assert not surely_worse([1.0] * 5 + [-9.0], [0.0] * 6)
