"""The parameter ``prefetch``: when policies load beside serving."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from pats_opt.core.policy import Policy
from pats_opt.core.registry import make
from pats_opt.core.solver import ALL_FEATURES, Feature, Solver
from pats_opt.errors import InputError, NoScheduleError
from pats_opt.model.checker import Verdict, valid_loss
from pats_opt.model.files import parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.plan import Plan, PlannedLoad
from pats_opt.model.problem import Problem
from pats_opt.simulate import simulate
from pats_opt.testing.instances import random_features, random_instance
from tests.simulate.scripted import problem_of, scheduled
from tests.support import scale
from tests.support.brute_force import brute_force
from tests.support.overlap_zoo import overlapping
from tests.support.policies import policy_names
from tests.support.zoo import adapter, gpu, request

POLICIES = list(policy_names())
PREFETCHES = ("none", "next", "ahead")
NONE = frozenset[int]()
ONE = {"kind": "steps", "step_s": {"table": [1.0]}}


def policy(spec: str) -> Policy:
    """A policy of a specification."""
    made = make(spec)
    assert not isinstance(made, Solver)
    return made


def plan_of(problem: Problem, spec: str, seed: int = 0) -> Plan:
    """The plan that a policy makes."""
    plan = simulate(problem, policy(spec), seed=seed).plan
    assert plan is not None
    return plan


def run(document: dict[str, Any], spec: str) -> tuple[Plan, Verdict]:
    """The plan of a policy, and its verdict."""
    problem = problem_of(document)
    plan = plan_of(problem, spec)
    _, verdict = scheduled(problem, plan)
    assert verdict.ok, verdict.violations
    return plan, verdict


def loaded(plan: Plan) -> list[tuple[int, int, list[int]]]:
    """Adapter, start and evictions of the loads of the first GPU."""
    return [(load.adapter, load.start, sorted(load.evict)) for load in plan.loads[0]]


def starts(plan: Plan) -> list[tuple[int, int]]:
    """Start and first member of the batches of the first GPU."""
    return [(batch.start, batch.members[0][0]) for batch in plan.gpus[0]]


def beside(instance: Instance, channels: int | None) -> Problem:
    """The instance with so many channels; None for none."""
    made = msgspec.to_builtins(instance)
    made["switching"]["overlap"] = None if channels is None else {"channels": channels}
    return Problem(parse_instance(msgspec.json.encode(made)))


@pytest.mark.parametrize("name", POLICIES)
def test_without_prefetch_a_load_is_a_switch(name: str) -> None:
    """On one GPU with one channel, the batches are those of blocking switches, to the tick."""
    among = ALL_FEATURES - {Feature.GPUS, Feature.ACTIVATE, Feature.PAIRS, Feature.SLOT}
    for seed in scale.seeds(15):
        drawn = random_features(random.Random(seed), among=among) | {Feature.RESIDENT}
        instance = random_instance(seed, drawn, requests=(4, 16))
        blocking = plan_of(beside(instance, None), name)
        serving = plan_of(beside(instance, 1), name)
        assert [(b.start, b.members) for b in serving.gpus[0]] == [
            (b.start, b.members) for b in blocking.gpus[0]
        ], seed


@pytest.mark.parametrize("name", POLICIES)
def test_without_overlap_prefetch_changes_nothing(name: str) -> None:
    for seed in scale.seeds(8):
        problem = Problem(random_instance(seed, requests=(4, 16)))
        plans = [plan_of(problem, f"{name}:prefetch={rule}") for rule in PREFETCHES]
        assert plans[0] == plans[1] == plans[2], seed


@pytest.mark.parametrize("prefetch", PREFETCHES)
def test_no_policy_beats_the_optimum(prefetch: str) -> None:
    for seed in scale.seeds(25):
        rng = random.Random(seed)
        drawn = random_features(rng, among=ALL_FEATURES) | {Feature.OVERLAP, Feature.RESIDENT}
        drawn -= {Feature.PAIRS, Feature.SLOT}
        instance = random_instance(rng, drawn, requests=(2, 4))
        best, problem = brute_force(msgspec.to_builtins(instance)), Problem(instance)
        for name in POLICIES:
            try:
                plan = plan_of(problem, f"{name}:prefetch={prefetch}", seed)
            except NoScheduleError:
                continue
            loss = valid_loss(problem, plan)
            assert best is not None
            assert loss is not None
            assert loss >= best - 1e-9, (seed, name)


TWO = [
    request("r0", 4),
    request("r1", adapter="b"),
    request("r2", adapter="c"),
]
THREE = [adapter("a"), adapter("b", 3.0), adapter("c", 3.0)]


def test_next_hides_a_load_behind_a_batch() -> None:
    """Adapter b is loaded while r0 is served, and c while r1 is: before, b came next."""
    made = overlapping(*TWO, adapters=THREE, switching={"max_resident": 2})
    assert loaded(run(made, "fifo:prefetch=none")[0]) == [(1, 4, []), (2, 8, [0])]
    plan, _ = run(made, "fifo:prefetch=next")
    assert loaded(plan) == [(1, 0, []), (2, 4, [0])]
    assert starts(plan) == [(0, 0), (4, 1), (7, 2)]


def test_ahead_goes_on_loading() -> None:
    """Adapter c is loaded behind r0 too, as soon as the channel is free."""
    made = overlapping(*TWO, adapters=THREE, switching={"max_resident": 3})
    assert loaded(run(made, "fifo:prefetch=next")[0]) == [(1, 0, []), (2, 4, [])]
    plan, _ = run(made, "fifo:prefetch=ahead")
    assert loaded(plan) == [(1, 0, []), (2, 3, [])]
    assert starts(plan) == [(0, 0), (4, 1), (6, 2)]


def test_what_waits_and_is_resident_is_not_evicted() -> None:
    """r1 waits for b, so c is not loaded before r1 is served, though it comes before."""
    made = overlapping(
        request("r0", 4),
        request("r2", adapter="c"),
        request("r1", 3, adapter="b"),
        adapters=THREE,
        gpus=[gpu(resident=("a", "b"))],
        service=ONE,
    )
    for prefetch in ("next", "ahead"):
        plan, _ = run(made, f"affinity:prefetch={prefetch}")
        assert loaded(plan) == [(2, 4, [0])]
        assert starts(plan) == [(0, 0), (4, 2), (7, 1)]


def test_a_gpu_serves_while_it_waits_for_a_load() -> None:
    """r0 is next, and c takes 3 s to load: r1 and r2 are served by then.

    Of r3, which would end later, r0 would wait for a second, while r3 gains the 1 s that is left
    and the second that r0 takes, unless it weighs less than half of r0.
    """
    made = overlapping(
        request("r0", adapter="c"),
        *[request(f"r{i}") for i in (1, 2)],
        request("r3", 2, weight=0.5),
        adapters=THREE,
        service=ONE,
    )
    assert starts(run(made, "fifo:prefetch=none")[0]) == [(3, 0), (4, 1), (5, 2), (6, 3)]
    assert starts(run(made, "fifo:prefetch=next")[0]) == [(0, 1), (1, 2), (3, 0), (4, 3)]
    made["requests"][3]["weight"] = 0.6
    assert starts(run(made, "fifo:prefetch=next")[0]) == [(0, 1), (1, 2), (2, 3), (4, 0)]


def test_memory_of_the_batch_in_progress_counts() -> None:
    """While r0 holds 8 of 10 GiB, b of 3 GiB has no room."""
    made = overlapping(
        request("r0", 4, demand={"vram_gib": 8.0}),
        request("r1", adapter="b"),
        adapters=[adapter("a"), adapter("b", 3.0, 3.0)],
    )
    assert loaded(run(made, "fifo:prefetch=next")[0]) == [(1, 4, [])]


def test_two_gpus_do_not_load_the_same_ahead() -> None:
    """Adapter b goes to the first GPU and c to the second; served where they are."""
    made = overlapping(
        request("r0", 4),
        request("r1", 4),
        request("r2", adapter="b"),
        request("r3", adapter="c"),
        adapters=THREE,
        gpus=[gpu(), gpu("gpu-1")],
        service=ONE,
    )
    plan, _ = run(made, "fifo:prefetch=next")
    assert plan.loads == ((PlannedLoad(1, 0, NONE),), (PlannedLoad(2, 0, NONE),))


def test_other_rules_are_refused() -> None:
    with pytest.raises(InputError, match="choose one of: ahead, next, none"):
        make("fifo:prefetch=soon")


@pytest.mark.parametrize(("price", "start"), [(5.0, 125), (20.0, 135)])
def test_a_dear_load_beside_serving_waits_for_company(price: float, start: int) -> None:
    """Adapter b is loaded for its first request, or only for its second where loads are dear.

    The batch that keeps the GPU busy hides the load either way. It takes until 180.
    """
    past = [request(f"p{i}", adapter="abc"[i % 3], arrival_s=10.0 * i) for i in range(12)]
    busy = request("busy", 60, arrival_s=120.0)
    coming = [request(f"b{i}", adapter="b", arrival_s=125.0 + 10.0 * i) for i in range(4)]
    made = overlapping(
        *past,
        busy,
        *coming,
        adapters=[adapter("a"), adapter("b", 3.0), adapter("c", 3.0)],
        switching={"max_resident": 2, "price_per_s": price},
    )
    for rule in ("next", "ahead"):
        plan, _ = run(made, f"price-index:prefetch={rule}")
        assert loaded(plan)[-1] == (1, start, [2])
        assert starts(plan)[-1] == (180, 13)
