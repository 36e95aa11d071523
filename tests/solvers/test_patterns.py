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
from pats_opt.model.checker import valid_loss
from pats_opt.model.files import encode
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.common.classes import classes
from pats_solvers.dp import Dp, model
from pats_solvers.dp.fleet.model import fleet_tables_at
from pats_solvers.dp.fleet.patterns import members_of, patterns_of
from pats_solvers.dp.fleet.search import FleetSearch
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.label_passes import random_prices

#: Features that patterns take.
FEATURES = Dp.capabilities.features - {Feature.DEADLINES, Feature.RESOURCES, Feature.PAIRS}


def different(seed: int, rng: random.Random, requests: tuple[int, int]) -> Instance:
    """Requests that all lose differently, with the demands and the steps of the first."""
    features = random_features(rng, 0.4, FEATURES) | {Feature.OPTIONS}
    instance = random_instance(seed, features, requests=requests, tight=seed % 3 == 0)
    first = instance.requests[0]
    found = []
    for request in instance.requests:
        rising = sorted(rng.random() for _ in first.options)
        steps = sorted(option.steps for option in first.options)
        options = tuple(
            msgspec.structs.replace(option, steps=steps[i], quality=rising[i])
            for i, option in enumerate(first.options)
        )
        found.append(
            msgspec.structs.replace(
                request, options=options, demand=first.demand, weight=rng.choice((1.0, 0.5, 2.0))
            )
        )
    return msgspec.structs.replace(instance, requests=tuple(found), late_price=0.0)


def test_schedules_lose_what_their_labels_say() -> None:
    """The members that a schedule is given are those that the search had counted."""
    rng, better = random.Random(3), 0
    for seed in scale.seeds(60):
        problem = Problem(different(seed, rng, (2, 4)))
        optimum = brute_force(json.loads(encode(problem.instance)))
        try:
            patterns = patterns_of(problem)
        except InputError:  # requests differ in more
            continue
        relaxation, flat = random_prices(problem, rng)
        search = FleetSearch(problem, fleet_tables_at(relaxation, flat), patterns)
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
        try:
            outcome = Dp().solve(problem, Run(time_limit=20.0))
        except InputError:
            continue
        assert outcome.bound is None or outcome.bound <= optimum + 1e-7 * max(1.0, optimum), seed
        if outcome.plan is not None:
            loss = valid_loss(problem, outcome.plan)
            assert loss is not None
            assert loss >= optimum - 1e-9
            solved += 1
    assert solved > 10


def test_members_are_the_earliest_or_the_extremes() -> None:
    """Every choice of so many step counts is a pattern, twice; few steps go where least is lost."""
    rng = random.Random(1)
    instance = different(2, rng, (6, 6))
    problem = Problem(instance)
    kinds = classes(problem)
    patterns = patterns_of(problem)
    for a, group in itertools.groupby(patterns.moves, key=lambda move: move.adapter):
        mine = [(q, kind) for q, kind in enumerate(kinds) if kind.adapter == a]
        listed = list(group)
        assert len({(move.parts, move.takes) for move in listed}) * 2 == len(listed)
        for move in listed:
            count = move.takes[0][1]
            jobs = [(q, kind.jobs[:1]) for q, kind in mine][:count]
            if len(jobs) < count:
                continue
            members = members_of(kinds, move, jobs)
            steps = sorted(problem.jobs[j].options[o].steps for j, o in members)
            first = kinds[move.takes[0][0]].jobs[0]
            wanted = sorted(first.options[o].steps for _, o, n, _ in move.parts for _ in range(n))
            assert steps == wanted
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


def test_what_patterns_refuse() -> None:
    """Requests that differ in demand would not all fit where the first does."""
    instance = different(2, random.Random(1), (4, 4))
    one, *others = instance.requests
    demand = one.demand | {"vram_gib": one.demand["vram_gib"] / 2}
    changed = msgspec.structs.replace(others[0], adapter=one.adapter, demand=demand)
    with pytest.raises(InputError, match="differ in demands"):
        patterns_of(
            Problem(msgspec.structs.replace(instance, requests=(one, changed, *others[1:])))
        )
