"""The bound at work: convergence, resolution, memory, and prices that prove it again."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from pats_opt.core.solver import Feature
from pats_opt.errors import InputError
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.problem import Problem
from pats_opt.testing.instances import random_instance
from pats_opt.testing.solvers import together
from pats_solvers.common.windows import safe_horizon
from pats_solvers.lagrangian.ascent import Ascent
from pats_solvers.lagrangian.bounding import Bounding
from pats_solvers.lagrangian.merging import SlotPrices
from pats_solvers.lagrangian.relaxation import Relaxation
from tests.support.brute_force import brute_force
from tests.support.zoo import adapter, document, gpu, request

#: Features that have prices of their own.
PRICED = (None, Feature.GPUS, Feature.RESIDENT, Feature.ACTIVATE, Feature.MIXED_BATCH)


def crowd(count: int = 30, **others: Any) -> Problem:
    """Requests of two adapters, three of which fit a batch."""
    return Problem(
        parse_instance(
            json.dumps(
                document(
                    *(
                        request(
                            f"r{i}",
                            2 + i % 3,
                            adapter="ab"[i % 5 % 2],
                            arrival_s=0.7 * i,
                            demand={"vram_gib": 3.0},
                        )
                        for i in range(count)
                    ),
                    **{
                        "gpus": [gpu(resident=())],
                        "adapters": [adapter("a", 2.0), adapter("b", 2.0)],
                        **others,
                    },
                )
            )
        )
    )


def climbed(bounding: Bounding, known: float = math.inf, evaluations: int = 1000) -> Bounding:
    """Until prices have converged on the finest relaxation, or long enough."""
    while bounding.evaluations < evaluations:
        before = bounding.evaluations
        bounding.climb(known, 50, lambda: False)
        if not bounding.refine() and bounding.evaluations == before:
            break
    return bounding


def test_the_ascent_can_be_resumed() -> None:
    """In pieces or at once, the same steps are taken."""
    problem = crowd()
    found = []
    for pieces in ((120,), (1, 50, 9, 60)):
        relaxation = Relaxation(problem, 100)
        ascent = Ascent(relaxation, np.zeros(relaxation.dimension))
        for evaluations in pieces:
            ascent.climb(500.0, evaluations)
        found.append((ascent.bound, ascent.evaluations, ascent.tau))
    assert found[0] == found[1]


def test_the_ascent_stops_on_request() -> None:
    relaxation = Relaxation(crowd(), 100)
    ascent = Ascent(relaxation, np.zeros(relaxation.dimension))
    ascent.climb(500.0, 10, stop=lambda: ascent.evaluations >= 4)
    assert ascent.evaluations == 4
    ascent.climb(ascent.bound, 10)
    assert ascent.evaluations == 4, "the bound has reached the target"


@pytest.mark.parametrize("feature", PRICED, ids=lambda f: f.name if f else "NONE")
def test_the_ascent_raises_the_bound(feature: Feature | None) -> None:
    """From prices of 0 towards the optimum, which it reaches on some instances and never passes."""
    met = rose = 0
    for seed in range(8):
        wanted = together(feature) if feature else frozenset[Feature]()
        instance = random_instance(seed, wanted, requests=(3, 4))
        optimum = brute_force(json.loads(encode(instance)))
        assert optimum is not None
        problem = Problem(instance)
        relaxation = Relaxation(problem, safe_horizon(problem, optimum) + 1)
        free = relaxation.evaluate(np.zeros(relaxation.dimension)).bound
        bound = climbed(Bounding(problem, relaxation.ticks, 1.0), optimum).bound
        assert free - 1e-9 <= bound <= optimum + 1e-9
        met += bound >= optimum - 1e-3 * max(1.0, optimum)
        rose += bound > free + 1e-6
    if feature is not Feature.MIXED_BATCH:  # its bound is weak, and here the free one is as good
        assert met
        assert rose


@pytest.mark.parametrize("feature", PRICED, ids=lambda f: f.name if f else "NONE")
def test_reported_prices_prove_the_bound_again(feature: Feature | None) -> None:
    """Whoever evaluates the prices in the details gets the bound, but for their rounding."""
    for seed in range(4):
        wanted = together(feature) if feature else frozenset[Feature]()
        problem = Problem(random_instance(seed, wanted, requests=(4, 5)))
        bounding = climbed(Bounding(problem, safe_horizon(problem), 1.0), evaluations=150)
        told = json.loads(json.dumps(bounding.details()))
        prices, grain = told["prices"], told["grain_ticks"]
        assert prices["tick_s"] == pytest.approx(problem.site.tick_s * grain)
        hold = [row["hold"] for row in prices["gpus"]]
        flat = [h * grain for row in hold for h in row]
        if problem.site.max_resident > 1:
            flat += [k * grain for row in prices["gpus"] for k in row["keep"]]
        flat += [prices["serve"][job.id] for job in problem.jobs] if "serve" in prices else []
        relaxation = Relaxation(problem, len(hold[0]) * grain, states=told["states"], grain=grain)
        again = relaxation.evaluate(np.array(flat)).bound
        assert again == pytest.approx(bounding.bound, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("dated", [False, True])
def test_reported_prices_of_options_prove_the_bound_again(dated: bool) -> None:
    """Requests that each have qualities of their own, and perhaps a weight."""
    made = document(
        *(
            request(
                f"r{i}",
                adapter="ab"[i % 2],
                arrival_s=0.1 * i,
                weight=1.0 + 0.1 * i * dated,
                options=[{"steps": s, "quality": 1 - (0.2 + 0.02 * i) ** s} for s in (1, 2, 4)],
            )
            for i in range(24)
        ),
        adapters=[adapter("a", 2.0), adapter("b", 2.0)],
        gpus=[gpu(resident=())],
    )
    problem = Problem(parse_instance(json.dumps(made)))
    bounding = Bounding(problem, 80, 1.0)
    while not bounding.ascent.relaxation.merged:  # lanes cut too many
        bounding.climb(math.inf, 60, lambda: False)
        assert bounding.refine()
    bounding.climb(math.inf, 60, lambda: False)
    told = json.loads(json.dumps(bounding.details()))["prices"]
    relaxation = bounding.ascent.relaxation
    flat = [np.array(told["gpus"][0]["hold"])]
    assert len(told["options"]) == len(relaxation.merged) > 0
    for merged, row in zip(relaxation.merged, told["options"], strict=True):
        assert row["requests"] == [problem.jobs[j].id for j in merged.jobs]
        entries = np.arange(merged.ticks + 1)
        taken = [
            [p for _, p in changes][np.searchsorted([t for t, _ in changes], at, side="right") - 1]
            for changes in row["taken"]
            for at in entries
        ]
        done = np.array(row.get("done", np.zeros(len(entries))))
        slots = SlotPrices(np.array(taken).reshape(len(row["steps"]), -1), done)
        assert (np.diff(slots.taken, axis=1) <= 0).all(), "a later slot is never dearer"
        flat.append(merged.flat(slots))
    again = relaxation.evaluate(np.concatenate(flat)).bound
    assert again == pytest.approx(bounding.bound, rel=1e-4)


def test_reported_prices_are_those_of_the_best_bound() -> None:
    """Also where the ascent has just gone on with another relaxation."""
    bounding = Bounding(crowd(), 40, 1.0)
    bounding.climb(math.inf, 60, lambda: False)
    before = bounding.details()["prices"]
    bounding.ascent.gain = 0.0
    assert bounding.refine(), "prices end before the last request is served"
    assert bounding.ascent.best is None
    assert bounding.details()["prices"] == before


def test_refining_goes_on_where_something_was_left_out() -> None:
    """Later prices where jobs were left, more backlogs where some were cut."""
    problem = crowd(60)
    bounding = Bounding(problem, 1, 1.0)
    first = bounding.end
    bounding.climb(math.inf, 30, lambda: False)
    rough = bounding.bound
    assert not bounding.exact
    climbed(bounding, 5000.0, 400)
    assert bounding.end > first
    assert bounding.bound > rough


def test_merged_classes_are_split_later() -> None:
    """All requests have weights of their own, which few states cannot tell apart."""
    made = document(
        *(request(f"r{i}", 2, weight=1.0 + 0.1 * i, demand={"vram_gib": 5.0}) for i in range(9))
    )
    problem = Problem(parse_instance(json.dumps(made)))
    bounding = Bounding(problem, 40, 1.0)
    assert bounding.ascent.relaxation.lanes
    climbed(bounding)
    assert not bounding.ascent.relaxation.merged
    assert bounding.exact
    assert bounding.bound == pytest.approx(brute_force_of_pairs(9), rel=1e-3)


def brute_force_of_pairs(count: int) -> float:
    """Requests of 2 s and rising weight, two at a time: the heaviest first."""
    weights = sorted((1.0 + 0.1 * i for i in range(count)), reverse=True)
    return sum(2.0 * (1 + place // 2) * weight for place, weight in enumerate(weights))


def test_little_memory_takes_ticks_together() -> None:
    """Under a limit that the finest relaxation exceeds, a coarser one keeps it and bounds less."""
    problem = crowd(tick_s=0.05)
    fine = Bounding(problem, 3000, 1.0)
    assert fine.ascent.relaxation.grain == 1
    need = fine.ascent.relaxation.bytes()
    small = Bounding(problem, 3000, need / 3 / 2**30)
    assert small.ascent.relaxation.grain > 1
    assert small.ascent.relaxation.bytes() <= need / 3
    fine.climb(math.inf, 60, lambda: False)
    small.climb(math.inf, 60, lambda: False)
    assert 0 < small.bound <= fine.bound * 1.05
    assert small.details()["memory_mib"] <= need / 3 / 2**20 + 0.1


@pytest.mark.parametrize("kinds", [1, 3, 8])
def test_the_limit_is_kept_whatever_the_classes(kinds: int) -> None:
    """Guards between backlogs count: many classes have many."""
    problem = Problem(
        parse_instance(
            json.dumps(
                document(
                    *(
                        request(f"r{i}", 40, weight=1.0 + i % kinds, demand={"vram_gib": 0.3})
                        for i in range(40)
                    )
                )
            )
        )
    )
    kept = 0
    for memory_gib in (0.5, 0.01, 0.001):
        try:
            bounding = Bounding(problem, 2000, memory_gib)
        except InputError:
            continue
        climbed(bounding, evaluations=1)
        assert bounding.ascent.relaxation.bytes() <= memory_gib * 2**30
        kept += 1
    assert kept


def test_far_too_little_memory_is_refused_with_the_estimate() -> None:
    with pytest.raises(InputError, match=r"would take [\d.e-]+ GiB even with 2 ticks taken as one"):
        Bounding(crowd(), 10_000_000, 0.01)


def test_waiting_for_nothing_ends() -> None:
    """Where waiting costs nothing, jobs are as well left at the end: it is not put off for ever."""
    problem = crowd(6, latency_price_per_s=0.0)
    bounding = Bounding(problem, 20, 1.0)
    climbed(bounding)
    assert bounding.end <= 40


def test_no_schedule_is_proven() -> None:
    """Where the horizon is too short for the chains, the bound is infinite."""
    made = document(request("r0", 2), request("r1", 2, demand={"vram_gib": 9.5}), horizon_ticks=3)
    problem = Problem(parse_instance(json.dumps(made)))
    assert climbed(Bounding(problem, 3, 1.0)).bound == math.inf


def test_prices_rise_without_end_where_no_schedule_ends_in_time() -> None:
    """Each adapter alone has a plan, both together have none: until numbers end, and no error."""
    problem = Problem(
        parse_instance(
            json.dumps(
                document(
                    request("r0", 3),
                    request("r1", 3, adapter="b"),
                    adapters=[adapter("a"), adapter("b")],
                    horizon_ticks=4,
                )
            )
        )
    )
    bounding = Bounding(problem, 4, memory_gib=0.1)
    bounding.climb(math.inf, 3000, lambda: False)
    assert bounding.bound > 1e9
    assert bounding.ascent.converged
