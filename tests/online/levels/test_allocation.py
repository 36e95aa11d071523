"""The allocation of GPUs to levels: the published optimum, enumeration and linear programs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ortools.math_opt.python import mathopt

from pats_solvers.online.levels.allocation import (
    MOST_ENUMERATED,
    ROUNDING,
    allocate,
    assign,
    best_listed,
    compositions,
    fill,
    promising,
)
from pats_solvers.online.levels.program import best_counts

#: Requests per minute of one GPU, and relative quality, at K = 0, 5, ..., 25 (published artefact).
CAPS = tuple(1.65 * 60 / (0.084 * (50 - k)) for k in range(0, 30, 5))
QUALITY = (100.0, 97.046, 95.808, 94.378, 93.235, 91.52)

LADDERS = st.integers(1, 4).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(1, 300).map(lambda x: x / 7), min_size=n, max_size=n),
        st.lists(st.integers(0, 1000).map(lambda x: x / 1000), min_size=n, max_size=n),
    )
)

LOADS = st.integers(0, 1500).map(lambda x: x / 11)


@pytest.mark.parametrize(
    ("load", "counts", "quality"),
    [
        (200, (7, 0, 0, 0, 1, 0), 98.82),
        (225, (6, 0, 0, 0, 1, 1), 97.15),
        (250, (5, 0, 0, 0, 1, 2), 95.79),
        (300, (1, 0, 0, 1, 5, 1), 93.63),
        (350, (0, 0, 0, 0, 3, 5), 92.10),
    ],
)
def test_the_optimum_at_known_loads(load: float, counts: tuple[int, ...], quality: float) -> None:
    found = allocate(load, CAPS, QUALITY, 8)
    assert found.counts == counts
    assert found.quality(QUALITY) == pytest.approx(quality, abs=0.005)
    assert sum(found.load) == pytest.approx(load)


def test_a_load_above_the_fleet_takes_all_at_the_fastest() -> None:
    found = allocate(500, CAPS, QUALITY, 8)
    assert found.counts == (0, 0, 0, 0, 0, 8)
    assert sum(found.load) == pytest.approx(8 * CAPS[-1])


def test_without_load_all_are_at_the_shallowest() -> None:
    for gpus in (8, 64):
        assert allocate(0.0, CAPS, QUALITY, gpus).counts == (gpus, 0, 0, 0, 0, 0)
    assert allocate(100, CAPS, QUALITY, 8).counts == (8, 0, 0, 0, 0, 0)


def filled(load: float, counts: tuple[int, ...], caps: list[float], quality: list[float]) -> float:
    """The best quality times load of fixed counts, as a linear program."""
    model = mathopt.Model()
    y = [model.add_variable(lb=0.0, ub=n * t) for n, t in zip(counts, caps, strict=True)]
    served = min(load, sum(n * t for n, t in zip(counts, caps, strict=True)))
    model.add_linear_constraint(mathopt.fast_sum(y) == served)
    model.maximize(mathopt.fast_sum([a * v for a, v in zip(quality, y, strict=True)]))
    result = mathopt.solve(model, mathopt.SolverType.GLOP)
    assert result.termination.reason == mathopt.TerminationReason.OPTIMAL
    value: float = result.objective_value()
    return value


@settings(deadline=None, max_examples=50)
@given(LADDERS, LOADS, st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_filling_the_best_levels_first_is_the_linear_optimum(
    ladder: tuple[list[float], list[float]], load: float, drawn: list[int]
) -> None:
    caps, quality = ladder
    counts = tuple(drawn[: len(caps)])
    given_load = fill(load, counts, caps, quality)
    worth = sum(y * a for y, a in zip(given_load, quality, strict=True))
    assert worth == pytest.approx(filled(load, counts, caps, quality), abs=1e-6)
    assert all(0 <= y <= n * t + 1e-9 for y, n, t in zip(given_load, counts, caps, strict=True))


def plain(
    load: float, caps: list[float], quality: list[float], gpus: int
) -> tuple[float, float, int]:
    """What the best of all counts serves, its quality times load, and its depth."""
    values = []
    for counts in itertools.product(range(gpus + 1), repeat=len(caps)):
        if sum(counts) != gpus:
            continue
        y = fill(load, counts, caps, quality)
        worth = sum(a * v for a, v in zip(quality, y, strict=True))
        values.append((sum(y), worth, sum(v * n for v, n in enumerate(counts))))
    most = max(served for served, _, _ in values)
    values = [v for v in values if v[0] >= most - ROUNDING * max(load, 1.0)]
    best = max(worth for _, worth, _ in values)
    values = [v for v in values if v[1] >= best - ROUNDING * max(best, 1.0)]
    return most, best, min(depth for _, _, depth in values)


@settings(deadline=None, max_examples=150)
@given(LADDERS, LOADS, st.integers(1, 5))
def test_no_allocation_is_better(
    ladder: tuple[list[float], list[float]], load: float, gpus: int
) -> None:
    caps, quality = ladder
    found = allocate(load, caps, quality, gpus)
    assert sum(found.counts) == gpus
    most, best, depth = plain(load, caps, quality, gpus)
    assert sum(found.load) == pytest.approx(most)
    assert sum(a * y for a, y in zip(quality, found.load, strict=True)) == pytest.approx(best)
    assert sum(v * n for v, n in enumerate(found.counts)) == depth


@settings(deadline=None, max_examples=150)
@given(LADDERS.filter(lambda ladder: len(ladder[0]) > 1), LOADS, st.integers(1, 20), st.booleans())
def test_the_best_of_all_is_among_the_promising(
    ladder: tuple[list[float], list[float]], load: float, gpus: int, busy: bool
) -> None:
    caps, quality = (np.array(column) for column in ladder)
    load = min(load, 0.999 * gpus * caps.max()) if busy else load
    listed = promising(load, caps, quality, gpus)
    assert listed is not None
    every = compositions(gpus, len(caps))
    assert best_listed(load, caps, quality, listed) == best_listed(load, caps, quality, every)


def test_few_allocations_of_a_large_fleet_are_promising() -> None:
    """Of the 11 million of 64 GPUs, at every load; all levels alike are too many."""
    for load in range(0, 3200, 80):
        listed = promising(load, np.array(CAPS), np.array(QUALITY), 64)
        assert listed is not None
        assert len(listed) <= MOST_ENUMERATED
    alike = np.full(6, 90.0)
    assert promising(1500.0, np.array(CAPS), alike, 64) is None
    found = allocate(1500.0, CAPS, alike.tolist(), 64)
    assert sum(found.counts) == 64
    assert sum(found.load) == pytest.approx(1500.0)


@settings(deadline=None, max_examples=60)
@given(LADDERS, LOADS, st.integers(1, 5))
def test_the_program_finds_the_same_quality(
    ladder: tuple[list[float], list[float]], load: float, gpus: int
) -> None:
    caps, quality = ladder
    counts = best_counts(load, caps, quality, gpus)
    assert sum(counts) == gpus
    most, best, _ = plain(load, caps, quality, gpus)
    y = fill(load, counts, caps, quality)
    assert sum(y) == pytest.approx(most, rel=1e-6)
    worth = sum(a * v for a, v in zip(quality, y, strict=True))
    assert worth == pytest.approx(best, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("load", [200, 225, 250, 300, 350])
def test_the_program_finds_the_known_optimum(load: float) -> None:
    assert best_counts(load, CAPS, QUALITY, 8) == allocate(load, CAPS, QUALITY, 8).counts


def test_a_large_fleet_is_at_least_as_good_as_copies_of_a_small_one() -> None:
    for load in (200.0, 250.0, 300.0):
        small, large = (allocate(n * load, CAPS, QUALITY, 8 * n) for n in (1, 8))
        assert sum(large.counts) == 64
        assert sum(large.load) == pytest.approx(8 * load)
        assert large.quality(QUALITY) >= small.quality(QUALITY) - 1e-9


@given(st.integers(0, 6), st.integers(1, 4))
def test_compositions(total: int, parts: int) -> None:
    rows = [tuple(row) for row in compositions(total, parts).tolist()]
    every = itertools.product(range(total + 1), repeat=parts)
    assert sorted(rows) == sorted(c for c in every if sum(c) == total)


@given(st.data(), st.integers(1, 4), st.integers(1, 6))
def test_assignment_changes_as_few_as_any(data: st.DataObject, levels: int, gpus: int) -> None:
    current = data.draw(st.lists(st.integers(-1, levels), min_size=gpus, max_size=gpus))
    wanted = data.draw(st.lists(st.integers(0, levels - 1), min_size=gpus, max_size=gpus))
    counts = [wanted.count(level) for level in range(levels)]
    found = assign(current, counts)
    assert [found.count(level) for level in range(levels)] == counts
    fewest = min(
        sum(a != b for a, b in zip(current, other, strict=True))
        for other in itertools.permutations(wanted)
    )
    assert sum(a != b for a, b in zip(current, found, strict=True)) == fewest
