"""The controller of a run: what it allocates, and what it leaves alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pats_solvers.online.common.context import RunSetup
from pats_solvers.online.common.eviction import eviction
from pats_solvers.online.common.options import best_quality
from pats_solvers.online.levels.allocation import allocate
from pats_solvers.online.levels.context import LevelRun
from pats_solvers.online.levels.controlled import Proteus, within
from tests.online.levels.examples import LEVELS, problem, request

GPUS = 5


def begun(policy: Proteus) -> LevelRun:
    """A run on five GPUs in which one request has arrived; a second for each step and member."""
    made = problem(
        [request(0, 0.0, deadline_s=40.0)],
        gpus=GPUS,
        service={"kind": "steps", "step_s": {"table": [1.0, 1.5, 3.0, 4.0]}},
    )
    site = made.site
    run = policy.new_run(RunSetup(site, best_quality, eviction("lru", site), 0))
    (job,) = made.jobs
    run.waiting.add(job)
    policy.arrived(run, job)
    return run


#: Requests per second of a GPU. Two at a time serve most, which at 6 steps take 9 s of at most 20.
CAPACITIES = [2 / (1.5 * (6 - level)) for level, _ in LEVELS]


def test_capacities_are_those_of_the_best_batches() -> None:
    assert begun(Proteus()).capacities() == pytest.approx(CAPACITIES)


@settings(deadline=None)
@given(st.floats(0.0, 4.0), st.floats(0.5, 2.0))
def test_the_demand_with_its_headroom_is_allocated(rate: float, headroom: float) -> None:
    policy = Proteus(headroom=headroom)
    run = begun(policy)
    run.rate = rate
    policy.control(run, 10)
    qualities = [quality for _, quality in LEVELS]
    wanted = allocate(rate * headroom, CAPACITIES, qualities, GPUS).counts
    found = Counter(run.level)
    assert tuple(found[level] for level, _ in LEVELS) == wanted


def test_it_acts_once_in_a_period() -> None:
    policy = Proteus(period=10)
    run = begun(policy)
    run.rate = 2.0
    before = list(run.level)
    for window in (*range(1, 10), *range(11, 20)):
        policy.control(run, window)
        assert run.level == before
    policy.control(run, 20)
    assert run.level != before


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 4.0), min_size=2, max_size=6))
def test_gpus_keep_their_level_where_they_can(rates: list[float]) -> None:
    policy = Proteus()
    run = begun(policy)
    for rate in rates:
        before, run.rate = list(run.level), rate
        policy.control(run, 0)
        kept = sum(a == b for a, b in zip(before, run.level, strict=True))
        assert kept == (Counter(before) & Counter(run.level)).total()


def test_fixed_counts_for_the_levels_that_are_known() -> None:
    assert within((2, 1, 3), 3) == (2, 1, 3)
    assert within((2, 1, 3), 2) == (2, 4)
    assert within((2, 1, 3), 1) == (6,)
    assert within((2, 1), 4) == (2, 1, 0, 0)
