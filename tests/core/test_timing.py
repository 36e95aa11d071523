"""The tick grid and batch times: sections 2 and 5.5 of PROBLEM.md."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pats_opt.model.files import parse_instance
from pats_opt.model.instance import quanta
from pats_opt.model.problem import Problem
from pats_opt.model.timing import BatchClock, late_after, shape_of, tick_distortion, to_ticks
from tests.support.zoo import adapter, document, request

ticks_s = st.sampled_from((0.1, 0.3, 0.6, 0.7, 1.0, 1.2, 1e-3, 60.0))


@pytest.mark.parametrize(
    ("seconds", "tick_s", "ticks"),
    [
        (0.0, 0.1, 0),
        (0.3, 0.1, 3),  # 0.3 / 0.1 is 2.9999999999999996
        (0.1 + 0.2, 0.1, 3),  # 0.30000000000000004
        (0.7, 0.1, 7),
        (1.16, 1.2, 1),
        (1.21, 1.2, 2),
        (1e-12, 1.0, 0),  # below the grid's slack
        (1e-8, 1.0, 1),
        (1e9, 1e-6, 10**15),
    ],
)
def test_to_ticks(seconds: float, tick_s: float, ticks: int) -> None:
    """Ticks cover the seconds, but for what rounding adds."""
    assert to_ticks(seconds, tick_s) == ticks


@given(st.integers(0, 10**6), ticks_s)
def test_whole_ticks_stay_whole(n: int, tick_s: float) -> None:
    """``n`` ticks in seconds, however floats round them, are ``n`` ticks."""
    assert to_ticks(n * tick_s, tick_s) == n
    assert to_ticks(math.fsum([tick_s] * min(n, 1000)), tick_s) == min(n, 1000)
    assert late_after(n * tick_s, tick_s) == n


@given(st.floats(0, 1e6), ticks_s)
def test_ticks_cover_and_deadlines_do_not_exceed(seconds: float, tick_s: float) -> None:
    """Durations are rounded up and deadlines down, both within a billionth of a tick."""
    exact = Fraction(str(seconds)) / Fraction(str(tick_s))  # as written, not as floats store it
    assume(exact < 10**6)  # past it the slack is below what a float tells
    assume(abs(exact - round(exact)) > Fraction(1, 10**8))
    assert to_ticks(seconds, tick_s) == math.ceil(exact)
    assert late_after(seconds, tick_s) == math.floor(exact)


def clock(**service: object) -> BatchClock:
    """The clock of a service on a tick of 0.1 s."""
    service = {"kind": "steps", "step_s": {"base": 0.1, "per_sample": 0.0}, **service}
    return BatchClock(parse_instance(json.dumps(document(tick_s=0.1, service=service))))


def test_shape_counts_members_by_steps() -> None:
    assert shape_of([60, 20, 20, 60, 20]) == ((20, 3), (60, 2))
    assert shape_of([]) == ()


def test_members_leave_when_they_are_done() -> None:
    """20 steps of three, then 40 of one: 20 * 0.3 + 40 * 0.1 seconds."""
    found = clock(step_s={"base": 0.0, "per_sample": 0.1})
    assert found.completions(((20, 2), (60, 1))) == (60, 100)
    assert found.duration(((20, 2), (60, 1))) == 100


def test_ends_of_a_batch() -> None:
    """Ends by step count, in whatever order the members are, and of the batch; slots take one."""
    steps = {"kind": "steps", "step_s": {"base": 0.0, "per_sample": 0.1}}
    ends, length = clock(**steps).ends((3, 1, 3))  # three at the first step, two at the rest
    assert (dict(ends), length) == ({1: 3, 3: 7}, 7)
    with pytest.raises(TypeError):
        ends[1] = 0  # type: ignore[index]
    ends, length = clock(kind="slot").ends((3, 1))
    assert (dict(ends), length) == ({1: 0, 3: 0}, 1)


def test_overhead_comes_once_and_before_all() -> None:
    """``a + b * n`` seconds of overhead for the batch's size at its start."""
    found = clock(overhead_s={"base": 0.05, "per_sample": 0.1})
    assert found.completions(((2, 1), (4, 1))) == (5, 7)  # 0.25 + 0.2 and 0.25 + 0.4, rounded up
    assert clock(overhead_s=0.25).completions(((2, 1), (4, 1))) == (5, 7)


def test_table_of_step_times() -> None:
    """A table's entry for each size; no batch is larger than the table."""
    found = clock(step_s={"table": [0.1, 0.4, 0.2]})
    assert found.largest == 3
    assert found.completions(((1, 1), (2, 1), (3, 1))) == (2, 6, 7)
    assert clock().largest is None


def test_slots() -> None:
    """A slot takes one tick, its members complete at its start, and a table limits its size."""
    found = clock(kind="slot", step_s={"table": [9.0, 9.0]}, overhead_s=9.0)
    assert found.slotted
    assert found.completions(((20, 1), (60, 1))) == (0, 0)
    assert found.duration(((60, 2),)) == 1
    assert found.largest == 2
    assert (found.step_s(2), found.overhead_s(2)) == (0.1, 0.0)


