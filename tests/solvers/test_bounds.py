"""Bounds without search: never above an optimum, and met where they are tight."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from pats_opt.core.solver import ALL_FEATURES, Feature
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.problem import Problem
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.common.bounds import combinatorial_bound, congestion_bound
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.zoo import ONE_AT_A_TIME, document, gpu, request


def problem(*requests: dict[str, Any], **others: Any) -> Problem:
    """A problem of one GPU that serves one request at a time, a second a step."""
    made = document(*requests, **{"service": ONE_AT_A_TIME, **others})
    return Problem(parse_instance(json.dumps(made)))


def test_requests_at_once_wait_for_each_other() -> None:
    """Two requests of a second, then one of three: 1 + 2 + 5."""
    crowded = problem(request("long", 3), request("r0"), request("r1"))
    assert congestion_bound(crowded) == pytest.approx(8.0)
    assert combinatorial_bound(crowded) == pytest.approx(5.0)


def test_weights_and_arrivals_order_them() -> None:
    """The heavy one interrupts: it ends after its second, the other's last second is from 3 on."""
    crowded = problem(request("r0", 3), request("heavy", weight=5.0, arrival_s=2.0))
    # Mean busy times: r0 is served from 0 to 2 and from 3 to 4, (1 + 1 + 3.5) / 3 + 1.5.
    assert congestion_bound(crowded) == pytest.approx(5.5 / 3 + 1.5 + 5.0)


def test_two_gpus_are_one_that_is_twice_as_quick() -> None:
    """Half a second each: middles at 0.25 and 0.75, plus half the second that each takes."""
    crowded = problem(request("r0"), request("r1"), gpus=[gpu("g0"), gpu("g1")])
    assert congestion_bound(crowded) == pytest.approx(0.25 + 0.75 + 1.0)


def test_members_share_the_time_of_a_batch() -> None:
    """A step takes a second whatever the batch: two of them take half a second each."""
    shared = {"kind": "steps", "step_s": {"table": [1.0, 1.0]}}
    assert congestion_bound(problem(request("r0"), request("r1"), service=shared)) == (
        pytest.approx(0.25 + 0.75 + 0.5)
    )


@pytest.mark.parametrize("seed", scale.seeds(900))
def test_no_bound_is_above_an_optimum(seed: int) -> None:
    rng = random.Random(seed)
    among = ALL_FEATURES if seed % 3 else frozenset(Feature) - {Feature.PAIRS, Feature.SLOT}
    drawn = Problem(random_instance(rng, random_features(rng, among=among), requests=(1, 4)))
    optimum = brute_force(json.loads(encode(drawn.instance)))
    if optimum is not None:
        slack = 1e-9 * max(1.0, optimum)
        assert combinatorial_bound(drawn) <= optimum + slack
        assert congestion_bound(drawn) <= optimum + slack
