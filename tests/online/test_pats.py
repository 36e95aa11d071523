"""``pats`` on examples worked by hand, and against a plain restatement of its rule."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from pats_opt.core.policy import GpuState, State
from pats_opt.core.solver import Solver
from pats_opt.model.problem import Problem
from pats_opt.simulate import simulate
from pats_opt.testing.instances import random_instance
from pats_solvers.online.common.options import most_steps
from pats_solvers.online.common.scoring import CosineSimilarity
from pats_solvers.online.pats import Pats
from tests.online.asking import again, ask, members
from tests.online.plain_pats import PlainPats
from tests.simulate.scripted import Scripted, problem_of
from tests.support import scale
from tests.support.zoo import adapter, document, gpu, request

A, B = frozenset((0,)), frozenset((1,))
LEVELS = [{"steps": 20, "quality": 0.97}, {"steps": 60, "quality": 1.0}]


def prompt(name: str, of: str, complexity: float | None, arrival_s: float = 0.0) -> dict[str, Any]:
    """A request of the documents: 20 or 60 steps, 4 GiB."""
    return request(
        name,
        adapter=of,
        complexity=complexity,
        arrival_s=arrival_s,
        options=LEVELS,
        demand={"vram_gib": 4.0},
    )


def documents(*requests: dict[str, Any], **others: Any) -> Problem:
    """The documents' figures: 0.06 s a step, 1.16 s a switch; adapter a is resident."""
    return problem_of(
        document(
            *requests,
            adapters=[adapter("a", load_s=1.16), adapter("b", load_s=1.16)],
            **{"service": {"kind": "steps", "step_s": {"base": 0.06, "per_sample": 0.0}}, **others},
        )
    )


# The score. EffTime with 0.06 s a step is 1.2 or 3.6 s, plus 1.16 s where the adapter is not ready.
# Without waiting that makes 0.833 (simple, cached), 0.424 (simple, uncached), 0.278 (complex,
# cached) and 0.210 (complex, uncached).


def test_simple_uncached_beats_complex_cached() -> None:
    """The documents' own counter-intuitive example."""
    problem = documents(prompt("complex", "a", 0.9), prompt("simple", "b", 0.1))
    assert members(ask(problem, Pats())[0], problem) == ["simple"]


def test_cached_beats_uncached() -> None:
    problem = documents(prompt("far", "b", 0.1), prompt("near", "a", 0.1))
    assert members(ask(problem, Pats())[0], problem) == ["near"]


@pytest.mark.parametrize(("wait_s", "leader"), [(4, "simple"), (6, "complex")])
def test_waiting(wait_s: int, leader: str) -> None:
    """0.278 (1 + 0.1 w) passes 0.424 at w = 5.25 s; the other has just arrived."""
    problem = documents(
        prompt("complex", "a", 0.9), prompt("simple", "b", 0.1, arrival_s=float(wait_s))
    )
    start = ask(problem, Pats(gamma=0.1), tick=wait_s)[0]
    assert members(start, problem) == [leader]


def test_gamma_zero_never_waits() -> None:
    problem = documents(prompt("complex", "a", 0.9), prompt("simple", "b", 0.1, arrival_s=900.0))
    assert members(ask(problem, Pats(gamma=0.0), tick=900)[0], problem) == ["simple"]


def test_an_adapter_that_must_be_activated_is_not_ready() -> None:
    """Both are resident, but the GPU last served a, and turning to b takes 1.16 s."""
    problem = documents(
        prompt("other", "b", 0.1),
        prompt("same", "a", 0.1),
        switching={"max_resident": 2, "activate_s": 1.16},
        gpus=[gpu(resident=("a", "b"))],
    )
    assert members(ask(problem, Pats())[0], problem) == ["other"], "nothing was active yet"
    state = (GpuState(0, A | B, active=A),)
    assert members(ask(problem, Pats(), gpus=state)[0], problem) == ["same"]


