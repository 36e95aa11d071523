"""Verdict on the test instances."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pats_opt.tuning.verdict import TuneComparison, compare, interval, judge
from tests.support import scale


def compared(ratios: list[float | None], default: float | None = 2.0) -> TuneComparison:
    """The comparison of a default loss on every instance with these ratios to it."""
    best = [None if r is None else 2.0 * r for r in ratios]
    return compare([default] * len(best), best, seed=0)


def test_compare() -> None:
    """Geometric mean of the ratios, means of the losses, counts."""
    found = compare([2.0, 4.0, 1.0, None, 3.0], [1.0, 8.0, 1.0, 5.0, None], seed=0)
    assert found.instances == 3
    assert found.default_loss == pytest.approx(7 / 3)
    assert found.best_loss == pytest.approx(10 / 3)
    assert found.ratio == pytest.approx(1.0)
    assert (found.wins, found.ties, found.losses, found.only_default) == (2, 1, 2, 1)


def test_interval_covers() -> None:
    """95 % intervals of 30 log-normal ratios hold the true mean about so often (200 draws)."""
    rng = np.random.default_rng(0)
    hits, seeds = 0, scale.seeds(200)
    for seed in seeds:
        found = interval(list(rng.normal(-0.1, 0.2, size=30)), seed)
        assert found is not None
        hits += found[0] <= math.exp(-0.1) <= found[1]
    assert 0.90 <= hits / len(seeds) <= 0.98


def test_interval_of_little() -> None:
    """None of one instance; a point where all are the same; the same for the same seed."""
    assert interval([], 0) is interval([0.5], 0) is None
    assert interval([0.0, 0.0, 0.0], 0) == (1.0, 1.0)
    assert interval([0.1, -0.2, 0.3], 4) == interval([0.1, -0.2, 0.3], 4)


@pytest.mark.parametrize(
    ("test", "best_trial", "helped", "told"),
    [
        (
            compared([0.8] * 9),
            3,
            True,
            "Tuning helped: on the test instances the loss is 20 % lower",
        ),
        (
            compared([1.5] * 9),
            3,
            False,
            "Tuning made it worse: on the test instances the loss is 50 %",
        ),
        (compared([0.5, 1.5] * 5), 3, False, "Tuning is not shown to help: on the test instances"),
        (
            compared([1.0] * 9),
            3,
            False,
            "the loss is the same (95 % confidence interval +0 % to +0 %)",
        ),
        (compared([0.8] * 2), 3, True, "rough with 2 instances)"),
        (compared([0.8]), 3, None, "Nothing can be said of one test instance"),
        (compared([None], None), 3, None, "there is no schedule on any test instance"),
        (compared([0.8, None]), 3, False, "on 1 of the test instances only the defaults have"),
        (compared([0.8] * 9), 0, False, "Tuning did not help: the defaults are the best of 20"),
    ],
)
def test_judge(test: TuneComparison, best_trial: int, helped: bool | None, told: str) -> None:
    verdict, sentence = judge(test, best_trial, trials=20)
    assert verdict is helped
    assert told in sentence
