"""The policies that serve adapter by adapter, on examples worked by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pats_opt.core.policy import Decide, GpuState, Policy, Start, State, WakeAt
from pats_opt.model.problem import Problem, Site
from pats_opt.simulate import simulate
from pats_solvers.online.common.context import RunContext, RunSetup
from pats_solvers.online.common.estimates import ArrivalRates, BatchTimer, Demand
from pats_solvers.online.common.eviction import eviction
from pats_solvers.online.common.options import best_quality
from pats_solvers.online.demand import Amortized, CostAware, CostAwareRun, FamilyIndex
from pats_solvers.online.polling import DrainFirst, Exhaustive, KLimited, Patient
from tests.simulate.scripted import problem_of
from tests.support.zoo import adapter, document, gpu, request

A, B, C = (frozenset((a,)) for a in range(3))
ONE = gpu(batch=1.0)


def setup_of(site: Site) -> RunSetup:
    """Initial state of a run on the site."""
    return RunSetup(site, best_quality, eviction("lru", site))


def queue(letters: str, gaps: str = "", **others: Any) -> Problem:
    """One request a letter, at time 0 or at the digit below it; one at a time; loads take 1 s."""
    requests = [
        request(
            f"r{i}",
            adapter=a,
            arrival_s=float(gaps[i]) if gaps else 0.0,
            demand={"vram_gib": 1.0, "batch": 1.0},
        )
        for i, a in enumerate(letters)
    ]
    loads = others.pop("loads", (1.0, 1.0, 1.0, 1.0))
    settings = {
        "adapters": [adapter(a, load_s=s) for a, s in zip("abcd", loads, strict=True)],
        "gpus": [ONE],
        **others,
    }
    return problem_of(document(*requests, **settings))


def order(problem: Problem, policy: Policy, on: int = 0) -> str:
    """Adapters of the batches on a GPU, one letter a member, in order; a space between batches."""
    plan = simulate(problem, policy).plan
    assert plan is not None
    return " ".join(
        "".join("abcd"[problem.jobs[j].adapter] for j, _ in batch.members)
        for batch in plan.gpus[on]
    )


def starts(problem: Problem, policy: Policy) -> list[int]:
    plan = simulate(problem, policy).plan
    assert plan is not None
    return [batch.start for batch in plan.gpus[0]]


# -- k-limited ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "served"),
    [(1, "a b a b a"), (2, "a a b b a"), (9, "a a a b b")],
)
def test_k_limited_leaves_after_its_limit(limit: int, served: str) -> None:
    assert order(queue("aaabb"), KLimited(limit=limit)) == served


def test_k_limited_fills_batches_up_to_its_limit() -> None:
    """A GPU that holds four takes three, as the limit says, then the other queue, then the rest."""
    problem = queue("aaaaabb", gpus=[gpu(batch=4.0)])
    assert order(problem, KLimited(limit=3)) == "aaa bb aa"


def test_k_limited_begins_another_visit_where_the_route_leads_back() -> None:
    """Longest queue: a has three left, so the second visit is to a again, with a fresh limit."""
    assert order(queue("aaaaab"), KLimited(limit=2, route="longest")) == "a a a a a b"
    assert order(queue("aaaabb"), KLimited(limit=3, route="longest")) == "a a a b b a"


def test_k_limited_lets_other_residents_come_along() -> None:
    """They do not count: of three a one goes at a time, b fills the batch."""
    problem = queue(
        "aaab",
        gpus=[gpu(resident=("a", "b"), batch=4.0)],
        switching={"max_resident": 2, "max_per_batch": 2},
    )
    assert order(problem, KLimited(limit=1)) == "ab a a"


# -- routes ------------------------------------------------------------------------------------


def test_cyclic_goes_on_from_the_adapter_that_was_visited() -> None:
    """Not from one that came along: after c, which took a along, comes d and not b."""
    problem = queue(
        "bcadb",
        "01111",
        gpus=[gpu(resident=("a", "b", "c"), batch=2.0)],
        switching={"max_resident": 3, "max_per_batch": 2},
    )
    assert order(problem, KLimited(limit=1, route="cyclic")) == "b ca d b"


def test_several_gpus_visit_different_queues() -> None:
    """Two GPUs, two queues: each drains its own, although a is longer throughout."""
    problem = queue("aaaabb", gpus=[gpu("g0", batch=1.0), gpu("g1", ("b",), batch=1.0)])
    assert order(problem, DrainFirst(), 0) == "a a a"
    assert order(problem, DrainFirst(), 1) == "b b a"


# -- drain-first -------------------------------------------------------------------------------


def test_drain_first_goes_to_the_longest_queue() -> None:
    """Ties go to the queue whose head came first."""
    assert order(queue("abccb"), DrainFirst()) == "b b c c a"
    assert order(queue("abccbc"), DrainFirst()) == "c c c b b a"


def test_drain_first_leaves_for_who_has_waited_too_long() -> None:
    """Adapter b waits since 0; at tick 2 it goes, and a comes after it."""
    problem = queue("abaaaa", "001234")
    assert order(problem, DrainFirst()) == "a a a a a b"
    assert order(problem, DrainFirst(max_wait_s=2.0)) == "a a b a a a"
    assert order(problem, DrainFirst()) == order(problem, Exhaustive())


# -- amortized ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "served"),
    [
        ({"quantum": 1.0, "demand": 0.0, "balance": 0.0}, "a a b b a a"),  # 2 s of service each
        ({"quantum": 0.0, "demand": 0.0, "balance": 0.0}, "a b a b a a"),  # leaves at once
        ({"quantum": 9.0, "demand": 0.0, "balance": 0.0}, "a a a a b b"),  # never pays it off
        ({"quantum": 1.0, "demand": 2.0, "balance": 0.0}, "a a a a b b"),  # 2 s < 2 x 2 s
        ({"quantum": 1.0, "demand": 1.0, "balance": 0.0}, "a a b b a a"),  # 2 s >= 1 x 2 s
        ({"quantum": 1.0, "demand": 0.0, "balance": 1.0}, "a a a b b a"),  # 2 s > 1 s left
    ],
)
def test_amortized(parameters: dict[str, Any], served: str) -> None:
    """Four at a, two at b, a second each; every switch takes two."""
    problem = queue("aaaabb", loads=(2.0,) * 4)
    assert order(problem, Amortized(**parameters)) == served


def test_amortized_weighs_what_fits_a_batch_together() -> None:
    """Four b fit one batch of a second: less work than the two a that go one by one."""
    requests = [request(f"a{i}", demand={"vram_gib": 9.0}) for i in range(3)]
    requests += [
        request(f"b{i}", adapter="b", arrival_s=1.0, demand={"vram_gib": 2.0}) for i in range(4)
    ]
    problem = problem_of(document(*requests, adapters=[adapter("a", 0.5), adapter("b", 0.5)]))
    assert order(problem, Amortized(demand=0.0)) == "a a a bbbb"
    assert order(problem, Amortized(demand=0.0, balance=0.4)) == "a bbbb a a"


def test_amortized_bounds_waiting() -> None:
    """By default 60 s; b would not be worth its switch before a is empty."""
    problem = queue("ab" + "a" * 69, loads=(50.0,) * 4)
    served = order(problem, Amortized()).split()
    assert served.index("b") == 60
    assert order(problem, Amortized(max_wait_s=None)).split().index("b") == 70


# -- cost-aware --------------------------------------------------------------------------------


@pytest.mark.parametrize(("power", "served"), [(0.0, "a b b b c c"), (1.0, "a c c b b b")])
def test_cost_aware_weighs_demand_by_the_switch(power: float, served: str) -> None:
    """Three at b for 6 s of switching, two at c for 2 s."""
    problem = queue("abbbcc", "011111", loads=(1.0, 6.0, 2.0, 1.0))
    assert order(problem, CostAware(power=power)) == served


def test_cost_aware_looks_at_directions() -> None:
    """From a to b costs more than to c, where both load alike otherwise."""
    switching = {"pairs": [{"from": "a", "to": "b", "load_s": 9.0}]}
    assert order(queue("abbc"), CostAware()) == "a b b c"
    assert order(queue("abbc", switching=switching), CostAware()) == "a c b b"


def test_cost_aware_prefers_what_costs_nothing() -> None:
    """A resident adapter goes before any queue that needs a load."""
    problem = queue(
        "abccc", gpus=[gpu(resident=("a", "b"), batch=1.0)], switching={"max_resident": 2}
    )
    assert order(problem, CostAware()) == "a b c c c"


def test_costs_are_moving_averages() -> None:
    site = queue("ab", loads=(4.0, 8.0, 1.0, 1.0)).site
    run, here = CostAwareRun(setup_of(site)), GpuState(0, A, A)
    assert run.expected_s(1, here) == 8.0
    run.learn(run.load(A, 1), stated_s=8.0, took_s=4.0, newest=0.25)
    assert run.expected_s(1, here) == 7.0
    run.learn(run.load(A, 1), stated_s=8.0, took_s=4.0, newest=0.25)
    assert run.expected_s(1, here) == 6.25
    assert run.expected_s(1, GpuState(0, C, C)) == 8.0, "from elsewhere it has not been measured"
    assert run.expected_s(0, here) == 0.0


def test_cost_aware_measures_what_switches_took() -> None:
    """Loads of 5 s take 2 s here: the way to b, driven once, is the shorter one from then on."""
    problem = queue("abcbbcc", loads=(5.0,) * 4)
    decide = CostAware(newest=1.0).start(problem.site, 0)
    jobs = {job.index: job for job in problem.jobs}

    def ask(tick: int, state: GpuState, *names: str) -> str:
        waiting = {j: job for j, job in jobs.items() if job.id in names}
        fresh = [job for job in waiting.values() if job.index not in seen]
        seen.update(waiting)
        (start,) = decide(State(tick, waiting, fresh, (), (state,)))
        assert isinstance(start, Start)
        return problem.jobs[start.members[0][0]].id

    seen: set[int] = set()
    assert ask(0, GpuState(0, A), "r0") == "r0"
    assert ask(1, GpuState(0, A, A, 1), "r1") == "r1"
    # r1 took 2 s of switching and one of service.
    assert ask(4, GpuState(0, B, B, 4), "r3") == "r3"
    # Back at a: one waits at b, two at c; b costs 2 s by now, c 5 s as stated.
    assert ask(10, GpuState(0, A, A, 10), "r4", "r2", "r5") == "r4"


# -- family-index ------------------------------------------------------------------------------


def test_family_index_drains_what_is_alike() -> None:
    """Equal weights and service: the active one's h mu is above all others' until it is empty."""
    assert order(queue("aabbb"), FamilyIndex()) == "a a b b b"


def test_family_index_leaves_for_what_is_dearer() -> None:
    """Of weight 5, h mu (x + lambda D) / (x + mu D) of b is about 5 x 2 / 3 > 1."""
    requests = [
        request(f"r{i}", adapter=a, weight=w, demand={"vram_gib": 9.0})
        for i, (a, w) in enumerate((("a", 1.0), ("a", 1.0), ("b", 5.0), ("b", 5.0)))
    ]
    problem = problem_of(document(*requests, adapters=[adapter("a", 1.0), adapter("b", 1.0)]))
    assert order(problem, FamilyIndex()) == "b b a a"


def test_family_index_formula() -> None:
    """With x = 2, mu = 1 (one at a time, a second each), D = 4, lambda = 2 / 100 at tick 0."""
    problem = queue("bb", loads=(1.0, 4.0, 1.0, 1.0))
    policy = FamilyIndex(memory_s=100.0)
    run = policy.new_run(setup_of(problem.site))
    for job in problem.jobs:
        run.waiting.add(job)
        policy.arrived(run, job)
    index = policy.index(run, GpuState(0, A, A), 1)
    assert index == pytest.approx((2 + 0.02 * 4) / (2 + 1 * 4))
    assert policy.index(run, GpuState(0, B, B), 1) == 1.0, "the active one: h mu"


def test_rates_decay() -> None:
    rates = ArrivalRates(queue("a").site, memory_s=10.0)
    rates.arrived(0, 0)
    rates.arrived(0, 10)
    assert rates(0, 10) == pytest.approx((1 + 0.36787944) / 10)
    assert rates(0, 20) == pytest.approx((1 + 0.36787944) * 0.36787944 / 10)
    assert rates(1, 20) == 0.0


def test_demand_of_a_queue() -> None:
    """Mean demand 3 GiB on 10 GiB: three at once of four; 2 steps of 1 s on average."""
    requests = [
        request(f"r{i}", steps=s, demand={"vram_gib": v}, weight=w)
        for i, (s, v, w) in enumerate(((1, 2.0, 1.0), (3, 4.0, 2.0), (2, 3.0, 3.0), (2, 3.0, 4.0)))
    ]
    problem = problem_of(document(*requests))
    run, state = RunContext(setup_of(problem.site)), GpuState(0, A)
    waiting, demand = run.waiting, Demand(run)
    assert demand.work_s(0, state) == 0.0
    for job in problem.jobs:
        waiting.add(job)
    assert demand.batch(0, state) == (3, 3, 2.0)
    assert demand.rate(0, state) == 1.5
    assert demand.work_s(0, state) == pytest.approx(4 / 1.5)
    assert demand.mean_weight(0) == 2.5
    for job in problem.jobs[2:]:
        waiting.remove(job)
    assert demand.batch(0, state) == (3, 2, 2.0)
    assert demand.work_s(0, state) == 2.0


def test_stopwatch_reads_once() -> None:
    watch = BatchTimer[str]()
    watch.start(0, 3, 5, "note")
    assert watch.read(GpuState(1, A, free_at=9)) is None
    assert watch.read(GpuState(0, A, free_at=5)) is None  # it has not started
    assert watch.read(GpuState(0, A, free_at=9)) == (6, "note")
    assert watch.read(GpuState(0, A, free_at=9)) is None


# -- patient -----------------------------------------------------------------------------------


def test_patient_waits_for_the_next_request() -> None:
    """Adapter a comes again at 3, within the 2 s of patience; then b has to wait for 2 s more."""
    problem = queue("aaba", "0013", loads=(4.0, 4.0, 1.0, 1.0))
    eager: dict[str, Any] = {"likely": 0.0, "memory_s": 5.0}
    assert order(problem, Patient(patience=0.5, **eager)) == "a a a b"
    assert starts(problem, Patient(patience=0.5, **eager)) == [0, 1, 3, 10]
    assert order(problem, DrainFirst()) == "a a b a"


def test_patient_goes_when_its_timer_ends() -> None:
    """Idle from 2 on: it waits half of 4 s, then goes to b at 4."""
    problem = queue("aab", "001", loads=(4.0, 4.0, 1.0, 1.0))
    assert starts(problem, Patient(patience=0.5, likely=0.0)) == [0, 1, 8]
    assert starts(problem, Patient(patience=0.0)) == [0, 1, 6]


def test_patient_does_not_wait_for_the_unlikely() -> None:
    """Two arrivals in 120 s make one within 2 s unlikely."""
    problem = queue("aab", "001", loads=(4.0, 4.0, 1.0, 1.0))
    assert starts(problem, Patient(patience=0.5, likely=0.5)) == [0, 1, 6]


@pytest.mark.parametrize(
    "others",
    [
        {"horizon_ticks": 50},
        {"switching": {"max_resident": 2}},
    ],
)
def test_patient_does_not_wait_where_it_must_not_or_need_not(others: dict[str, Any]) -> None:
    """Under a hard horizon, and where a stays resident beside b."""
    problem = queue("aab", "001", loads=(4.0, 4.0, 1.0, 1.0), **others)
    assert starts(problem, Patient(patience=0.5, likely=0.0)) == [0, 1, 6]


def test_patient_asks_to_be_woken() -> None:
    problem = queue("ab", loads=(4.0, 4.0, 1.0, 1.0))
    decide: Decide = Patient(patience=0.5, likely=0.0, max_wait_s=None).start(problem.site, 0)
    a, b = problem.jobs
    list(decide(State(0, {0: a}, [a], (), (GpuState(0, A),))))
    assert list(decide(State(1, {1: b}, [b], (), (GpuState(0, A, A, 1),)))) == [WakeAt(3)]
    (start,) = decide(State(3, {1: b}, [], (), (GpuState(0, A, A, 1),)))
    assert isinstance(start, Start)


def test_patience_ends_where_waiting_is_bounded() -> None:
    """Who has waited as long as is allowed goes, timer or not."""
    problem = queue("aab", "001", loads=(4.0, 4.0, 1.0, 1.0))
    assert starts(problem, Patient(patience=5.0, likely=0.0, max_wait_s=2.0)) == [0, 1, 7]
