"""The ``lagrangian`` solver: what it returns whenever and however it is stopped."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pats_opt.cli import run as command
from pats_opt.core.solver import Run
from pats_opt.model.checker import check
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.plan import schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolverRef, StopReason
from pats_opt.solving.solve import runnable, solve
from pats_opt.solving.starts import PolicyStarts
from pats_opt.testing.instances import random_instance
from tests.support.brute_force import brute_force
from tests.support.zoo import ZOO, Solved, adapter, document, gpu, request


@pytest.fixture(scope="module")
def busy() -> Instance:
    """Twelve requests of two adapters that come one after another."""
    return parse_instance(
        json.dumps(
            document(
                *(
                    request(f"r{i}", 2 + i % 2, adapter="ab"[i % 3 % 2], arrival_s=0.9 * i)
                    for i in range(12)
                ),
                gpus=[gpu(resident=(), batch=2)],
                adapters=[adapter("a", 1.5), adapter("b", 1.5)],
                service={"kind": "steps", "step_s": {"base": 0.5, "per_sample": 0.4}},
            )
        )
    )


@pytest.mark.parametrize("case", [make() for make in ZOO], ids=[make.__name__ for make in ZOO])
def test_zoo(case: Solved) -> None:
    """The bound is at most the optimum, and where both meet it says so."""
    instance = parse_instance(json.dumps(case.document))
    result = solve(instance, "lagrangian", time_limit=20)
    assert result.bound is not None
    assert result.loss is not None
    assert result.bound <= case.loss + 1e-9
    assert result.loss >= case.loss - 1e-9
    if result.status.stop is StopReason.OPTIMAL:
        assert result.loss == pytest.approx(case.loss)


def test_only_the_bound(busy: Instance) -> None:
    """Without a search of its own it returns the schedule that it was given."""
    given = PolicyStarts(Problem(busy), Run()).first()
    assert given is not None
    result = solve(busy, "lagrangian:schedule=false", start=given[0])
    assert result.loss == pytest.approx(given[1])
    assert result.bound is not None
    assert 0 < result.bound <= given[1]
    assert result.details["prices"]["gpus"][0]["gpus"] == ["gpu-0"]


def test_same_seed_same_result(busy: Instance) -> None:
    """Loss, bound, prices and schedule depend on the seed alone, also with two threads."""
    found = [solve(busy, "lagrangian", seed=5, jobs=jobs) for jobs in (1, 1, 2)]
    for other in found[1:]:
        assert (other.loss, other.bound) == (found[0].loss, found[0].bound)
        assert other.schedule.gpus == found[0].schedule.gpus
        assert other.details["prices"] == found[0].details["prices"]


def test_the_bound_rises_and_the_loss_falls(busy: Instance) -> None:
    """Progress only improves, and the bound never passes the loss."""
    told: list[tuple[float | None, float | None]] = []
    result = solve(busy, "lagrangian", progress=lambda *both: told.append(both))
    bounds = [bound for bound, _ in told if bound is not None]
    losses = [loss for _, loss in told if loss is not None]
    assert bounds == sorted(bounds)
    assert losses == sorted(losses, reverse=True)
    assert max(bounds) <= min(losses) + 1e-9
    assert result.loss == pytest.approx(losses[-1])


@pytest.mark.parametrize("evaluations", [0, 1, 30])
def test_interrupted(busy: Instance, evaluations: int) -> None:
    """Whenever it is interrupted, it returns the best bound and schedule so far."""
    problem, run = Problem(busy), Run()
    run.start = PolicyStarts(problem, run).first()
    assert run.start is not None
    calls = 0

    def progress(*_: float | None) -> None:
        nonlocal calls
        calls += 1
        if calls > evaluations:
            run.interrupted.set()

    run.progress = progress
    if not evaluations:
        run.interrupted.set()
    outcome = runnable("lagrangian:schedule=false").solve(problem, run)
    assert outcome.stop in {StopReason.INTERRUPTED, StopReason.COMPLETE}
    assert outcome.plan is not None
    assert outcome.bound is not None
    assert 0 <= outcome.bound <= run.start[1]
    assert check(problem, schedule_of(problem, outcome.plan, SolverRef(name="x"))).ok
    json.dumps(outcome.details, allow_nan=False)


def test_out_of_time(busy: Instance) -> None:
    """With no time left there is a bound all the same, and it claims nothing."""
    result = solve(busy, "lagrangian", time_limit=1e-3)
    assert result.status.stop is StopReason.TIME_LIMIT
    assert result.bound is not None
    assert result.loss is None or result.bound <= result.loss


def test_without_a_schedule_to_start_from() -> None:
    """A tight horizon that no policy meets: there may be no schedule, but there is a bound."""
    for seed in (2, 4, 6):
        instance = random_instance(seed, (), requests=(4, 4), tight=True)
        optimum = brute_force(json.loads(encode(instance)))
        outcome = runnable("lagrangian:schedule=false").solve(Problem(instance), Run())
        if outcome.stop is StopReason.INFEASIBLE:
            assert optimum is None
        else:
            assert outcome.bound is not None
            assert math.isfinite(outcome.bound)
            assert optimum is None or outcome.bound <= optimum + 1e-9


def test_memory_is_refused_on_the_command_line(
    busy: Instance, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and one line with the estimate and the hint."""
    path = tmp_path / "busy.json"
    path.write_bytes(encode(busy))
    assert command(["solve", str(path), "--solver", "lagrangian:memory_gib=1e-6"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "GiB" in said.err
    assert "memory_gib" in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_little_memory_bounds_less(busy: Instance) -> None:
    """Ticks taken together are told, and the bound is weaker but still one."""
    made = json.loads(encode(busy))
    made["tick_s"] = 0.01
    instance = parse_instance(json.dumps(made))
    small = solve(instance, "lagrangian:schedule=false:memory_gib=0.003", time_limit=10)
    assert small.details["grain_ticks"] > 1
    assert small.details["memory_mib"] <= 0.01 * 1024 + 0.1
    assert small.bound is not None
    assert small.loss is not None
    assert 0 < small.bound <= small.loss
