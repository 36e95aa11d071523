"""Deadlines and levels over time: by hand, and against a plain count on drawn schedules."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pats_opt.model.checker import check
from pats_opt.model.files import parse_instance
from pats_opt.model.plan import Plan, PlannedBatch, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolverRef
from pats_opt.solving.solve import solve
from pats_opt.tables import ScheduleTable, attainment, level_counts, levels_of
from pats_opt.tables.levels import allocation_steps, batch_levels, quality_steps, request_levels
from pats_opt.tables.service_levels import MULTIPLES, share_within
from pats_opt.tables.statistics import commonest, kept_quantiles
from tests.online.levels import examples
from tests.support.zoo import document, gpu, request

#: Steps of a second: 4 at once, or 2 after 2 that are skipped.
LEVELS = [{"steps": 4, "quality": 1.0}, {"steps": 2, "skip": 2, "quality": 0.75}]


def worked() -> ScheduleTable:
    """Two GPUs: level 0 until 4, 2 until 6 and then 0; 2 from 1 on. The last is rejected."""
    asked = [request(f"r{k}", options=LEVELS, deadline_s=4.0) for k in range(5)]
    refused = request("r5", options=LEVELS, deadline_s=4.0, reject_loss=1.0)
    made = document(*asked, refused, gpus=[gpu("g0"), gpu("g1")])
    problem, held = Problem(parse_instance(json.dumps(made))), frozenset((0,))
    first = (
        PlannedBatch(0, ((0, 0),), held),
        PlannedBatch(4, ((1, 1),), held),
        PlannedBatch(6, ((2, 0),), held),
    )
    second = (PlannedBatch(1, ((3, 1),), held), PlannedBatch(5, ((4, 1),), held))
    verdict = check(problem, schedule_of(problem, Plan((first, second)), SolverRef(name="test")))
    return ScheduleTable.from_replay(problem, verdict.replayed)


def test_attainment_by_hand() -> None:
    """Latencies 4, 6, 10, 3 and 7 of 4 allowed: 2 of 6 in time, 4 within twice that."""
    found = attainment(worked())
    assert [share_within(found, x) for x in MULTIPLES] == pytest.approx([0, 2 / 6, 4 / 6, 5 / 6])
    assert found[-1] == (5 / 6, 2.5)
    assert [multiple for _, multiple in found] == sorted(multiple for _, multiple in found)


def test_no_deadline_has_no_attainment() -> None:
    problem = Problem(parse_instance(json.dumps(document(request("r0"), request("r1")))))
    made = solve(problem, "fifo")
    assert attainment(ScheduleTable.from_replay(problem, made.replayed)) == ()
    assert levels_of(problem) == ()


def test_quantiles_of_values_that_are_known_in_part() -> None:
    found = kept_quantiles(np.array([1.0, 2.0]), 4, [0.25])
    assert dict(found)[0.25] == 1.0
    assert found[-1] == (0.5, 2.0)
    assert kept_quantiles(np.zeros(0), 4) == ()


def test_levels_by_hand() -> None:
    table = worked()
    assert levels_of(table.problem) == (0, 2)
    assert level_counts(table) == ((0, 2), (2, 3))
    assert batch_levels(table).tolist() == [0, 2, 0, 2, 2]
    times, gpus = allocation_steps(table.in_seconds(), (0, 2))
    assert times.tolist() == [0, 1, 4, 6]
    assert gpus.tolist() == [[1, 0], [1, 1], [0, 2], [1, 1]]


def test_quality_over_time_by_hand() -> None:
    """Completions at 4, 6, 10, 3 and 7, in five spans of 2 s."""
    times, means = quality_steps(worked().in_seconds(), 5)
    assert times.tolist() == [2, 4, 6, 8]
    assert means.tolist() == [0.75, 1.0, 0.75, 1.0]


def test_the_most_frequent_value_of_a_group() -> None:
    """Of several the first; -1 of none."""
    found = commonest(np.array([3, 1, 1, 3, 0]), np.array([0, 0, 0, 0, 2]), 4)
    assert found.tolist() == [3, -1, 0, -1]


@pytest.mark.parametrize("policy", ["nirvana", "prompt-aware"])
def test_allocation_is_the_level_of_each_gpus_last_batch(policy: str) -> None:
    """Counted GPU by GPU at each time; the levels of mixed batches are those of most members."""
    asked = [examples.request(k, 0.3 * k, cache_level=2 * (k % 3)) for k in range(60)]
    problem = examples.problem(asked, gpus=3)
    result = solve(problem, policy)
    table = ScheduleTable.from_replay(problem, result.replayed)
    levels, of = levels_of(problem), batch_levels(table)
    times, gpus = allocation_steps(table, levels)
    assert len(times) > 3
    for time, row in zip(times.tolist(), gpus.tolist(), strict=True):
        last: dict[int, int] = {}
        for k in np.argsort(table.batches.start, kind="stable").tolist():
            if table.batches.start[k] <= time:
                last[int(table.batches.gpu[k])] = int(of[k])
        assert row == [list(last.values()).count(level) for level in levels]
    members = request_levels(table)
    for k in range(len(of)):
        mine = members[table.requests.batch == k].tolist()
        assert mine.count(of[k]) == max(map(mine.count, mine))
