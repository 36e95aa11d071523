"""The search over GPUs finds what simulating every cell finds, with fewer runs."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from pats_opt.planning.config import ServiceObjective, objective, whole_numbers
from pats_opt.planning.grid import PlanLine
from pats_opt.planning.search import (
    CellOutcome,
    PlanCell,
    cheapest,
    frontier,
    is_monotone,
    nearest_miss,
    next_cells,
)

GOAL = ServiceObjective(30.0, 0.9)


def line(policy: str, residents: int = 1) -> PlanLine:
    return PlanLine(residents, None, None, None, None, policy)


Shares = dict[PlanLine, Sequence[float]]


def searched(shares: Shares, gpus: Sequence[int]) -> dict[PlanCell, CellOutcome]:
    """Run the search on known shares."""
    known: dict[PlanCell, CellOutcome] = {}
    while cells := next_cells(list(shares), gpus, known, GOAL):
        assert not set(cells) & set(known)
        for cell in cells:
            known[cell] = CellOutcome(shares[cell.line][gpus.index(cell.gpus)], 1.0)
    return known


def every(shares: Shares, gpus: Sequence[int]) -> dict[PlanCell, CellOutcome]:
    return {
        PlanCell(one, g): CellOutcome(share, 1.0)
        for one, found in shares.items()
        for g, share in zip(gpus, found, strict=True)
    }


@pytest.mark.parametrize("seed", range(60))
def test_it_finds_the_cheapest_of_monotone_lines(seed: int) -> None:
    rng = random.Random(seed)
    gpus = sorted(rng.sample(range(1, 60), rng.randint(1, 24)))
    lines = [line(policy, k) for policy in ("fifo", "pats") for k in (1, 4)]
    shares: Shares = {one: sorted(rng.random() for _ in gpus) for one in lines}
    known = searched(shares, gpus)
    assert cheapest(known, GOAL) == cheapest(every(shares, gpus), GOAL)
    if len(gpus) > 16:
        assert len(known) < len(gpus) * len(lines)


def test_it_bisects() -> None:
    gpus = range(1, 65)
    shares: Shares = {line("fifo"): [0.95 if g >= 23 else 0.5 for g in gpus]}
    known = searched(shares, list(gpus))
    assert len(known) <= 2 + 6 + 2
    best = cheapest(known, GOAL)
    assert best is not None
    assert best.gpus == 23
    assert {22, 24} <= {cell.gpus for cell in known}


def test_a_line_that_falls_is_simulated_whole() -> None:
    """Bisection alone would take 5 of these."""
    gpus = [1, 2, 3, 4, 5]
    shares: Shares = {line("fifo"): [0.2, 0.95, 0.4, 0.3, 0.95]}
    known = searched(shares, gpus)
    assert {cell.gpus for cell in known} == set(gpus)
    best = cheapest(known, GOAL)
    assert best is not None
    assert best.gpus == 2


def test_an_end_that_misses_is_enough() -> None:
    known = searched({line("fifo"): [0.1, 0.2, 0.3, 0.4]}, [1, 2, 3, 4])
    assert {cell.gpus for cell in known} == {1, 4}
    assert cheapest(known, GOAL) is None
    best = nearest_miss(known)
    assert best is not None
    assert best.gpus == 4


def test_of_equal_gpus_the_best_service_wins() -> None:
    shares: Shares = {line("fifo"): [0.91, 0.99], line("pats"): [0.93, 0.94]}
    best = cheapest(searched(shares, [1, 2]), GOAL)
    assert best == PlanCell(line("pats"), 1)


def test_without_an_objective_every_cell_is_simulated() -> None:
    lines = [line("fifo"), line("pats")]
    assert len(next_cells(lines, [1, 2, 3], {}, None)) == 6
    assert len(next_cells(lines, [1, 2, 3], {}, GOAL, every=True)) == 6


def test_one_step_from_the_answer_is_known() -> None:
    lines = [line(policy, k) for policy in ("fifo", "pats") for k in (1, 4)]
    shares: Shares = {one: [0.1, 0.95, 0.96, 0.97, 0.98] for one in lines}
    shares[lines[3]] = [0.1, 0.5, 0.6, 0.7, 0.8]
    known = searched(shares, [1, 2, 3, 4, 5])
    best = cheapest(known, GOAL)
    assert best is not None
    for one in lines:
        if sum(a != b for a, b in zip(one, best.line, strict=True)) == 1:
            assert PlanCell(one, best.gpus) in known


def test_a_small_fall_at_a_high_share_is_noise() -> None:
    assert is_monotone({1: 0.5, 2: 0.999, 3: 0.998}, GOAL)
    assert not is_monotone({1: 0.5, 2: 0.9, 3: 0.899}, GOAL)
    assert not is_monotone({1: 0.5, 2: 0.4}, GOAL)


def test_the_frontier() -> None:
    cells = [PlanCell(line(str(k)), k) for k in range(5)]
    costs = dict(zip(cells, [1.0, 2.0, 3.0, 4.0, 4.0], strict=True))
    worth = dict(zip(cells, [0.5, 0.4, 0.8, 0.8, 0.9], strict=True))
    assert [cell.gpus for cell in frontier(costs, worth)] == [0, 2, 4]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4..6", (4, 5, 6)), ("1,4,16", (1, 4, 16)), ("8,1..2", (1, 2, 8)), ("3", (3,))],
)
def test_whole_numbers(text: str, expected: tuple[int, ...]) -> None:
    assert whole_numbers(text) == expected


@pytest.mark.parametrize("text", ["", "x", "4..", "6..4", "1.5", "-1", "1,,2", "1..1000000"])
def test_other_texts_are_no_numbers(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (of any text: the command says its own)
        whole_numbers(text)


@pytest.mark.parametrize(
    ("text", "seconds", "share"),
    [("30", 30, 0.95), ("30:0.9", 30, 0.9), ("p95<=20", 20, 0.95), ("p99.5 <= 1.5 s", 1.5, 0.995)],
)
def test_objectives(text: str, seconds: float, share: float) -> None:
    found = objective(text)
    assert found.seconds == seconds
    assert found.share == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "0", "30:0", "30:1.5", "p95", "nan", "p95<=x", "inf"])
def test_other_texts_are_no_objectives(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (of any text: the command says its own)
        objective(text)
