"""The policies that serve at levels: what they do on small problems."""

from __future__ import annotations

import random
from collections import Counter
from math import comb
from typing import Any

import pytest

from pats_opt.core.registry import make
from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_opt.simulate import simulate
from pats_solvers.online.levels.allocation import MOST_ENUMERATED
from tests.online.levels.examples import LEVELS, Served, problem, request, served

BATCHINGS = ("accscale", "nexus", "aimd", "switched")
POLICIES = ("clipper", "nirvana", "proteus", "prompt-aware")

#: Members are one at a time, so that a batch is a request.
ALONE = {"kind": "steps", "step_s": {"table": [1.0]}}


def stream(count: int, gap_s: float, **changes: Any) -> list[dict[str, Any]]:
    """Requests at equal distances, at random cache levels."""
    rng = random.Random(1)
    return [
        request(i, i * gap_s, cache_level=rng.choice(LEVELS)[0], **changes) for i in range(count)
    ]


def levels(batches: list[Served]) -> dict[int, int]:
    """The level at which each job was served."""
    return dict(member for _, _, members in batches for member in members)


@pytest.mark.parametrize("rule", BATCHINGS)
def test_clipper_serves_all_at_one_level(rule: str) -> None:
    given = problem(stream(30, 1.0), gpus=2)
    for level, expected in (("accuracy", 0), ("throughput", 4)):
        found = levels(served(given, f"clipper:level={level}:batching={rule}"))
        assert found == dict.fromkeys(range(30), expected)


@pytest.mark.parametrize("rule", BATCHINGS)
def test_nirvana_serves_each_at_its_cache_level(rule: str) -> None:
    given = problem([*stream(20, 1.0), request(20, 20.0)], gpus=2)
    found = levels(served(given, f"nirvana:batching={rule}"))
    assert found == {job.index: job.cache_level or 0 for job in given.jobs}


@pytest.mark.parametrize("name", ["proteus", "prompt-aware"])
def test_levels_follow_the_load(name: str) -> None:
    """Two GPUs serve 20 a minute at level 0, and 60 a minute at level 4."""
    quiet = [request(i, 7.0 * i) for i in range(30)]
    crowd = [request(30 + i, 210.0 + 1.2 * i) for i in range(150)]
    late = [request(180 + i, 400.0 + 7.0 * i) for i in range(30)]
    given = problem([*quiet, *crowd, *late], gpus=2, service=ALONE)
    found = levels(served(given, f"{name}:slo_s=30:window_s=5:period=2"))
    means = [
        sum(found[i] for i in part) / len(part)
        for part in (range(30), range(60, 170), range(195, 210))
    ]
    assert means[0] == means[2] == 0
    assert means[1] > 2.5


def test_a_fleet_too_large_to_enumerate_is_allocated_too() -> None:
    """17 GPUs at 6 levels, of which the load takes all: an integer program places them."""
    options = [{"steps": 10 - k, "skip": k, "quality": 1 - 0.05 * k} for k in range(6)]
    assert comb(17 + 5, 5) > MOST_ENUMERATED
    requests = [request(i, 0.44 * i, options=options) for i in range(260)]
    given = problem(requests, gpus=17, service=ALONE)
    found = levels(served(given, "prompt-aware:slo_s=40:window_s=5:period=2"))
    late = [found[i] for i in range(150, 250)]
    # 17 GPUs serve 2.27 requests a second at levels where a request takes 7.5 s.
    assert 1 < sum(late) / len(late) < 5
    assert len(set(late)) > 1


@pytest.mark.parametrize("name", ["proteus", "prompt-aware"])
def test_fixed_workers(name: str) -> None:
    """Each GPU keeps its level, and levels beyond the deepest known count as that."""
    given = problem(stream(60, 2.0), gpus=3)
    for workers, expected in (("1+1+1", [0, 2, 4]), ("1+0+1+1", [0, 4, 4]), ("0+3", [2, 2, 2])):
        batches = served(given, f"{name}:workers={workers}")
        at = [{k for g, _, members in batches if g == gpu for _, k in members} for gpu in range(3)]
        assert at == [{k} for k in expected]


