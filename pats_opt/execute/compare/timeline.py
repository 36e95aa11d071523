"""Three timelines of one run: the schedule on the grid, the same without rounding, as measured.

A run at pace ``fast`` keeps a schedule's order but not its clock, and one in several sittings has
several clocks. Its measured *durations* (of each switch, of each batch, from a batch's start to
each image) are put on the schedule's clock by :func:`retimed`. At pace ``schedule``, in one
sitting, and in live runs, times are as they were measured.

A batch that was resumed after an interruption was measured in part only. On the timeline it takes
what was predicted for all of it, before rounding, times what the whole batches took by their
prediction (and likewise its switch); it is marked as estimated, and nothing else is made of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from pats_opt.execute.compare.pairing import BatchKey, ExecutedBatch
from pats_opt.execute.record import Execution, Pace
from pats_opt.model.checker import ReplayedBatch
from pats_opt.model.problem import Job, Problem, ids
from pats_opt.model.timing import BatchClock, shape_of
from pats_opt.tables.schedule_table import TimedBatch, TimedMember


def completions_s(clock: BatchClock, steps: Iterable[int]) -> dict[int, float]:
    """Return rule 5 before rounding: seconds from a batch's start to the end of each step count.

    Not of a slotted instance, which predicts no seconds.
    """
    shape = shape_of(steps)
    return dict(zip([count for count, _ in shape], clock.completions_s(shape), strict=True))


def on_grid(problem: Problem, planned: Mapping[BatchKey, ReplayedBatch]) -> list[TimedBatch]:
    """Return the schedule as the checker replays it, its ticks in seconds."""
    site = problem.site
    return [
        TimedBatch(
            gpu=gpu,
            index=index,
            adapters=ids(site, {job.adapter for job, _, _ in batch.members}),
            load=ids(site, batch.switch.load),
            paid_s=batch.switch.seconds,
            switch_start_s=batch.batch.switch_start * site.tick_s,
            switch_end_s=(batch.batch.switch_start + batch.switch.ticks) * site.tick_s,
            start_s=batch.batch.start * site.tick_s,
            end_s=batch.end * site.tick_s,
            members=_timed([(job, o, done * site.tick_s) for job, o, done in batch.members]),
        )
        for (gpu, index), batch in planned.items()
    ]


def unrounded(problem: Problem, grid: Sequence[TimedBatch]) -> list[TimedBatch]:
    """Return the batches with durations before rounding, from the same starts."""
    jobs = {job.id: job for job in problem.jobs}
    return [predicted(problem, jobs, batch) for batch in grid]


def predicted(
    problem: Problem,
    jobs: Mapping[str, Job],
    batch: TimedBatch,
    factor: float = 1.0,
    switch_factor: float = 1.0,
) -> TimedBatch:
    """Return a batch with the predicted durations before rounding, each times a factor.

    Its ``paid_s`` has to be the predicted one. Of a slotted instance, which predicts no durations,
    the batch is left as it is.
    """
    clock = problem.site.clock
    if clock.slotted or not batch.members:
        return batch
    steps = [jobs[m.id].options[m.option].steps for m in batch.members]
    ends = completions_s(clock, steps)
    paid_s = batch.paid_s * switch_factor
    members = [
        replace(m, completion_s=batch.start_s + ends[count] * factor)
        for m, count in zip(batch.members, steps, strict=True)
    ]
    return replace(
        batch,
        paid_s=paid_s,
        switch_end_s=batch.switch_start_s + paid_s,
        end_s=batch.start_s + max(ends.values()) * factor,
        members=tuple(members),
    )


def retimed(scheduled: Sequence[TimedBatch], ran: Sequence[TimedBatch]) -> list[TimedBatch]:
    """Return batches as they ran, on the clock of a schedule.

    Durations are those of ``ran``: of the switch, of the batch, and from the batch's start to each
    completion. On each GPU, in the order of ``ran``, a switch begins at its scheduled start, or
    when the batch before it ends if that is later; a batch at its scheduled start, or when its
    switch ends if that is later. So equal durations give the schedule back. Every batch of ``ran``
    is in the schedule.
    """
    plan = {(batch.gpu, batch.index): batch for batch in scheduled}
    free: dict[str, float] = {}
    found = []
    for batch in ran:
        planned = plan[batch.gpu, batch.index]
        switch_start = max(planned.switch_start_s, free.get(batch.gpu, 0.0))
        switch_end = switch_start + (batch.switch_end_s - batch.switch_start_s)
        start = max(planned.start_s, switch_end)
        free[batch.gpu] = start + (batch.end_s - batch.start_s)
        found.append(moved(batch, switch_start, switch_end, start))
    return found


def moved(batch: TimedBatch, switch_start: float, switch_end: float, start: float) -> TimedBatch:
    """Return a batch that begins at another time and takes as long."""
    members = [
        m
        if m.completion_s is None
        else replace(m, completion_s=start + (m.completion_s - batch.start_s))
        for m in batch.members
    ]
    return replace(
        batch,
        switch_start_s=switch_start,
        switch_end_s=switch_end,
        start_s=start,
        end_s=start + (batch.end_s - batch.start_s),
        members=tuple(members),
    )


def needs_retiming(execution: Execution) -> bool:
    """Return whether the times of an execution are not on its schedule's clock."""
    return not execution.live and (execution.pace is Pace.FAST or execution.sittings > 1)


