"""The exhaustive search that solvers are held against, itself held against hand and checker."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.core.solver import Feature
from pats_opt.model.checker import check
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.parsing import convert
from pats_opt.model.schedule import Schedule
from pats_opt.testing.instances import random_features, random_instance
from pats_opt.testing.solvers import close
from tests.support.brute_force import best_schedule, brute_force
from tests.support.overlap_zoo import OVERLAP_ZOO
from tests.support.strategies import documents
from tests.support.zoo import ZOO, Solved, adapter, document, gpu, request


def agreed(valid: dict[str, Any]) -> float:
    """The optimum, which the checker finds in the schedule that has it."""
    best = best_schedule(valid)
    assert best is not None
    verdict = check(parse_instance(json.dumps(valid)), convert(best, Schedule))
    assert verdict.ok, verdict.violations
    assert close(verdict.loss, best["loss"])
    return verdict.loss


@pytest.mark.parametrize("make", ZOO + OVERLAP_ZOO, ids=lambda make: make.__name__)
def test_hand_solved(make: Callable[[], Solved]) -> None:
    """The search finds the optimum that was worked out by hand."""
    case = make()
    assert close(agreed(case.document), case.loss), case.why


def test_activations_are_in_the_schedule() -> None:
    """Each of the three ends a second after it arrives; only the second activates its adapter."""
    valid = document(
        request("r0"),
        request("r1", adapter="b", arrival_s=10.0),
        request("r2", adapter="b", arrival_s=20.0),
        gpus=[gpu(resident=("a", "b"))],
        adapters=[adapter("a", 2.0), adapter("b", 2.0)],
        switching={"max_resident": 2, "activate_s": 1.0},
    )
    assert agreed(valid) == 3 + 1


@pytest.mark.parametrize(
    ("valid", "loss"),
    [
        (document(request("r0", demand={"vram_gib": 10.0000000004})), 1),
        (document(request("r0", deadline_s=0.999999999), late_price=5.0), 1),
        (document(request("r0", 2, deadline_s=1.0)), 2),
        (document(request("r0"), gpus=[gpu(slots=0.0)]), 1),
        (document(request("r0", demand={"vram_gib": 11.0}, reject_loss=3.0)), 3),
        (
            document(
                request("r0"),
                request("r1"),
                service={
                    "kind": "steps",
                    "step_s": {"base": 1.0, "per_sample": 0.0},
                    "overhead_s": {"base": 0.0, "per_sample": 1.0},
                },
            ),
            6,
        ),
    ],
    ids=[
        "full but for rounding",
        "due but for rounding",
        "late for nothing",
        "no slots needed",
        "rejected",
        "overhead each",
    ],
)
def test_by_hand(valid: dict[str, Any], loss: float) -> None:
    """Readings of the text that the instances solved by hand leave out."""
    assert agreed(valid) == loss


def test_digest_is_of_utf_8() -> None:
    assert agreed(document(request("r0"), name="größer")) == 1


@given(documents())
def test_search_and_checker_agree(valid: dict[str, Any]) -> None:
    """The checker, written apart, accepts the search's schedule and its loss."""
    assert brute_force(valid) == agreed(valid) or close(brute_force(valid) or 0.0, agreed(valid))


#: What can be together with loads beside serving; searches of several GPUs take long.
BESIDE = frozenset(Feature) - {Feature.PAIRS, Feature.SLOT, Feature.GPUS}


@given(st.randoms(use_true_random=False))
def test_loads_beside_serving(rng: random.Random) -> None:
    """Search and checker agree; a loader never hurts where nothing is activated, nor a channel."""
    wanted = random_features(rng, 0.3, BESIDE) | {Feature.OVERLAP, Feature.RESIDENT}
    document = json.loads(encode(random_instance(rng, wanted, requests=(1, 3))))
    if brute_force(document) is None:
        return
    loss, switching = agreed(document), document["switching"]
    more = {**switching, "overlap": {"channels": switching["overlap"]["channels"] + 1}}
    assert (brute_force({**document, "switching": more}) or 0.0) <= loss * (1 + 1e-9)
    if switching["activate_s"] == 0:
        plain = brute_force({**document, "switching": {**switching, "overlap": None}})
        assert plain is None or loss <= plain * (1 + 1e-9)
        single = {**switching, "max_resident": 1}
        idle = {**document, "gpus": [{**gpu, "resident": []} for gpu in document["gpus"]]}
        beside = brute_force({**idle, "switching": single})
        assert beside == pytest.approx(
            brute_force({**idle, "switching": {**single, "overlap": None}})
        )
        adapters = [{**a, "load_s": 0.0} for a in document["adapters"]]
        free = {**document, "adapters": adapters}
        assert brute_force(free) == pytest.approx(
            brute_force({**free, "switching": {**switching, "overlap": None}})
        )


@pytest.mark.parametrize(
    "impossible",
    [
        document(request("r0", demand={"vram_gib": 10.000000001})),
        document(request("r0", 3), horizon_ticks=2),
        document(request("r0"), gpus=[]),
        document(request("r0"), adapters=[adapter("a", vram_gib=9.000000001)]),
        document(
            request("r0", adapter="b"),
            adapters=[adapter("a"), adapter("b", vram_gib=9.000000001)],
        ),
        document(
            request("r0", 2),
            request("r1", 2),
            horizon_ticks=3,
            service={"kind": "steps", "step_s": {"table": [1.0]}},
        ),
    ],
    ids=[
        "fits no GPU",
        "beyond the horizon",
        "no GPU",
        "adapter too large",
        "second adapter too large",
        "one too many",
    ],
)
def test_infeasible(impossible: dict[str, Any]) -> None:
    """Where no schedule exists, the search says so."""
    assert brute_force(impossible) is None
    assert best_schedule(impossible) is None
