"""Comparison of an execution with its prediction."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec import structs

from pats_opt.execute.compare.constants import constants
from pats_opt.execute.compare.document import (
    BatchComposition,
    BatchRow,
    ComparedFigure,
    ExecutionComparison,
    LatencyDifferences,
    MissingRequests,
    TimedLoad,
)
from pats_opt.execute.compare.loads import BatchTimeline, ComparedTimelines, timelines
from pats_opt.execute.compare.pairing import BatchKey, ExecutedBatch, by_place, executed_batches
from pats_opt.execute.compare.recalibrate import recalibrated
from pats_opt.execute.compare.sentences import notes
from pats_opt.execute.compare.timeline import completions_s, needs_retiming
from pats_opt.execute.record import Execution
from pats_opt.model.checker import ReplayedBatch, check
from pats_opt.model.loss import LossTerms, switching_loss
from pats_opt.model.problem import Job, Problem
from pats_opt.model.schedule import Schedule
from pats_opt.tables import BY_GROUP, ScheduleTable, measure
from pats_opt.tables.schedule_table import TimedBatch
from pats_opt.tables.statistics import rank, ratio

#: Metrics of the service that are compared; where there are groups, those by group too.
SERVICE = (
    "served",
    "batches",
    "mean_batch",
    "switches",
    "latency_mean_s",
    "latency_p50_s",
    "latency_p95_s",
    "latency_p99_s",
    "latency_max_s",
    "wait_mean_s",
    "wait_p95_s",
    "wait_max_s",
)


class ComparedTables(NamedTuple):
    """The tables that are compared: the schedule on the grid, before rounding, and as it ran."""

    grid: ScheduleTable
    exact: ScheduleTable
    ran: ScheduleTable


def compare(problem: Problem, execution: Execution, schedule: Schedule) -> ExecutionComparison:
    """Compare an execution with its schedule, or with what a live run's policy simulates to.

    Args:
        problem: The instance on the grid.
        execution: What was run and measured.
        schedule: Of a live run, the same policy's in the simulator; else the one that was run.

    Raises:
        InputError: The three do not belong together.
    """
    verdict = check(problem, schedule)
    planned = by_place(schedule, verdict.replayed)
    executed = executed_batches(problem, execution, None if execution.live else planned)
    lines, factors = timelines(problem, execution, schedule, verdict, executed)
    grid, ran = lines.grid.batches, lines.ran.batches
    tables = ComparedTables(
        *(ScheduleTable.from_execution(problem, some.batches) for some in lines)
    )
    missing = _missing(problem, execution, executed, planned)
    whole, slotted = not (missing.unrun or missing.missing), problem.site.clock.slotted
    found = constants(problem, execution, executed)
    return ExecutionComparison(
        live=execution.live,
        slotted=slotted,
        retimed=needs_retiming(execution),
        complete=missing.none,
        gaps=missing,
        totals=(
            *_times(tables, whole, slotted),
            *(_loads(lines, whole) if problem.site.channels is not None else ()),
            _memory(problem, verdict.replayed, executed, whole),
        ),
        loss=tuple(_loss(tables, lines, verdict.terms, execution, schedule, missing=missing)),
        service=tuple(_service(tables, whole and not missing.failed, slotted)),
        batches=tuple(_rows(problem, execution, executed, grid, ran)),
        constants=found,
        recalibrated=recalibrated(problem, executed, lines.ran.loads, found),
        differences=None if slotted else _differences(tables),
        composition=_composition(grid, ran) if execution.live else None,
        predicted=tuple(grid),
        measured=tuple(ran),
        predicted_loads=tuple(lines.grid.loads),
        measured_loads=tuple(lines.ran.loads),
        loading=execution.loading,
        latents=execution.latents,
        notes=tuple(
            notes(
                problem, execution, executed, factors, broken=len(verdict.violations), gaps=missing
            )
        ),
    )


def figure(
    name: str,
    predicted: float | None,
    exact: float | None,
    measured: float | None,
    *,
    comparable: bool,
    promised: bool = True,
) -> ComparedFigure:
    """Return a figure with its ratios; without them where the two sides are not comparable.

    Without predictions where the instance has none (``promised``). ``exact`` is before rounding.
    """
    if not promised:
        predicted = exact = None
    return ComparedFigure(
        name=name,
        predicted=predicted,
        unrounded=exact,
        measured=measured,
        ratio=ratio(predicted, measured) if comparable else None,
        unrounded_ratio=ratio(exact, measured) if comparable else None,
    )


def _missing(
    problem: Problem,
    execution: Execution,
    executed: Sequence[ExecutedBatch],
    planned: Mapping[BatchKey, ReplayedBatch],
) -> MissingRequests:
    # What failed in one batch of a live run may have been made in another.
    made = {job.id for batch in executed for job, _, done in batch.members if done is not None}
    tried = {job.id: job for batch in executed for job in batch.failed}
    failed = [job for job in tried.values() if job.id not in made]
    rejected = {*execution.rejected}
    dealt = {job.id for batch in executed for job, _, _ in batch.members} | {
        job.id for job in problem.jobs if job.id in rejected and job.reject_loss is not None
    }
    return MissingRequests(
        failed=tuple([job.id for job in failed]),
        charged=sum(job.reject_loss is not None for job in failed),
        missing=tuple([job.id for job in problem.jobs if job.id not in dealt]),
        unrun=0 if execution.live else len(planned) - len(executed),
    )


def _times(tables: ComparedTables, whole: bool, slotted: bool) -> Iterator[ComparedFigure]:
    """Times, which a slotted instance does not predict."""
    times: dict[str, Callable[[ScheduleTable], float]] = {
        "makespan_s": lambda t: t.makespan,
        "serving_s": lambda t: math.fsum(t.batches.end - t.batches.start),
        "switching_s": lambda t: math.fsum(t.batches.switch_s),
    }
    for name, value in times.items():
        yield figure(name, *map(value, tables), comparable=whole, promised=not slotted)


def _loads(lines: ComparedTimelines, whole: bool) -> Iterator[ComparedFigure]:
    """Seconds of loads beside serving, and the share of them that batches hide."""

    def hidden(loads: Sequence[TimedLoad]) -> float | None:
        seconds = math.fsum([load.seconds for load in loads])
        return math.fsum([x.hidden * x.seconds for x in loads]) / seconds if seconds else None

    loads = [line.loads for line in lines]
    seconds = [math.fsum([load.seconds for load in some]) for some in loads]
    yield figure("loading_s", *seconds, comparable=whole)
    yield figure("hidden_load_share", *map(hidden, loads), comparable=whole)


def _memory(
    problem: Problem,
    replayed: Iterable[ReplayedBatch],
    executed: Iterable[ExecutedBatch],
    whole: bool,
) -> ComparedFigure:
    predicted = [peak_gib(problem, b.resident, [job for job, _, _ in b.members]) for b in replayed]
    peaks = [batch.run.peak_gib for batch in executed if batch.run.peak_gib is not None]
    needed = max(predicted, default=None)
    return figure("peak_memory_gib", needed, needed, max(peaks, default=None), comparable=whole)


def peak_gib(problem: Problem, resident: Iterable[int], jobs: Iterable[Job]) -> float:
    """Return the memory in use at a batch's start, as rule 3 adds it up."""
    vram = problem.site.adapter_vram
    used = sum(vram[a] for a in resident) + sum(job.demand[0] for job in jobs)
    return (problem.site.base_vram + used) / 1e9


