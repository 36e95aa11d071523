"""``price-index``: by hand on small cases, against other policies on a fixed set, and its parts."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from pats_opt.core.policy import GpuState, Start
from pats_opt.core.registry import make
from pats_opt.core.solver import Feature
from pats_opt.generate import Recipe, generate
from pats_opt.generate.recipe import AdapterCache, Arrivals, Popularity
from pats_opt.generate.suites import instances
from pats_opt.model.instance import Instance
from pats_opt.model.loss import serving_loss
from pats_opt.model.problem import Job, Problem, Site
from pats_opt.model.timing import shape_of
from pats_opt.simulate import simulate
from pats_opt.solving.solve import solve
from pats_opt.testing.instances import random_features, random_instance
from pats_opt.testing.policies import answers
from pats_solvers.online.backlog import PlannedOptions, PriceIndexRun
from pats_solvers.online.common.context import RunSetup
from pats_solvers.online.common.eviction import LeastRecentlyUsed
from pats_solvers.online.price_index import PriceIndex
from pats_solvers.online.pricing import NEVER, BatchPricing, JobTable, best_size, priced_job
from pats_solvers.online.worth import last_start
from tests.support import scale

INDEX = "price-index:forecast=0"


def request(name: str, adapter: str, arrival: float = 0.0, **more: Any) -> dict[str, Any]:
    """A request of ten steps that takes a tick alone."""
    return {
        "id": name,
        "adapter": adapter,
        "arrival_s": arrival,
        "demand": {"vram_gib": 1.0},
        "options": [{"steps": 10, "quality": 1.0}],
    } | more


def document(*requests: dict[str, Any], **more: Any) -> Instance:
    """One GPU, adapters a to c, a tick of 1 s, 0.1 s a step whatever the batch's size."""
    made = {
        "format": "pats-opt/instance",
        "version": 1,
        "name": "by-hand",
        "tick_s": 1.0,
        "base_vram_gib": 0.0,
        "gpus": [{"id": "g", "capacity": {"vram_gib": 4.0}}],
        "adapters": [{"id": x, "vram_gib": 0.0, "load_s": 1.0} for x in "abc"],
        "switching": {"max_resident": 1, "price_per_s": 0.0},
        "service": {"kind": "steps", "step_s": {"base": 0.1, "per_sample": 0.0}},
        "latency_price_per_s": 0.1,
        "requests": list(requests),
    } | more
    return msgspec.convert(made, Instance)


def first(instance: Instance, spec: str = INDEX) -> tuple[list[str], list[int]]:
    """The ids and options of the first batch a policy starts."""
    jobs = Problem(instance).jobs
    for _, actions in answers(instance, make(spec)):  # type: ignore[arg-type]
        for action in actions:
            if isinstance(action, Start):
                members = sorted((jobs[j].id, option) for j, option in action.members)
                return [name for name, _ in members], [option for _, option in members]
    raise AssertionError("nothing was started")


def test_the_greatest_weight_for_its_time_goes_first() -> None:
    """Both take load 1 and batch 1: two requests of a, 0.2 a tick, against 0.3 for heavy b."""
    light = [request("a0", "a"), request("a1", "a")]
    assert first(document(*light, request("b", "b", weight=3.0)))[0] == ["b"]
    assert first(document(*light, request("b", "b", weight=1.5)))[0] == ["a0", "a1"]


def test_a_switch_costs_time_and_its_price() -> None:
    """Resident a gives 0.1 a tick; b 0.25 or 0.4 for a tick, its load and that back to a.

    A price adds ticks.
    """
    gpus = [{"id": "g", "capacity": {"vram_gib": 4.0}, "resident": ["a"]}]
    for weight, price, leads in ((2.5, 0.0, "a"), (4.0, 0.0, "b"), (4.0, 1.0, "a")):
        switching = {"max_resident": 1, "price_per_s": price}
        two = request("a", "a"), request("b", "b", weight=weight)
        made = document(*two, gpus=gpus, switching=switching)
        assert first(made)[0] == [leads], (weight, price)


def test_steps_are_cut_where_others_wait() -> None:
    """Three ticks more for 0.5 of quality cost 0.3 alone, but 1.14 where seven others wait."""
    options = [{"steps": 10, "quality": 0.5}, {"steps": 40, "quality": 1.0}]
    one = request("a", "a", options=options, weight=1.0)
    others = [request(f"b{i}", "b", demand={"vram_gib": 4.0}, weight=0.4) for i in range(7)]
    gpus = [{"id": "g", "capacity": {"vram_gib": 4.0}, "resident": ["a"]}]
    assert first(document(one, gpus=gpus)) == (["a"], [1])
    assert first(document(one, *others, gpus=gpus)) == (["a"], [0])


