"""``dp`` on several GPUs and with several residents: proofs, bounds, and what it may leave out."""

from __future__ import annotations

import json
import math
import random

import msgspec
import numpy as np
import pytest

from pats_opt.core.solver import Feature, Run
from pats_opt.errors import InputError
from pats_opt.generate import generate
from pats_opt.generate.recipe import AdapterCache, GpuSettings, Popularity, Recipe
from pats_opt.model.checker import valid_loss
from pats_opt.model.files import encode
from pats_opt.model.instance import (
    Adapter,
    Gpu,
    Instance,
    Option,
    Request,
    StepsService,
    StepTime,
    Switching,
)
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.solve import solve
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.dp import Dp
from pats_solvers.dp.fleet.model import fleet_tables_at
from pats_solvers.dp.fleet.search import FleetSearch
from pats_solvers.dp.passes import PassSeries
from pats_solvers.dp.search import SearchPass
from pats_solvers.lagrangian.ascent import Ascent
from pats_solvers.lagrangian.relaxation import Relaxation
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.label_passes import assert_proven, random_prices

#: What makes a problem one of several GPUs or residents.
CASES = (
    {Feature.RESIDENT},
    {Feature.RESIDENT, Feature.ACTIVATE},
    {Feature.GPUS},
    {Feature.GPUS, Feature.PAIRS},
    {Feature.GPUS, Feature.RESIDENT},
    {Feature.GPUS, Feature.RESIDENT, Feature.ACTIVATE},
)

#: Features that may come with these.
OTHERS = Dp.capabilities.features - {
    Feature.GPUS,
    Feature.RESIDENT,
    Feature.ACTIVATE,
    Feature.PAIRS,
}


def priced(problem: Problem, rng: random.Random) -> FleetSearch:
    """A search at random prices."""
    return FleetSearch(problem, fleet_tables_at(*random_prices(problem, rng)))


def stretched(instance: Instance, rng: random.Random) -> Instance:
    """The instance with arrivals further apart and other loads: GPUs wait and load ahead."""
    factor = rng.choice((2, 3, 4))
    adapters = tuple(
        msgspec.structs.replace(
            adapter,
            load_s=rng.choice((0.0, 0.5, 1.0, 2.0, 3.0)) * instance.tick_s,
            vram_gib=rng.choice((adapter.vram_gib, 1.5)),
        )
        for adapter in instance.adapters
    )
    names = [adapter.id for adapter in adapters]
    requests = tuple(
        msgspec.structs.replace(
            request, arrival_s=round(request.arrival_s * factor, 6), adapter=rng.choice(names)
        )
        for request in instance.requests
    )
    return msgspec.structs.replace(instance, adapters=adapters, requests=requests)


def assert_optimum(instance: Instance, rng: random.Random) -> None:
    """At random prices the search proves what exhaustive search finds."""
    optimum = brute_force(json.loads(encode(instance)))
    assert_proven(priced(Problem(instance), rng), optimum, rng)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(f.name for f in sorted(case)))
def test_any_prices_prove_the_optimum(case: set[Feature]) -> None:
    """Exhaustive search finds nothing better, whatever else the instance has."""
    rng = random.Random(str(sorted(case)))
    for seed in scale.seeds(30):
        wanted = random_features(rng, 0.35, OTHERS) | case
        if Feature.PAIRS in case:
            wanted -= {Feature.RESIDENT, Feature.ACTIVATE}
        requests = (2, 3) if Feature.GPUS in case else (2, 4)
        instance = random_instance(seed, wanted, requests=requests, tight=seed % 3 == 0)
        assert_optimum(instance, rng)


@pytest.mark.parametrize("gpus", [1, 2])
def test_gaps_between_arrivals_are_used(gpus: int) -> None:
    """Where GPUs wait, loads ahead of time may pay, and no waiting is too short."""
    rng = random.Random(gpus)
    among = (Feature.ACTIVATE, Feature.OPTIONS, Feature.REJECTION, Feature.INITIAL)
    for seed in scale.seeds(40 if gpus == 1 else 15):
        wanted = {Feature.RESIDENT} | {feature for feature in among if rng.random() < 0.4}
        wanted |= {Feature.GPUS} if gpus > 1 else set()
        requests = (3, 5) if gpus == 1 else (3, 4)
        assert_optimum(stretched(random_instance(seed, wanted, requests=requests), rng), rng)


