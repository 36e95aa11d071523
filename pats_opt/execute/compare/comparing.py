"""Sets an execution against what was predicted of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from pats_opt.execute.compare.constants import constants
from pats_opt.execute.compare.document import (
    BatchRow,
    Comparison,
    Figure,
    Gaps,
    TimedBatch,
    ratio,
)
from pats_opt.execute.compare.notes import run_notes, schedule_notes
from pats_opt.execute.compare.outcome import (
    composition,
    differences,
    figure,
    loss_terms,
    makespan_s,
    service,
)
from pats_opt.execute.compare.plays import Place, Play, places, plays
from pats_opt.execute.compare.recalibrate import recalibrated
from pats_opt.execute.compare.timeline import (
    completions_s,
    measured,
    needs_retiming,
    on_grid,
    unrounded,
)
from pats_opt.execute.record import Execution
from pats_opt.model.checker import ReplayedBatch, check
from pats_opt.model.loss import LossTerms
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule


def compare(problem: Problem, execution: Execution, schedule: Schedule) -> Comparison:
    """An execution against the schedule that was run, or that a live run's policy simulates to.

    Args:
        problem: The instance on the grid.
        execution: What was run and measured.
        schedule: Of a live run, the same policy's in the simulator; else the one that was run.

    Raises:
        InputError: The three do not belong together.
    """
    verdict = check(problem, schedule)
    planned = places(schedule, verdict.replayed)
    played = plays(problem, execution, None if execution.live else planned)
    grid = on_grid(problem, planned)
    ran, factors = measured(problem, execution, played, grid)
    sides = _Sides(
        problem=problem,
        execution=execution,
        schedule=schedule,
        terms=verdict.terms,
        replayed=verdict.replayed,
        played=played,
        grid=grid,
        exact=unrounded(problem, grid),
        ran=ran,
        gaps=_gaps(problem, execution, played, planned),
    )
    found = constants(problem, execution, played)
    return Comparison(
        live=execution.live,
        slotted=sides.slotted,
        retimed=needs_retiming(execution),
        complete=sides.gaps.none,
        gaps=sides.gaps,
        totals=tuple(_totals(sides)),
        loss=tuple(_loss(sides)),
        service=tuple(_service(sides)),
        batches=tuple(_rows(sides)),
        constants=found,
        recalibrated=recalibrated(problem, played, found),
        differences=None if sides.slotted else differences(problem, grid, ran),
        composition=composition(grid, ran) if execution.live else None,
        predicted=tuple(grid),
        measured=tuple(ran),
        notes=(
            *schedule_notes(len(verdict.violations), sides.gaps),
            *run_notes(problem, execution, played, factors),
        ),
    )


class _Sides(Struct, frozen=True, kw_only=True):
    """What is compared: the schedule on the grid, before rounding, and as it ran."""

    problem: Problem
    execution: Execution
    schedule: Schedule
    terms: LossTerms
    replayed: Sequence[ReplayedBatch]
    played: Sequence[Play]
    grid: Sequence[TimedBatch]
    exact: Sequence[TimedBatch]
    ran: Sequence[TimedBatch]
    gaps: Gaps

    @property
    def slotted(self) -> bool:
        """Whether no seconds are predicted."""
        return self.problem.site.clock.slotted


def _gaps(
    problem: Problem,
    execution: Execution,
    played: Sequence[Play],
    planned: Mapping[Place, ReplayedBatch],
) -> Gaps:
    # What failed in one batch of a live run may have been made in another.
    made = {job.id for play in played for job, _, done in play.members if done is not None}
    tried = {job.id: job for play in played for job in play.failed}
    failed = [job for job in tried.values() if job.id not in made]
    rejected = {*execution.rejected}
    dealt = {job.id for play in played for job, _, _ in play.members} | {
        job.id for job in problem.jobs if job.id in rejected and job.reject_loss is not None
    }
    return Gaps(
        failed=tuple([job.id for job in failed]),
        charged=sum(job.reject_loss is not None for job in failed),
        missing=tuple([job.id for job in problem.jobs if job.id not in dealt]),
        unrun=0 if execution.live else len(planned) - len(played),
    )


def _totals(sides: _Sides) -> Iterator[Figure]:
    """Times, which a slotted instance does not predict, and memory."""
    whole = not (sides.gaps.unrun or sides.gaps.missing)
    sums: tuple[tuple[str, Callable[[Sequence[TimedBatch]], float]], ...] = (
        ("makespan_s", makespan_s),
        ("serving_s", _serving_s),
        ("switching_s", _switching_s),
    )
    for name, of in sums:
        predicted = None if sides.slotted else of(sides.grid)
        exact = None if sides.slotted else of(sides.exact)
        yield figure(name, predicted, exact, of(sides.ran), comparable=whole)
    needed = max(
        [
            peak_gib(sides.problem, b.resident, [job.demand[0] for job, _, _ in b.members])
            for b in sides.replayed
        ],
        default=None,
    )
    peaks = [p.run.peak_gib for p in sides.played if p.run.peak_gib is not None]
    yield figure("peak_memory_gib", needed, needed, max(peaks, default=None), comparable=whole)


def _serving_s(batches: Iterable[TimedBatch]) -> float:
    return math.fsum([b.end_s - b.start_s for b in batches])


def _switching_s(batches: Iterable[TimedBatch]) -> float:
    return math.fsum([b.paid_s for b in batches])


def peak_gib(problem: Problem, resident: Iterable[int], demands: Iterable[int]) -> float:
    """Memory at a batch's start, as rule 3 adds it up."""
    vram = problem.site.adapter_vram
    return (problem.site.base_vram + sum(vram[a] for a in resident) + sum(demands)) / 1e9


