"""Policies that rank requests by a score: examples by hand, and against plain restatements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from pats_opt.core.policy import GpuState, Policy
from pats_opt.model.problem import Problem, Site
from pats_opt.simulate import simulate
from pats_opt.testing.instances import random_instance
from pats_solvers.online.common.queue import WaitingJobs
from pats_solvers.online.common.scoring import mean_load_s
from pats_solvers.online.scored import Atcs, Edd, Mdd, Srpt
from tests.online.asking import ask, members
from tests.online.plain_scoring import PlainAtcs, PlainEdd, PlainMdd, PlainScoring, PlainSrpt
from tests.simulate.scripted import Scripted, problem_of
from tests.support import scale
from tests.support.zoo import adapter, document, gpu, request

A, B = frozenset((0,)), frozenset((1,))


def queue(*requests: dict[str, Any], load_s: float = 2.0, **others: Any) -> Problem:
    """A GPU of 10 GiB; a is resident, b, c and d take ``load_s`` to load."""
    adapters = [adapter(name, load_s=load_s) for name in "abcd"]
    return problem_of(document(*requests, **{"adapters": adapters, **others}))


def alone(name: str, steps: int = 1, **others: Any) -> dict[str, Any]:
    """A request that fills a batch."""
    return request(name, steps, **{"demand": {"vram_gib": 8.0}, **others})


def small(name: str, steps: int = 1, **others: Any) -> dict[str, Any]:
    """A request of which two fit a batch."""
    return alone(name, steps, demand={"vram_gib": 4.0}, **others)


def served(problem: Problem, policy: Policy) -> list[str]:
    """Requests in the order in which their batches start, on all GPUs together."""
    plan = simulate(problem, policy).plan
    assert plan is not None
    batches = sorted((b for row in plan.gpus for b in row), key=lambda b: b.start)
    return [problem.jobs[j].id for b in batches for j, _ in b.members]


def test_who_is_served_elsewhere_is_hidden_no_more() -> None:
    """A request that cannot start on one GPU may start on another at the same decision."""
    problem = queue(small("r0"), small("r1"), gpus=[gpu("cold", ()), gpu("warm")])
    waiting = WaitingJobs(problem.site)
    for job in problem.jobs:
        waiting.add(job)
        waiting.hide(0, job)
    waiting.remove(problem.jobs[0])
    assert waiting.hidden(0) == {1}
    assert [job.id for job in waiting.in_order(1)] == ["r1"]


# srpt


def test_srpt_counts_switching() -> None:
    """Here 5 s; elsewhere 4 s and a load of 2 s; then, b being resident, 3 s there."""
    problem = queue(alone("here", 5), alone("there", 4, adapter="b"))
    assert served(problem, Srpt()) == ["here", "there"]
    problem = queue(alone("here", 5), alone("there", 2, adapter="b"))
    assert served(problem, Srpt()) == ["there", "here"]


def test_srpt_ties_go_to_the_earliest() -> None:
    problem = queue(alone("there", 1, adapter="b"), alone("here", 3), alone("same", 3))
    assert served(problem, Srpt()) == ["there", "here", "same"]


def test_srpt_counts_overhead_and_the_option() -> None:
    """4 steps and 1 of overhead against 2 + 1 and a load of 1 s; the fewest steps are 1."""
    options = [{"steps": s, "quality": q} for s, q in ((4, 1.0), (1, 0.5))]
    problem = queue(
        alone("there", 2, adapter="b"),
        alone("here", options=options),
        load_s=1.0,
        service={"kind": "steps", "step_s": {"base": 1.0, "per_sample": 0.0}, "overhead_s": 1.0},
    )
    assert served(problem, Srpt()) == ["there", "here"]
    assert served(problem, Srpt(option="fewest")) == ["here", "there"]


def test_srpt_slotted() -> None:
    """A slotted batch takes a tick whatever its steps, so only switching counts."""
    problem = queue(alone("there", 1, adapter="b"), alone("here", 9), service={"kind": "slot"})
    assert served(problem, Srpt()) == ["here", "there"]


def test_srpt_followers_are_the_shortest_of_its_adapter() -> None:
    problem = queue(
        small("long", 5), small("mid", 3), small("other", 1, adapter="b"), small("short", 2)
    )
    assert members(ask(problem, Srpt())[0], problem) == ["short", "mid"]


def test_srpt_mixes_residents_by_score_and_loads_nobody() -> None:
    """Residents a and b may mix: the shortest of both follow; c would need a load."""
    requests = [
        alone(f"{a}{steps}", steps, adapter=a, demand={"vram_gib": 3.0})
        for a, steps in (("a", 1), ("a", 4), ("b", 3), ("b", 2), ("c", 1))
    ]
    problem = queue(
        *requests,
        gpus=[gpu(resident=("a", "b"))],
        switching={"max_resident": 3, "max_per_batch": 2},
    )
    start = ask(problem, Srpt())[0]
    assert members(start, problem) == ["a1", "b2", "b3"]
    assert start.resident == A | B
    single = queue(*requests, gpus=[gpu(resident=("a", "b"))], switching={"max_resident": 3})
    assert members(ask(single, Srpt())[0], single) == ["a1", "a4"]


def test_srpt_does_not_exceed_the_adapters_of_a_batch() -> None:
    """Three are resident and two may mix: the third adapter's 3 s are left out for a's 9 s."""
    requests = [
        alone(f"{a}{steps}", steps, adapter=a, demand={"vram_gib": 3.0})
        for a, steps in (("a", 1), ("a", 9), ("b", 2), ("c", 3))
    ]
    problem = queue(
        *requests,
        gpus=[gpu(resident=("a", "b", "c"))],
        switching={"max_resident": 3, "max_per_batch": 2},
    )
    assert members(ask(problem, Srpt())[0], problem) == ["a1", "b2", "a9"]


def test_srpt_takes_the_best_pair_of_request_and_gpu() -> None:
    """The first GPU has a, the second b: 3 s of b there go before 4 s of a here; each gets one."""
    gpus = [gpu("g0"), gpu("g1", resident=("b",))]
    problem = queue(alone("a4", 4), alone("b3", 3, adapter="b"), gpus=gpus)
    starts = ask(problem, Srpt())
    assert [(s.gpu, members(s, problem)) for s in starts] == [(1, ["b3"]), (0, ["a4"])]


def test_an_adapter_that_must_be_activated_counts() -> None:
    """Both are resident; the GPU last served a, so b's 2 s cost 2 s more."""
    problem = queue(
        alone("b2", 2, adapter="b"),
        alone("a3", 3),
        switching={"max_resident": 2, "activate_s": 2.0},
        gpus=[gpu(resident=("a", "b"))],
    )
    assert members(ask(problem, Srpt())[0], problem) == ["b2"], "nothing was active yet"
    state = (GpuState(0, A | B, active=A),)
    assert members(ask(problem, Srpt(), gpus=state)[0], problem) == ["a3"]


