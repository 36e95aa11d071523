"""``credits`` on examples worked by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from typing_extensions import override

from pats_opt.core.policy import Policy
from pats_opt.model.problem import Problem
from pats_opt.simulate import simulate
from pats_opt.testing.instances import random_instance
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.credits import CreditRun, Credits
from tests.online.asking import ask, members
from tests.simulate.scripted import problem_of
from tests.support import scale
from tests.support.zoo import adapter, document, gpu, request


def queue(
    adapters: str, gib: float = 8.0, arrival_s: tuple[float, ...] = (), **others: Any
) -> Problem:
    """One request a letter, r0, r1, ...; 10 GiB, a is resident; loading takes a second."""
    arrivals = arrival_s or (0.0,) * len(adapters)
    requests = [
        request(f"r{i}", adapter=a, demand={"vram_gib": gib}, arrival_s=at)
        for i, (a, at) in enumerate(zip(adapters, arrivals, strict=True))
    ]
    loads = [adapter(name, load_s=1.0) for name in "abcd"]
    return problem_of(document(*requests, **{"adapters": loads, **others}))


def history(problem: Problem, policy: Credits) -> list[tuple[str, list[int]]]:
    """Members, as digits, of each batch in turn, and everybody's credit after it."""
    told: list[tuple[str, list[int]]] = []

    class Told(Credits, frozen=True, kw_only=True):
        @override
        def served(self, run: CreditRun, batch: BatchBuilder) -> None:
            super().served(run, batch)
            told.append(("".join(job.id[1:] for job in batch.jobs), list(run.credit)))

    simulate(problem, Told(**msgspec.structs.asdict(policy)))
    return told


def order(problem: Problem, policy: Policy) -> list[str]:
    """Members, as digits, of each batch of the first GPU."""
    plan = simulate(problem, policy).plan
    assert plan is not None
    return ["".join(problem.jobs[j].id[1:] for j, _ in b.members) for b in plan.gpus[0]]


def test_passing_over_moves_credit() -> None:
    """B waits since before the three a: each that goes first pays it one.

    At 2 it is called and leads; nobody is passed over then, so it keeps its credit.
    """
    problem = queue("baaa")
    assert history(problem, Credits(call=2.0)) == [
        ("1", [-1, 1, 0, 0]),
        ("2", [-2, 2, 0, 0]),
        ("0", [-2, 2, 0, 0]),
        ("3", [-2, 2, 0, 0]),
    ]


def test_a_high_threshold_never_calls() -> None:
    assert order(queue("baaab"), Credits(call=100.0)) == ["1", "2", "3", "0", "4"]


def test_a_batch_pays_for_each_request_passed_over() -> None:
    """Three fit: r1, r3, r4 go; r0, r1, r2 came first: b is paid by r3, and c by r4."""
    assert history(queue("bacaa", gib=3.0), Credits())[0] == ("134", [-2, 1, 1, 0])


def test_who_stays_pays_too() -> None:
    """B, once called, stays while it has requests, and pays for going before a's older r3."""
    problem = queue("baaabbba")
    assert history(problem, Credits(call=2.0)) == [
        ("1", [-1, 1, 0, 0]),
        ("2", [-2, 2, 0, 0]),
        ("0", [-2, 2, 0, 0]),
        ("4", [-1, 1, 0, 0]),
        ("5", [0, 0, 0, 0]),
        ("6", [1, -1, 0, 0]),
        ("3", [1, -1, 0, 0]),
        ("7", [1, -1, 0, 0]),
    ]


@pytest.mark.parametrize(("keep", "last"), [(0.5, ["6", "5"]), (1.0, ["5", "6"])])
def test_a_called_adapter_stays_called_until_its_credit_is_low(
    keep: float, last: list[str]
) -> None:
    """B is called at 2 and has 1 left when its queue is empty, so a's r3 goes.

    Then r5 (a) and r6 (b) come: called down to 1, b goes at once; called down to 2, a stays.
    """
    problem = queue("baaab" + "ab", arrival_s=(0.0,) * 5 + (6.0,) * 2)
    told = history(problem, Credits(call=2.0, keep=keep))
    assert [names for names, _ in told] == ["1", "2", "0", "4", "3", *last]
    assert told[4] == ("3", [-1, 1, 0, 0])


