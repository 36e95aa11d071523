"""Horizons and windows: they keep an optimum, and the known schedule's loss makes them short."""

from __future__ import annotations

import json
import random
import time

import pytest

from pats_opt.core.solver import ALL_FEATURES, Feature, Run
from pats_opt.generate import Recipe, generate
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.problem import Problem
from pats_opt.model.timing import shape_of
from pats_opt.solving.starts import PolicyStarts
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.common.bounds import (
    earliest_completion,
    largest_batch,
    least_loss,
    least_switching,
    longest_batch,
    longest_switch,
    share_of_batch,
)
from pats_solvers.common.windows import latest_completions, safe_horizon, spare_loss
from tests.support import scale
from tests.support.brute_force import best_schedule
from tests.support.zoo import adapter, document, gpu, request

Json = dict[str, object]

#: What can be together with loads beside serving; searches of several GPUs take long.
BESIDE = frozenset(Feature) - {Feature.PAIRS, Feature.SLOT, Feature.GPUS}


def optimum(problem: Problem) -> tuple[float, list[tuple[int, int, int]], int] | None:
    """Loss, (job, option, completion) of everyone served, and end of an optimal schedule."""
    found = best_schedule(json.loads(encode(problem.instance)))
    if found is None:
        return None
    index, clock = problem.job_index(), problem.site.clock
    served, end = [], 0
    for plan in found["gpus"]:
        for batch in plan["batches"]:
            members = [(index[s["id"]], s["option"], s["completion"]) for s in batch["requests"]]
            shape = shape_of(problem.jobs[j].options[o].steps for j, o, _ in members)
            end = max(end, batch["start"] + clock.duration(shape))
            served += members
    return found["loss"], served, end


def drawn(seed: int) -> Problem:
    """A tiny problem of any features; every third one loads beside serving."""
    rng = random.Random(seed)
    among = ALL_FEATURES if seed % 3 else BESIDE
    wanted = random_features(rng, among=among)
    if seed % 3 == 0:
        wanted |= {Feature.OVERLAP, Feature.RESIDENT}
    return Problem(random_instance(rng, wanted, requests=(2, 4 if seed % 3 else 3)))


@pytest.mark.parametrize("seed", scale.seeds(80))
def test_an_optimum_is_inside(seed: int) -> None:
    """The search's optimum, timed as early as possible, ends in time and inside every window."""
    problem = drawn(seed)
    best = optimum(problem)
    if best is None:
        return
    loss, served, end = best
    start = PolicyStarts(problem, Run()).first()
    for known in (None, loss, *([] if start is None else [start[1]])):
        assert end <= safe_horizon(problem, known)
        windows = latest_completions(problem, known)
        for j, option, completion in served:
            last = windows[j][option]
            assert last is not None
            job = problem.jobs[j]
            assert earliest_completion(problem, job, option) <= completion <= last
        if known is not None:
            assert spare_loss(problem, known) >= 0.0


@pytest.mark.parametrize("seed", scale.seeds(80))
def test_the_least_is_never_more(seed: int) -> None:
    """The sum of what every job loses at least, and of the switches that must be, is a bound."""
    problem = drawn(seed)
    best = optimum(problem)
    if best is not None:
        least = sum(least_loss(problem, job) for job in problem.jobs)
        assert least + least_switching(problem) <= best[0] + 1e-9


@pytest.mark.parametrize("seed", scale.seeds(40))
def test_batches_are_within_their_bounds(seed: int) -> None:
    """No batch of the optimum is larger or longer than the bounds say."""
    problem = drawn(seed)
    found = best_schedule(json.loads(encode(problem.instance)))
    index = problem.job_index()
    for g, plan in enumerate(found["gpus"] if found else ()):
        most = largest_batch(problem, g)
        for batch in plan["batches"]:
            steps = [
                problem.jobs[index[s["id"]]].options[s["option"]].steps for s in batch["requests"]
            ]
            ticks = problem.site.clock.duration(shape_of(steps))
            assert len(steps) <= most
            assert ticks <= len(steps) * share_of_batch(problem, most)
            assert ticks <= longest_batch(problem, most)
            assert batch["start"] - batch["switch_start"] <= longest_switch(problem)


def test_a_known_loss_shortens_the_tail() -> None:
    """After the last arrival batches follow each other, and each costs latency: that ends soon."""
    problem = Problem(generate(Recipe(requests=40), seed=1))
    start = PolicyStarts(problem, Run()).first()
    assert start is not None
    arrived = problem.jobs[-1].arrival
    free, known = safe_horizon(problem), safe_horizon(problem, start[1])
    assert arrived < known
    assert known - arrived < (free - arrived) / 2


def test_the_tail_of_many_requests_takes_no_minutes() -> None:
    """Not every request is priced at every tick."""
    problem = Problem(generate(Recipe(requests=20_000), seed=1))
    began = time.process_time()
    assert safe_horizon(problem, 1e7) < safe_horizon(problem)
    assert time.process_time() - began < 30.0


def test_the_tail_counts_completions_by_hand() -> None:
    """Three jobs at tick 0, one a batch, one tick each: a loss of 6 is met at ticks 1, 2 and 3."""
    lines = document(*(request(f"r{i}") for i in range(3)), gpus=[gpu(vram_gib=1.0)])
    problem = Problem(parse_instance(json.dumps(lines)))
    best = optimum(problem)
    assert best is not None
    assert (best[0], best[2]) == (6.0, 3)
    # each loses 1 at least, so 3 is to spare; batches are at most 2 ticks apart by the bounds, so
    # an end at tick 4 costs 3 more at least (4 - 1), and 1 more for the batch before it (2 - 1)
    assert safe_horizon(problem, 6.0) == 3
    assert latest_completions(problem, 6.0) == [[3], [3], [3]]
    assert latest_completions(problem, 5.0) == [[3], [3], [3]]


def test_nothing_to_do_takes_no_time() -> None:
    """Without requests the horizon is 0, with a known loss or without."""
    problem = Problem(parse_instance(json.dumps(document())))
    assert safe_horizon(problem) == safe_horizon(problem, 0.0) == 0
    assert latest_completions(problem, 0.0) == []


def test_the_hard_horizon_holds() -> None:
    """A hard horizon caps everything."""
    problem = Problem(random_instance(4, {Feature.HORIZON}, tight=True))
    assert problem.site.horizon is not None
    assert safe_horizon(problem) <= problem.site.horizon
    assert all(
        t is None or t <= problem.site.horizon
        for row in latest_completions(problem, None)
        for t in row
    )


def test_an_option_that_costs_too_much_has_no_window() -> None:
    """Where even the first tick exceeds what the known loss leaves, the option is out."""
    options = [{"steps": 1, "quality": 1.0}, {"steps": 1, "quality": 0.0}]
    lines = document(request("r0", options=options), adapters=[adapter("a")])
    problem = Problem(parse_instance(json.dumps(lines)))
    (row,) = latest_completions(problem, 1.5)
    assert row[0] is not None
    assert row[1] is None
