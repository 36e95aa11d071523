"""Weak duality: at any prices, the relaxation's value is at most the optimum.

``PATS_OPT_DEPTH=50 pytest tests/solvers/lagrangian`` tries more instances.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pats_opt.core.solver import ALL_FEATURES, Feature
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Overlap
from pats_opt.model.problem import Problem
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.common.windows import safe_horizon
from pats_solvers.lagrangian.ascent import Ascent
from pats_solvers.lagrangian.relaxation import Evaluation, Relaxation
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.overlap_zoo import OVERLAP_ZOO
from tests.support.strategies import documents
from tests.support.tiny import tiny
from tests.support.zoo import ZOO, Solved, adapter, document, gpu, request

#: Random instances per feature, and of random mixes of features.
SEEDS = len(scale.seeds(10))

#: Prices tried on each.
TRIALS = 6

Prices = NDArray[np.float64]


def resolutions(problem: Problem, rng: np.random.Generator) -> Relaxation:
    """A relaxation that may end early, tell few backlogs apart, or take ticks together.

    Classes that are too many are merged, or in lanes.
    """
    end = safe_horizon(problem)
    if rng.random() < 0.4:
        end = int(rng.integers(0, end + 1))
    clock = problem.site.clock
    shortest = min(clock.quickest(o.steps) for job in problem.jobs for o in job.options)
    grain = int(rng.integers(1, min(3, shortest) + 1))
    states, lanes = int(rng.choice([1, 3, 12, 1000])), bool(rng.random() < 0.5)
    return Relaxation(problem, end, states=states, grain=grain, lanes=lanes)


def drawn(relaxation: Relaxation, rng: np.random.Generator) -> Prices:
    """Prices of any size, of either sign where that is possible."""
    scale = 10.0 ** rng.uniform(-2.0, 0.7)
    prices = scale * rng.random(relaxation.dimension) * (rng.random(relaxation.dimension) < 0.7)
    size = 10.0 ** rng.uniform(-1.0, 1.0)
    signed = size * rng.normal(size=relaxation.dimension)
    flat: Prices = np.where(relaxation.signed, signed, prices)
    return flat


def below(found: Evaluation, optimum: float | None, told: object) -> None:
    """The bound is at most the optimum; without one it may be anything."""
    assert not np.isnan(found.bound), told
    if optimum is not None:
        assert found.bound <= optimum + 1e-9 * max(1.0, optimum), told


def try_prices(problem: Problem, optimum: float | None, seed: int, trials: int = TRIALS) -> None:
    """Weak duality and the supergradient inequality at random prices, and along an ascent."""
    rng = np.random.default_rng(seed)
    told = encode(problem.instance).decode()
    relaxation = resolutions(problem, rng)
    for _ in range(trials):
        prices, others = drawn(relaxation, rng), drawn(relaxation, rng)
        here, there = relaxation.evaluate(prices), relaxation.evaluate(others)
        below(here, optimum, told)
        below(there, optimum, told)
        if np.isfinite(here.bound):
            most = here.bound + float(here.slope @ (others - prices))
            assert there.bound <= most + 1e-7 * max(1.0, abs(most)), told
            parts_agree(relaxation, here, prices)
            for part, other in zip(here.parts, there.parts, strict=True):
                most = part.value + float(part.slope @ (others - prices)[part.places])
                assert other.value <= most + 1e-7 * max(1.0, abs(most)), told
    for found in iterates(relaxation, 40):
        below(found, optimum, told)


def parts_agree(relaxation: Relaxation, found: Evaluation, prices: Prices) -> None:
    """The bound and its slope are the sums of the parts, the linear term and the constant."""
    assert len(found.parts) == relaxation.parts
    whole = relaxation.constant + float(relaxation.linear @ prices)
    slope = relaxation.linear.copy()
    for part in found.parts:
        whole += part.value
        slope[part.places] += part.slope
    assert whole == pytest.approx(found.bound, rel=1e-7, abs=1e-7)
    assert slope == pytest.approx(found.slope)


def iterates(relaxation: Relaxation, evaluations: int) -> Iterator[Evaluation]:
    """Every evaluation of an ascent."""
    seen: list[Evaluation] = []
    evaluate = relaxation.evaluate

    def watched(prices: Prices, stop: Callable[[], bool] = lambda: False) -> Evaluation:
        assert (prices >= 0.0)[~relaxation.signed].all()
        seen.append(evaluate(prices, stop))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relaxation, "evaluate", watched)
        ascent = Ascent(relaxation, np.zeros(relaxation.dimension))
        ascent.climb(np.inf, evaluations)
    assert ascent.bound == max(found.bound for found in seen)
    yield from seen


@pytest.mark.parametrize("feature", [*sorted(Feature), None], ids=lambda f: f.name if f else "MIX")
def test_weak_duality(feature: Feature | None) -> None:
    """On random instances of each feature, at any resolution."""
    for seed in range(SEEDS if feature else 5 * SEEDS):
        instance, optimum = tiny(feature, seed)
        try_prices(Problem(instance), optimum, seed)


@pytest.mark.parametrize("case", [make() for make in ZOO], ids=[make.__name__ for make in ZOO])
def test_weak_duality_in_the_zoo(case: Solved) -> None:
    """On what was worked out by hand, one case for each rule that is easy to get wrong."""
    problem = Problem(parse_instance(json.dumps(case.document)))
    for seed in range(3):
        try_prices(problem, case.loss, seed)


@pytest.mark.parametrize(
    "case", [make() for make in OVERLAP_ZOO], ids=[make.__name__ for make in OVERLAP_ZOO]
)
def test_weak_duality_in_the_zoo_of_loads(case: Solved) -> None:
    """The same with loads beside serving."""
    problem = Problem(parse_instance(json.dumps(case.document)))
    for seed in range(3):
        try_prices(problem, case.loss, seed)


def test_weak_duality_with_loads_beside_serving() -> None:
    """On mixes of all features with a loader, one resident and long activations among them."""
    for seed in range(4 * SEEDS):
        rng = random.Random(seed)
        wanted = random_features(rng, 0.35, ALL_FEATURES - {Feature.PAIRS, Feature.SLOT})
        made = random_instance(seed, wanted, requests=(2, 4), tight=seed % 2 == 0)
        switching = msgspec.structs.replace(
            made.switching,
            activate_s=rng.choice((0.0, 0.0, 0.4, 1.0, 2.5)) * made.tick_s,
            overlap=Overlap(channels=rng.choice((1, 1, 2))),
        )
        made = msgspec.structs.replace(made, switching=switching)
        try_prices(Problem(made), brute_force(json.loads(encode(made))), seed, 2)


@given(documents(), st.integers(0, 2**32 - 1))
def test_weak_duality_on_drawn_documents(made: dict[str, Any], seed: int) -> None:
    problem = Problem(parse_instance(json.dumps(made)))
    try_prices(problem, brute_force(made), seed, 2)


# -- what could break it: one instance for each argument -------------------------------------------


def activated_beside_cheap_loads() -> dict[str, Any]:
    """An activation is dearer than a load of another adapter."""
    return document(
        *(request(f"r{i}", adapter="ab"[i % 2], arrival_s=float(i)) for i in range(4)),
        gpus=[gpu(resident=("a", "b"))],
        adapters=[adapter("a", 1.0), adapter("b", 1.0), adapter("c", 0.5), adapter("d", 0.5)],
        switching={"max_resident": 3, "activate_s": 10.0},
    )


def loaded_beside_an_activation() -> dict[str, Any]:
    """A switch loads b and activates a resident."""
    return document(
        request("r0", adapter="c"),
        request("r1", arrival_s=1.0),
        request("r2", adapter="b", arrival_s=2.0),
        gpus=[gpu(resident=("a", "c"))],
        adapters=[adapter("a", 3.0), adapter("b", 3.0), adapter("c", 3.0)],
        switching={"max_resident": 3, "activate_s": 2.0, "price_per_s": 0.1},
    )


def after_the_horizon() -> dict[str, Any]:
    """A request that comes when all is over can only be rejected; two GPUs agree on that."""
    return document(
        request("r0", 2),
        request("late", 2, arrival_s=9.0, reject_loss=3.0),
        gpus=[gpu("gpu-0"), gpu("gpu-1")],
        horizon_ticks=4,
    )


def loads_of_less_than_a_tick() -> dict[str, Any]:
    """Three loads of 0.4 s in one switch take a tick each."""
    return document(
        *(request(f"r{i}", adapter=name) for i, name in enumerate("abc")),
        gpus=[gpu(resident=())],
        adapters=[adapter(name, 0.4) for name in "abc"],
        switching={"max_resident": 3, "max_per_batch": 3, "price_per_s": 0.0},
    )


def quicker_together() -> dict[str, Any]:
    """Three in a batch take half as long as one alone."""
    return document(
        *(request(f"r{i}", 2) for i in range(3)),
        service={"kind": "steps", "step_s": {"table": [2.0, 2.0, 1.0]}},
    )


def quicker_together_mixed() -> dict[str, Any]:
    """The same, with the members' adapters mixed."""
    return document(
        *(request(f"r{i}", 2, adapter=name) for i, name in enumerate("aab")),
        gpus=[gpu(resident=("a", "b"))],
        adapters=[adapter("a"), adapter("b")],
        switching={"max_resident": 2, "max_per_batch": 2},
        service={"kind": "steps", "step_s": {"table": [2.0, 2.0, 1.0]}},
    )