def test_a_prompt_goes_to_the_level_that_it_tolerates() -> None:
    """Half of the capacity is deep and half of the prompts are: once ranks are known, none errs."""
    rng = random.Random(3)
    requests = [request(i, 3.0 * i, cache_level=rng.choice((0, 4))) for i in range(400)]
    # One step is as long at each level as at the other, so that capacities are alike.
    for r in requests:
        r["options"] = [{"steps": 2, "skip": k, "quality": q} for k, q in (LEVELS[0], LEVELS[2])]
    given = problem(requests, gpus=2, service=ALONE)
    found = levels(served(given, "prompt-aware:workers=1+1:slo_s=60"))
    wrong = [job.index for job in given.jobs if found[job.index] != job.cache_level]
    assert len([index for index in wrong if index > 100]) < 30
    off = levels(served(given, "prompt-aware:workers=1+1:slo_s=60:awareness=off"))
    wrong = [job.index for job in given.jobs if off[job.index] != job.cache_level]
    assert 120 < len(wrong) < 280


def sensitive(count: int, seed: int) -> Problem:
    """Prompts that lose more or less quality by leaving steps out."""
    rng, requests = random.Random(seed), []
    for i in range(count):
        s = rng.lognormvariate(-0.35, 0.83)
        options = [
            {"steps": 6 - k, "skip": k, "quality": max(0.0, 1 - s * g)}
            for k, g in ((0, 0.0), (2, 0.04), (4, 0.08))
        ]
        requests.append(request(i, 2.0 * i, options=options))
    return problem(requests, gpus=3, service=ALONE)


def quality(given: Problem, spec: str, seed: int) -> float:
    """The mean quality of what a policy serves."""
    found = levels(served(given, spec, seed))
    options = {job.index: {o.skip: o.quality for o in job.options} for job in given.jobs}
    return sum(options[index][level] for index, level in found.items()) / len(found)


def test_a_predictor_that_knows_nothing_is_no_awareness() -> None:
    """With rank correlation 0 quality is that without awareness, and with 1 it is better."""
    base = "prompt-aware:workers=1+1+1:slo_s=60:predictor=tolerance"
    means = {
        spec: sum(quality(sensitive(400, seed), base + spec, seed) for seed in range(6)) / 6
        for spec in (":rho=0", ":rho=1", ":awareness=off")
    }
    assert means[":rho=0"] == pytest.approx(means[":awareness=off"], abs=0.003)
    assert means[":rho=1"] > means[":awareness=off"] + 0.01


def overload(reject_loss: float | None) -> Problem:
    """Three times what two GPUs can serve at the deepest level."""
    return problem(
        stream(150, 0.33, reject_loss=reject_loss, deadline_s=15.0), gpus=2, service=ALONE
    )


@pytest.mark.parametrize("rule", ["accscale", "nexus"])
def test_a_batch_is_made_smaller_before_its_head_is_dropped(rule: str) -> None:
    """Three arrive at once; one of two takes 3 s, one of three 4 s, and the head has 3.2 s."""
    hurried = request(0, 0.0, deadline_s=3.2, reject_loss=1.0)
    others = [request(i, 0.0, deadline_s=30.0) for i in (1, 2)]
    found = served(problem([hurried, *others]), f"clipper:level=throughput:batching={rule}")
    assert found[0] == (0, 0, ((0, 4), (1, 4)))
    assert sorted(levels(found)) == [0, 1, 2]


@pytest.mark.parametrize("rule", BATCHINGS)
@pytest.mark.parametrize("name", POLICIES)
def test_only_what_may_be_rejected_is_dropped(name: str, rule: str) -> None:
    """Nothing that may be rejected is served late; what must be served is, however late."""
    given = overload(reject_loss=1.0)
    for g, start, members in served(given, f"{name}:batching={rule}"):
        ends, _ = given.site.clock.ends(tuple(6 - k for _, k in members))
        for index, level in members:
            assert start + ends[6 - level] <= given.jobs[index].arrival + 30, (g, start)
    assert len(levels(served(given, f"{name}:batching={rule}"))) < 150
    assert len(levels(served(given, f"{name}:batching={rule}:drop=false"))) == 150
    assert len(levels(served(overload(None), f"{name}:batching={rule}"))) == 150