class DurationFactors(NamedTuple):
    """Measured by predicted seconds of the whole batches, and of their switches."""

    batch: float = 1.0
    switch: float = 1.0


def measured(
    problem: Problem,
    execution: Execution,
    executed: Sequence[ExecutedBatch],
    grid: Sequence[TimedBatch],
    retime: Callable[[Sequence[TimedBatch]], list[TimedBatch]],
) -> tuple[list[TimedBatch], DurationFactors]:
    """Return the batches as they ran, put by ``retime`` on the clock of the schedule ``grid``.

    The factors are those that the resumed batches were estimated with.
    """
    # With nothing to wait for, not even a load, all before a batch's start is its switch.
    waiting = execution.live or problem.site.channels is not None
    unpaced = execution.pace is Pace.FAST and not waiting
    ran = [_as_run(problem, batch, unpaced) for batch in executed]
    if not needs_retiming(execution):
        return ran, DurationFactors()
    plan = {(batch.gpu, batch.index): batch for batch in grid}
    jobs, factors = {job.id: job for job in problem.jobs}, _factors(problem, executed)
    for k, (batch, b) in enumerate(zip(executed, ran, strict=True)):
        if batch.run.resumed:
            whole = plan[b.gpu, b.index]
            made = {m.id for m in b.members if m.completion_s is not None}
            whole = replace(whole, members=tuple([m for m in whole.members if m.id in made]))
            ran[k] = replace(predicted(problem, jobs, whole, *factors), estimated=True)
    return retime(ran), factors


def _factors(problem: Problem, executed: Sequence[ExecutedBatch]) -> DurationFactors:
    """Factors of an execution; 1 where nothing is known."""
    if problem.site.clock.slotted:
        return DurationFactors()
    whole = [batch for batch in executed if batch.whole]
    batch = math.fsum([max(completions_s(problem.site.clock, p.steps).values()) for p in whole])
    switch = math.fsum([p.switch.seconds for p in whole])
    return DurationFactors(
        math.fsum([p.batch_s for p in whole]) / batch if batch else 1.0,
        math.fsum([p.paid_s for p in whole]) / switch if switch else 1.0,
    )


def _as_run(problem: Problem, batch: ExecutedBatch, unpaced: bool) -> TimedBatch:
    """A batch on the clock of the run."""
    site, run = problem.site, batch.run
    ends = [s.start_s + s.seconds for s in batch.paid if s.start_s < run.start_s]
    switched = run.start_s if unpaced else min(run.start_s, max([run.switch_start_s, *ends]))
    return TimedBatch(
        gpu=site.gpus[batch.gpu].id,
        index=run.index,
        adapters=ids(site, batch.active),
        load=run.load,
        paid_s=batch.paid_s,
        switch_start_s=run.switch_start_s,
        switch_end_s=switched,
        start_s=run.start_s,
        end_s=run.end_s,
        members=_timed(batch.members),
    )


def _timed(members: Iterable[tuple[Job, int, float | None]]) -> tuple[TimedMember, ...]:
    return tuple([TimedMember(id=job.id, option=o, completion_s=done) for job, o, done in members])
