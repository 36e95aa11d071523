"""``dp``: classes, moves, the search at any prices, bounds of cut passes, limits."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from pats_opt.core.solver import Feature, Run
from pats_opt.errors import CapabilityError, InputError
from pats_opt.generate import generate
from pats_opt.generate.recipe import Complexity, GpuSettings, Popularity, Recipe, StepCounts
from pats_opt.model.checker import valid_loss
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.solve import solve
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.common.classes import classes, moves, undominated
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.common.windows import safe_horizon
from pats_solvers.dp import Dp
from pats_solvers.dp.model import batches_of, latest_by_job, tables_at
from pats_solvers.dp.passes import WAITING, LabelPasses, PassLimits
from pats_solvers.dp.search import PricedSearch
from pats_solvers.lagrangian.ascent import Ascent
from pats_solvers.lagrangian.bounding import Bounding, bounding_of
from pats_solvers.lagrangian.relaxation import Relaxation
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.label_passes import assert_proven, random_prices
from tests.support.zoo import adapter, document, gpu, request

#: What there can be on one GPU with one resident adapter.
ALONE = Dp.capabilities.features - {Feature.GPUS, Feature.RESIDENT, Feature.ACTIVATE}


def test_classes_partition_the_jobs() -> None:
    """Every job is in one class; members differ in arrival alone and stand in its order."""
    problem = Problem(generate(Recipe(requests=30), seed=2))
    kinds = classes(problem)
    assert sorted(job.index for kind in kinds for job in kind.jobs) == list(range(30))
    assert len(kinds) < 15
    for kind in kinds:
        assert len({(job.adapter, job.options, job.weight, job.demand) for job in kind.jobs}) == 1
        assert list(kind.arrivals) == sorted(job.arrival for job in kind.jobs)


def test_moves_fit_and_are_distinct() -> None:
    """Every listed batch fits the GPU, and none is listed twice."""
    problem = Problem(generate(Recipe(requests=12), seed=2))
    kinds = classes(problem)
    for a in range(len(problem.site.adapter_ids)):
        listed = moves(problem, kinds, a)
        assert len({move.parts for move in listed}) == len(listed)
        for move in listed:
            jobs = [job for q, n in move.takes for job in kinds[q].jobs[:n]]
            assert problem.site.fits(0, frozenset((a,)), jobs)


def test_batches_that_are_counted_as_too_many_are() -> None:
    """What is refused without a listing has at least so many batches."""
    refused = 0
    for seed in scale.seeds(60):
        problem = Problem(random_instance(seed, requests=(2, 6)))
        kinds = classes(problem)
        for a in {kind.adapter for kind in kinds}:
            count = len(moves(problem, kinds, a))
            assert len(moves(problem, kinds, a, most=count)) == count
            if count:
                refused += 1
                with pytest.raises(InputError, match="different batches"):
                    moves(problem, kinds, a, most=count - 1)
    assert refused


def test_a_pass_waits_for_prices_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no time for all evaluations, the first pass is done after some rounds."""
    problem = Problem(generate(Recipe(requests=12), seed=2))
    incumbent = Incumbent(problem, Run())
    incumbent.raise_bound(0.0)
    bounding = bounding_of(incumbent, 1.0)
    monkeypatch.setattr(Bounding, "advance", lambda *_: 1)
    passes = LabelPasses(incumbent, bounding, PassLimits(20, None, 1.0), batches_of(problem))
    bounding.climb(math.inf, 1, lambda: False)
    for _ in range(WAITING - 1):
        passes.advance()
        assert incumbent.plan is None
    passes.advance()
    assert incumbent.plan is not None


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_a_beam_never_claims_too_much(beam: int) -> None:
    """A cut search gives a valid plan and a bound at or below the optimum, and says so."""
    claimed = 0
    for seed in scale.seeds(40):
        instance = random_instance(seed, frozenset((Feature.OPTIONS,)), requests=(3, 5))
        optimum = brute_force(json.loads(encode(instance)))
        assert optimum is not None
        problem = Problem(instance)
        outcome = Dp(beam=beam, first=1).solve(problem, Run())
        slack = 1e-6 * max(1.0, optimum)
        if outcome.bound is not None:
            assert outcome.bound <= optimum + slack
        if outcome.plan is not None:
            loss = valid_loss(problem, outcome.plan)
            assert loss is not None
            assert loss >= optimum - slack
            if outcome.stop is StopReason.OPTIMAL:
                claimed += 1
                assert loss <= optimum + slack
        else:
            assert outcome.stop is StopReason.COMPLETE
    assert claimed > 0


def test_dominated_batches_are_left_out() -> None:
    """Of batches of the same jobs only those stay that no shorter one undercuts."""
    problem = Problem(generate(Recipe(requests=12), seed=2))
    kinds = classes(problem)
    listed = moves(problem, kinds, 0)
    kept = undominated(kinds, listed)
    assert 0 < len(kept) < len(listed)
    for move in listed:
        rivals = [k for k in kept if k.takes == move.takes and k.duration <= move.duration]
        assert min(rival.fixed(kinds) for rival in rivals) <= move.fixed(kinds)


def priced(problem: Problem, rng: random.Random) -> PricedSearch:
    """A search at random prices."""
    return PricedSearch(problem, tables_at(*random_prices(problem, rng)))