@pytest.mark.parametrize(
    ("spec", "start"),
    [
        ("switched", 0),  # low load: at once
        ("accscale", 28),  # due at 40, alone 12 ticks
        ("nexus", 22),  # a batch of two takes 18 ticks, less than half of 40
        ("nexus:share=1", 10),  # four take 30
        ("aimd", 0),  # its first size is 1
    ],
)
def test_when_a_lone_request_starts(spec: str, start: int) -> None:
    given = problem([request(0, 0.0, deadline_s=20.0)])
    ((_, found, _),) = served(given, f"clipper:batching={spec}")
    assert found == start


def test_with_a_hard_horizon_no_gpu_idles_beside_its_queue() -> None:
    given = problem([request(0, 0.0, deadline_s=20.0)], horizon_ticks=100)
    for rule in BATCHINGS:
        ((_, start, _),) = served(given, f"clipper:batching={rule}")
        assert start == 0


def test_without_a_deadline_three_times_the_service_is_due() -> None:
    given = problem([request(0, 0.0)])
    ((_, start, _),) = served(given, "clipper:batching=accscale")
    assert start == 3 * 12 - 12
    ((_, start, _),) = served(given, "clipper:batching=accscale:slo_s=10")
    assert start == 20 - 12


def test_requests_are_routed_by_the_share_of_capacity() -> None:
    """GPUs at levels 0, 2 and 4 serve 6, 4 and 2 steps: shares 2/11, 3/11 and 6/11."""
    given = problem(stream(2000, 4.0), gpus=3, service=ALONE)
    at = Counter(k for _, _, m in served(given, "proteus:workers=1+1+1:slo_s=90") for _, k in m)
    for level, share in ((0, 2 / 11), (2, 3 / 11), (4, 6 / 11)):
        assert at[level] / 2000 == pytest.approx(share, abs=0.04)


def test_at_high_load_the_longest_open_queue_is_filled() -> None:
    """Two GPUs at one level, batches of two: the third request opens the other GPU's batch."""
    given = problem(
        [request(i, 30.0 if i else 0.0, deadline_s=60.0) for i in range(5)],
        gpus=2,
        service={"kind": "steps", "step_s": {"table": [1.0, 1.0]}},
    )
    _, *batches = served(given, "prompt-aware:up=0:workers=2")
    assert sorted(members for _, _, members in batches) == [((1, 0), (2, 0)), ((3, 0), (4, 0))]
    assert {gpu for gpu, _, _ in batches} == {0, 1}


@pytest.mark.parametrize("name", POLICIES)
def test_one_level_is_enough(name: str) -> None:
    requests = stream(20, 2.0, options=[{"steps": 6, "quality": 1.0}])
    given = problem(requests, gpus=2)
    assert levels(served(given, name)) == dict.fromkeys(range(20), 0)


def test_without_skips_levels_are_steps() -> None:
    requests = [
        request(i, 2.0 * i, options=[{"steps": s, "quality": s / 6} for s in (6, 3)])
        for i in range(10)
    ]
    given = problem(requests)
    policy = make("clipper:level=throughput")
    plan = simulate(given, policy).plan  # type: ignore[arg-type]
    assert plan is not None
    assert {option for b in plan.gpus[0] for _, option in b.members} == {1}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("prompt-aware:batching=acscale", "choose one of: accscale"),
        ("prompt-aware:predictor=lookup", "choose one of: look-up"),
        ("clipper:level=ha", "accuracy, throughput"),
        ("proteus:workers=2-3", "workers '2-3' are no whole numbers with"),
        ("proteus:workers=", "workers '' are no whole numbers with"),
        ("proteus:workers=2:dispatch=hash", "so they need dispatch=central"),
        ("prompt-aware:up=-1", "`float` >= 0.0"),
        ("prompt-awre", "prompt-aware"),
        ("nirvana:rho=1", "nirvana"),
    ],
)
def test_bad_parameters(spec: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        make(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_levels_than_gpus() -> None:
    given = problem(stream(3, 1.0), gpus=2)
    with pytest.raises(InputError, match=r"allocate 3 GPUs, the instance 'levels' has 2; make"):
        served(given, "prompt-aware:workers=1+1+1")