# edd


def test_edd() -> None:
    """At 4 the first ends; due are `none` at once (it came at 3), `soon` at 2 + 2, `late` at 10."""
    problem = queue(
        alone("first", 4),
        alone("late", 1, arrival_s=1.0, deadline_s=9.0),
        alone("soon", 7, arrival_s=2.0, deadline_s=2.0, adapter="b"),
        alone("none", 1, arrival_s=3.0),
    )
    assert served(problem, Edd()) == ["first", "none", "soon", "late"]


def test_edd_without_deadlines_is_in_order_of_arrival() -> None:
    problem = queue(*(alone(f"r{i}", 5 - i, adapter="ab"[i % 2]) for i in range(4)))
    assert served(problem, Edd()) == ["r0", "r1", "r2", "r3"]


def test_edd_ties_go_to_the_gpu_of_least_switching() -> None:
    """The due date is the same on both GPUs; the second holds the adapter."""
    problem = queue(alone("r0", adapter="b"), gpus=[gpu("g0"), gpu("g1", resident=("b",))])
    assert [s.gpu for s in ask(problem, Edd())] == [1]
    problem = queue(alone("r0", adapter="c"), gpus=[gpu("g0"), gpu("g1", resident=("b",))])
    assert [s.gpu for s in ask(problem, Edd())] == [0]


def test_edd_followers_are_due_first() -> None:
    problem = queue(
        small("due9", deadline_s=9.0),
        small("due1", deadline_s=1.0),
        small("due3", deadline_s=3.0),
        small("other", deadline_s=2.0, adapter="b"),
    )
    assert members(ask(problem, Edd())[0], problem) == ["due1", "due3"]


# mdd


@pytest.mark.parametrize(
    ("tick", "leader"),
    [
        (0, "soon"),  # max(0 + 5, 6) = 6 against max(0 + 2, 8) = 8: both can be in time
        (2, "soon"),  # 7 against 8
        (3, "late"),  # soon ends at 8 at the earliest: a tie at 8, and late came first
        (4, "late"),  # 9 against 8
    ],
)
def test_mdd_turns_to_the_finish_of_what_is_late(tick: int, leader: str) -> None:
    problem = queue(alone("late", 2, deadline_s=8.0), alone("soon", 5, deadline_s=6.0))
    assert members(ask(problem, Mdd(), tick=tick)[0], problem) == [leader]


def test_mdd_counts_switching_for_the_leader() -> None:
    """Both overdue: 3 s here go before 2 s and a load of 2 s."""
    problem = queue(alone("there", 2, adapter="b"), alone("here", 3))
    assert members(ask(problem, Mdd())[0], problem) == ["here"]
    problem = queue(alone("there", 2, adapter="b"), alone("here", 3), load_s=0.5)
    assert members(ask(problem, Mdd())[0], problem) == ["there"]


def test_mdd_picks_the_gpu_of_the_earliest_finish() -> None:
    """Overdue, 1 s of b ends first where b is; in time on both, less switching decides."""
    gpus = [gpu("g0"), gpu("g1", resident=("b",))]
    for deadline_s in (None, 9.0):
        problem = queue(alone("r0", adapter="b", deadline_s=deadline_s), gpus=gpus)
        assert [s.gpu for s in ask(problem, Mdd())] == [1]


