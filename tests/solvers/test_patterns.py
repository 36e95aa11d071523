"""Patterns of batches, where requests differ: who is served, and what such a search proves."""

from __future__ import annotations

import itertools
import json
import math
import random

import msgspec
import pytest

from pats_opt.core.solver import Feature, Run
from pats_opt.errors import InputError
from pats_opt.generate import generate
from pats_opt.generate.recipe import Complexity, GpuSettings, Popularity, Recipe, StepCounts
from pats_opt.model.checker import valid_loss
from pats_opt.model.files import encode
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.common.classes import classes
from pats_solvers.dp import Dp, model
from pats_solvers.dp.fleet.model import fleet_tables_at
from pats_solvers.dp.fleet.patterns import (
    losses_by_rank,
    members_of,
    patterns_of,
    step_counts,
)
from pats_solvers.dp.fleet.search import FleetSearch
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.label_passes import random_prices


def different(seed: int, rng: random.Random, requests: tuple[int, int]) -> Instance:
    """Requests that all differ in qualities and weights, and in what the random instance has."""
    features = random_features(rng, 0.4, Dp.capabilities.features) | {Feature.OPTIONS}
    if Feature.PAIRS in features:
        features -= {Feature.RESIDENT, Feature.ACTIVATE}
    instance = random_instance(seed, features, requests=requests, tight=seed % 3 == 0)
    replace = msgspec.structs.replace
    found = []
    for request in instance.requests:
        options = tuple(replace(option, quality=rng.random()) for option in request.options)
        found.append(replace(request, options=options, weight=rng.choice((1.0, 0.5, 2.0))))
    return replace(instance, requests=tuple(found))


def test_schedules_lose_what_their_labels_say() -> None:
    """The members that a schedule is given are those that the search had counted."""
    rng, better = random.Random(3), 0
    for seed in scale.seeds(60):
        problem = Problem(different(seed, rng, (2, 4)))
        optimum = brute_force(json.loads(encode(problem.instance)))
        relaxation, flat = random_prices(problem, rng)
        tables = fleet_tables_at(relaxation, flat)
        search = FleetSearch(problem, tables, patterns=patterns_of(problem))
        found = search.run(math.inf, lambda: None)
        if optimum is None:
            assert found.plan is None
            continue
        if found.plan is None:
            continue
        loss = valid_loss(problem, found.plan)
        assert loss is not None, seed
        assert math.isclose(loss, found.loss, rel_tol=1e-9, abs_tol=1e-9), seed
        assert loss >= optimum - 1e-9
        better += math.isclose(loss, optimum, rel_tol=1e-9, abs_tol=1e-9)
    assert better > 10


def test_a_search_over_patterns_claims_no_more_than_its_prices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where no batches are listed, the bound stays below the optimum, and proofs are right."""

    def too_many(*_: object) -> None:
        raise InputError("too many")

    monkeypatch.setattr(model, "batches_of", too_many)
    rng, solved = random.Random(5), 0
    for seed in scale.seeds(40):
        problem = Problem(different(seed, rng, (2, 4)))
        optimum = brute_force(json.loads(encode(problem.instance)))
        if optimum is None:
            continue
        outcome = Dp().solve(problem, Run(time_limit=20.0))
        assert outcome.bound is None or outcome.bound <= optimum + 1e-7 * max(1.0, optimum), seed
        if outcome.plan is not None:
            loss = valid_loss(problem, outcome.plan)
            assert loss is not None
            assert loss >= optimum - 1e-9
            solved += 1
    assert solved > 10


def test_few_steps_go_where_they_lose_least() -> None:
    """Every choice of step counts is a pattern, twice; no other way to share them loses less."""
    problem = Problem(different(2, random.Random(1), (6, 6)))
    kinds = classes(problem)
    losses = losses_by_rank(kinds)
    for a, group in itertools.groupby(patterns_of(problem), key=lambda pattern: pattern.adapter):
        listed = list(group)
        steps = step_counts(kinds, a)
        assert len({pattern.parts for pattern in listed}) * 2 == len(listed)
        if len(steps) > 2:
            continue
        mine = [(q, kind.jobs[:1]) for q, kind in enumerate(kinds) if kind.adapter == a]
        mine = [(q, jobs) for q, jobs in mine if math.isfinite(losses[q].max())]
        for pattern in listed:
            jobs = mine[: pattern.members]
            if len(jobs) < pattern.members:
                continue
            members = members_of(kinds, losses, pattern, jobs)
            wanted = sorted(steps[rank] for rank, n, _ in pattern.parts for _ in range(n))
            assert sorted(problem.jobs[j].options[o].steps for j, o in members) == wanted
            loss = sum(problem.jobs[j].options[o].quality_loss for j, o in members)
            index = [job.index for _, some in jobs for job in some]
            assert loss <= best_assignment(problem, index, wanted) + 1e-9


def best_assignment(problem: Problem, jobs: list[int], steps: list[int]) -> float:
    """The least quality loss of jobs that take these step counts, by trying all ways."""
    return min(
        sum(
            min(o.quality_loss for o in problem.jobs[j].options if o.steps == n)
            for j, n in zip(jobs, order, strict=True)
        )
        for order in set(itertools.permutations(steps))
    )


def test_too_many_patterns_are_refused() -> None:
    """Where batches are large and options many."""
    recipe = Recipe(
        requests=60,
        complexity=Complexity(spread=0.2),
        steps=StepCounts(pruned=(10, 20, 30, 40)),
        gpus=GpuSettings(batch=30),
        popularity=Popularity(adapters=1),
    )
    with pytest.raises(InputError, match="patterns of them"):
        patterns_of(Problem(generate(recipe, seed=1)))