def switches_of_no_length() -> dict[str, Any]:
    """Loads take no time and cost nothing: adapters change as often as one likes."""
    return document(
        *(request(f"r{i}", 1 + i % 2, adapter="ab"[i % 2]) for i in range(5)),
        adapters=[adapter("a"), adapter("b")],
        switching={"max_resident": 2, "activate_s": 0.0},
        service={"kind": "steps", "step_s": {"table": [1.0]}},
    )


def one_large_one_small() -> dict[str, Any]:
    """One GPU holds a pair, the other a single request, or none of the heavy ones."""
    return document(
        *(request(f"r{i}", 2, demand={"vram_gib": 3.0 + i}) for i in range(4)),
        gpus=[gpu("large", vram_gib=12.0), gpu("small", vram_gib=4.5)],
    )


def both_have_a_resident() -> dict[str, Any]:
    """Equal GPUs, of which one has the adapter of most requests."""
    return document(
        *(request(f"r{i}", 2, adapter="aaab"[i]) for i in range(4)),
        gpus=[gpu("gpu-0", ("a",)), gpu("gpu-1", ("b",)), gpu("gpu-2", ())],
        adapters=[adapter("a", 3.0), adapter("b", 3.0)],
        service={"kind": "steps", "step_s": {"table": [1.0]}},
    )