def test_batches_grow_only_where_that_saves_time() -> None:
    """Where step times grow with the batch, two at once end when the second would alone."""
    both = request("a0", "a"), request("a1", "a")
    grows = {"kind": "steps", "step_s": {"base": 0.0, "per_sample": 0.1}}
    assert len(first(document(*both, service=grows))[0]) == 1
    assert len(first(document(*both))[0]) == 2


def starts(instance: Instance) -> list[tuple[int, str]]:
    """The tick and the adapter of each batch, its switch included."""
    schedule = solve(instance, INDEX).schedule
    assert schedule is not None
    adapter = {request.id: request.adapter for request in instance.requests}
    batches = schedule.gpus[0].batches
    return [(batch.switch_start, adapter[batch.requests[0].id]) for batch in batches]


def alternating(price: float, **more: Any) -> Instance:
    """Ten requests for a and b in turn, one every 10 ticks, where a second of switching costs."""
    requests = [request(f"r{i}", "ab"[i % 2], arrival=10.0 * i, **more) for i in range(10)]
    return document(*requests, switching={"max_resident": 1, "price_per_s": price})


def test_a_dear_switch_waits_for_company() -> None:
    """A request loses 2 until the next one of its adapter, 20 ticks later: more than a trip for 1.

    At 5 a trip waits for company once the past shows that some comes: from the fourth request on.
    No gap was longer than 10 ticks, so the last request is not kept waiting for longer.
    """
    assert starts(alternating(1.0)) == [(10 * i, "ab"[i % 2]) for i in range(10)]
    served = [(0, "a"), (10, "b"), (20, "a"), (40, "a"), (50, "b"), (70, "b"), (80, "a")]
    assert starts(alternating(5.0)) == [*served, (100, "b")]


def test_deadlines_do_not_wait_for_company() -> None:
    """Not where to miss one costs; what has none, or a free one, does."""
    urgent = msgspec.structs.replace(alternating(5.0, deadline_s=30.0), late_price=1.0)
    assert starts(urgent) == starts(alternating(0.0))
    assert starts(alternating(5.0, deadline_s=30.0)) == starts(alternating(5.0))


def test_what_is_not_worth_its_time_is_left() -> None:
    """A request whose service loses 0.2, load included, is rejected for 0.1 and served for 0.5."""
    served = solve(document(request("a", "a", reject_loss=0.5)), "price-index")
    assert served.metrics is not None
    assert served.metrics.rejected == 0
    left = solve(document(request("a", "a", reject_loss=0.1)), "price-index")
    assert left.metrics is not None
    assert left.metrics.rejected == 1
    assert left.loss == pytest.approx(0.1)


def test_what_must_be_served_does_not_wait_behind_what_is_not_worth_a_switch() -> None:
    """No time has a price: a free rejection is before it in the queue, and is no reason to wait."""
    free = request("free", "a", reject_loss=0.0)
    must = request("must", "a", arrival=0.5)
    switching = {"max_resident": 1, "price_per_s": 1.0}
    one_fits = {"gpus": [{"id": "g", "capacity": {"vram_gib": 1.0}}], "switching": switching}
    instance = document(free, must, latency_price_per_s=0.0, **one_fits)
    schedule = solve(instance, INDEX).schedule
    assert schedule is not None
    batch = schedule.gpus[0].batches[0]
    assert [served.id for served in batch.requests] == ["must"]
    assert (batch.switch_start, batch.start) == (1, 2)


def test_residents_that_leave_no_room_go() -> None:
    """A request that fits only where all other residents are gone is served."""
    adapters = [{"id": x, "vram_gib": 1.0, "load_s": 1.0} for x in "abc"]
    gpus = [{"id": "g", "capacity": {"vram_gib": 5.0}, "resident": ["b", "c"]}]
    switching = {"max_resident": 3, "max_per_batch": 1, "activate_s": 0.5, "price_per_s": 0.1}
    large = request("a", "a", demand={"vram_gib": 4.0})
    made = document(large, adapters=adapters, gpus=gpus, switching=switching)
    found = solve(made, INDEX)
    assert found.metrics is not None
    assert found.metrics.served == 1