def _loss(
    tables: ComparedTables,
    lines: ComparedTimelines,
    predicted: LossTerms,
    execution: Execution,
    schedule: Schedule,
    *,
    missing: MissingRequests,
) -> Iterator[ComparedFigure]:
    """Terms of the loss, and the loss."""
    problem, jobs = tables.grid.problem, tables.grid.problem.jobs
    charged, dropped = {*missing.failed, *execution.rejected}, {*schedule.rejected}
    exact = tables.exact.loss_terms([job for job in jobs if job.id in dropped])
    ran = tables.ran.loss_terms([job for job in jobs if job.id in charged])
    exact, ran = _with_loads(problem, exact, lines.exact), _with_loads(problem, ran, lines.ran)
    for name, field in (*((n, n) for n in LossTerms.__struct_fields__), ("loss", "total")):
        values = (getattr(terms, field) for terms in (predicted, exact, ran))
        yield figure(name, *values, comparable=missing.none)


def _with_loads(problem: Problem, terms: LossTerms, line: BatchTimeline) -> LossTerms:
    """Terms of the loss with what loads beside serving pay."""
    paid_s = math.fsum([load.seconds for load in line.loads])
    return structs.replace(terms, switching=terms.switching + switching_loss(problem.site, paid_s))


def _service(tables: ComparedTables, whole: bool, slotted: bool) -> Iterator[ComparedFigure]:
    """Latencies, waits and batches; a slotted instance predicts no seconds."""
    metrics = [
        # Activations are left out of the switches: a run need not have them where a plan has.
        {**structs.asdict(measure(table)), "switches": sum(map(bool, table.batches.load))}
        for table in tables
    ]
    by_group = () if metrics[0]["groups_served"] is None else BY_GROUP
    for name in (*SERVICE, *by_group):
        promised = not (slotted and name.endswith("_s"))
        values = (of[name] for of in metrics)
        yield figure(name, *values, comparable=whole, promised=promised)