def cache_without_room() -> dict[str, Any]:
    """Three adapters may be resident, but memory has room for two, or for one and a request."""
    return document(
        *(request(f"r{i}", adapter="abcab"[i], demand={"vram_gib": 3.0}) for i in range(5)),
        gpus=[gpu(resident=("a",), vram_gib=8.0)],
        adapters=[adapter(name, 2.0, 2.5) for name in "abc"],
        switching={"max_resident": 3, "activate_s": 0.5},
    )


def weights_of_all_sorts() -> dict[str, Any]:
    """No two requests are alike, so that classes must be merged."""
    return document(
        *(
            request(
                f"r{i}",
                1 + i,
                weight=1.0 + 0.3 * i,
                demand={"vram_gib": 1.0 + i},
                options=[
                    {"steps": 1 + i % 2, "quality": 0.5 + 0.1 * i},
                    {"steps": 3, "quality": 1.0},
                ],
                deadline_s=2.0 + i,
                reject_loss=None if i % 2 else 1.0 + i,
            )
            for i in range(4)
        ),
        late_price=2.0,
    )


def slots_with_a_cache() -> dict[str, Any]:
    """A switch takes no time but has its price."""
    return document(
        *(request(f"r{i}", adapter="aba"[i], arrival_s=float(i)) for i in range(3)),
        gpus=[gpu(resident=("b",))],
        adapters=[adapter("a", 2.0), adapter("b", 2.0)],
        switching={"max_resident": 2, "activate_s": 1.0, "price_per_s": 0.3},
        service={"kind": "slot"},
        horizon_ticks=4,
    )


def pairs_with_a_detour() -> dict[str, Any]:
    """The way in is dear from nothing and cheap from a."""
    ways = [(None, "b", 9.0), ("a", "b", 1.0), ("b", "a", 4.0)]
    return document(
        *(request(f"r{i}", adapter="aba"[i]) for i in range(3)),
        adapters=[adapter("a", 6.0), adapter("b", 6.0)],
        switching={"pairs": [{"from": f, "to": t, "load_s": s} for f, t, s in ways]},
    )


ADVERSE = (
    activated_beside_cheap_loads,
    loaded_beside_an_activation,
    after_the_horizon,
    loads_of_less_than_a_tick,
    quicker_together,
    quicker_together_mixed,
    switches_of_no_length,
    one_large_one_small,
    both_have_a_resident,
    cache_without_room,
    weights_of_all_sorts,
    slots_with_a_cache,
    pairs_with_a_detour,
)


@pytest.mark.parametrize("make", ADVERSE, ids=lambda make: make.__name__)
def test_weak_duality_where_it_is_hard(make: Any) -> None:
    """Instances made against one argument each; their optima by search."""
    made = make()
    problem, optimum = Problem(parse_instance(json.dumps(made))), brute_force(made)
    assert optimum is not None
    for seed in range(8):
        try_prices(problem, optimum, seed)


@pytest.mark.parametrize("seed", scale.seeds(180))
def test_weak_duality_of_merged_classes(seed: int) -> None:
    """A chain may not know which job it leaves out: any of them may be rejected, or go elsewhere.

    Only some may be rejected, at losses of their own, and one may wait while others are served.
    """
    rng = random.Random(seed)
    gpus = {Feature.GPUS} if seed % 2 else set()
    drawn = random_instance(rng, random_features(rng) | gpus, requests=(3, 5))
    made = json.loads(encode(drawn))
    for each in made["requests"]:
        each["weight"] = rng.choice((1e-3, 0.5, 1.0, 2.0))
        each["reject_loss"] = rng.choice((None, None, 0.0, 0.1, 0.5, 3.0))
        each["adapter"] = rng.choice((made["adapters"][0]["id"], each["adapter"]))
    optimum = brute_force(made)
    if optimum is None:
        return
    problem = Problem(parse_instance(json.dumps(made)))
    for states in (2, 4, 8):
        relaxation = Relaxation(problem, min(200, safe_horizon(problem)), states=states)
        for found in iterates(relaxation, 40):
            assert found.bound <= optimum * (1 + 1e-9) + 1e-9


def test_threads_change_nothing() -> None:
    problem = Problem(parse_instance(json.dumps(both_have_a_resident())))
    one = Relaxation(problem, 20)
    two = Relaxation(problem, 20, threads=2)
    prices = drawn(one, np.random.default_rng(0))
    assert one.evaluate(prices).bound == two.evaluate(prices).bound
    assert one.bytes() < two.bytes() <= 2 * one.bytes()
