"""Runs from tasks to records: read the instance, solve it, write schedule and record."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from pats_opt.core.solver import require
from pats_opt.errors import CapabilityError, InfeasibleError, NoScheduleError, one_line
from pats_opt.memory import peak_gib
from pats_opt.model.files import write_schedule
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.runs.copies import here
from pats_opt.runs.instances import read_unchanged
from pats_opt.runs.pool import RunPool, WorkerError, WorkerTimeoutError, completed
from pats_opt.runs.record import (
    ProgressPoint,
    Record,
    RunConfig,
    RunError,
    RunOutcome,
    Task,
    machine,
    read_record,
    versions,
    write_record,
)
from pats_opt.runs.statistics import thinned
from pats_opt.solving.budget_curve import restated
from pats_opt.solving.preparing import prepare
from pats_opt.solving.result import Result
from pats_opt.solving.solve import runnable, solve
from pats_opt.tables import (
    LevelCount,
    Quantile,
    ScheduleTable,
    attainment,
    latency_quantiles,
    level_counts,
    levels_of,
)
from pats_opt.tables.windows import WindowService, window_services

#: Points of progress that a record keeps.
MOST_POINTS = 200

#: Fields that a record takes from a task's result beside the result itself.
KEPT_FIELDS = ("trace", "latencies", "attainment", "levels", "windows")

#: Fields that a record takes from a result.
RESULT_FIELDS = ("status", "runtime_s", "loss", "bound", "utility", "terms", "metrics", "details")


def perform_all(
    tasks: Sequence[Task],
    pool: RunPool,
    grace_s: float,
    done: Callable[[Record], None] = lambda _: None,
    run: Callable[[Task], None] | None = None,
) -> None:
    """Do every run in a worker, which writes its record.

    Args:
        tasks: The runs.
        pool: The workers; Ctrl-C is left to who opened it.
        grace_s: Seconds past its time limit after which a run is killed.
        done: Called in this thread with each record as it comes.
        run: Called in the worker, which imports its module: :func:`perform` unless given.
    """
    futures = {}
    for task in tasks:
        limit = task.config.time_limit
        timeout_s = None if limit is None else limit + grace_s
        future = pool.submit(
            run or _perform, task, timeout_s=timeout_s, reads=[task.instance], writes=task.folder
        )
        futures[future] = task
    for future in completed(futures):
        done(_record_of(futures[future], future))


def perform_missing(
    tasks: Sequence[Task],
    pool: RunPool,
    grace_s: float,
    done: Callable[[Record], None],
    run: Callable[[Task], None] | None = None,
) -> None:
    """Do the runs that have no record yet, as :func:`perform_all` does.

    ``done`` is called with each kept record first. Solvers get ready before the first run.
    """
    missing = []
    for task in tasks:
        if (record := read_record(Path(task.folder), task.config)) is None:
            missing.append(task)
        else:
            done(record)
    pool.prepare(task.config.solver.spec for task in missing)
    perform_all(missing, pool, grace_s, done, run)


def _perform(task: Task) -> None:
    """Do one run; its record is read from disk, as on resuming, and need not be pickled."""
    perform(task)


def _record_of(task: Task, future: Future[None]) -> Record:
    """The record of a finished run; of one whose process died without any, a record of that."""
    folder = Path(task.folder)
    try:
        future.result()
    except WorkerError as error:
        if read_record(folder, task.config) is None:
            write_record(folder, _lost(task.config, error))
    record = read_record(folder, task.config)
    assert record is not None, "a run that returns has written its record"
    return record


def perform(task: Task) -> Record:
    """Do one run; write its schedule, then its record."""
    config, folder = task.config, here(task.folder)
    started, began = _iso(datetime.now(UTC)), time.monotonic()
    solved: TaskResult | None = None
    failure: Exception | None = None
    schedule = f"schedules/{config.key}.json"
    try:
        solved = _solved(task, folder / schedule)
    except Exception as error:  # a run's failure is a result: it is recorded and counted
        failure = error
    result = solved.result if solved else None
    kept = result is not None and result.loss is not None and config.setting is None
    record = Record(
        config=config,
        versions=versions(),
        machine=machine(),
        end=_end(result, failure),
        error=_failure(failure) if failure else None,
        started=started,
        wall_s=round(time.monotonic() - began, 6),
        **({name: getattr(result, name) for name in RESULT_FIELDS} if result else {}),
        schedule=schedule if kept else None,
        **({name: getattr(solved, name) for name in KEPT_FIELDS} if solved else {}),
        peak_gib=peak_gib(),
    )
    write_record(folder, record)
    return record


class TaskResult(NamedTuple):
    """Result of a run, its progress over time, and its service as a record keeps it."""

    result: Result
    trace: tuple[ProgressPoint, ...]
    latencies: tuple[Quantile, ...]
    attainment: tuple[Quantile, ...]
    levels: tuple[LevelCount, ...]
    windows: tuple[WindowService, ...]


def _solved(task: Task, schedule: Path) -> TaskResult:
    """Solve a task and write its schedule; an error if the rest cannot be written."""
    config, setting = task.config, task.config.setting
    instance = _instance(task.instance, config.instance.sha256)
    price = config.latency_price
    run_on = instance if setting is None else setting.of(instance)
    problem = Problem(
        run_on if price is None else msgspec.structs.replace(run_on, latency_price_per_s=price)
    )
    solver = runnable(config.solver.spec)
    require(solver, problem)
    prepare(solver, problem)  # ahead of the recorder's clock, as ahead of the run's
    recorder = Recorder()
    result = solve(
        problem, solver, time_limit=config.time_limit, seed=config.seed, progress=recorder
    )
    if result.loss is not None and setting is None:
        # The file is a schedule of the instance on disk, at that instance's own price.
        kept = result.schedule if price is None else restated(result.schedule, instance)
        write_schedule(kept, schedule)
    msgspec.json.encode(result.summary())
    table = ScheduleTable.from_replay(problem, result.replayed, result.loads)
    windows = 0 if setting is None or result.loss is None else setting.windows
    return TaskResult(
        result,
        recorder.finish(result.runtime_s, result.bound, result.loss),
        latency_quantiles(table),
        attainment(table),
        level_counts(table) if levels_of(problem) else (),
        window_services(table, windows, None if setting is None else setting.slo_s),
    )


@lru_cache(maxsize=1)
def _instance(file: str, sha256: str) -> Instance:
    """The instance of a file; a process that runs several of its tasks reads it once."""
    return read_unchanged(file, sha256, "the report began")


def _lost(config: RunConfig, error: WorkerError) -> Record:
    """The record of a run whose process could not write its own."""
    limit, message = config.time_limit, str(error)
    overdue = isinstance(error, WorkerTimeoutError)
    if overdue and limit is not None:
        late = error.seconds - limit
        message = f"still busy {late:.0f} s after its time limit of {limit:g} s; killed"
    return Record(
        config=config,
        versions=versions(),
        machine=machine(),
        end=RunOutcome.TIMED_OUT if overdue else RunOutcome.CRASHED,
        error=RunError(
            type="TimeoutError" if overdue else "Crash", message=message, detail=error.output
        ),
        started=_iso(datetime.now(UTC) - timedelta(seconds=error.seconds)),
        wall_s=round(error.seconds, 6),
    )


def _iso(moment: datetime) -> str:
    """UTC, ISO 8601, whole seconds."""
    return moment.isoformat(timespec="seconds")


def _end(result: Result | None, failure: Exception | None) -> RunOutcome:
    if result is not None:
        return RunOutcome.SOLVED if result.loss is not None else RunOutcome.NO_SCHEDULE
    if isinstance(failure, InfeasibleError):
        return RunOutcome.INFEASIBLE
    if isinstance(failure, NoScheduleError):
        return RunOutcome.NO_SCHEDULE
    return RunOutcome.NOT_APPLICABLE if isinstance(failure, CapabilityError) else RunOutcome.FAILED


def _failure(error: Exception) -> RunError:
    """An error as data; its trace has functions and lines without folders."""
    frames = traceback.extract_tb(error.__traceback__)
    return RunError(
        type=type(error).__name__,
        message=one_line(str(error)) or type(error).__name__,
        detail="\n".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames),
    )


class Recorder:
    """Progress trace of a run: each call that improves the bound or the loss is a point.

    Its clock begins when it is made. Thread-safe.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._points: list[ProgressPoint] = []

    def __call__(self, bound: float | None, loss: float | None) -> None:
        """Record the progress that a solver reports."""
        self._add(time.monotonic() - self._began, bound, loss)

    def finish(
        self, seconds: float, bound: float | None, loss: float | None
    ) -> tuple[ProgressPoint, ...]:
        """At most :data:`MOST_POINTS` points, with the run's result as the last.

        Args:
            seconds: Duration of the run; no point is later.
            bound: Its bound, or None.
            loss: The checker's loss of its schedule, or None.
        """
        self._add(seconds, bound, loss)
        with self._lock:
            points = [
                ProgressPoint(round(min(p.seconds, seconds), 6), p.bound, p.loss)
                for p in self._points
            ]
        return tuple(thinned(points, MOST_POINTS))

    def _add(self, seconds: float, bound: float | None, loss: float | None) -> None:
        with self._lock:
            last = self._points[-1] if self._points else ProgressPoint(0.0, None, None)
            best = ProgressPoint(
                seconds,
                max(_known(last.bound, bound), default=None),
                min(_known(last.loss, loss), default=None),
            )
            if (best.bound, best.loss) != (last.bound, last.loss):
                self._points.append(best)


def _known(*values: float | None) -> list[float]:
    """The finite values."""
    return [value for value in values if value is not None and math.isfinite(value)]
