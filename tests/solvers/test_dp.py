"""``dp``: classes, moves, bounds of cut passes, limits."""

from __future__ import annotations

import json

import pytest

from pats_opt.errors import CapabilityError, InputError
from pats_opt.files import encode
from pats_opt.generate import generate
from pats_opt.generate.recipe import Recipe
from pats_opt.problem import Problem
from pats_opt.schedule import Stop
from pats_opt.solver import Feature, Run
from pats_opt.solving import solve, valid_loss
from pats_opt.testing.instances import random_instance
from pats_solvers.dp import Dp
from pats_solvers.dp.classes import classes, moves
from tests.support.brute_force import brute_force


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
    for adapter in range(len(problem.site.adapter_ids)):
        listed = moves(problem, kinds, adapter)
        assert len({move.parts for move in listed}) == len(listed)
        for move in listed:
            jobs = [job for q, n in move.takes for job in kinds[q].jobs[:n]]
            assert problem.site.fits(0, frozenset((adapter,)), jobs)


@pytest.mark.parametrize("beam", [1, 2, 5])
def test_a_beam_never_claims_too_much(beam: int) -> None:
    """A cut search gives a valid plan and a bound at or below the optimum, and says so."""
    claimed = 0
    for seed in range(40):
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
            if outcome.stop is Stop.OPTIMAL:
                claimed += 1
                assert loss <= optimum + slack
        else:
            assert outcome.stop is Stop.COMPLETE
    assert claimed > 0


def test_a_tight_memory_still_gives_plan_and_bound() -> None:
    """Past the labels that fit, the search is a beam: valid schedule, honest bound, no proof."""
    instance = generate(Recipe(requests=24), seed=1)
    result = solve(instance, Dp(memory_gib=1e-5))
    assert result.status.stop is Stop.MEMORY_LIMIT
    assert result.loss is not None
    assert result.bound is not None
    assert result.bound < result.loss


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
    assert (outcome.stop, outcome.plan) == (Stop.INTERRUPTED, plan)


def test_refusals() -> None:
    """Several GPUs are refused by name; more states than a key holds, with what to do."""
    two = random_instance(1, frozenset((Feature.GPUS,)))
    with pytest.raises(CapabilityError, match="several GPUs"):
        solve(two, "dp")
    with pytest.raises(InputError, match="states"):
        solve(generate(Recipe(requests=4000), seed=1), "dp")


def test_the_same_seed_gives_the_same_schedule() -> None:
    """Nothing in it is random."""
    instance = generate(Recipe(requests=14), seed=4)
    first, second = solve(instance, "dp"), solve(instance, "dp")
    assert first.schedule.gpus == second.schedule.gpus