def test_the_popular_and_the_dear_stay_resident() -> None:
    """With room for two of six adapters, the default loses less than least recent use."""
    made = Recipe(
        requests=100,
        arrivals=Arrivals(load=0.8),
        popularity=Popularity(adapters=6, zipf=1.0),
        switching=AdapterCache(max_resident=2, load_s=(1.0, 8.0)),
    )
    losses = {"ghost": 0.0, "lru": 0.0}
    for seed, rule in itertools.product(range(3), losses):
        loss = solve(generate(made, seed), f"price-index:eviction={rule}").loss
        assert loss is not None
        losses[rule] += loss
    assert losses["ghost"] < 0.95 * losses["lru"]
    assert make("price-index") == make("price-index:eviction=ghost")


def test_batches_are_of_the_best_size() -> None:
    """Batches of one tick are full, the short one last; those of a tick a member are of one."""
    level = [0.0] * 5
    assert best_size(level, [0, 1, 1, 1, 1], waiting=5, each=0.1, others=0.0) == 4
    growing = [0.0, 0.0, 0.2, 0.6]  # all members end with the last one
    assert best_size(growing, [0, 1, 2, 3], waiting=6, each=0.1, others=1.0) == 1
    assert best_size([0.0], [0], waiting=3, each=0.1, others=0.0) == 0


