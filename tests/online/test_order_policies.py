"""``fcfs-grouped``, ``affinity``, ``batch-completion`` and ``vllm-lora`` on examples by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pats_opt.core.policy import GpuState, Policy
from pats_opt.model.problem import Problem, Site
from pats_opt.simulate import simulate
from pats_opt.testing.instances import random_instance
from pats_solvers.online.simple import Affinity, BatchCompletion, FcfsGrouped, VllmLora
from tests.online.asking import ask, members
from tests.online.plain_order import (
    PlainAffinity,
    PlainBatchCompletion,
    PlainFcfsGrouped,
    PlainOrder,
    PlainVllmLora,
)
from tests.simulate.scripted import Scripted, problem_of
from tests.support import scale
from tests.support.zoo import adapter, document, gpu, request

A, B, C = (frozenset((a,)) for a in range(3))
ALL = (FcfsGrouped(), Affinity(), BatchCompletion(), VllmLora())


def queue(
    adapters: str, gib: float = 3.0, arrival_s: tuple[float, ...] = (), **others: Any
) -> Problem:
    """One request a letter, r0, r1, ...; a GPU holds 10 GiB, so three of them; a is resident."""
    arrivals = arrival_s or (0.0,) * len(adapters)
    requests = [
        request(f"r{i}", adapter=a, demand={"vram_gib": gib}, arrival_s=at)
        for i, (a, at) in enumerate(zip(adapters, arrivals, strict=True))
    ]
    loads = [adapter(name, load_s=1.0) for name in "abcd"]
    return problem_of(document(*requests, **{"adapters": loads, **others}))


def batches(problem: Problem, policy: Policy) -> list[tuple[int, str]]:
    """GPU and members, as digits, of each batch in order of start, then of GPU."""
    plan = simulate(problem, policy).plan
    assert plan is not None
    made = [
        (b.start, g, "".join(problem.jobs[j].id[1:] for j, _ in b.members))
        for g, row in enumerate(plan.gpus)
        for b in row
    ]
    return [(g, names) for _, g, names in sorted(made)]


def mixed(per_batch: int = 2, resident: int = 2, **others: Any) -> dict[str, Any]:
    """A cache of ``resident`` adapters of which a batch may mix ``per_batch``."""
    return {"max_resident": resident, "max_per_batch": per_batch, **others}


# One adapter a batch: who leads, and who comes along.


@pytest.mark.parametrize(
    ("adapters", "expected"),
    [
        ("babab", {"fcfs-grouped": "024 13", "affinity": "13 024"}),
        ("bbbba", {"fcfs-grouped": "012 3 4", "affinity": "4 012 3"}),
        ("abcab", {"fcfs-grouped": "03 14 2", "affinity": "03 14 2"}),
    ],
)
def test_one_adapter_a_batch(adapters: str, expected: dict[str, str]) -> None:
    """All are there at once, so all but affinity go by the oldest request."""
    problem = queue(adapters)
    for policy in ALL:
        served = " ".join(names for _, names in batches(problem, policy))
        assert served == expected.get(policy.name, expected["fcfs-grouped"]), policy.name


def test_what_does_not_fit_is_skipped() -> None:
    """6 + 5 GiB are too many for 10, 6 + 3 are not; under fifo the batch would end there."""
    requests = [
        request(f"r{i}", demand={"vram_gib": size}) for i, size in enumerate((6.0, 5.0, 3.0))
    ]
    problem = problem_of(document(*requests))
    for policy in ALL:
        assert members(ask(problem, policy)[0], problem) == ["r0", "r2"], policy.name


def test_later_requests_of_the_adapter() -> None:
    """While b is served (1 to 2) another b comes, and while that one is, a third.

    affinity and batch-completion stay until no b waits; the others turn to a at 2.
    """
    problem = queue("babb", gib=9.0, arrival_s=(0.0, 0.5, 1.5, 2.5))
    stay, leave = [(0, "0"), (0, "2"), (0, "3"), (0, "1")], [(0, "0"), (0, "1")]
    assert batches(problem, BatchCompletion()) == stay
    assert batches(problem, Affinity()) == stay
    assert batches(problem, FcfsGrouped())[:2] == leave
    assert batches(problem, VllmLora())[:2] == leave


def test_the_bound_on_waiting_overrides() -> None:
    """R1 has waited 2.5 s at tick 3, so it goes before the third b."""
    problem = queue("babb", gib=9.0, arrival_s=(0.0, 0.5, 1.5, 2.5))
    for policy in (Affinity(max_wait_s=2.0), BatchCompletion(max_wait_s=2.0)):
        assert [names for _, names in batches(problem, policy)] == ["0", "2", "1", "3"]


# Residents.


def test_affinity_serves_every_resident_adapter() -> None:
    """A and b are resident: the earliest of either, c only when both have none."""
    problem = queue("cbabc", gpus=[gpu(resident=("a", "b"))], switching={"max_resident": 2})
    assert [names for _, names in batches(problem, Affinity())] == ["13", "2", "04"]


def test_batch_completion_knows_only_what_runs() -> None:
    """B is resident but nothing ran yet: the oldest goes first, then its adapter's later ones."""
    problem = queue(
        "cbcc",
        gib=9.0,
        gpus=[gpu(resident=("a", "b"))],
        switching={"max_resident": 3},
        arrival_s=(0.0, 0.0, 1.5, 2.5),
    )
    assert [names for _, names in batches(problem, BatchCompletion())] == ["0", "2", "3", "1"]
    assert [names for _, names in batches(problem, Affinity())] == ["1", "0", "2", "3"]


