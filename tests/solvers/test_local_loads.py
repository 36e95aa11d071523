"""``local-search`` where loads run beside serving: against brute force, and what it saves."""

from __future__ import annotations

import json
import random

import msgspec
import numpy as np
import pytest

from pats_opt.core import registry
from pats_opt.core.solver import Feature, Outcome, Run, features
from pats_opt.errors import CapabilityError
from pats_opt.generate import generate
from pats_opt.generate.recipe import AdapterCache, Popularity, Recipe
from pats_opt.model.checker import valid_loss
from pats_opt.model.files import encode
from pats_opt.model.instance import Instance, Overlap
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.solve import solve
from pats_opt.solving.starts import BEST_POLICIES, PolicyStarts
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.lagrangian.bounding import bounding_of
from pats_solvers.local import LocalSearch
from pats_solvers.local.arrays import data_of
from pats_solvers.local.plans import one_by_one, plan_of_state
from pats_solvers.local.timing import OVERRUN, time_all
from pats_solvers.primal_dual import improve_schedule
from tests.solvers.test_local import searched
from tests.support import scale
from tests.support.brute_force import brute_force

#: Features that exclude loads beside serving.
WITHOUT = frozenset((Feature.PAIRS, Feature.SLOT))


def beside_serving(seed: int, requests: tuple[int, int] = (2, 5)) -> Instance:
    """A random instance with a loader."""
    rng = random.Random(seed)
    chosen = random_features(rng) - WITHOUT | {Feature.OVERLAP, Feature.RESIDENT}
    return random_instance(rng, chosen, requests=requests)


def larger(channels: int = 1) -> Instance:
    """Forty requests of eight adapters with three residents."""
    made = generate(
        Recipe(
            requests=40,
            popularity=Popularity(adapters=8),
            switching=AdapterCache(max_resident=3, load_s=(4.4,)),
        ),
        seed=4,
    )
    switching = msgspec.structs.replace(made.switching, overlap=Overlap(channels=channels))
    return msgspec.structs.replace(made, switching=switching)


def test_tiny_instances_are_solved() -> None:
    """Never below the optimum of exhaustive search, and mostly there, from no schedule at all."""
    seeds = scale.seeds(40)
    best = 0
    for seed in seeds:
        instance = beside_serving(seed)
        optimum = brute_force(json.loads(encode(instance)))
        assert optimum is not None
        plan = searched(Problem(instance), None, seed=seed)
        assert plan is not None
        loss = valid_loss(Problem(instance), plan)
        assert loss is not None
        assert loss >= optimum - 1e-9
        best += loss <= optimum + 1e-9
    assert best >= 0.9 * len(seeds)


def test_losses_are_at_least_the_checkers() -> None:
    """A plan of a state holds, and loses no more than the state (loads nobody needs are spared)."""
    same = 0
    seeds = scale.seeds(60)
    for seed in seeds:
        problem = Problem(beside_serving(seed, requests=(3, 9)))
        data = data_of(problem)
        state = one_by_one(data)
        mine = time_all(data, state)
        if mine >= OVERRUN:
            continue
        loss = valid_loss(problem, plan_of_state(problem, state))
        assert loss is not None
        assert loss <= mine + 1e-9
        same += loss == pytest.approx(mine)
    assert same > 0.8 * len(seeds)


@pytest.mark.parametrize("channels", [1, 2])
def test_loads_beside_serving_save(channels: int) -> None:
    """Below the loss of the same instance whose loads stop the GPU, by the same search."""
    problem = Problem(larger(channels))
    assert features(problem) <= LocalSearch.capabilities.features
    found = searched(problem, None, 30)
    switching = msgspec.structs.replace(problem.instance.switching, overlap=msgspec.UNSET)
    blocking = Problem(msgspec.structs.replace(problem.instance, switching=switching))
    other = searched(blocking, None, 30)
    assert found is not None
    assert other is not None
    loss, blocked = valid_loss(problem, found), valid_loss(blocking, other)
    assert loss is not None
    assert blocked is not None
    assert loss < blocked


def test_the_seed_decides() -> None:
    """Without a time limit the same seed gives the same plan."""
    problem = Problem(larger())
    solver = LocalSearch(patience=1, evaluations=0)
    made = [solver.solve(problem, Run(seed=3)).plan for _ in range(2)]
    assert made[0] is not None
    assert made[0] == made[1]


@pytest.mark.parametrize("channels", [1, 2])
def test_lagrangian_searches_beside_its_bound(channels: int) -> None:
    """From no schedule at all it has one whose loss meets the bound to a few percent."""
    problem = Problem(larger(channels))
    incumbent = Incumbent(problem, Run(seed=1))
    bounding = bounding_of(incumbent, 0.5)
    bounding.advance(incumbent, 40, 1.0)
    assert improve_schedule(incumbent, bounding, np.random.default_rng(1), 30)
    bounding.advance(incumbent, 40, 1.0)
    assert incumbent.bound <= incumbent.loss <= 1.2 * incumbent.bound


def test_exact_passes_over_who_lacks_loads_beside_serving() -> None:
    """``dp`` refuses by name where all but the loader suits it; ``exact`` asks others."""
    made = generate(Recipe(requests=12, switching=AdapterCache(load_s=(4.4,))), seed=2)
    switching = msgspec.structs.replace(made.switching, overlap=Overlap(channels=1))
    instance = msgspec.structs.replace(made, switching=switching)
    with pytest.raises(CapabilityError, match="overlap"):
        solve(instance, "dp")
    result = solve(instance, "exact", time_limit=2.0)
    turns = [turn["solver"] for turn in result.details["turns"]]
    assert turns[0] == "guided"
    assert "dp" not in turns


def test_policies_start_the_search_with_loads_beside_serving() -> None:
    """The schedule to start from is no worse than any usual one that loads while it waits."""
    problem = Problem(larger())
    start = PolicyStarts(problem, Run()).first()
    assert start is not None
    losses = [solve(problem, name).loss for name in BEST_POLICIES]
    assert all(loss is not None and start[1] <= loss for loss in losses)


@pytest.mark.parametrize("channels", [None, 1])
def test_no_policy_is_better_than_the_end(channels: int | None) -> None:
    """Of a fleet where loads cost more than waiting: `credits` wins, which is no usual start."""
    recipe = {
        "requests": 40,
        "arrivals": {"process": "bursty", "load": 0.5},
        "popularity": {"adapters": 6},
        "complexity": {"spread": 0.2},
        "gpus": {"count": 4},
        "switching": {"max_resident": 2, "channels": channels},
        "terms": {"latency_price_per_s": 0.01},
    }
    problem = Problem(generate(msgspec.convert(recipe, Recipe), name="fleet", seed=5))
    starts = PolicyStarts(problem, Run())
    start = starts.first()
    assert start is not None
    plan = starts.improved(Outcome(StopReason.COMPLETE, start[0])).plan
    assert plan is not None
    best = valid_loss(problem, plan)
    assert best is not None
    rule = "" if channels is None else ":prefetch=next"
    losses = [solve(problem, policy + rule).loss for policy in registry.policies()]
    assert len(losses) == 25
    assert all(loss is not None and best <= loss for loss in losses)
    assert best < start[1]