def test_pairs() -> None:
    """The switching time is that of the transition at hand."""
    pairs = [{"from": "a", "to": "b", "load_s": 9.0}, {"from": "a", "to": "c", "load_s": 0.5}]
    problem = problem_of(
        document(
            prompt("b", "b", 0.1),
            prompt("c", "c", 0.1),
            adapters=[adapter(name, load_s=1.0) for name in "abc"],
            service={"kind": "steps", "step_s": {"base": 0.06, "per_sample": 0.0}},
            switching={"pairs": pairs},
        )
    )
    assert members(ask(problem, Pats())[0], problem) == ["c"]


def test_slot_service() -> None:
    """A slotted batch takes a tick whatever its steps: only switching and waiting count."""
    problem = documents(
        prompt("simple", "b", 0.1), prompt("complex", "a", 0.9), service={"kind": "slot"}
    )
    assert members(ask(problem, Pats())[0], problem) == ["complex"]


# Pruning. Which option a request gets.


@pytest.mark.parametrize(
    ("complexity", "steps"), [(0.0, 20), (0.49, 20), (0.5, 60), (1.0, 60), (None, 60)]
)
def test_threshold(complexity: float | None, steps: int) -> None:
    """Below the threshold the fewest steps, from it on and where unknown the most."""
    problem = documents(prompt("r", "a", complexity))
    (job,) = problem.jobs
    assert job.options[Pats(threshold=0.5).chooser(problem.site)(job)].steps == steps


def test_no_pruning() -> None:
    problem = documents(prompt("r", "a", 0.0))
    (job,) = problem.jobs
    assert job.options[Pats(prune=False).chooser(problem.site)(job)].steps == 60


def test_of_equal_steps_the_better_looking() -> None:
    options = [{"steps": 20, "quality": q} for q in (0.5, 0.9, 0.7)]
    problem = documents(request("r", options=options, complexity=0.1))
    (job,) = problem.jobs
    assert Pats().chooser(problem.site)(job) == 1
    assert Pats(prune=False).chooser(problem.site)(job) == 1


# Cosine. The angle between a demand and what is left, each as a share of the capacity.


def test_by_hand() -> None:
    """(0.5, 0.25) against (1, 1) is 0.75 / (sqrt 0.3125 sqrt 2); along the residual 1."""
    demand = np.array([[20, 10], [1, 1]])
    expected = [0.75 / math.sqrt(0.3125 * 2), 1.0]
    assert CosineSimilarity(demand, (40, 4)).cosine([40, 4]) == pytest.approx(expected)


def test_one_limited_resource_says_nothing() -> None:
    demand = np.array([[20, 10], [1, 7]])
    assert list(CosineSimilarity(demand, (40, None)).cosine([3, None])) == [1.0, 1.0]


def test_zeros() -> None:
    """No demand, or nothing left, has cosine 1; a resource of which there is nothing is out."""
    nothing = np.array([[0], [0]])
    some = np.array([[1], [0]])
    assert list(CosineSimilarity(nothing, (40, 4)).cosine([40, 4])) == [1.0]
    assert list(CosineSimilarity(some, (40, 4)).cosine([0, 0])) == [1.0]
    assert list(CosineSimilarity(some, (40, 0)).cosine([9, 0])) == [1.0]


def test_right_angle() -> None:
    assert list(CosineSimilarity(np.array([[1], [0]]), (40, 4)).cosine([0, 4])) == [0.0]


def test_it_chooses_the_leader() -> None:
    """The second fills the GPU evenly (1.0), the first does not (0.949): it leads."""
    problem = problem_of(
        document(
            request("skew", demand={"vram_gib": 20.0, "batch": 1.0}),
            request("even", demand={"vram_gib": 10.0, "batch": 1.0}),
            gpus=[{"id": "g", "capacity": {"vram_gib": 40.0, "batch": 4.0}, "resident": ["a"]}],
        )
    )
    assert members(ask(problem, Pats())[0], problem) == ["even", "skew"]
    plain = Pats(use_cosine=False)
    assert members(ask(problem, plain)[0], problem) == ["skew", "even"]