def test_least_recently_used_makes_room() -> None:
    """Served are a, b, a; then c goes in for b."""
    problem = queue("abac", gib=9.0, switching={"max_resident": 2})
    for policy in (FcfsGrouped(), VllmLora()):
        plan = simulate(problem, policy).plan
        assert plan is not None
        assert [set(b.resident) for b in plan.gpus[0]] == [{0}, {0, 1}, {0, 1}, {0, 2}]


# Several GPUs.


def test_affinity_seeks_residents_on_all_idle_gpus() -> None:
    """R1 finds b on the second GPU, and goes before the earlier r0, which then loads c."""
    problem = queue("cb", gpus=[gpu("g0"), gpu("g1", resident=("b",))])
    starts = ask(problem, Affinity())
    assert [(s.gpu, members(s, problem)) for s in starts] == [(1, ["r1"]), (0, ["r0"])]


def test_affinity_takes_the_gpu_of_least_switching() -> None:
    """Both hold a; the first must activate it, the second has just served it."""
    two = [gpu("g0", resident=("a", "b")), gpu("g1", resident=("a", "b"))]
    problem = queue("a", gpus=two, switching={"max_resident": 2, "activate_s": 1.0})
    gpus = (GpuState(0, A | B, active=B), GpuState(1, A | B, active=A))
    assert [s.gpu for s in ask(problem, Affinity(), gpus=gpus)] == [1]


def test_the_oldest_goes_where_it_pays_least() -> None:
    problem = queue("bc", gpus=[gpu("g0"), gpu("g1", resident=("b",))])
    for policy in (FcfsGrouped(), BatchCompletion(), VllmLora()):
        starts = ask(problem, policy)
        assert [(s.gpu, members(s, problem)) for s in starts] == [(1, ["r0"]), (0, ["r1"])]


def test_batch_completion_stays_on_each_gpu() -> None:
    """A runs on the first and b on the second; both stay although c is older."""
    problem = queue(
        "abcba",
        gib=9.0,
        gpus=[gpu("g0"), gpu("g1", resident=("b",))],
        arrival_s=(0.0, 0.0, 0.5, 0.75, 0.8),
    )
    assert batches(problem, BatchCompletion()) == [(0, "0"), (1, "1"), (0, "4"), (1, "3"), (0, "2")]


# Mixed batches.


def test_mixed_batches() -> None:
    """Three fit; two adapters may mix, of which a is resident.

    fcfs-grouped takes b, a and the second a, c being one adapter too many; affinity the two a,
    then b; vllm-lora all b before any a.
    """
    problem = queue("bacabb", gib=2.5, switching=mixed())
    first = {p.name: members(ask(problem, p)[0], problem) for p in ALL}
    assert first == {
        "fcfs-grouped": ["r0", "r1", "r3", "r4"],
        "affinity": ["r1", "r3", "r0", "r4"],
        "batch-completion": ["r0", "r1", "r3", "r4"],
        "vllm-lora": ["r0", "r4", "r5", "r1"],
    }
    assert {ask(problem, p)[0].resident for p in ALL} == {A | B}


def test_a_mixed_batch_loads_what_it_needs() -> None:
    """Idle residents make room: c and d are loaded in one switch for a batch of both."""
    problem = queue("cd", gpus=[gpu(resident=("a", "b"))], switching=mixed())
    for policy in ALL:
        (start,) = ask(problem, policy)
        assert members(start, problem) == ["r0", "r1"]
        assert start.resident == frozenset((2, 3)), policy.name


def test_a_second_adapter_needs_memory_of_its_own() -> None:
    """Adapters take 3 GiB: beside a and its request of 5 GiB there is none for b."""
    requests = [
        request("r0", demand={"vram_gib": 5.0}),
        request("r1", adapter="b", demand={"vram_gib": 1.0}),
        request("r2", demand={"vram_gib": 1.0}),
    ]
    adapters = [adapter(name, vram_gib=3.0) for name in "ab"]
    problem = problem_of(document(*requests, adapters=adapters, switching=mixed()))
    for policy in ALL:
        assert members(ask(problem, policy)[0], problem) == ["r0", "r2"], policy.name


def test_batch_completion_keeps_its_set() -> None:
    """The set is a and b, also while a has none (the batch at 1): r5 and r6 go before r2."""
    problem = queue(
        "abcbbab", gib=4.0, switching=mixed(), arrival_s=(0.0, 0.0, 0.0, 0.5, 0.5, 1.5, 1.5)
    )
    assert [n for _, n in batches(problem, BatchCompletion())] == ["01", "34", "56", "2"]
    assert [n for _, n in batches(problem, FcfsGrouped())][1] == "23"


@pytest.mark.parametrize(
    ("policy", "plain"),
    [
        (FcfsGrouped(), PlainFcfsGrouped),
        (FcfsGrouped(option="fewest"), PlainFcfsGrouped),
        (Affinity(), PlainAffinity),
        (BatchCompletion(), PlainBatchCompletion),
        (VllmLora(), PlainVllmLora),
    ],
)
def test_against_the_plain_restatement(
    policy: Policy, plain: Callable[[Policy, Site], PlainOrder]
) -> None:
    """Looking only at queues that can still join gives what trying every request gives."""
    for seed in scale.seeds(80):
        problem = Problem(random_instance(seed, requests=(4, 30)))
        restated = Scripted(plain(policy, problem.site))
        assert simulate(problem, policy).plan == simulate(problem, restated).plan, seed