def test_the_most_credit_is_called_first() -> None:
    """C is passed over twice a batch, b once: both are called, c leads though b came first."""
    problem = queue("bccaaaaaa", gib=3.0)
    told = history(problem, Credits(call=2.0))
    assert told[0] == ("345", [-3, 1, 2, 0])
    assert told[1][0] == "12"


def test_equal_credit_goes_to_the_earliest() -> None:
    problem = queue("cbaa", gib=4.5)
    assert [told[0] for told in history(problem, Credits(call=1.0))] == ["23", "0", "1"]


def test_with_nothing_left_it_goes_to_the_longest_queue_that_is_resident() -> None:
    """No a waits; c has more requests than b, but b is resident."""
    problem = queue("bcc", gpus=[gpu(resident=("b",))], switching={"max_resident": 2})
    assert members(ask(problem, Credits())[0], problem) == ["r0"]
    problem = queue("bccd")
    assert members(ask(problem, Credits())[0], problem) == ["r1"]
    problem = queue("bccb")
    assert members(ask(problem, Credits())[0], problem) == ["r0"]


def test_a_resident_queue_goes_before_a_longer_one() -> None:
    """After the last a, b (resident, one request) goes before c (two)."""
    problem = queue("ccab", gpus=[gpu(resident=("a", "b"))], switching={"max_resident": 2})
    assert order(problem, Credits(call=50.0)) == ["2", "3", "0", "1"]


def test_several_gpus_stay_apart_and_share_one_account() -> None:
    """A stays on the first and b on the second, and both pay c; called, c goes to the first."""
    problem = queue("cabab", gpus=[gpu("g0"), gpu("g1", resident=("b",))])
    told = history(problem, Credits(call=2.0))
    assert told[:3] == [
        ("1", [-1, 0, 1, 0]),
        ("2", [-1, -1, 2, 0]),
        ("0", [-1, -1, 2, 0]),
    ]


def test_a_called_adapter_goes_where_it_pays_least() -> None:
    """At 1 both GPUs pass c over and pay it; at 2 both are idle, and the second holds c."""
    problem = queue(
        "bacab",
        arrival_s=(0.0, 0.0, 1.0, 1.0, 1.0),
        gpus=[gpu("g0"), gpu("g1", resident=("b", "c"))],
        switching={"max_resident": 2},
    )
    plan = simulate(problem, Credits(call=2.0)).plan
    assert plan is not None
    served = [[(b.start, problem.jobs[b.members[0][0]].id) for b in row] for row in plan.gpus]
    assert served == [[(0, "r1"), (1, "r3")], [(0, "r0"), (1, "r4"), (2, "r2")]]


def test_mixed_batches_take_other_residents_along() -> None:
    """Of a, then b, both resident; c, which would need a load, is passed over and paid by r3."""
    problem = queue(
        "acba",
        gib=3.0,
        gpus=[gpu(resident=("a", "b"))],
        switching={"max_resident": 2, "max_per_batch": 2},
    )
    assert history(problem, Credits())[0] == ("032", [-1, 0, 1, 0])


@pytest.mark.parametrize("policy", [Credits(call=1.0, keep=0.0), Credits(max_wait_s=1.0)])
def test_credits_always_sum_to_zero(policy: Credits) -> None:
    for seed in scale.seeds(60):
        for _, credit in history(Problem(random_instance(seed, requests=(4, 30))), policy):
            assert sum(credit) == 0


def test_the_rule_for_steps_keeps_its_own_threshold() -> None:
    """When an adapter is called has nothing to do with which prompts are simple."""
    assert Credits(call=3.0).threshold == Credits(option="pruned").threshold == 0.5