@pytest.mark.parametrize("feature", [*sorted(ALONE), None])
def test_any_prices_prove_the_optimum(feature: Feature | None) -> None:
    """At random prices the bound is valid, and a pass without a beam finds the optimum."""
    rng = random.Random(str(feature))
    for seed in scale.seeds(15):
        wanted = random_features(rng, 0.4, ALONE)
        if feature is not None:
            wanted = frozenset((feature,))
        instance = random_instance(seed, wanted, requests=(2, 4), tight=seed % 3 == 0)
        optimum = brute_force(json.loads(encode(instance)))
        assert_proven(priced(Problem(instance), rng), optimum, rng)


def test_no_better_schedule_has_a_batch_that_is_left_out() -> None:
    """By latest starts at good prices some batches go, and the optimum is still found."""
    rng, gone = random.Random(5), 0
    for seed in scale.seeds(40):
        wanted = random_features(rng, 0.4, ALONE - {Feature.PAIRS})
        problem = Problem(random_instance(seed, wanted, requests=(3, 5), tight=seed % 3 == 0))
        optimum = brute_force(json.loads(encode(problem.instance)))
        if optimum is None:
            continue
        known = optimum + 1e-7 * max(1.0, optimum)
        end = safe_horizon(problem)
        relaxation = Relaxation(problem, end, states=rng.choice((2, 4)), lanes=True)
        ascent = Ascent(relaxation, np.zeros(relaxation.dimension))
        ascent.climb(known, 20, lambda: False)
        tables = tables_at(relaxation, ascent.prices)
        slack = known - PricedSearch(problem, tables, ()).bound()
        batches = batches_of(problem, latest_by_job(problem, tables, slack))
        found = PricedSearch(problem, tables, batches).run(known, lambda: None)
        assert found.complete
        assert abs(found.loss - optimum) <= 2e-7 * max(1.0, optimum)
        gone += len(batches_of(problem)) - len(batches)
    assert gone > 0


def test_a_tight_memory_still_gives_plan_and_bound() -> None:
    """Past the labels that fit, a pass is a beam: valid schedule, honest bound, no proof."""
    problem = Problem(generate(Recipe(requests=24), seed=1))
    search = priced(problem, random.Random(1))
    found = search.run(math.inf, lambda: None, most=400)
    assert not found.complete
    assert found.plan is not None
    assert valid_loss(problem, found.plan) is not None
    optimum = Dp().solve(problem, Run())
    assert optimum.stop is StopReason.OPTIMAL
    assert optimum.bound is not None
    assert found.bound <= optimum.bound <= found.loss + 1e-9


def test_what_waits_is_part_of_the_bound() -> None:
    """A pass that is broken off proves no more than its labels promise."""
    problem = Problem(generate(Recipe(requests=20), seed=3))
    search = priced(problem, random.Random(3))
    asked = iter([None] * 5)
    found = search.run(math.inf, lambda: next(asked, StopReason.INTERRUPTED))
    assert found.stop is StopReason.INTERRUPTED
    assert not found.complete
    optimum = Dp().solve(problem, Run()).bound
    assert optimum is not None
    assert search.bound() - 1e-9 <= found.bound <= optimum + 1e-9


def test_interrupt_and_time_limit_return_the_best_so_far() -> None:
    """A stop before the first pass gives the warm start."""
    problem = Problem(generate(Recipe(requests=12), seed=1))
    plan = Dp(beam=50).solve(problem, Run()).plan
    assert plan is not None
    loss = valid_loss(problem, plan)
    assert loss is not None
    run = Run(start=(plan, loss))
    run.interrupted.set()
    outcome = Dp().solve(problem, run)
    assert (outcome.stop, outcome.plan) == (StopReason.INTERRUPTED, plan)


def test_refusals() -> None:
    """Mixed batches are refused by name; too little memory for the bound, with what to do."""
    mixed = random_instance(1, frozenset((Feature.RESIDENT, Feature.MIXED_BATCH)))
    with pytest.raises(CapabilityError, match="max_per_batch above 1"):
        solve(mixed, "dp")
    differ = Recipe(
        requests=80,
        complexity=Complexity(spread=0.15),
        gpus=GpuSettings(count=2, batch=40),
        steps=StepCounts(pruned=(10, 20, 30)),
        popularity=Popularity(adapters=1),
    )
    with pytest.raises(InputError, match="different batches"):
        Dp().solve(Problem(generate(differ, seed=0)), Run())
    with pytest.raises(InputError, match="memory_gib"):
        solve(generate(Recipe(requests=24), seed=1), Dp(memory_gib=1e-5))


def test_the_same_seed_gives_the_same_schedule() -> None:
    """Nothing in it is random."""
    instance = generate(Recipe(requests=14), seed=4)
    first, second = solve(instance, "dp"), solve(instance, "dp")
    assert first.schedule.gpus == second.schedule.gpus


def test_a_loss_of_next_to_nothing_is_no_optimum() -> None:
    """Rejecting costs 0, so that a load of 3e-10 is too much."""
    made = document(
        request("r0", reject_loss=0.0),
        gpus=[gpu(resident=())],
        adapters=[adapter("a", 1.0)],
        switching={"price_per_s": 3e-10},
        latency_price_per_s=0.0,
    )
    problem = Problem(parse_instance(json.dumps(made)))
    loaded = Plan(((PlannedBatch(1, ((0, 0),), frozenset((0,))),),))
    outcome = Dp().solve(problem, Run(start=(loaded, 3e-10)))
    assert (outcome.stop, outcome.bound) == (StopReason.OPTIMAL, 0.0)
