"""Skipped steps and cache look-ups: they reach the jobs, and change no loss."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.solving.solve import solve
from tests.support.zoo import document, request

OPTIONS = [
    {"steps": 50, "quality": 1.0},
    {"steps": 40, "quality": 0.96, "skip": 10},
    {"steps": 25, "quality": 0.91, "skip": 25},
]


def looked_up(*levels: int | None) -> Instance:
    """An instance whose requests have these levels; None for one without a look-up."""
    extras: list[dict[str, Any]] = [
        {}
        if level is None
        else {"extra": {"approximate_cache": {"level": level, "similarity": 0.8}, "note": [1]}}
        for level in levels
    ]
    requests = [
        request(f"r{i}", arrival_s=2.0 * (len(levels) - i), options=OPTIONS, **extra)
        for i, extra in enumerate(extras)
    ]
    return parse_instance(json.dumps(document(*requests)))


def test_skips_and_levels_reach_the_jobs() -> None:
    """By request, though the jobs are in another order than the requests."""
    problem = Problem(looked_up(10, None, 0))
    assert {job.id: job.cache_level for job in problem.jobs} == {"r0": 10, "r1": None, "r2": 0}
    for job in problem.jobs:
        assert [option.skip for option in job.options] == [0, 10, 25]


def test_extra_without_a_look_up_is_no_level() -> None:
    instance = looked_up(None, 10)
    other = replace(instance.requests[0], extra={"note": "of the user"})
    unset = replace(instance.requests[1], extra=UNSET)
    problem = Problem(replace(instance, requests=(other, unset)))
    assert [job.cache_level for job in problem.jobs] == [None, None]


def test_look_ups_change_neither_loss_nor_bytes() -> None:
    """The optimum is that of the same requests without look-ups; a document is kept as it is."""
    found, plain = looked_up(10, 25, 0), looked_up(None, None, None)
    assert solve(found, "cpsat").loss == pytest.approx(solve(plain, "cpsat").loss)
    assert encode(parse_instance(encode(found))) == encode(found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"similarity": 0.9}, "requests[0].extra.approximate_cache: missing key 'level'; add it"),
        ({"level": 2.5}, "requests[0].extra.approximate_cache.level: expected a whole number"),
        (None, "requests[0].extra.approximate_cache: expected an object, got null"),
    ],
)
def test_a_faulty_look_up_built_in_code_is_refused(value: Any, expected: str) -> None:
    instance = looked_up(0)
    faulty = replace(instance.requests[0], extra={"approximate_cache": value})
    with pytest.raises(InputError) as caught:
        Problem(replace(instance, requests=(faulty,)))
    assert str(caught.value).startswith(expected)