# Train. Intra-batch simulation: who follows the leader.


def test_followers_are_scored_against_what_the_leader_leaves() -> None:
    """After the leader (0.25, 0.75) is left: `low` has cosine 0.997 there, `even` 0.894.

    Before it, with (1, 1) left, it was 0.857 against 1. After `low` nothing else fits.
    """
    capacity = {"vram_gib": 40.0, "batch": 4.0}
    problem = problem_of(
        document(
            request("even", steps=2, demand={"vram_gib": 10.0, "batch": 1.0}),
            request("low", steps=2, demand={"vram_gib": 5.0, "batch": 2.0}),
            request("leader", steps=1, demand={"vram_gib": 30.0, "batch": 1.0}),
            gpus=[{"id": "g", "capacity": capacity, "resident": ["a"]}],
        )
    )
    assert members(ask(problem, Pats())[0], problem) == ["leader", "low"]
    plain = Pats(use_cosine=False)
    assert members(ask(problem, plain)[0], problem) == ["leader", "even"]


def test_only_its_adapter_and_only_what_fits() -> None:
    """4 GiB each in 10 GiB: two fit; the other adapter's better score does not matter."""
    requests = [prompt(f"b{i}", "b", 0.9) for i in range(3)]
    problem = documents(prompt("a0", "a", 0.1), prompt("a1", "a", 0.9), *requests)
    start = ask(problem, Pats())[0]
    assert members(start, problem) == ["a0", "a1"]
    assert start.members == ((0, 0), (1, 1))
    rest = tuple(GpuState(0, A) for _ in range(1))
    decide = Pats().start(problem.site, 0)
    again(problem, decide, 0)
    follow = list(decide(State(4, {}, (), (), rest)))
    assert [job for job, _ in follow[0].members] == [2, 3]  # type: ignore[union-attr]
    assert follow[0].resident == B  # type: ignore[union-attr]


def test_smaller_ones_fill_the_rest() -> None:
    """A follower that does not fit is passed over for the next that does."""
    sizes = {"first": 6.0, "large": 5.0, "small": 3.0}
    problem = problem_of(
        document(*(request(name, demand={"vram_gib": s}) for name, s in sizes.items()))
    )
    assert members(ask(problem, Pats())[0], problem) == ["first", "small"]


def test_without_followers() -> None:
    problem = documents(prompt("a0", "a", 0.1), prompt("a1", "a", 0.1))
    assert members(ask(problem, Pats(followers=False))[0], problem) == ["a0"]


def test_the_step_table_limits_it() -> None:
    table = {"kind": "steps", "step_s": {"table": [1.0, 1.0]}}
    problem = problem_of(document(*(request(f"r{i}") for i in range(4)), service=table))
    assert members(ask(problem, Pats())[0], problem) == ["r0", "r1"]


def test_at_the_horizon() -> None:
    """10 ticks are left, too few for 60 steps of 0.2 s: the leader gets 20, and goes alone."""
    problem = problem_of(
        document(
            prompt("r0", "a", 0.9),
            prompt("r1", "a", 0.9),
            service={"kind": "steps", "step_s": {"base": 0.2, "per_sample": 0.0}},
            horizon_ticks=10,
        )
    )
    assert ask(problem, Pats())[0].members == ((0, 0),)


def test_with_no_time_left_it_waits() -> None:
    """A request that cannot end by the horizon gives way to one that can."""
    problem = problem_of(
        document(
            request("short", steps=2, adapter="b"),
            request("shorter", steps=3),
            adapters=[adapter("a"), adapter("b", load_s=2.0)],
            horizon_ticks=3,
        )
    )
    assert members(ask(problem, Pats())[0], problem) == ["shorter"]


# Several. Several GPUs, several residents.


def test_the_best_pair_of_request_and_gpu_goes_first() -> None:
    """The second GPU holds the adapter, so it serves, and the first has nothing left to do."""
    problem = documents(prompt("r0", "b", 0.1), gpus=[gpu("cold"), gpu("warm", resident=("b",))])
    assert [start.gpu for start in ask(problem, Pats())] == [1]


