"""The memory of arrivals: gaps, shares, and how long the next arrival may take."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from pats_opt.model.problem import Problem
from pats_opt.testing.instances import random_instance
from pats_solvers.online.arrivals import ArrivalMemory


def memory_of(*arrivals: tuple[int, int], most: int = 10) -> ArrivalMemory:
    """The memory of requests of one step, each as tick and adapter."""
    memory = ArrivalMemory(Problem(random_instance(0, requests=(1, 2))).site, most)
    for tick, adapter in arrivals:
        memory.add(tick, 1, adapter)
    return memory


def test_the_next_arrival_is_expected_by_the_gaps_that_lasted_longer() -> None:
    """Gaps of 2, 6 and 10: at once their mean; after 4 ticks what is left of two; then of one."""
    memory = memory_of((0, 0), (2, 0), (8, 0), (18, 0))
    assert memory.next_arrival(18) == 6.0
    assert memory.next_arrival(22) == 4.0
    assert memory.next_arrival(27) == 1.0
    assert memory.next_arrival(28) is None
    assert memory_of((5, 0)).next_arrival(5) is None


@pytest.mark.parametrize("seed", range(50))
def test_the_tick_from_which_the_next_arrival_is_far_is_the_end_of_a_gap(seed: int) -> None:
    """A search over the ends of all gaps finds the same tick."""
    rng = random.Random(seed)
    ticks = sorted(rng.randrange(40) for _ in range(rng.randint(3, 12)))
    memory, last = memory_of(*[(tick, 0) for tick in ticks], most=12), ticks[-1]
    gaps = sorted({b - a for a, b in pairwise(ticks)})
    now = last + rng.randrange(max(1, gaps[-1]))
    for far in (0.0, 1.5, 4.0, 1000.0):
        ends = [last + gap for gap in gaps if last + gap > now]
        expected = [memory.next_arrival(tick) for tick in ends]
        found = [t for t, e in zip(ends, expected, strict=True) if e is None or e >= far]
        assert not found or memory.next_beyond(now, far) == found[0]


def test_one_arrival_says_nothing_about_more() -> None:
    """Of four arrivals, two more of adapter 0 than one, and none of the others."""
    memory = memory_of((0, 0), (1, 0), (2, 1), (3, 0))
    assert [memory.share(a) for a in range(3)] == [0.5, 0.0, 0.0]


def test_old_arrivals_are_forgotten() -> None:
    """With a memory of two arrivals, what came before leaves no trace."""
    forgetful = memory_of((0, 1), (100, 1), (103, 0), (107, 0), most=2)
    fresh = memory_of((103, 0), (107, 0), most=2)
    assert forgetful.share(0) == fresh.share(0) == 0.5
    assert forgetful.gap_ticks(110) == fresh.gap_ticks(110)
    assert forgetful.next_arrival(107) == 3.5  # two gaps: 3 and 4
