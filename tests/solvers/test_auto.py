"""``auto`` and ``exact``: the stages that run, and what comes back where none does."""

from __future__ import annotations

import json
import threading

import pytest

from pats_opt.core.solver import Outcome, Run
from pats_opt.errors import InputError
from pats_opt.generate import Recipe, generate
from pats_opt.generate.recipe import (
    AdapterCache,
    Arrivals,
    Complexity,
    GpuSettings,
    Popularity,
    ServiceSettings,
    StepCounts,
)
from pats_opt.model.checker import TOLERANCE
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolutionStatus, StopReason
from pats_opt.solving.preparing import prepare
from pats_opt.solving.solve import solve
from pats_opt.solving.starts import PolicyStarts
from pats_opt.testing.instances import random_instance
from pats_opt.testing.solvers import close
from pats_solvers import exact
from pats_solvers.auto import Auto
from pats_solvers.cpsat import CpSat
from pats_solvers.exact import Exact
from pats_solvers.guided import GuidedSearch
from pats_solvers.milp import Milp
from pats_solvers.primal_dual import Lagrangian
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.zoo import document


def refuse(*_: object) -> Outcome:
    """A solver that cannot."""
    raise InputError("too large", hint="take a smaller one")


def give_up(_: object, problem: Problem, run: Run) -> Outcome:
    """A solver that its time limit stops with nothing."""
    return Outcome(StopReason.TIME_LIMIT, None, 0.0)


def without_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the monolithic models to themselves."""
    prepare(Exact())  # kernels are compiled by solving
    monkeypatch.setattr(GuidedSearch, "solve", refuse)
    monkeypatch.setattr(Lagrangian, "solve", refuse)


def names(outcome_details: dict[str, list[dict[str, str]]]) -> list[str]:
    """Solvers that had a stage, in order."""
    return [turn["solver"] for turn in outcome_details["turns"] if "refused" not in turn]


def test_empty_instance() -> None:
    """Nothing to serve: loss 0, bound 0, optimal."""
    result = solve(parse_instance(json.dumps(document())))
    assert (result.loss, result.bound, result.status.stop) == (0.0, 0.0, StopReason.OPTIMAL)


@pytest.mark.parametrize(("other", "opening"), [(CpSat, 0.2), (Milp, 0.0)])
def test_falls_back_where_one_refuses(
    other: type[CpSat] | type[Milp], opening: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever solver refuses, the other one proves the optimum."""
    without_prices(monkeypatch)
    monkeypatch.setattr(other, "solve", refuse)
    refused = 0
    for seed in range(12):
        instance = random_instance(seed, requests=(2, 4))
        result = solve(instance, Exact(opening=opening), time_limit=60)
        optimum = brute_force(json.loads(encode(instance)))
        assert optimum is not None
        assert result.status.stop is StopReason.OPTIMAL
        assert result.loss is not None
        assert close(result.loss, optimum)
        turns = result.details["turns"]  # none where the first schedule is proven optimal
        refused += bool(turns)
        assert not turns or {"solver": other.name, "refused": "too large"} in turns
    assert refused >= 5


def test_the_milp_follows_where_cpsat_does_not_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    """The MILP starts from the best so far once CP-SAT's first stage is over."""
    without_prices(monkeypatch)
    monkeypatch.setattr(CpSat, "solve", give_up)
    result = solve(random_instance(1, requests=(3, 4)), Exact(), time_limit=60)
    assert result.status.stop is StopReason.OPTIMAL
    assert names(result.details) == ["cpsat", "milp"]


def test_the_search_goes_first() -> None:
    """Where it applies, it proves the optimum and no other has a stage."""
    result = solve(generate(Recipe(requests=8), seed=3), "auto", time_limit=60)
    assert result.status.stop is StopReason.OPTIMAL
    assert names(result.details) == ["guided"]


def test_the_search_goes_first_on_several_gpus() -> None:
    """Where it proves the optimum in its first turn, no other has one."""
    recipe = Recipe(requests=6, gpus=GpuSettings(count=2))
    result = solve(generate(recipe, seed=3), "exact", time_limit=60)
    assert result.status.stop is StopReason.OPTIMAL
    assert names(result.details) == ["guided"]


def test_prices_and_local_search_go_alone_where_the_label_search_refuses() -> None:
    """Where batches are large and options many, there are too many of either and of patterns."""
    recipe = Recipe(
        requests=40,
        complexity=Complexity(spread=0.2),
        gpus=GpuSettings(count=2, batch=40),
        steps=StepCounts(pruned=(10, 20, 30)),
        popularity=Popularity(adapters=1),
    )
    result = solve(generate(recipe, seed=3), "exact", time_limit=12)
    turn = result.details["turns"][0]
    assert turn["solver"] == "guided"
    assert "different batches" in turn["refused by dp"]
    assert "dp" not in turn
    assert turn["ascent"]["turns"] > 0
    assert turn["local-search"]["turns"] > 0


