"""Metrics of schedules with loads beside serving: by hand, and against plain restatements."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

from pats_opt.core.solver import Feature
from pats_opt.model.checker import Verdict, check
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.parsing import convert
from pats_opt.model.plan import PlannedBatch, PlannedLoad, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef
from pats_opt.solving.budget_curve import curve_point
from pats_opt.tables import (
    BY_LOADER,
    Metrics,
    ScheduleTable,
    adapter_table,
    measure,
    shown,
)
from pats_opt.tables.loader import hidden, memory_steps, waits
from pats_opt.testing.instances import random_features, random_instance
from tests.core.plain_metrics import Plain
from tests.core.test_metrics import approx
from tests.support import scale
from tests.support.brute_force import best_schedule
from tests.support.overlap_zoo import OVERLAP_ZOO, overlapping
from tests.support.zoo import adapter, gpu, request

Json = dict[str, Any]

#: What can be together with loads beside serving; searches of several GPUs take long.
BESIDE = frozenset(Feature) - {Feature.PAIRS, Feature.SLOT, Feature.GPUS}


def table_of(verdict: Verdict) -> ScheduleTable:
    """The table of a valid schedule."""
    assert verdict.problem is not None
    assert verdict.ok, verdict.violations
    return ScheduleTable.from_replay(verdict.problem, verdict.replayed, verdict.loads)


def worked() -> Verdict:
    """Three adapters on a GPU of two, one channel; a step takes a second, and so does activation.

    ======  ======  ====  ===========================================================
    what    start   end   who
    ======  ======  ====  ===========================================================
    batch   0       4     r0 (a, 2 GiB, 2 steps) and r1 (a, 2 GiB, 4 steps)
    load    1       4     b (3 s, 1 GiB), nothing leaves
    switch  4       5     activates b
    batch   5       6     r2 (b, arrives 1)
    load    6       8     c (2 s, 2 GiB), a leaves
    batch   6       7     r3 (b, arrives 0)
    switch  7       8     activates c
    batch   8       9     r4 (c, arrives 3)
    load    8       11    a (3 s), b leaves
    switch  9       10    activates a
    batch   12      13    r5 (a, arrives 0)
    ======  ======  ====  ===========================================================
    """
    instance = overlapping(
        request("r0", 2, demand={"vram_gib": 2.0}),
        request("r1", 4, demand={"vram_gib": 2.0}),
        request("r2", arrival_s=1.0, adapter="b"),
        request("r3", adapter="b"),
        request("r4", arrival_s=3.0, adapter="c"),
        request("r5"),
        adapters=[adapter("a", 3.0, 1.0), adapter("b", 3.0, 1.0), adapter("c", 2.0, 2.0)],
        gpus=[gpu(resident=("a",))],
        switching={"activate_s": 1.0},
    )
    problem = Problem(parse_instance(json.dumps(instance)))
    of = {job.id: job.index for job in problem.jobs}

    def batch(start: int, *names: str) -> PlannedBatch:
        members = tuple((of[name], 0) for name in names)
        return PlannedBatch(start, members, frozenset({0, 1, 2}), start - 1 if start > 6 else None)

    a, b = frozenset({0}), frozenset({1})
    loads = [PlannedLoad(1, 1), PlannedLoad(2, 6, a), PlannedLoad(0, 8, b)]
    last = msgspec.structs.replace(batch(12, "r5"), switch_start=9)
    batches = [batch(0, "r0", "r1"), batch(5, "r2"), batch(6, "r3"), batch(8, "r4"), last]
    return check(problem, schedule_of(problem, plan_of([batches], [loads]), SolverRef(name="test")))


def test_figures_worked_by_hand() -> None:
    """Loads take 3 + 2 + 3 of 13 s; 3, 1 and 1 s of them are hidden.

    b ends as r1 does, and is activated after that. c ends at 8, as its activation does. a ends at
    11: from 10 on its batch waits for it, and from 11 on for nothing.
    """
    table = table_of(worked())
    made = measure(table)
    assert hidden(table).tolist() == [3.0, 1.0, 1.0]
    assert waits(table).tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert made.loader_busy_share == pytest.approx(8 / 13)
    assert (made.hidden_load_share, made.load_wait_s) == (5 / 8, 1.0)
    assert (made.switches, made.loads, made.evictions, made.switching_s) == (3, 3, 2, 3 + 8)
    # Served by the first batch after a load of their adapter: r2, r4 and r5.
    assert (made.hit_share, made.batch_hit_share) == (approx(3 / 6), approx(2 / 5))
    shares = (made.busy_share, made.switching_share, made.idle_share)
    assert shares == (approx(8 / 13), approx(3 / 13), approx(2 / 13))
    # At 1 b is loaded beside a and 4 GiB of members; at 8 c is there, and a comes for b.
    assert made.vram_peak_gib == 6.0
    lines = {line.adapter: line for line in adapter_table(table)}
    assert [(lines[x].loads, lines[x].load_s) for x in "abc"] == [(1, 3.0), (1, 3.0), (1, 2.0)]
    assert lines["c"].loss == pytest.approx(6 + 2 + 1)  # latency, its load and its activation
    assert sum(line.loss for line in lines.values()) == pytest.approx(worked().loss)
    assert table.loss_terms([]).switching == 11.0


def test_memory_worked_by_hand() -> None:
    """All members of a batch count to its end; a load counts from its start."""
    times, levels = memory_steps(table_of(worked()), 0)
    last = {time: level / 1e9 for time, level in zip(times.tolist(), levels.tolist(), strict=True)}
    assert last == {0: 5, 1: 6, 4: 2, 5: 3, 6: 4, 7: 3, 8: 4, 9: 3, 12: 4, 13: 3}


def test_an_order_by_start_and_a_clock_in_seconds_change_nothing() -> None:
    table = table_of(worked())
    assert measure(table.by_start()) == measure(table.in_seconds()) == measure(table)


def test_only_instances_with_overlap_have_the_loaders_metrics() -> None:
    """A schedule without a load has a busy share of 0, and nothing that could be hidden."""
    made = measure(table_of(worked()))
    assert {*BY_LOADER} <= {*shown(made)}
    assert {*msgspec.to_builtins(made)} == {*shown(made)}
    instance = overlapping(request("r0"))
    schedule = best_schedule(instance)
    found = check(parse_instance(json.dumps(instance)), convert(schedule, Schedule))
    none = measure(table_of(found))
    assert [getattr(none, name) for name in BY_LOADER] == [0.0, None, 0.0]
    instance["switching"]["overlap"] = None
    plain = measure(table_of(solved_beside(instance)))
    assert [getattr(plain, name) for name in BY_LOADER] == [None, None, None]
    assert not {*BY_LOADER} & {*shown(plain)}


def solved_beside(instance: Json) -> Verdict:
    """The exhaustive search's schedule, as the checker replays it."""
    schedule = best_schedule(instance)
    assert schedule is not None
    return check(parse_instance(json.dumps(instance)), convert(schedule, Schedule))