def small(
    loads_s: tuple[float, ...],
    requests: tuple[tuple[float, str], ...],
    *,
    activate_s: float = 0.0,
    gpus: int = 1,
    latency: float = 1.0,
) -> Instance:
    """Adapters ``a``, ``b``, ... of 1 GiB, two residents, requests of a second by arrival."""
    return Instance(
        name="small",
        tick_s=1.0,
        base_vram_gib=0.0,
        gpus=tuple(Gpu(id=f"gpu-{g}", capacity={"vram_gib": 4.0}) for g in range(gpus)),
        adapters=tuple(
            Adapter(id=name, vram_gib=1.0, load_s=s)
            for name, s in zip("abc", loads_s, strict=False)
        ),
        switching=Switching(max_resident=2, activate_s=activate_s, price_per_s=0.01),
        service=StepsService(step_s=StepTime(base=1.0, per_sample=0.0)),
        latency_price_per_s=latency,
        requests=tuple(
            Request(
                id=f"r{i}",
                arrival_s=arrival,
                adapter=adapter,
                demand={"vram_gib": 1.0},
                options=(Option(steps=1, quality=1.0),),
            )
            for i, (arrival, adapter) in enumerate(requests)
        ),
    )


def test_a_load_ahead_of_time() -> None:
    """The second adapter is loaded while the GPU waits for the first one's request."""
    instance = small((2.0, 2.0), ((10.0, "a"), (10.0, "b")))
    outcome = Dp().solve(Problem(instance), Run())
    assert outcome.stop is StopReason.OPTIMAL
    assert outcome.plan is not None
    first, second = outcome.plan.gpus[0]
    assert first.resident == {0, 1}
    assert (first.start, second.start) == (10, 11)


def test_what_is_loaded_as_fast_as_activated_is_not_kept() -> None:
    """An adapter whose load costs less than its activation is evicted and loaded again."""
    instance = small((1.0, 1.0), ((0.0, "a"), (2.0, "b"), (4.0, "a")), activate_s=3.0)
    optimum = brute_force(json.loads(encode(instance)))
    outcome = Dp().solve(Problem(instance), Run())
    assert outcome.plan is not None
    assert outcome.bound == pytest.approx(optimum)
    assert [sorted(batch.resident) for batch in outcome.plan.gpus[0]] == [[0], [1], [0]]


@pytest.mark.parametrize("seed", [2, 5, 9])
def test_little_memory_still_gives_a_schedule_and_a_bound(seed: int) -> None:
    """Past the labels that fit, a pass is a beam: what is needed no more is freed, then cut."""
    recipe = Recipe(
        requests=16,
        popularity=Popularity(adapters=4),
        switching=AdapterCache(max_resident=2),
        gpus=GpuSettings(count=2),
    )
    problem = Problem(generate(recipe, seed=seed))
    optimum = Dp().solve(problem, Run())
    assert optimum.stop is StopReason.OPTIMAL
    assert optimum.bound is not None
    search = priced(problem, random.Random(seed))
    found = search.run(math.inf, lambda: None, most=600, beam=50)
    assert not found.complete
    assert found.plan is not None
    loss = valid_loss(problem, found.plan)
    assert loss is not None
    assert found.bound <= optimum.bound + 1e-9 <= loss + 2e-9


def test_the_empty_schedule_promises_no_more_than_the_prices_prove() -> None:
    """Jobs that differ on GPUs that differ: the search's bound is at most the relaxation's."""
    rng, lanes = random.Random(7), 0
    for seed in scale.seeds(60):
        wanted = random_features(rng, 0.5, OTHERS) | {Feature.GPUS}
        problem = Problem(varied(random_instance(seed, wanted, requests=(8, 12)), rng))
        relaxation, flat = random_prices(problem, rng)
        lanes += relaxation.lanes
        search = FleetSearch(problem, fleet_tables_at(relaxation, flat), ())
        bound = relaxation.evaluate(flat).bound
        slack = 1e-9 * max(1.0, abs(bound))
        assert search.bound() <= bound + slack, seed
        assert not relaxation.lanes or search.bound() >= bound - slack, seed
    assert lanes > 5


def varied(instance: Instance, rng: random.Random) -> Instance:
    """The instance with other weights, and with GPUs of which only some can hold each request."""
    replace = msgspec.structs.replace
    requests = tuple(
        replace(
            request,
            weight=rng.choice((0.3, 0.5, 1.0, 2.0, 4.0)),
            demand=request.demand | {"odd": rng.choice((0.0, 0.0, 2.0))},
        )
        for request in instance.requests
    )
    gpus = tuple(
        replace(gpu, capacity=gpu.capacity | {"odd": 3.0 if g == 0 else 1.0})
        for g, gpu in enumerate(instance.gpus)
    )
    return replace(instance, requests=requests, gpus=gpus)


