"""The memory of arrivals: gaps, shares, and how long the next arrival may take."""

from __future__ import annotations

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
    assert memory.next_arrival(18) == (6.0, 20)
    assert memory.next_arrival(22) == (4.0, 24)
    assert memory.next_arrival(27) == (1.0, 28)
    assert memory.next_arrival(28) is None
    assert memory_of((5, 0)).next_arrival(5) is None


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
    assert forgetful.next_arrival(107) == (3.5, 110)  # two gaps: 3 and 4