def delayed(schedule: Json, rng: random.Random) -> Json:
    """The schedule with all that starts after some tick started later: it stays valid."""
    after, by = rng.randint(0, 8), rng.randint(0, 3)

    def later(tick: int) -> int:
        return tick + by if tick >= after else tick

    gpus = []
    for plan in schedule["gpus"]:
        batches = []
        for batch in plan["batches"]:
            start = later(batch["start"])
            moved = start - batch["start"]
            served = [{**r, "completion": r["completion"] + moved} for r in batch["requests"]]
            begun = later(batch["switch_start"])
            batches.append({**batch, "switch_start": begun, "start": start, "requests": served})
        loads = [{**load, "start": later(load["start"])} for load in plan.get("loads", [])]
        gpus.append({**plan, "batches": batches, "loads": loads})
    return {**schedule, "gpus": gpus, "loss": None, "bound": None}


def agree(instance: Json, schedule: Json) -> Metrics:
    """Hold every metric of a valid schedule against its restatement; return the metrics."""
    problem = Problem(parse_instance(json.dumps(instance)))
    verdict = check(problem, convert(schedule, Schedule))
    table, plain = table_of(verdict), Plain(instance, schedule)
    made = measure(table)
    for name, value in plain.figures(None).items():
        assert getattr(made, name) == approx(value), name
    lines = {line.adapter: line for line in adapter_table(table)}
    for adapter_id, figures in plain.by_adapter().items():
        for name, value in figures.items():
            assert getattr(lines[adapter_id], name) == approx(value), name
    assert sum(line.loss for line in lines.values()) == approx(verdict.loss)
    assert sum(line.loads for line in lines.values()) == made.loads
    assert table.loss_terms([]).switching == approx(verdict.terms.switching)
    for gpu_site in problem.site.gpus:
        _, levels = memory_steps(table, gpu_site.index)
        assert levels.min() >= 0
        if gpu_site.capacity[0] is not None:
            assert levels.max() <= gpu_site.capacity[0]
    return made


@pytest.mark.parametrize("make", OVERLAP_ZOO, ids=lambda make: make.__name__)
def test_metrics_of_instances_solved_by_hand(make: Any) -> None:
    instance = json.loads(encode(parse_instance(json.dumps(make().document))))
    schedule = best_schedule(instance)
    assert schedule is not None
    agree(instance, schedule)


@pytest.mark.parametrize("seed", scale.seeds(60))
def test_metrics_are_those_of_a_plain_restatement(seed: int) -> None:
    """Of the best schedules of random instances, and of delayed ones, in which more is waited."""
    rng = random.Random(seed)
    wanted = random_features(rng, 0.3, BESIDE) | {Feature.OVERLAP, Feature.RESIDENT}
    wanted -= {Feature.HORIZON}
    instance = json.loads(encode(random_instance(rng, wanted, requests=(1, 3))))
    schedule = best_schedule(instance)
    assert schedule is not None
    agree(instance, schedule)
    for _ in range(3):
        schedule = delayed(schedule, rng)
        agree(instance, schedule)


def test_a_budget_restates_a_plan_with_its_loads() -> None:
    """The plan of a replayed schedule makes the same schedule again."""
    verdict = worked()
    problem = verdict.problem
    assert problem is not None
    loads = [PlannedLoad(load.adapter, load.start, load.evict) for load in verdict.loads]
    batches = [
        PlannedBatch(
            one.batch.start,
            tuple((job.index, option) for job, option, _ in one.members),
            frozenset({0, 1, 2}),
            one.batch.switch_start,
        )
        for one in verdict.replayed
    ]
    schedule = schedule_of(problem, plan_of([batches], [loads]), SolverRef(name="test"))
    point = curve_point(problem, schedule, 1.0, 1.0, proven=False)
    assert schedule_of(problem, point.plan, SolverRef(name="test")) == schedule