def _rows(
    problem: Problem,
    execution: Execution,
    executed: Sequence[ExecutedBatch],
    grid: Sequence[TimedBatch],
    ran: Sequence[TimedBatch],
) -> Iterator[BatchRow]:
    """Executed batches, each with its prediction by the instance's constants."""
    clock, slotted = problem.site.clock, problem.site.clock.slotted
    paired = not execution.live and not slotted
    ends = {(b.gpu, b.index): b.end_s for b in grid} if paired else {}
    for batch, timed in zip(executed, ran, strict=True):
        run, known = batch.run, bool(batch.members) and not slotted
        exact = max(completions_s(clock, batch.steps).values()) if known else None
        switch = None if slotted else batch.switch.seconds
        yield BatchRow(
            gpu=timed.gpu,
            index=run.index,
            members=len(batch.members),
            failed=len(batch.failed),
            splits=run.splits,
            resumed=run.resumed,
            switch_predicted_s=switch,
            switch_s=batch.paid_s,
            switch_ratio=None if run.resumed else ratio(switch, batch.paid_s),
            batch_predicted_s=clock.ends(batch.steps)[1] * problem.site.tick_s if known else None,
            batch_unrounded_s=exact,
            batch_s=batch.batch_s,
            batch_ratio=None if run.resumed else ratio(exact, batch.batch_s),
            end_predicted_s=ends.get((timed.gpu, timed.index)),
            end_s=timed.end_s,
            peak_predicted_gib=peak_gib(
                problem, batch.resident, [job for job, _, _ in batch.members]
            ),
            peak_gib=run.peak_gib,
        )


def _differences(tables: ComparedTables) -> LatencyDifferences | None:
    """Measured less predicted latency of each request that both serve."""
    import numpy as np

    expected = _latencies(tables.grid)
    ran = _latencies(tables.ran)
    rising = sorted([s - expected[job] for job, s in ran.items() if job in expected])
    if not rising:
        return None
    shares = {"min": 0.0, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
    return LatencyDifferences(
        count=len(rising),
        mean_s=float(np.mean(rising)),
        **{f"{name}_s": rising[rank(len(rising), q)] for name, q in shares.items()},
    )


def _latencies(table: ScheduleTable) -> dict[int, float]:
    """Seconds by job."""
    return dict(zip(table.requests.job.tolist(), table.latency_s.tolist(), strict=True))


def _composition(
    predicted: Sequence[TimedBatch], measured: Sequence[TimedBatch]
) -> BatchComposition:
    """Similarity of two sets of batches."""
    simulated = {_members(batch) for batch in predicted}
    options = {m.id: m.option for batch in predicted for m in batch.members}
    run = {m.id: m.option for batch in measured for m in batch.members}
    both = options.keys() & run.keys()
    return BatchComposition(
        simulated=len(predicted),
        live=len(measured),
        same=sum(_members(batch) in simulated for batch in measured),
        same_options=sum(options[name] == run[name] for name in both),
        both=len(both),
    )


def _members(batch: TimedBatch) -> frozenset[tuple[str, int]]:
    return frozenset([(m.id, m.option) for m in batch.members])
