"""The enumeration that budgets are held against, itself held against the exhaustive search."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from pats_opt.core.solver import Feature
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.testing.instances import random_features, random_instance
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.every_schedule import ENUMERATED, Outline, every_schedule
from tests.support.zoo import Json, adapter, document, gpu, request


@pytest.mark.parametrize("seed", scale.seeds(24))
def test_the_best_is_the_optimum(seed: int) -> None:
    """The least loss of all, with latency at the instance's price, is the search's."""
    rng = random.Random(seed)
    features = random_features(rng, 0.5, ENUMERATED) | {Feature.OPTIONS}
    instance = random_instance(rng, features, requests=(2, 4))
    price = instance.latency_price_per_s
    losses = [o.other + price * o.waited(0.0) for o in every_schedule(Problem(instance))]
    optimum = brute_force(json.loads(msgspec.json.encode(instance)))
    assert min(losses, default=None) == pytest.approx(optimum)


def outlines(**changes: object) -> list[tuple[float, list[tuple[str, float]], list[str]]]:
    """All schedules of p (2 steps, or 1 and worse) and q of another adapter, which may be late."""
    speeds = [{"steps": 2, "quality": 1.0}, {"steps": 1, "quality": 0.7}]
    made: Json = {
        "adapters": [adapter("a", 1.0), adapter("b", 1.0)],
        "switching": {"price_per_s": 0.25},
        "late_price": 4.0,
        **changes,
    }
    requests = (
        request("p", options=speeds),
        request("q", adapter="b", arrival_s=1.0, deadline_s=1.0, reject_loss=9.0, weight=2.0),
    )
    return [
        (
            round(o.other, 9),
            [(job.id, seconds) for job, seconds in o.latency_s],
            [job.id for job in o.rejected],
        )
        for o in every_schedule(Problem(msgspec.convert(document(*requests, **made), Instance)))
    ]


SERVED = [
    (18.0, [("p", 2.0)], ["q"]),  # 2 x 9 for the rejection
    (0.25 + 8.0, [("p", 2.0), ("q", 3.0)], []),  # a load, and 2 x 4 for being late
    (18.3, [("p", 1.0)], ["q"]),
    (0.55 + 8.0, [("p", 1.0), ("q", 2.0)], []),
    (0.5, [("q", 1.0), ("p", 5.0)], []),  # q from 1 to 2, p from 3 to 5
    (0.8, [("q", 1.0), ("p", 4.0)], []),
]


@pytest.mark.parametrize(
    ("horizon", "kept"), [(None, range(6)), (5, range(6)), (4, (0, 1, 2, 3, 5)), (2, (0, 2))]
)
def test_by_hand(horizon: int | None, kept: Iterable[int]) -> None:
    """Both orders with both options, q or not; what ends by the horizon stays."""
    assert outlines(horizon_ticks=horizon) == [SERVED[i] for i in kept]


def test_batches_that_fit() -> None:
    """As many together as the table, the memory and other resources allow, of one adapter."""
    requests = [request(f"r{i}", demand={"vram_gib": 1.0, "slots": 1.0}) for i in range(3)]
    other = request("other", adapter="b", demand={"vram_gib": 1.0, "slots": 1.0})

    def largest(**changes: Any) -> int:
        made = document(other, *requests, adapters=[adapter("a", vram_gib=1.0), adapter("b")])
        made.update(changes)
        found = every_schedule(Problem(msgspec.convert(made, Instance)))
        return max(sum(1 for _, seconds in o.latency_s if seconds == 1.0) for o in found)

    assert largest() == 3
    assert largest(service={"kind": "steps", "step_s": {"table": [1.0, 1.0]}}) == 2
    assert largest(gpus=[gpu(vram_gib=3.0)]) == 2
    assert largest(gpus=[gpu(slots=2.0)]) == 2
    assert largest(gpus=[gpu(vram_gib=4.0, slots=3.0)]) == 3


def test_latencies_of_an_outline() -> None:
    """Mean, 95th percentile, and the weighted sum with the budget for those rejected."""
    problem = Problem(
        msgspec.convert(
            document(*(request(f"r{i}", weight=1.0 + i, reject_loss=1.0) for i in range(21))),
            Instance,
        )
    )
    jobs = problem.jobs
    found = Outline(0.0, tuple((job, 20.0 - job.index) for job in jobs[:20]), jobs[20:])
    assert (found.mean, found.p95) == (10.5, 19.0)
    assert found.waited(100.0) == sum((1 + i) * (20 - i) for i in range(20)) + 2100
    assert (Outline().mean, Outline().p95) == (0.0, 0.0)
