"""``fifo`` on examples worked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Problem
from pats_opt.simulate import simulate
from pats_solvers.online.simple import Fifo
from tests.online.asking import ask, members
from tests.simulate.scripted import problem_of
from tests.support.zoo import adapter, document, gpu, request

A, B = frozenset((0,)), frozenset((1,))


def queue(adapters: str, **others: Any) -> Problem:
    """One request a letter, r0, r1, ..., of 4 GiB; a GPU holds 10 GiB; loading takes a second."""
    requests = [
        request(f"r{i}", adapter=a, demand={"vram_gib": 4.0}) for i, a in enumerate(adapters)
    ]
    return problem_of(
        document(
            *requests,
            **{"adapters": [adapter(name, load_s=1.0) for name in "abc"], **others},
        )
    )


@pytest.mark.parametrize(
    ("adapters", "batch"),
    [
        ("aaa", ["r0", "r1"]),  # the third does not fit
        ("aba", ["r0"]),  # the run ends where the adapter changes
        ("bba", ["r0", "r1"]),  # residency does not matter
    ],
)
def test_the_run_of_earliest_requests(adapters: str, batch: list[str]) -> None:
    problem = queue(adapters)
    assert members(ask(problem, Fifo())[0], problem) == batch


def test_a_request_that_does_not_fit_ends_the_run() -> None:
    """A smaller one behind it would fit, but came later."""
    sizes = (6.0, 5.0, 3.0)
    problem = problem_of(
        document(*(request(f"r{i}", demand={"vram_gib": s}) for i, s in enumerate(sizes)))
    )
    assert members(ask(problem, Fifo())[0], problem) == ["r0"]


def test_order_is_arrival_then_place_in_the_file() -> None:
    late = request("late", arrival_s=3.0)
    problem = problem_of(document(late, request("x"), request("y"), gpus=[gpu(batch=1.0)]))
    plan = simulate(problem, Fifo()).plan
    assert plan is not None
    served = [problem.jobs[j].id for batch in plan.gpus[0] for j, _ in batch.members]
    assert served == ["x", "y", "late"]


@pytest.mark.parametrize(("option", "steps"), [("best", 40), ("fewest", 20), ("most", 60)])
def test_options(option: str, steps: int) -> None:
    """The best quality by default, which need not be the most steps; ties go to fewer steps."""
    levels = [(60, 0.9), (40, 1.0), (20, 0.8), (50, 1.0)]
    options = [{"steps": s, "quality": q} for s, q in levels]
    problem = problem_of(document(request("r0", options=options)))
    (start,) = ask(problem, Fifo(option=option))  # type: ignore[arg-type]
    ((job, chosen),) = start.members
    assert problem.jobs[job].options[chosen].steps == steps


def test_idle_gpus_share_the_queue() -> None:
    """The first request goes where its adapter is; the next takes what is left."""
    problem = queue("ba", gpus=[gpu("g0"), gpu("g1", resident=("b",))])
    starts = ask(problem, Fifo())
    assert [(s.gpu, members(s, problem)) for s in starts] == [(1, ["r0"]), (0, ["r1"])]


def test_ties_go_to_the_first_gpu() -> None:
    problem = queue("c", gpus=[gpu("g0"), gpu("g1")])
    assert [start.gpu for start in ask(problem, Fifo())] == [0]


def test_a_request_for_a_busy_gpu_does_not_block_the_other() -> None:
    """r0 fits only the large GPU, which is busy; the small one serves r1 meanwhile."""
    small = {"id": "small", "capacity": {"vram_gib": 2.0}, "resident": ["a"]}
    problem = problem_of(
        document(request("r0", demand={"vram_gib": 8.0}), request("r1"), gpus=[small, gpu("g")])
    )
    gpus = (GpuState(0, A), GpuState(1, A, free_at=9))
    starts = ask(problem, Fifo(), gpus=gpus)
    assert [(s.gpu, members(s, problem)) for s in starts] == [(0, ["r1"])]


def test_at_the_horizon_fewer_steps_do() -> None:
    """5 ticks are left: 9 steps are too many, so r0 gets 4."""
    options = [{"steps": s, "quality": s / 10} for s in (4, 9)]
    problem = problem_of(document(request("r0", options=options), horizon_ticks=5))
    assert ask(problem, Fifo())[0].members == ((0, 0),)


def test_with_no_time_left_the_next_one_goes() -> None:
    """Loading b takes a tick too many; a needs no switch and still ends in time."""
    problem = queue("ba", horizon_ticks=1)
    assert members(ask(problem, Fifo())[0], problem) == ["r1"]


def test_what_was_withdrawn_is_forgotten() -> None:
    """Behind a long batch r1 runs out of time; r2, which is short, is served all the same."""
    problem = problem_of(
        document(
            request("r0", steps=6, demand={"vram_gib": 9.0}),
            request("r1", steps=5, demand={"vram_gib": 9.0}, reject_loss=1.0),
            request("r2", steps=2, demand={"vram_gib": 9.0}),
            horizon_ticks=8,
        )
    )
    plan = simulate(problem, Fifo()).plan
    assert plan is not None
    assert [(b.start, b.members) for b in plan.gpus[0]] == [(0, ((0, 0),)), (6, ((2, 0),))]


def test_the_least_recently_used_makes_room() -> None:
    problem = queue("abac", switching={"max_resident": 2})
    plan = simulate(problem, Fifo()).plan
    assert plan is not None
    assert [set(b.resident) for b in plan.gpus[0]] == [{0}, {0, 1}, {0, 1}, {0, 2}]