def test_what_waits_is_part_of_the_bound() -> None:
    """A pass that is broken off proves no more than its labels promise."""
    recipe = Recipe(requests=14, switching=AdapterCache(max_resident=2))
    problem = Problem(generate(recipe, seed=3))
    search = priced(problem, random.Random(3))
    asked = iter([None] * 6)
    found = search.run(math.inf, lambda: next(asked, StopReason.INTERRUPTED))
    assert found.stop is StopReason.INTERRUPTED
    assert not found.complete
    optimum = Dp().solve(problem, Run()).bound
    assert optimum is not None
    assert search.bound() - 1e-9 <= found.bound <= optimum + 1e-9


def test_too_many_adapters_for_a_cache_are_refused() -> None:
    """Residents are bits of a word; with one resident there is no such limit."""
    recipe = Recipe(
        requests=400,
        popularity=Popularity(adapters=70, zipf=0.0),
        switching=AdapterCache(max_resident=2),
    )
    with pytest.raises(InputError, match="adapters with requests are more than"):
        Dp().solve(Problem(generate(recipe, seed=0)), Run())


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_same_seed_gives_the_same_schedule(gpus: int) -> None:
    """Nothing in it is random."""
    recipe = Recipe(
        requests=14, switching=AdapterCache(max_resident=2), gpus=GpuSettings(count=gpus)
    )
    instance = generate(recipe, seed=4)
    first, second = solve(instance, "dp"), solve(instance, "dp")
    assert first.schedule.gpus == second.schedule.gpus
    assert first.status.stop is StopReason.OPTIMAL


@pytest.mark.parametrize(("gpus", "resident"), [(4, 6), (3, 1)])
def test_a_narrow_beam_on_several_gpus_is_close_to_the_bound(gpus: int, resident: int) -> None:
    """Labels are compared by what they lead to: no adapter is held everywhere, no job forgotten."""
    recipe = Recipe(
        requests=60,
        popularity=Popularity(adapters=10),
        switching=AdapterCache(max_resident=resident),
        gpus=GpuSettings(count=gpus),
    )
    for seed in scale.seeds(4):
        problem = Problem(generate(recipe, seed=seed))
        relaxation = Relaxation(problem, 60, states=100)
        ascent = Ascent(relaxation, np.zeros(relaxation.dimension))
        ascent.climb(math.inf, 60)
        search = FleetSearch(problem, fleet_tables_at(relaxation, ascent.prices))
        found = search.run(math.inf, lambda: None, beam=10)
        assert found.plan is not None
        assert ascent.bound <= found.loss <= 1.15 * ascent.bound


def finished(labels: int, layers: int) -> SearchPass:
    """A pass that found nothing."""
    return SearchPass(1.0, None, 0.5, False, labels, layers, 0, None)


def test_a_pass_on_several_gpus_is_as_wide_as_time_allows() -> None:
    """It is of no use where it is broken off: the next one is narrower, or there is none."""
    series = PassSeries(20, several=True)
    series.narrow(10**6)
    assert series.widen(finished(60, 20), 20, 0.1, 60.0) is None
    assert (series.beam, series.few) == (20, 0)
    assert series.widen(finished(400, 20), 20, 1.0, 60.0) is None
    assert series.beam == 100
    assert series.widen(finished(2000, 20), 20, 10.0, 40.0) is None
    assert series.beam == 340
    assert series.widen(finished(6800, 20), 20, 34.0, 6.0) is StopReason.TIME_LIMIT


def test_a_pass_that_ended_early_says_little_of_the_next_one() -> None:
    """Where no label could beat what is known, layers were empty that a wider pass may fill."""
    series = PassSeries(20, several=True, beam=100)
    series.narrow(10**6)
    assert series.widen(finished(200, 2), 100, 1.0, 20.0) is StopReason.TIME_LIMIT
    assert series.widen(finished(200, 2), 4, 1.0, 20.0) is None


def test_a_pass_on_one_gpu_tries_all_once_its_beam_cuts_little() -> None:
    """It widens while layers are full, and stops where it may not widen any more."""
    series = PassSeries(20, several=False)
    series.narrow(50)
    assert series.widen(finished(60, 20), 20, 0.1, 1.0) is None
    assert (series.beam, series.few) == (20, 3)
    assert series.widen(finished(100, 20), 20, 0.1, 1.0) is None
    assert (series.beam, series.few) == (20, 0)
    assert series.widen(finished(100, 20), 20, 0.1, 1.0) is None
    series.narrow(50)
    assert (series.beam, series.few) == (50, 0)
    assert series.widen(finished(1000, 20), 20, 0.1, 1.0) is StopReason.MEMORY_LIMIT