def test_each_idle_gpu_gets_a_batch() -> None:
    requests = [prompt(f"r{i}", "ab"[i % 2], 0.1) for i in range(4)]
    problem = documents(*requests, gpus=[gpu("g0"), gpu("g1", resident=("b",))])
    starts = ask(problem, Pats())
    assert [(s.gpu, members(s, problem)) for s in starts] == [
        (0, ["r0", "r2"]),
        (1, ["r1", "r3"]),
    ]


def test_a_busy_gpu_is_left_alone() -> None:
    problem = documents(prompt("r0", "a", 0.1))
    assert ask(problem, Pats(), gpus=(GpuState(0, A, free_at=1),)) == []


def test_a_gpu_too_small_for_a_request() -> None:
    small = {"id": "small", "capacity": {"vram_gib": 1.0}, "resident": ["a"]}
    problem = documents(prompt("r0", "a", 0.1), gpus=[small, gpu("large", resident=())])
    assert [start.gpu for start in ask(problem, Pats())] == [1]


def test_the_least_recently_used_makes_room() -> None:
    """Two residents: a, b, a, then c goes in for b."""
    arrivals = {"r0": ("a", 0.0), "r1": ("b", 10.0), "r2": ("a", 20.0), "r3": ("c", 30.0)}
    problem = problem_of(
        document(
            *(request(n, adapter=a, arrival_s=t) for n, (a, t) in arrivals.items()),
            adapters=[adapter(name) for name in "abc"],
            switching={"max_resident": 2},
        )
    )
    plan = simulate(problem, Pats()).plan
    assert plan is not None
    assert [set(b.resident) for b in plan.gpus[0]] == [{0}, {0, 1}, {0, 1}, {0, 2}]


def test_residents_go_where_memory_needs_it() -> None:
    """Three may stay, but 10 GiB hold only one of 3 GiB beside a request of 6 GiB."""
    problem = problem_of(
        document(
            request("r0", demand={"vram_gib": 6.0}, adapter="b"),
            adapters=[adapter("a", vram_gib=3.0), adapter("b", vram_gib=3.0)],
            switching={"max_resident": 3},
        )
    )
    assert ask(problem, Pats())[0].resident == B


@pytest.mark.parametrize(
    "policy", [Pats(), Pats(gamma=2.0, threshold=0.8), Pats(use_cosine=False, followers=False)]
)
def test_against_the_plain_restatement(policy: Pats) -> None:
    """Scoring kinds in columns gives the plans that scoring each request one by one gives."""
    for seed in scale.seeds(120):
        problem = Problem(random_instance(seed, requests=(4, 30)))
        plain = Scripted(PlainPats(policy, problem.site))
        assert simulate(problem, policy).plan == simulate(problem, plain).plan, seed


def test_most_steps_prefers_the_better_looking() -> None:
    options = [{"steps": s, "quality": q} for s, q in ((60, 0.5), (20, 1.0), (60, 0.9))]
    (job,) = problem_of(document(request("r", options=options))).jobs
    assert most_steps(job) == 2


def test_parameters_are_checked() -> None:
    """A threshold is a share; a negative gamma would reward arriving late."""
    from pats_opt.core.registry import make, parameters
    from pats_opt.errors import InputError

    made = make("pats:gamma=0.5:use_cosine=false", threshold=0.25)
    assert not isinstance(made, Solver)
    assert parameters(made) == {
        "eviction": "lru",
        "max_wait_s": None,
        "adaptive_wait": False,
        "prefetch": "none",
        "dispatch": "central",
        "steal": False,
        "rebalance": False,
        "threshold": 0.25,
        "gamma": 0.5,
        "use_cosine": False,
        "prune": True,
        "followers": True,
    }
    for wrong in ("pats:threshold=2", "pats:gamma=-1", "pats:gamma=nan", "pats:delta=1"):
        with pytest.raises(InputError):
            make(wrong)
