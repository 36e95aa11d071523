"""Predictors of the level that a prompt tolerates."""

from __future__ import annotations

import random
from statistics import correlation

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_solvers.online.levels.ladder import JobLevel, levels_of
from pats_solvers.online.levels.predictors import predictor, tolerated
from tests.online.levels.examples import problem, request
from tests.online.levels.test_ladder import job


def ladder(qualities: list[float]) -> list[JobLevel]:
    """Levels 0, 5, 10, ... of these qualities."""
    return [JobLevel(5 * i, i, 50 - 5 * i, q) for i, q in enumerate(qualities)]


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=6).map(
        lambda drawn: [q / 100 for q in sorted(drawn, reverse=True)]
    ),
    st.floats(0.0, 1.0),
)
def test_tolerated_is_within_the_deepest_good_level(qualities: list[float], alpha: float) -> None:
    """Its whole part names the deepest level before the first that is not good enough."""
    depth = tolerated(ladder(qualities), alpha)
    deepest = 0
    for i, quality in enumerate(qualities):
        if quality < alpha * qualities[0]:
            break
        deepest = 5 * i
    last = deepest == 5 * (len(qualities) - 1)
    assert deepest <= depth <= deepest + (1 if last else 5)


def test_tolerated_between_two_levels() -> None:
    assert tolerated(ladder([1.0, 0.96, 0.9]), 0.93) == pytest.approx(7.5)
    assert tolerated(ladder([1.0, 0.96]), 0.93) == pytest.approx(5 + 0.03 / 0.96)
    assert tolerated(ladder([0.0, 0.0]), 0.95) == 5
    assert tolerated(ladder([0.5, 1.0]), 0.95) == 0  # the shallowest is not good enough


@given(st.floats(0.1, 3.0), st.floats(0.1, 3.0))
def test_less_sensitive_prompts_tolerate_more(one: float, other: float) -> None:
    g = (0.0, 0.02954, 0.04192, 0.05622, 0.06765, 0.0848)
    depths = [tolerated(ladder([1 - s * x for x in g]), 0.95) for s in sorted((one, other))]
    assert depths[0] >= depths[1]


def test_look_up() -> None:
    jobs = problem([request(0, 0.0, cache_level=4), request(1, 0.0)]).jobs
    predict = predictor("look-up", 0.9, 1.0, 500, random.Random(0))
    assert [predict(each, levels_of(each)) for each in jobs] == [4.0, 0.0]


def ranks(values: list[float]) -> list[float]:
    """Mid-ranks of values."""
    rising = sorted(values)
    places: dict[float, list[int]] = {}
    for place, value in enumerate(rising):
        places.setdefault(value, []).append(place)
    return [sum(places[v]) / len(places[v]) for v in values]


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_a_prediction_has_the_stated_rank_correlation(rho: float) -> None:
    """Spearman's, over 4,000 prompts: its standard error is 1 / sqrt(4000)."""
    rng = random.Random(5)
    predict = predictor("tolerance", 0.95, rho, 500, rng)
    truths, predicted = [], []
    for _ in range(4000):
        s = rng.lognormvariate(-0.35, 0.83)
        levels = ladder([1 - s * x for x in (0.0, 0.03, 0.042, 0.056, 0.068, 0.085)])
        truths.append(tolerated(levels, 0.95))
        predicted.append(predict(job((50, 0, 1.0)), levels))
    found = correlation(ranks(truths[500:]), ranks(predicted[500:]))
    assert found == pytest.approx(rho, abs=0.05)
    if rho == 1.0:
        assert predicted == truths
