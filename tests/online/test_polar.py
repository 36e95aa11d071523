"""``polar``: its bandit against plain ridge regression, its cache on streams with a hot adapter."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pats_opt.core.policy import GpuState, Start, State
from pats_opt.core.registry import make
from pats_opt.core.solver import Solver
from pats_opt.model.problem import Problem, Site
from pats_opt.simulate import simulate
from pats_solvers.online.common.context import RunSetup
from pats_solvers.online.common.eviction import LearntValue, LeastRecentlyUsed
from pats_solvers.online.common.options import best_quality
from pats_solvers.online.decider import Decider
from pats_solvers.online.polar import LinUcb, Polar
from tests.simulate.scripted import problem_of
from tests.support.zoo import adapter, document, gpu, request


def test_linucb_is_ridge_regression() -> None:
    """Coefficients and widths equal those of the closed form after any number of pulls."""
    rng = np.random.default_rng(3)
    arms, size, ridge, width = 3, 4, 0.7, 1.3
    bandit = LinUcb(arms, size, ridge, width)
    contexts: list[list[Any]] = [[] for _ in range(arms)]
    rewards: list[list[float]] = [[] for _ in range(arms)]
    for _ in range(60):
        arm, context, reward = int(rng.integers(arms)), rng.normal(size=size), float(rng.normal())
        bandit.learn(arm, context, reward)
        contexts[arm].append(context)
        rewards[arm].append(reward)
    asked = rng.normal(size=(arms, size))
    bounds = bandit.bounds(range(arms), asked)
    for arm in range(arms):
        x, y = np.array(contexts[arm]), np.array(rewards[arm])
        gram = x.T @ x + ridge * np.eye(size)
        theta = np.linalg.solve(gram, x.T @ y)
        assert bandit.coefficients[arm] == pytest.approx(theta)
        spread = np.sqrt(asked[arm] @ np.linalg.solve(gram, asked[arm]))
        assert bounds[arm] == pytest.approx(asked[arm] @ theta + width * spread)


def test_unknown_arms_have_the_prior_width() -> None:
    bandit = LinUcb(2, 2, ridge=4.0, width=2.0)
    assert bandit.bounds([1], np.array([[3.0, 4.0]])) == pytest.approx([2.0 * 5.0 / 2.0])


def site(*load_s: float, slots: int = 2, gpus: int = 1) -> Site:
    made = [adapter(name, load_s=s) for name, s in zip("abcdef", load_s, strict=False)]
    return problem_of(
        document(
            adapters=made,
            switching={"max_resident": slots},
            gpus=[gpu(f"g{i}") for i in range(gpus)],
        )
    ).site


def sets(*adapters: int) -> frozenset[int]:
    return frozenset(adapters)


def test_before_the_first_epoch_ends_it_is_least_recent_use() -> None:
    learnt = LearntValue(site(1, 1, 1), epoch=10)
    for used in (2, 0, 1, 0):
        learnt.served(0, sets(), sets(), sets(used))
    assert learnt(0, sets(0, 1, 2)) == [2, 1, 0]


def test_values_by_hand() -> None:
    """Four batches: a returns twice, b once, which takes three times as long to load."""
    learnt = LearntValue(site(1, 3, 1), epoch=4, bonus=0.0)
    for used in (0, 1, 0, 0):  # the last is no return: the batch before used it
        learnt.served(0, sets(), sets(), sets(used))
    assert learnt.caches[0].value == [0.5, 0.75, 0.0]
    assert learnt.caches[0].target == sets(0, 1)
    for used in (2, 2, 2, 2):  # the second epoch counts half
        learnt.served(0, sets(), sets(), sets(used))
    assert learnt.caches[0].value == [0.25, 0.375, 0.125]
    assert learnt(0, sets(0, 1, 2)) == [2, 0, 1]


def test_optimism_by_hand() -> None:
    learnt = LearntValue(site(2, 1), epoch=4, bonus=0.5)
    for used in (0, 1, 0, 1):
        learnt.served(0, sets(), sets(), sets(used))
    doubt = np.log(4) / 4
    wide = 0.5 + 0.5 * (np.sqrt(2 * 0.5 * doubt) + doubt)
    assert learnt.caches[0].value == pytest.approx([2 * wide, wide])


def test_epochs_double() -> None:
    """Epochs of 2, 4 and 8 batches end after 2, 6 and 14."""
    learnt = LearntValue(site(1, 1, 1), epoch=2, doubling=True, bonus=0.0)
    ends, known = [], None
    for batch in range(1, 15):
        learnt.served(0, sets(), sets(), sets(batch % 3 if batch < 7 else 0))
        if learnt.caches[0].value != known:
            ends.append(batch)
            known = list(learnt.caches[0].value)
    assert ends == [1, 2, 6, 14], "the first is the start's zeros"


def test_each_gpu_learns_its_own() -> None:
    learnt = LearntValue(site(1, 1, 1, gpus=2), epoch=2, bonus=0.0)
    for used in (0, 1):
        learnt.served(1, sets(), sets(), sets(used))
    assert learnt.caches[1].target == sets(0, 1)
    assert learnt.caches[0].target == sets()


def stream(popular: int, rare: str, seed: int) -> Problem:
    """One request at a time: a now and then between ever other adapters; two slots."""
    rng = random.Random(seed)
    letters = ["a" if i % popular == 0 else rng.choice(rare) for i in range(400)]
    requests = [
        request(f"r{i}", adapter=a, arrival_s=5.0 * i, demand={"vram_gib": 1.0})
        for i, a in enumerate(letters)
    ]
    adapters = [adapter(a, load_s=1.0) for a in "abcdef"]
    return problem_of(document(*requests, adapters=adapters, switching={"max_resident": 2}))


def loads_of(problem: Problem, policy: str, which: int) -> int:
    """How often an adapter is loaded in the second half."""
    made = make(policy)
    assert not isinstance(made, Solver)
    plan = simulate(problem, made).plan
    assert plan is not None
    batches = plan.gpus[0]
    pairs = list(pairwise(batches))[200:]
    return sum(which in after.resident - before.resident for before, after in pairs)


@pytest.mark.parametrize("policy", ["polar", "fifo:eviction=polar"])
def test_it_learns_to_keep_the_popular_adapter(policy: str) -> None:
    """Every third request is for a, the others for one of five: lru evicts it time and again."""
    problem = stream(3, "bcdef", seed=5)
    least_recent = policy.replace("polar", "fifo", 1) if policy == "polar" else "fifo"
    assert loads_of(problem, policy, which=0) == 0
    assert loads_of(problem, least_recent, which=0) > 40


def test_it_follows_what_pays() -> None:
    """The bandit has seen that a earns ten times as much a second as b, so a goes first."""
    heavy = [request(f"a{i}", weight=10.0, demand={"vram_gib": 9.0}) for i in range(8)]
    light = [request(f"b{i}", adapter="b", demand={"vram_gib": 9.0}) for i in range(8)]
    mixed = [r for pair in zip(light, heavy, strict=True) for r in pair]
    problem = problem_of(
        document(
            *mixed,
            adapters=[adapter("a"), adapter("b")],
            gpus=[gpu(resident=("b",))],
            switching={"max_resident": 2},
        )
    )
    plan = simulate(problem, Polar(width=2.0, max_wait_s=None)).plan
    assert plan is not None
    served = [problem.jobs[batch.members[0][0]].weight for batch in plan.gpus[0]]
    # One look at b, which is resident, then a to the end.
    assert served == [1.0] + [10.0] * 8 + [1.0] * 7


def test_the_reward_is_weight_per_second_with_the_switch() -> None:
    """A batch of weight 6 that takes 2 s of switching and 1 s of service earns 2 a second."""
    requests = [request(f"b{i}", adapter="b", weight=3.0) for i in range(2)]
    problem = problem_of(
        document(*requests, request("a"), adapters=[adapter("a"), adapter("b", load_s=2.0)])
    )
    policy = Polar(ridge=1.0)
    run = policy.new_run(RunSetup(problem.site, best_quality, LeastRecentlyUsed(problem.site)))
    decide = Decider(policy, run, None)
    first = {j.index: j for j in problem.jobs[:2]}
    (start,) = decide(State(0, first, list(first.values()), (), (GpuState(0, sets(0)),)))
    assert isinstance(start, Start)
    last = problem.jobs[2]
    state = GpuState(0, sets(1), sets(1), free_at=3)
    list(decide(State(3, {last.index: last}, [last], (), (state,))))
    # Context: 1; 2 of 10 that fit; no wait; not resident; the longest load there is.
    x = np.array([1.0, 0.2, 0.0, 0.0, 1.0])
    expected = np.linalg.solve(np.outer(x, x) + np.eye(5), x * 2.0)
    assert run.bandit.coefficients[1] == pytest.approx(expected)
    assert not run.bandit.coefficients[0].any()


def test_another_eviction_rule_can_be_named() -> None:
    problem = stream(3, "bcdef", seed=5)
    assert loads_of(problem, "polar:eviction=lru", which=0) > 40
