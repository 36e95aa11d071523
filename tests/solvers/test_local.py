"""``local-search``: timing by the rules, every feature, what it starts from, limits, seeds."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from pats_opt.core.solver import Feature, Run
from pats_opt.generate import generate
from pats_opt.generate.recipe import Complexity, Recipe
from pats_opt.model.checker import valid_loss
from pats_opt.model.files import encode
from pats_opt.model.instance import Instance
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.solve import solve
from pats_opt.solving.starts import PolicyStarts
from pats_opt.testing.instances import NEEDS, random_instance
from pats_solvers.local import LocalSearch
from pats_solvers.local.arrays import data_of
from pats_solvers.local.improve import improve
from pats_solvers.local.plans import one_by_one, plan_of_state, state_of
from pats_solvers.local.timing import OVERRUN, time_all
from tests.support import scale
from tests.support.brute_force import brute_force


def rounds(count: int) -> Callable[[], float | None]:
    """Progress through so many rounds."""
    left = list(range(count))

    def share() -> float | None:
        return 1 - len(left) / count if left and left.pop() >= 0 else None

    return share


def searched(
    problem: Problem, plan: Plan | None, count: int = 5, seed: int = 0, prices: bool = False
) -> Plan | None:
    some = np.linspace(0.0, 1.0, 50) if prices else None
    return improve(problem, plan, np.random.default_rng(seed), rounds(count), prices=some)


def started(problem: Problem) -> tuple[Plan, float]:
    start = PolicyStarts(problem, Run()).first()
    assert start is not None
    return start


@pytest.mark.parametrize("feature", sorted(Feature))
def test_losses_are_the_checkers(feature: Feature) -> None:
    """A state's loss is what the checker finds for its plan; with one resident no start is lost."""
    together = frozenset((feature,)) | NEEDS.get(feature, frozenset())
    for seed in scale.seeds(12):
        problem = Problem(random_instance(seed, together, requests=(2, 9)))
        data = data_of(problem)
        plan, loss = started(problem)
        for state in (one_by_one(data), state_of(data, plan)):
            mine = time_all(data, state)
            if mine < OVERRUN:
                found = valid_loss(problem, plan_of_state(problem, state))
                assert found is not None
                if feature is Feature.OVERLAP and found < mine:
                    continue  # the plan spares a load that nobody needs
                assert found == pytest.approx(mine)
        if Feature.RESIDENT not in together:
            assert time_all(data, state) <= loss + 1e-9


@pytest.mark.parametrize("tight", [False, True])
def test_plans_hold(tight: bool) -> None:
    """On random instances of every feature: valid, never above the start or below the optimum."""
    seeds = scale.seeds(60)
    best = 0
    for seed in seeds:
        instance = random_instance(seed, requests=(1, 5), tight=tight)
        problem = Problem(instance)
        optimum = brute_force(json.loads(encode(instance)))
        assert optimum is not None
        start = PolicyStarts(problem, Run()).first()
        plan = searched(problem, start[0] if start else None, seed=seed, prices=seed % 2 == 0)
        if plan is None:
            assert start is None
            continue
        loss = valid_loss(problem, plan)
        assert loss is not None
        assert loss >= optimum - 1e-9
        assert start is None or loss <= start[1] + 1e-9
        best += loss <= optimum + 1e-9
    assert best >= 0.75 * len(seeds), "most tiny instances are solved"


def several_gpus() -> Instance:
    one = generate(Recipe(requests=60), seed=3)
    gpu = one.gpus[0]
    return msgspec.structs.replace(
        one,
        gpus=(gpu, msgspec.structs.replace(gpu, id="gpu-1")),
        switching=msgspec.structs.replace(one.switching, max_resident=2),
    )


def test_fleets_with_caches_get_better() -> None:
    """Two GPUs that hold two adapters each: far below the policies' schedules, and valid."""
    problem = Problem(several_gpus())
    plan, loss = started(problem)
    found = searched(problem, plan, 40)
    assert found is not None
    better = valid_loss(problem, found)
    assert better is not None
    assert better < 0.9 * loss


def test_jobs_of_many_classes() -> None:
    """Where all jobs differ, so that queues are shared, the search still improves the start."""
    problem = Problem(generate(Recipe(requests=40, complexity=Complexity(spread=0.2)), seed=5))
    assert len({job.options for job in problem.jobs}) > 20
    plan, loss = started(problem)
    found = searched(problem, plan, 40)
    assert found is not None
    better = valid_loss(problem, found)
    assert better is not None
    assert better < 0.95 * loss


def test_prices_of_an_ascent_help() -> None:
    """The solver meets the optimum of an instance of 20 requests, proven by ``dp``."""
    instance = generate(Recipe(requests=20), seed=2)
    found = solve(instance, "local-search", seed=1)
    proven = solve(instance, "dp")
    assert proven.status.stop is StopReason.OPTIMAL
    assert found.loss == pytest.approx(proven.loss)
    assert found.status.stop is StopReason.COMPLETE


def test_the_same_seed_gives_the_same_schedule() -> None:
    """Without a time limit the seed decides alone."""
    instance = generate(Recipe(requests=30), seed=6)
    made = [solve(instance, "local-search:patience=1", seed=s).schedule.gpus for s in (1, 1, 2)]
    assert made[0] == made[1]


def test_interrupted() -> None:
    """An interrupt returns the start; a search that is over at once only starts it earlier."""
    problem = Problem(generate(Recipe(requests=12), seed=1))
    plan, loss = started(problem)
    run = Run(start=(plan, loss))
    run.interrupted.set()
    outcome = LocalSearch().solve(problem, run)
    assert (outcome.stop, outcome.plan) == (StopReason.INTERRUPTED, plan)
    kept = improve(problem, plan, np.random.default_rng(0), lambda: None)
    assert kept is not None
    assert len(kept.gpus[0]) == len(plan.gpus[0])
    retimed = valid_loss(problem, kept)
    assert retimed is not None
    assert retimed <= loss + 1e-9


def test_progress_reports_falling_losses() -> None:
    """Reported losses fall, and end at the loss."""
    told: list[float] = []
    result = solve(
        generate(Recipe(requests=20), seed=8),
        "local-search:evaluations=0:patience=1",
        progress=lambda _, loss: told.append(loss) if loss is not None else None,
    )
    assert told == sorted(told, reverse=True)
    assert told[-1] == pytest.approx(result.loss)


def test_no_plan_to_start_from() -> None:
    """Without a start the search serves jobs one by one, and improves that."""
    problem = Problem(generate(Recipe(requests=15), seed=4))
    found = searched(problem, None, 20)
    assert found is not None
    loss = valid_loss(problem, found)
    assert loss is not None
    assert loss <= started(problem)[1]