def _loss(sides: _Sides) -> Iterator[Figure]:
    """The terms, and the loss."""
    jobs, gaps = sides.problem.jobs, sides.gaps
    charged = {*gaps.failed, *sides.execution.rejected}
    dropped = {*sides.schedule.rejected}
    all_terms = (
        sides.terms,
        loss_terms(sides.problem, sides.exact, [job for job in jobs if job.id in dropped]),
        loss_terms(sides.problem, sides.ran, [job for job in jobs if job.id in charged]),
    )
    for name in LossTerms.__struct_fields__:
        predicted, exact, ran = (getattr(terms, name) for terms in all_terms)
        yield figure(name, predicted, exact, ran, comparable=gaps.none)
    predicted, exact, ran = (terms.total for terms in all_terms)
    yield figure("loss", predicted, exact, ran, comparable=gaps.none)


def _service(sides: _Sides) -> Iterator[Figure]:
    """Latencies, waits and batches; a slotted instance predicts no seconds."""
    gaps = sides.gaps
    whole = not (gaps.unrun or gaps.missing or gaps.failed)
    services = [service(sides.problem, side) for side in (sides.grid, sides.exact, sides.ran)]
    for name in services[0].__struct_fields__:
        predicted, exact, ran = (getattr(found, name) for found in services)
        if name.endswith("_s") and sides.slotted:
            predicted = exact = None
        yield figure(name, predicted, exact, ran, comparable=whole)


def _rows(sides: _Sides) -> Iterator[BatchRow]:
    """The batches that were run, each against what the constants say of its composition."""
    problem, clock = sides.problem, sides.problem.site.clock
    paired = not sides.execution.live and not sides.slotted
    ends = {(b.gpu, b.index): b.end_s for b in sides.grid} if paired else {}
    for play, timed in zip(sides.played, sides.ran, strict=True):
        run, known = play.run, bool(play.members) and not sides.slotted
        exact = max(completions_s(clock, play.steps).values()) if known else None
        switch = None if sides.slotted else play.switch.seconds
        yield BatchRow(
            gpu=timed.gpu,
            index=run.index,
            members=len(play.members),
            failed=len(play.failed),
            splits=run.splits,
            resumed=run.resumed,
            switch_predicted_s=switch,
            switch_s=play.paid_s,
            switch_ratio=None if run.resumed else ratio(switch, play.paid_s),
            batch_predicted_s=clock.ends(play.steps)[1] * problem.site.tick_s if known else None,
            batch_unrounded_s=exact,
            batch_s=play.batch_s,
            batch_ratio=None if run.resumed else ratio(exact, play.batch_s),
            end_predicted_s=ends.get((timed.gpu, timed.index)),
            end_s=timed.end_s,
            peak_predicted_gib=peak_gib(
                problem, play.resident, [job.demand[0] for job, _, _ in play.members]
            ),
            peak_gib=run.peak_gib,
        )
