"""The hard bound on waiting: it overrides every policy."""

from __future__ import annotations

import random
from typing import ClassVar, NamedTuple

import msgspec
import pytest

from pats_opt.core.policy import Action, Decide, GpuState, Policy, Start, State
from pats_opt.core.registry import make
from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Solver
from pats_opt.model.problem import Job, Problem, Site
from pats_opt.model.timing import to_ticks
from pats_opt.simulate import simulate
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.online.common.queue import WaitingJobs
from pats_solvers.online.common.staleness import Staleness
from tests.simulate.scripted import problem_of
from tests.support import scale
from tests.support.policies import policy_names
from tests.support.zoo import adapter, document, gpu, request

POLICIES = policy_names()
#: No horizon, so that nothing else than the bound overrides a policy.
FEATURES = ALL_FEATURES - {Feature.HORIZON}


class Decision(NamedTuple):
    """Calls of a policy, with its answers."""

    tick: int
    waiting: dict[int, Job]
    idle: list[GpuState]
    actions: tuple[Action, ...]


def decisions(problem: Problem, policy: Policy, seed: int) -> list[Decision]:
    told: list[Decision] = []

    class Recorded:
        name: ClassVar[str] = policy.name
        kind: ClassVar[Kind] = policy.kind
        capabilities: ClassVar[Capabilities] = policy.capabilities

        def start(self, site: Site, seed: int) -> Decide:
            decide = policy.start(site, seed)

            def noted(state: State) -> tuple[Action, ...]:
                waiting, idle = dict(state.waiting), list(state.idle)
                actions = tuple(decide(state))
                told.append(Decision(state.tick, waiting, idle, actions))
                return actions

            return noted

    simulate(problem, Recorded(), seed=seed)
    return told


@pytest.mark.parametrize("name", POLICIES)
def test_who_is_past_the_bound_goes_first(name: str) -> None:
    """No batch is led by another while one is overdue, and no GPU that can hold one idles."""
    overridden = 0
    for seed in scale.seeds(30):
        rng = random.Random(seed)
        instance = random_instance(seed, random_features(rng, among=FEATURES), requests=(8, 20))
        bound_s = rng.choice((0.0, 2.0, 4.0)) * instance.tick_s
        policy = make(name, max_wait_s=bound_s)
        assert not isinstance(policy, Solver)
        problem = Problem(instance)
        bound = to_ticks(bound_s, instance.tick_s)
        told = decisions(problem, policy, seed)
        for now, later in zip(told, [*told[1:], None], strict=True):
            overridden += _check(problem, now, bound, later)
    assert overridden > 30, "the bound never mattered"


def _check(problem: Problem, now: Decision, bound: int, later: Decision | None) -> int:
    """How many batches were led by someone overdue."""
    waiting, idle, led = dict(now.waiting), {g.index for g in now.idle}, 0

    def eldest(gpu: int) -> Job | None:
        able = (j for j in waiting.values() if gpu in problem.hosts(j))
        return next(able, None)

    for action in now.actions:
        if not isinstance(action, Start):
            continue
        first = eldest(action.gpu)
        leader = waiting[action.members[0][0]]
        if first is not None and now.tick - first.arrival >= bound:
            assert leader.index == first.index
            led += 1
        for index, _ in action.members:
            del waiting[index]
        idle.discard(action.gpu)
    for index in idle:
        if (first := eldest(index)) is not None:
            assert first.arrival + bound > now.tick, "an overdue request is left beside an idle GPU"
            assert later is not None
            assert later.tick <= first.arrival + bound, "it is not asked when the bound passes"
    return led


def queue() -> Problem:
    """One resident adapter a, b that loads in 4 s, c in 1 s; ticks of a second."""
    adapters = [adapter("a"), adapter("b", load_s=4.0), adapter("c", load_s=1.0)]
    requests = [
        request("r0", adapter="b"),
        request("r1", adapter="c"),
        request("r2", adapter="a"),
        request("r3", adapter="a", arrival_s=9.0),
        request("r4", adapter="a", arrival_s=9.0),
    ]
    return problem_of(document(*requests, adapters=adapters, gpus=[gpu()]))


def stale(problem: Problem, max_wait_s: float, *, adaptive: bool) -> Staleness:
    waiting = WaitingJobs(problem.site)
    bound = Staleness(problem.site, waiting, max_wait_s, adaptive)
    for job in problem.jobs:
        waiting.add(job)
        bound.arrived(job)
    return bound


def test_static() -> None:
    """The earliest request leads from the bound on."""
    problem = queue()
    bound, state = stale(problem, 10.0, adaptive=False), GpuState(0, frozenset((0,)))
    assert bound.overdue([state], 9) is None
    assert bound.wake([state], 9) == 10
    found = bound.overdue([state], 10)
    assert found is not None
    assert found[1].id == "r0"


def test_adaptive() -> None:
    """Switch over mean load, burstiness over imbalance, by hand.

    Mean load 5/3 s. Gaps 0, 0, 9, 0 weigh 1, 1/2, 1/3, 1/4: mean 2.25, mean square 20.25, so the
    coefficient of variation is sqrt(20.25 - 2.25^2) / 2.25 = 1.732. Queues of 1, 1 and 3: imbalance
    3 / (5/3) = 1.8, so stress 0.962. Bounds: b 10 x 2.4 x 0.962 = 23.1 s, c 10 x 0.6 x 0.962 = 5.8,
    a (resident, nothing to pay) a quarter of 10.
    """
    problem = queue()
    bound, state = stale(problem, 10.0, adaptive=True), GpuState(0, frozenset((0,)))
    assert bound.overdue([state], 2) is None
    assert bound.wake([state], 2) == 3
    found = bound.overdue([state], 3)
    assert found is not None
    assert found[1].id == "r2", "the resident adapter's bound is the shortest"
    late = bound.overdue([state], 24)
    assert late is not None
    assert late[1].id == "r2"
    expensive = GpuState(0, frozenset((1,)))
    first = bound.overdue([expensive], 3)
    assert first is not None
    assert first[1].id == "r0", "now b is the resident one"


def test_of_two_gpus_the_one_that_pays_least() -> None:
    problem = queue()
    bound = stale(problem, 1.0, adaptive=False)
    idle = [GpuState(0, frozenset((0,))), GpuState(1, frozenset((1,)))]
    two = msgspec.structs.replace(idle[1], index=0)
    found = bound.overdue([idle[0], two], 5)
    assert found is not None
    assert found[0] is two