def test_label_search_and_local_search_take_turns() -> None:
    """Where the first passes prove nothing."""
    service = ServiceSettings(profile="a100-40g")
    recipe = Recipe(requests=200, arrivals=Arrivals(load=2.0), service=service)
    problem = Problem(generate(recipe, seed=3))
    run = Run(time_limit=4.0, start=PolicyStarts(problem, Run()).first())
    outcome = GuidedSearch().solve(problem, run)
    assert outcome.bound is not None
    assert all(outcome.details[name]["turns"] > 0 for name in ("dp", "local-search"))


@pytest.mark.parametrize("requests", [40, 80])
def test_many_requests_leave_no_time_for_models(
    requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to 60 requests label search and local search get most of the time, beyond it all."""
    prepare(Exact())
    given: list[float | None] = []

    def note(_: object, __: Problem, run: Run) -> Outcome:
        given.append(run.time_limit)
        return Outcome(StopReason.TIME_LIMIT, None, 0.0)

    monkeypatch.setattr(GuidedSearch, "solve", note)
    monkeypatch.setattr(CpSat, "solve", refuse)
    monkeypatch.setattr(Milp, "solve", refuse)
    recipe = Recipe(requests=requests, switching=AdapterCache(max_resident=2))
    solve(generate(recipe, seed=3), "exact", time_limit=100)
    assert given[0] is not None
    assert (given[0] > 90) == (requests > 60)


def test_cpsat_goes_first_on_few_requests() -> None:
    """It proves a few requests on two GPUs before any price has settled; unless it has no share."""
    instance = generate(Recipe(requests=4, gpus=GpuSettings(count=2)), seed=3)
    quick, priced = (solve(instance, Exact(opening=share), time_limit=60) for share in (0.2, 0.0))
    assert names(quick.details) == ["cpsat"]
    assert names(priced.details)[0] == "guided"
    assert quick.loss == priced.loss
    assert quick.status.stop is priced.status.stop is StopReason.OPTIMAL


def test_too_large_for_any_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no model fits, the warm start comes back: valid, with a bound, and no claim."""
    without_prices(monkeypatch)
    instance = generate(Recipe(requests=300), seed=2)
    start = PolicyStarts(Problem(instance), Run()).first()
    result = solve(instance, Exact(memory_gib=1e-3))
    assert start is not None
    assert (result.status.stop, result.status.point) == (
        StopReason.MEMORY_LIMIT,
        SolutionStatus.FEASIBLE,
    )
    assert result.loss is not None
    assert result.bound is not None
    assert close(result.loss, start[1])
    assert 0 < result.bound < result.loss
    assert names(result.details) == []


def test_the_milp_is_not_sized_up_beyond_its_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A span of too many ticks is refused as such, without writing the model down to count it."""
    without_prices(monkeypatch)
    monkeypatch.setattr(exact, "MOST_STARTS", 0)
    monkeypatch.setattr(CpSat, "solve", refuse)
    result = solve(random_instance(1, requests=(3, 4)), Exact())
    refusals = {turn["solver"]: turn["refused"] for turn in result.details["turns"]}
    assert refusals["cpsat"] == "too large"
    assert refusals["milp"] == "more than 0 possible starts"


def test_time_limit() -> None:
    """A stopped run returns a valid schedule with a bound."""
    result = solve(generate(Recipe(requests=600), seed=1), "auto", time_limit=2.0)
    assert result.status.stop is StopReason.TIME_LIMIT
    assert result.loss is not None
    assert result.bound is not None
    assert 0 < result.bound <= result.loss


def test_interrupt() -> None:
    """An interrupt ends the stage it meets and all that would follow."""
    problem = Problem(generate(Recipe(requests=600), seed=1))
    prepare(Auto())
    run = Run(start=PolicyStarts(problem, Run()).first())
    threading.Timer(1.0, run.interrupted.set).start()
    outcome = Auto().solve(problem, run)
    assert outcome.stop is StopReason.INTERRUPTED
    assert outcome.plan is not None
    assert len(outcome.details["turns"]) == 1


def test_bounds_of_all_stages_hold() -> None:
    """The bound of a stopped run is at most the optimum, and progress never lowers it."""
    for seed in scale.seeds(20):
        instance = random_instance(seed, requests=(3, 5))
        optimum = brute_force(json.loads(encode(instance)))
        told: list[float] = []
        run = Run(
            time_limit=0.1,
            progress=lambda bound, _, told=told: told.append(bound or 0.0),  # type: ignore[misc]
        )
        outcome = Auto().solve(Problem(instance), run)
        assert optimum is not None
        assert outcome.bound is not None
        assert outcome.bound <= optimum + TOLERANCE * max(1.0, optimum)
        assert told == sorted(told)