def test_mdd_followers() -> None:
    """Of those left: due at 3 in time (3), overdue with 2 s (2), due at 9."""
    problem = queue(
        small("due9", 1, deadline_s=9.0),
        small("over1", 1),
        small("due3", 1, deadline_s=3.0),
        small("over2", 2),
    )
    assert members(ask(problem, Mdd())[0], problem) == ["over1", "over2"]


# atcs


def index(policy: Atcs, w: float, p: float, due: float, s: float) -> float:
    """The index as its paper writes it, at time 0, with a mean service of 2.5 s and load of 2 s."""
    slack = max(due - p, 0.0) / (policy.k1 * 2.5)
    return w / p * math.exp(-slack) * math.exp(-s / (policy.k2 * 2.0))


@pytest.mark.parametrize(
    ("k1", "k2", "leader"),
    [
        (4.5, 0.9, "near"),  # 0.24, 0.38, 0.17, 0.28
        (4.5, 5.0, "short"),  # 0.60, 0.38, 0.17, 0.69: set-ups matter less
        (0.5, 0.9, "over"),  # 0.00, 0.05, 0.17, 0.07: slack matters more
        (100.0, 100.0, "heavy"),  # 1.44, 0.49, 0.17, 0.98: nearly weight / service alone
    ],
)
def test_atcs_index(k1: float, k2: float, leader: str) -> None:
    policy = Atcs(k1=k1, k2=k2)
    figures = {  # weight, service, due, switch
        "heavy": (6.0, 4.0, 12.0, 2.0),
        "near": (1.0, 2.0, 5.0, 0.0),
        "over": (0.5, 3.0, 0.0, 0.0),
        "short": (1.0, 1.0, 3.0, 2.0),
    }
    indices = {name: index(policy, *told) for name, told in figures.items()}
    assert max(indices, key=indices.__getitem__) == leader
    problem = queue(
        *(
            alone(name, int(p), weight=w, deadline_s=due, adapter="b" if s else "a")
            for name, (w, p, due, s) in figures.items()
        )
    )
    assert members(ask(problem, policy)[0], problem) == [leader]


def test_atcs_pbar_grows_with_what_arrives() -> None:
    """Long requests that were served still count: slack weighs less, and weight decides.

    With the two alone pbar is 1: 2 exp(-4) = 0.04 against 1. After one of 40 s it is 14, and
    2 exp(-4/14) = 1.5.
    """
    pair = (
        alone("heavy", weight=2.0, deadline_s=5.0, arrival_s=40.0),
        alone("over", arrival_s=40.0, deadline_s=0.0),
    )
    assert served(queue(*pair), Atcs(k1=1.0)) == ["over", "heavy"]
    assert served(queue(alone("long", 40), *pair), Atcs(k1=1.0)) == ["long", "heavy", "over"]


def test_atcs_far_due_dates_are_no_ties() -> None:
    """The indices of both underflow as floats; the nearer due date still goes first."""
    problem = queue(alone("far", deadline_s=90000.0), alone("near", deadline_s=80000.0))
    assert members(ask(problem, Atcs(k1=0.01))[0], problem) == ["near"]


def test_atcs_weight_zero_goes_last_and_is_served() -> None:
    problem = queue(alone("nothing", weight=0.0), alone("something", 9, weight=0.01))
    assert served(problem, Atcs()) == ["something", "nothing"]


def test_atcs_without_loads_has_no_set_ups() -> None:
    problem = queue(alone("there", 1, adapter="b"), alone("here", 2), load_s=0.0)
    assert served(problem, Atcs()) == ["there", "here"]


def test_mean_load_counts_every_transition() -> None:
    """None or a to b, none or b to a: 9, 1 (a pair), 3, 3."""
    pairs = [{"from": "a", "to": "b", "load_s": 1.0}]
    adapters = [adapter("a", load_s=3.0), adapter("b", load_s=9.0)]
    site = problem_of(document(adapters=adapters, switching={"pairs": pairs})).site
    assert mean_load_s(site) == pytest.approx(4.0)
    assert mean_load_s(problem_of(document(adapters=[], gpus=[gpu(resident=())])).site) == 0.0


@pytest.mark.parametrize(
    ("policy", "plain"),
    [
        (Srpt(), PlainSrpt),
        (Srpt(option="fewest"), PlainSrpt),
        (Edd(), PlainEdd),
        (Mdd(), PlainMdd),
        (Mdd(option="most"), PlainMdd),
        (Atcs(), PlainAtcs),
        (Atcs(k1=0.3, k2=0.2, option="priced"), PlainAtcs),
    ],
)
def test_against_the_plain_restatement(
    policy: Policy, plain: Callable[[Policy, Site], PlainScoring]
) -> None:
    """Scoring kinds in columns gives the plans that scoring each request one by one gives."""
    for seed in scale.seeds(80):
        problem = Problem(random_instance(seed, requests=(4, 30)))
        restated = Scripted(plain(policy, problem.site))
        assert simulate(problem, policy).plan == simulate(problem, restated).plan, seed
