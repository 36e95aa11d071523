"""Loads beside serving in a comparison: as scheduled, before rounding, and as measured.

A GPU with a loader is retimed like one without (:mod:`timeline`), event by event in the schedule's
order, which the run keeps: a load waits for a channel, a batch for the loads of its adapters.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from msgspec.structs import replace

from pats_opt.execute.compare.document import TimedLoad
from pats_opt.execute.compare.pairing import BatchKey, ExecutedBatch, by_place
from pats_opt.execute.compare.timeline import (
    DurationFactors,
    measured,
    moved,
    needs_retiming,
    on_grid,
    retimed,
    unrounded,
)
from pats_opt.execute.loading import hidden_share
from pats_opt.execute.orders import PlanEvent, in_order
from pats_opt.execute.record import Execution
from pats_opt.model.checker import ReplayedLoad, Verdict
from pats_opt.model.problem import Problem, ids
from pats_opt.model.schedule import GpuPlan, Schedule
from pats_opt.tables.schedule_table import TimedBatch


class BatchTimeline(NamedTuple):
    """Batches and loads on one clock."""

    batches: list[TimedBatch]
    loads: list[TimedLoad]


class ComparedTimelines(NamedTuple):
    """The timelines that are compared: the schedule on the grid, before rounding, and as it ran."""

    grid: BatchTimeline
    exact: BatchTimeline
    ran: BatchTimeline


def timelines(
    problem: Problem,
    execution: Execution,
    schedule: Schedule,
    verdict: Verdict,
    executed: Sequence[ExecutedBatch],
) -> tuple[ComparedTimelines, DurationFactors]:
    """Return the timelines, and the factors that resumed batches were estimated with."""
    grid = on_grid(problem, by_place(schedule, verdict.replayed))
    if problem.site.channels is None:
        ran, factors = measured(problem, execution, executed, grid, partial(retimed, grid))
        both = [retimed(grid, unrounded(problem, grid)), ran]
        return ComparedTimelines(*[BatchTimeline(some, []) for some in (grid, *both)]), factors
    whole = BatchTimeline(grid, loads_on_grid(problem, schedule, verdict.loads, grid))
    retime = partial(retimed_beside, problem, schedule, whole)
    index, load_s = problem.site.adapter_index, problem.site.load_s
    exact_s = {(x.gpu, x.index): load_s[index[x.adapter]] for x in whole.loads}
    loads = loads_as_run(execution)
    ran_s = {(load.gpu, load.index): load.seconds for load in loads}
    ran, factors = measured(
        problem, execution, executed, grid, lambda batches: retime(batches, ran_s).batches
    )
    if needs_retiming(execution):
        own = {(load.gpu, load.index): load.hidden for load in loads}
        loads = [replace(x, hidden=own[x.gpu, x.index]) for x in retime(ran, ran_s).loads]
    exact = retime(unrounded(problem, grid), exact_s)
    return ComparedTimelines(whole, exact, BatchTimeline(ran, loads)), factors


def loads_on_grid(
    problem: Problem,
    schedule: Schedule,
    replayed: Sequence[ReplayedLoad],
    batches: Sequence[TimedBatch],
) -> list[TimedLoad]:
    """Return the loads as the checker replays them beside these batches, in seconds."""
    found, to_come = [], iter(replayed)
    for plan in schedule.gpus:
        starts = [load.start for load in plan.loads or ()]
        # The checker goes by start, and the file need not.
        for index in sorted(range(len(starts)), key=starts.__getitem__):
            load = next(to_come)
            found.append(
                TimedLoad(
                    gpu=plan.id,
                    index=index,
                    adapter=problem.site.adapter_ids[load.adapter],
                    evict=ids(problem.site, load.evict),
                    start_s=load.start * problem.site.tick_s,
                    seconds=(load.end - load.start) * problem.site.tick_s,
                )
            )
    return hiding(found, batches)


def loads_as_run(execution: Execution) -> list[TimedLoad]:
    """Return the loads of an execution, on its own clock."""
    return [
        TimedLoad(
            gpu=gpu.id,
            index=load.index,
            adapter=load.adapter,
            evict=load.evict,
            start_s=load.start_s,
            seconds=load.seconds,
            hidden=load.hidden,
        )
        for gpu in execution.gpus
        for load in gpu.loads
    ]


def hiding(loads: Iterable[TimedLoad], batches: Iterable[TimedBatch]) -> list[TimedLoad]:
    """Return the loads with the share of each that these batches hide."""
    on: dict[str, list[TimedBatch]] = {}
    for batch in batches:
        on.setdefault(batch.gpu, []).append(batch)
    return [replace(load, hidden=hidden_share(load, on.get(load.gpu, ()))) for load in loads]


def retimed_beside(
    problem: Problem,
    schedule: Schedule,
    grid: BatchTimeline,
    ran: Sequence[TimedBatch],
    load_s: Mapping[BatchKey, float],
) -> BatchTimeline:
    """Return batches and loads as they ran, on the clock of a schedule.

    Args:
        problem: The instance.
        schedule: A valid schedule.
        grid: It in seconds.
        ran: Batches with their durations.
        load_s: Seconds of each load that was run, by GPU and place in the file.
    """
    known = {(batch.gpu, batch.index): batch for batch in ran}
    planned = {(batch.gpu, batch.index): batch for batch in grid.batches}
    to_load = {(load.gpu, load.index): load for load in grid.loads}
    channels, found = problem.site.channels or 1, BatchTimeline([], [])
    for plan in schedule.gpus:
        _retime(plan, channels, (planned, to_load), (known, load_s), found)
    by_key = {(batch.gpu, batch.index): batch for batch in found.batches}
    batches = [by_key[batch.gpu, batch.index] for batch in ran]
    return BatchTimeline(batches, hiding(found.loads, batches))


def _retime(
    plan: GpuPlan,
    channels: int,
    planned: tuple[Mapping[BatchKey, TimedBatch], Mapping[BatchKey, TimedLoad]],
    ran: tuple[Mapping[BatchKey, TimedBatch], Mapping[BatchKey, float]],
    found: BatchTimeline,
) -> None:
    """Retime one GPU."""
    turn = free = planned_end = 0.0  # of the last beginning, and of the batch before
    ready: dict[str, float] = {}
    ends = [0.0] * channels  # a heap: of the last load of each channel
    switches: dict[int, float] = {}  # batch -> when its switch begins
    for _, what, index in in_order(plan):
        key = plan.id, index
        if what is PlanEvent.LOAD:
            load, seconds = planned[1][key], ran[1].get(key)
            if seconds is None:
                continue
            waits = [turn, load.start_s, *[ready.get(a, 0.0) for a in load.evict]]
            waits += [free] if planned_end <= load.start_s else []
            turn = max(waits + ([ends[0]] if seconds else []))
            ready[load.adapter] = turn + seconds
            if seconds:  # one of no time takes no channel
                heapq.heapreplace(ends, turn + seconds)
            found.loads.append(replace(load, start_s=turn, seconds=seconds))
            continue
        batch, scheduled = ran[0].get(key), planned[0][key]
        if batch is None:
            continue
        if what is PlanEvent.SWITCH:
            leaving = [ready.get(a, 0.0) for a in plan.batches[index].evict]
            turn = switches[index] = max(turn, free, scheduled.switch_start_s, *leaving)
            continue
        switched = switches[index] + (batch.switch_end_s - batch.switch_start_s)
        loaded = [ready.get(a, 0.0) for a in batch.adapters]
        turn = max(turn, switched, scheduled.start_s, *loaded)
        free, planned_end = turn + (batch.end_s - batch.start_s), scheduled.end_s
        found.batches.append(moved(batch, switches[index], switched, turn))
