"""Loads beside serving in a comparison, in ``execution.json`` and in ``trace.json``."""

from __future__ import annotations

import json
import random
from pathlib import Path
from statistics import median

import pytest
from msgspec.structs import replace

from pats_opt.execute.compare.comparing import compare
from pats_opt.execute.compare.loads import (
    BatchTimeline,
    loads_on_grid,
    retimed_beside,
)
from pats_opt.execute.compare.page import page
from pats_opt.execute.compare.pairing import by_place
from pats_opt.execute.compare.sentences import named, sentences
from pats_opt.execute.compare.timeline import on_grid
from pats_opt.execute.loading import loading_cost
from pats_opt.execute.orders import PlanEvent, in_order
from pats_opt.execute.record import BatchRun, GpuRun, LoadRun, Pace, Phase, Span
from pats_opt.execute.trace import LOADER
from pats_opt.model.checker import check
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule
from tests.execute.test_loader import drawn, executed
from tests.support import scale


def grid_of(problem: Problem, schedule: Schedule) -> BatchTimeline:
    verdict = check(problem, schedule)
    grid = on_grid(problem, by_place(schedule, verdict.replayed))
    return BatchTimeline(grid, loads_on_grid(problem, schedule, verdict.loads, grid))


@pytest.mark.parametrize("seed", scale.seeds(20))
def test_equal_durations_give_the_schedule_back(seed: int) -> None:
    story, plan = drawn(seed)
    grid = grid_of(story, plan)
    took = {(load.gpu, load.index): load.seconds for load in grid.loads}
    again = retimed_beside(story, plan, grid, grid.batches, took)
    assert again.loads == grid.loads
    for one, other in zip(again.batches, grid.batches, strict=True):
        assert (one.switch_start_s, one.start_s) == (other.switch_start_s, other.start_s)
        assert one.end_s == pytest.approx(other.end_s)


@pytest.mark.parametrize("seed", scale.seeds(20))
def test_retiming_keeps_to_the_rules(seed: int) -> None:
    """Whatever loads take: nothing begins early or out of order, and batches wait for adapters."""
    story, plan = drawn(seed)
    grid, rng = grid_of(story, plan), random.Random(seed)
    took = {(load.gpu, load.index): load.seconds * 3 * rng.random() for load in grid.loads}
    ran = retimed_beside(story, plan, grid, grid.batches, took)
    for each in plan.gpus:
        loads = {load.index: load for load in ran.loads if load.gpu == each.id}
        batches = {batch.index: batch for batch in ran.batches if batch.gpu == each.id}
        last = 0.0
        for tick, what, index in in_order(each):
            if what is PlanEvent.LOAD:
                start = loads[index].start_s
            elif what is PlanEvent.SWITCH:
                start = batches[index].switch_start_s
            else:
                start = batches[index].start_s
            assert start >= max(last, tick * story.site.tick_s)
            last = start
            if what is PlanEvent.START:
                used = [x for x in loads.values() if x.adapter in batches[index].adapters]
                assert all(x.end_s <= start for x in used if x.start_s <= start)
        for load in loads.values():
            beside = [x for x in loads.values() if x.start_s <= load.start_s < x.end_s]
            assert len(beside) <= (story.site.channels or 0)


@pytest.mark.parametrize("pace", list(Pace))
def test_a_run_is_compared_with_its_loads(tmp_path: Path, pace: Pace) -> None:
    """Their seconds are in the loss and in the totals, and the page lists them."""
    story, plan = drawn(5)
    execution = executed(tmp_path / "out", story, plan, pace)
    found = compare(story, execution, plan)
    loads = [load for gpu in execution.gpus for load in gpu.loads]
    seconds = sum(load.seconds for load in loads)
    planned = check(story, plan).loads
    total = named(found.totals, "loading_s")
    assert total.measured == pytest.approx(seconds)
    assert total.unrounded == pytest.approx(sum(story.site.load_s[x.adapter] for x in planned))
    assert named(found.loss, "switching").measured == pytest.approx(seconds)
    assert named(found.loss, "switching").predicted == pytest.approx(total.unrounded)
    hidden = sum(load.hidden * load.seconds for load in loads) / seconds
    assert named(found.totals, "hidden_load_share").measured == pytest.approx(hidden)
    assert found.loading == execution.loading
    assert [k.kind for k in found.constants.switching] == ["load from host beside serving"]
    assert any(f"{len(loads)} loads beside serving took" in text for text in sentences(found))
    assert found.recalibrated is not None
    fitted = {a["id"]: a["load_s"] for a in json.loads(found.recalibrated.text)["adapters"]}
    assert fitted["base"] == 0
    own = [load.seconds for load in loads if load.adapter == loads[0].adapter]
    assert fitted[loads[0].adapter] == pytest.approx(median(own), rel=1e-5)
    text = page(found, execution, story)
    assert "<h2>Loads beside serving</h2>" in text
    assert text.count("-load-") >= len(loads)


def test_loads_have_lanes_of_their_own(tmp_path: Path) -> None:
    """In the trace, as many as are in progress at once, with what each evicts."""
    story, plan = drawn(5)
    execution = executed(tmp_path / "out", story, plan)
    events = json.loads((tmp_path / "out" / "trace.json").read_bytes())["traceEvents"]
    for pid, gpu in enumerate(execution.gpus, 1):
        mine = [e for e in events if e["pid"] == pid and e["ph"] == "X" and e["tid"] >= LOADER]
        assert [e["name"] for e in mine] == [f"load {load.adapter}" for load in gpu.loads]
        assert [e["args"]["evict"] for e in mine] == [list(load.evict) for load in gpu.loads]
        assert [e["args"]["hidden"] for e in mine] == [load.hidden for load in gpu.loads]
        ends: dict[int, float] = {}
        for event in mine:
            assert event["ts"] >= ends.get(event["tid"], 0.0)
            ends[event["tid"]] = event["ts"] + event["dur"]
        assert len(ends) <= (story.site.channels or 0)


def test_steps_beside_loads() -> None:
    """Those that any part of a load is beside, against those of the same size alone."""
    seconds = {1: [1.0, 1.0, 3.0, 1.0], 2: [2.0, 2.0]}
    spans, now = [], 0.0
    for n, took in seconds.items():
        for each in took:
            spans.append(Span(phase=Phase.STEP, start_s=now, seconds=each, n=n))
            now += each
    batch = BatchRun(
        index=0, switch_start_s=0, start_s=0, end_s=now, members=(), spans=tuple(spans)
    )
    load = LoadRun(index=0, adapter="a", start_s=2.5, seconds=1.0, hidden=1.0)
    later = replace(load, index=1, start_s=20.0, seconds=3.0, hidden=0.0)
    gpu = GpuRun(id="g", device="cpu", batches=(batch,), loads=(load, later))
    found = loading_cost([gpu])
    assert found is not None
    assert (found.count, found.seconds, found.hidden, found.slowdown) == (2, 4.0, 0.25, 3.0)
    assert [(s.n, s.alone, s.alone_s, s.beside, s.beside_s) for s in found.steps] == [
        (1, 3, 1.0, 1, 3.0),
        (2, 2, 2.0, 0, None),
    ]
    assert loading_cost([replace(gpu, loads=())]) is None
