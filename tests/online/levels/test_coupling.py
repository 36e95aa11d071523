"""The planner of levels, against the transportation problem and the published cascade."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.math_opt.python import mathopt

from pats_solvers.online.levels.coupling import RankWindow, couple, expected_loss, level_at

#: Relative quality at K = 0, 5, ..., 25 (published artefact).
QUALITY = (1.0, 0.97046, 0.95808, 0.94378, 0.93235, 0.9152)

WEIGHTS = st.lists(st.integers(0, 20), min_size=6, max_size=6).filter(any)


def shares(weights: list[int]) -> list[float]:
    """Weights as shares that sum to 1."""
    return [w / sum(weights) for w in weights]


def cheapest(h: list[float], f: list[float]) -> float:
    """The least expected loss, as a transportation problem."""
    model, levels = mathopt.Model(), range(len(h))
    x = [[model.add_variable(lb=0.0) for _ in levels] for _ in levels]
    for k in levels:
        model.add_linear_constraint(mathopt.fast_sum(x[k]) == h[k])
        model.add_linear_constraint(mathopt.fast_sum([row[k] for row in x]) == f[k])
    cost = [max(0.0, QUALITY[k] - QUALITY[to]) * x[k][to] for k in levels for to in levels]
    model.minimize(mathopt.fast_sum(cost))
    result = mathopt.solve(model, mathopt.SolverType.GLOP)
    assert result.termination.reason == mathopt.TerminationReason.OPTIMAL
    value: float = result.objective_value()
    return value


def cascade(h: list[float], f: list[float]) -> list[list[float]]:
    """The published planner: deep levels first, what is too much moves to the next shallower one.

    What a level lacks comes from the nearest shallower ones. A prompt that was moved is routed
    again by the row of the level that it came to.
    """
    held = [[share if k == to else 0.0 for to in range(len(h))] for k, share in enumerate(h)]

    def move(source: int, to: int, amount: float) -> None:
        there = sum(row[source] for row in held)
        for row in held:  # the prompts that are there are alike to it
            part = row[source] * amount / there
            row[source] -= part
            row[to] += part

    for k in range(len(h) - 1, 0, -1):
        there = sum(row[k] for row in held)
        if there > f[k]:
            move(k, k - 1, there - f[k])
            continue
        lacks = f[k] - there
        for source in range(k - 1, -1, -1):
            shift = min(lacks, sum(row[source] for row in held))
            if shift > 0:
                move(source, k, shift)
                lacks -= shift
    return held


@settings(deadline=None)
@given(WEIGHTS, WEIGHTS)
def test_the_coupling_is_the_optimum_of_the_transportation_problem(
    h: list[int], f: list[int]
) -> None:
    optimal, capacity = shares(h), shares(f)
    flow = couple(optimal, capacity)
    for k in range(6):
        assert sum(flow[k]) == pytest.approx(optimal[k], abs=1e-12)
        assert sum(row[k] for row in flow) == pytest.approx(capacity[k], abs=1e-12)
    assert expected_loss(flow, QUALITY) == pytest.approx(cheapest(optimal, capacity), abs=1e-9)


@given(WEIGHTS, WEIGHTS)
def test_the_published_cascade_loses_as_much(h: list[int], f: list[int]) -> None:
    optimal, capacity = shares(h), shares(f)
    moved = cascade(optimal, capacity)
    for k in range(6):
        assert sum(row[k] for row in moved) == pytest.approx(capacity[k], abs=1e-9)
    coupled = expected_loss(couple(optimal, capacity), QUALITY)
    assert expected_loss(moved, QUALITY) == pytest.approx(coupled, abs=1e-9)


@given(WEIGHTS, WEIGHTS)
def test_a_deeper_prompt_gets_no_shallower_level(h: list[int], f: list[int]) -> None:
    flow = couple(shares(h), shares(f))
    last = 0
    for row in flow:
        used = [to for to, share in enumerate(row) if share > 1e-12]
        if used:
            assert used[0] >= last
            last = used[-1]


@given(WEIGHTS, WEIGHTS)
def test_ranks_give_the_coupling(h: list[int], f: list[int]) -> None:
    """A prompt's level by its rank: over all ranks, the flow of the coupling."""
    fine, size = sum(h) * sum(f), len(h)
    flow = [[0.0] * size for _ in h]
    optimal = [k for k, weight in enumerate(h) for _ in range(weight * sum(f))]
    for i, k in enumerate(optimal):
        flow[k][level_at((i + 0.5) / fine, shares(f))] += 1 / fine
    for mine, coupled in zip(flow, couple(shares(h), shares(f)), strict=True):
        assert mine == pytest.approx(coupled, abs=1e-9)


@given(st.floats(0.0, 1.0), WEIGHTS)
def test_a_level_without_capacity_gets_nobody(rank: float, f: list[int]) -> None:
    assert f[level_at(rank, [float(weight) for weight in f])] > 0


def test_online_each_level_gets_its_share() -> None:
    """Ties at random: prompts of three levels meet the shares of six."""
    rng, window, f = random.Random(1), RankWindow(500), [0.1, 0.0, 0.2, 0.3, 0.25, 0.15]
    levels = Counter(
        level_at(window.rank(rng.choice((0.0, 5.0, 10.0)), rng), f) for _ in range(20_000)
    )
    for level, share in enumerate(f):
        assert levels[level] / 20_000 == pytest.approx(share, abs=0.012)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(1, 10))
def test_ranks_are_among_the_last_values(values: list[int], size: int) -> None:
    window, rng = RankWindow(size), random.Random(0)
    for i, value in enumerate(values):
        rank = window.rank(float(value), rng)
        last = values[max(0, i + 1 - size) : i + 1]
        assert sum(v < value for v in last) / len(last) <= rank
        assert rank < sum(v <= value for v in last) / len(last)
        assert window.quantile(0.0) == min(last)
        assert window.quantile(1.0) == max(last)
        assert window.quantile(0.5) == sorted(last)[len(last) // 2]