def test_quickest() -> None:
    """Fewest ticks of a request in any batch: its steps at the best size, and one's overhead."""
    alone = clock(
        step_s={"base": 0.1, "per_sample": 0.1}, overhead_s={"base": 0.05, "per_sample": 0.1}
    )
    assert alone.quickest(3) == 8  # 0.15 + 3 * 0.2
    assert clock(step_s={"table": [0.4, 0.3, 0.2]}).quickest(3) == 6  # three share a step
    assert clock(kind="slot").quickest(3) == 1


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.lists(st.sampled_from((0.05, 0.1, 0.13, 0.3, 1 / 3)), min_size=5, max_size=5),
    st.sampled_from((0.0, 0.1, 0.25)),
)
def test_completions_follow_the_sum(steps: list[int], table: list[float], overhead: float) -> None:
    """Rule 5 as it is written: a sum over steps, in exact arithmetic."""
    found = clock(step_s={"table": table}, overhead_s=overhead)
    shape = shape_of(steps)
    for (s, _), completion in zip(shape, found.completions(shape), strict=True):
        seconds = Fraction(repr(overhead))
        for k in range(1, s + 1):
            seconds += Fraction(repr(table[sum(1 for other in steps if other >= k) - 1]))
        assert completion == math.ceil(seconds * 10 - Fraction(1, 10**9))


def test_jobs_by_arrival_then_by_place() -> None:
    """Jobs are numbered by arrival tick, so that an index tells nothing of the future."""
    problem = Problem(
        parse_instance(
            json.dumps(
                document(
                    request("late", arrival_s=5.0),
                    request("first", arrival_s=0.2),
                    request("second", arrival_s=0.1),
                )
            )
        )
    )
    assert [job.id for job in problem.jobs] == ["first", "second", "late"]
    assert [job.arrival for job in problem.jobs] == [1, 1, 5]
    assert [job.position for job in problem.jobs] == [1, 2, 0]


@pytest.mark.parametrize(
    ("parts", "whole"),
    [
        ((0.1, 0.2), 0.3),
        ((6881423.444728159, 497978.5006946686, 2318602.5447178935), 9698004.490140721),
        ((1e9, 1e-9), 1000000000.000000001),
    ],
)
def test_amounts_are_the_billionths_that_a_file_shows(
    parts: tuple[float, ...], whole: float
) -> None:
    """Exact also where a float has no billionths to spare."""
    exact = [round(Fraction(repr(part)) * 10**9) for part in (*parts, whole)]
    assert [quanta(part) for part in (*parts, whole)] == exact


LOAD = "the shortest load takes {} s and becomes {} s"
ACTIVATION = "an activation takes {} s and becomes {} s"
STEP = "a step takes {} s and a batch becomes up to {} s longer"
TWO = {"max_resident": 2, "activate_s": 0.4}


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, None),  # steps of a whole tick, and an adapter that takes no time to load
        ({"tick_s": 0.1, "adapters": [adapter("a", 0.1)]}, None),
        ({"adapters": [adapter("a", 5.0), adapter("b", 0.001)]}, LOAD.format(0.001, 1)),
        ({"switching": TWO}, ACTIVATION.format(0.4, 1)),
        ({"switching": {**TWO, "max_resident": 1}}, None),  # never paid
        (
            {"switching": {**TWO, "max_resident": 1, "overlap": {"channels": 1}}},
            ACTIVATION.format(0.4, 1),
        ),
        (
            {"switching": {"pairs": [{"from": None, "to": "a", "load_s": 0.2}]}},
            LOAD.format(0.2, 1),
        ),
        ({"tick_s": 2.5}, STEP.format(1, 2.5)),
        (
            {"service": {"kind": "steps", "step_s": {"table": [1.0, 0.8, 1.2]}}},
            STEP.format(0.8, 1),
        ),
        (
            {"service": {"kind": "steps", "step_s": {"base": 0.3, "per_sample": 0.4}}},
            STEP.format(0.7, 1),
        ),
        (
            {"tick_s": 4.0, "adapters": [adapter("a", 3.0)], "switching": TWO},
            "; ".join((LOAD.format(3, 4), ACTIVATION.format(0.4, 4), STEP.format(1, 4))),
        ),
        ({"adapters": [adapter("a", 0.001)], "service": {"kind": "slot"}}, None),
        (
            {"adapters": [adapter("a", 5e-324)]},
            "the shortest load takes 4.941e-324 s and becomes 1 s",
        ),
    ],
)
def test_what_a_tick_distorts(parts: dict[str, Any], said: str | None) -> None:
    """Whatever is above 0 and shorter than a tick, with its length and what it becomes."""
    found = tick_distortion(parse_instance(json.dumps(document(request("r0"), **parts))))
    tick = f"{parts.get('tick_s', 1.0):g}"
    assert found == (None if said is None else f"a tick of {tick} s distorts: {said}")


@given(ticks_s, ticks_s)
def test_a_tick_distorts_what_is_shorter(tick_s: float, step_s: float) -> None:
    service = {"kind": "steps", "step_s": {"base": step_s, "per_sample": 0.0}}
    made = parse_instance(json.dumps(document(tick_s=tick_s, service=service)))
    assert (tick_distortion(made) is not None) == (step_s < tick_s)