def test_a_batch_size_loses_what_its_batches_lose() -> None:
    """Against the loss of the batches one after another, for every size and length of queue."""
    rng = random.Random(1)
    for waiting in range(1, 13):
        losses = [0.0, *sorted(rng.uniform(0.0, 3.0) for _ in range(4))]
        ticks = [0, *sorted(rng.randint(1, 9) for _ in range(4))]
        total = {}
        for size in range(1, 5):
            sizes = [size] * (waiting // size) + [waiting % size] * (waiting % size > 0)
            now = loss = 0.0
            for members in sizes:
                loss += losses[members] + 0.1 * members * now
                now += ticks[members]
            total[size] = loss + 0.2 * now
        found = best_size(losses, ticks, waiting, 0.1, 0.2)
        assert total[found] == pytest.approx(min(total.values()))


def test_no_batch_is_quicker_than_the_quickest() -> None:
    """Ticks per member of every batch that a queue can make, by which few batches are chosen."""
    for seed in scale.seeds(60):
        site = Problem(random_instance(seed, requests=(1, 4))).site
        setup = RunSetup(site, PlannedOptions(site), LeastRecentlyUsed(site))
        run, rng = PriceIndexRun(setup, PlannedOptions(site), memory=1), random.Random(seed)
        most = min(4, site.clock.largest or 4)
        for _ in range(10):
            steps = [rng.randint(1, 60) for _ in range(rng.randint(1, most))]
            ticks, size = run.quickest(min(steps), most)
            assert ticks / size <= site.clock.duration(shape_of(steps)) / len(steps)


@pytest.mark.parametrize("suite", ["documents-small", "a100-small", "bursty", "a100-medium"])
def test_loses_less_than_the_others(suite: str) -> None:
    """By 5 % than ``pats`` and 20 % than ``fifo`` in the geometric mean of a suite's losses."""
    made = list(instances(suite))
    mean = {}
    for spec in ("price-index", "pats", "fifo"):
        losses = [solve(instance, spec).loss for instance in made]
        mean[spec] = sum(math.log(loss) for loss in losses if loss is not None) / len(made)
    assert mean["price-index"] < mean["pats"] - 0.05
    assert mean["price-index"] < mean["fifo"] - 0.2


def test_the_order_of_options_does_not_matter() -> None:
    """The forecast takes each job's fewest steps, wherever they stand."""
    rising = generate(Recipe(requests=20, arrivals=Arrivals(load=1.2)), seed=3)
    falling = msgspec.structs.replace(
        rising,
        requests=tuple(
            msgspec.structs.replace(r, options=r.options[::-1]) for r in rising.requests
        ),
    )
    assert solve(rising, INDEX).loss == pytest.approx(solve(falling, INDEX).loss)


def test_requests_that_are_not_worth_their_time_hold_up_no_other() -> None:
    """Ten take a tick each, alone: all of them, at 1.0 a tick, would cost more than any rejection.

    Five hold up each other, at 0.5, and each tick one is served and one more is not worth it. One
    that loses 0.55 by rejection is worth its own 0.1 a tick and the others' 0.4.
    """
    gpus = [{"id": "g", "capacity": {"vram_gib": 4.0}, "resident": ["a"]}]
    for reject_loss in (0.5, 0.55):
        alone: dict[str, Any] = {"demand": {"vram_gib": 4.0}, "reject_loss": reject_loss}
        found = solve(
            document(*[request(f"a{i}", "a", **alone) for i in range(10)], gpus=gpus), INDEX
        )
        assert found.metrics is not None
        assert found.metrics.served == 5
        assert found.loss == pytest.approx(0.1 + 0.2 + 0.3 + 0.4 + 0.5 + 5 * reject_loss)


def rejectable(seed: int) -> Problem:
    """A random problem with requests that may be rejected."""
    rng = random.Random(seed)
    features = random_features(rng) | {Feature.REJECTION}
    return Problem(random_instance(rng, features, requests=(3, 12)))


def test_requests_are_passed_over_once_none_of_their_options_is_worth_it() -> None:
    """At each tick, against the loss of every option in the quickest batch there could be."""
    tried = 0
    for seed in scale.seeds(60):
        problem = rejectable(seed)
        site = problem.site
        for job in problem.jobs:
            last = last_start(site, job)
            if job.reject_loss is None or last >= NEVER:
                continue
            tried += 1
            took = [0 if site.clock.slotted else site.clock.quickest(o.steps) for o in job.options]
            for tick in (last - 2, last - 1, last + 1, last + 2):
                losses = [serving_loss(site, job, o, tick + ticks) for o, ticks in enumerate(took)]
                if tick > last:
                    assert min(losses) > job.reject_loss - 1e-9
                elif tick >= job.arrival:
                    assert min(losses) <= job.reject_loss + 1e-9
    assert tried > 30


def test_the_price_counts_as_many_as_are_worth_it() -> None:
    """Against one after another, in the order of the prices up to which each is worth serving."""
    parted = 0
    for seed in scale.seeds(60):
        problem = rejectable(seed)
        site, jobs, rng = problem.site, problem.jobs, random.Random(seed)
        table = JobTable(site)
        for job in jobs:
            table.add(job)
        now, arriving = max(job.arrival for job in jobs), rng.choice((0.0, 0.01, 0.1))
        counted, others = table.worthwhile(jobs, now, arriving, len(site.gpus))
        assert sorted([*counted, *others], key=jobs.index) == list(jobs)
        expected = plainly_worthwhile(site, jobs, now, arriving)
        assert [job.index for job in counted] == expected
        parted += 0 < len(counted) < len(jobs)
    assert parted > 5


def plainly_worthwhile(site: Site, jobs: Sequence[Job], now: int, arriving: float) -> list[int]:
    """The indices of the requests that count, one after another."""
    worth = {}
    for job in jobs:
        priced = priced_job(site, job)
        limits = [
            math.inf
            if job.reject_loss is None
            else (job.reject_loss - BatchPricing(site).loss_alone(c, now)) / c.ticks
            for c in priced.choices
        ]
        worth[job.index] = priced.price + max(limits), priced
    price, counted = 0.0, list[int]()
    for index, (most, priced) in sorted(worth.items(), key=lambda pair: (-pair[1][0], pair[0])):
        price += (priced.price + arriving * priced.service_s) / len(site.gpus)
        if counted and price > most:
            break
        counted.append(index)
    return sorted(counted)


class EveryGap(PriceIndex, frozen=True, kw_only=True):
    """Decides again at the end of every gap of the past while a queue gathers requests."""

    name = "every-gap"

    @override
    def wake(self, run: PriceIndexRun, idle: Sequence[GpuState]) -> int | None:
        return run.past.next_beyond(run.tick, 0.0) if run.patience else None


def sparse(seed: int) -> Problem:
    """Requests far apart, switches that have a high price."""
    rng = random.Random(seed)
    made = random_instance(seed, requests=(10, 60))
    arrivals = [rng.weibullvariate(made.tick_s * rng.choice((1, 5, 20)), 0.5) for _ in range(60)]
    requests = [
        msgspec.structs.replace(request, arrival_s=round(arrival, 3))
        for request, arrival in zip(made.requests, accumulate(arrivals), strict=False)
    ]
    switching = msgspec.structs.replace(made.switching, price_per_s=50.0 / made.tick_s)
    return Problem(
        msgspec.structs.replace(
            made, requests=tuple(requests), switching=switching, horizon_ticks=None
        )
    )


@pytest.mark.parametrize("policy", [{}, {"max_wait_s": 20.0}, {"dispatch": "least-work"}])
def test_a_queue_that_gathers_is_asked_again_only_when_it_may_stop(policy: dict[str, Any]) -> None:
    """The schedules are those of a policy that is asked at the end of every gap."""
    saved = 0
    for seed in scale.seeds(200):
        problem = sparse(seed)
        seldom, often = (
            simulate(problem, kind(memory=20, **policy)) for kind in (PriceIndex, EveryGap)
        )
        assert seldom.plan == often.plan
        saved += often.decisions - seldom.decisions
    assert saved > 0
