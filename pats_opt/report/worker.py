"""The inside of one worker process: one task from standard input, one record on disk.

Run as ``python -m pats_opt.report.worker``. Its standard input stays open as long as the report's
process lives; at its end the worker ends itself and what it started, so that nothing outlives a
kill.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from pats_opt.core.solver import require
from pats_opt.errors import CapabilityError, InfeasibleError, InputError, NoScheduleError, one_line
from pats_opt.model.files import read_instance, write_schedule
from pats_opt.model.problem import Problem
from pats_opt.report.runs import (
    End,
    Failure,
    Record,
    RunConfig,
    Task,
    machine,
    versions,
    write_record,
)
from pats_opt.report.trace import Moment, Recorder
from pats_opt.solving.budget_curve import restated
from pats_opt.solving.result import Result
from pats_opt.solving.solve import prepare, runnable, solve
from pats_opt.tables import latency_quantiles
from pats_opt.tables.latencies import Quantile


def main() -> None:
    """Do the task on standard input."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    perform(task)


def _end_with_parent() -> None:
    """Wait for the end of standard input, then end this process and its children."""
    while os.read(0, 4096):
        pass
    if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def perform(task: Task) -> Record:
    """Do one run and write its record (its schedule first, so that a record is always complete)."""
    config, folder = task.config, Path(task.folder)
    started, began = now(), time.monotonic()
    solved: Solved | None = None
    failure: Exception | None = None
    schedule = f"schedules/{config.key}.json"
    try:
        solved = _solved(task, folder / schedule)
    except Exception as error:  # a run's failure is a result: it is recorded and counted
        failure = error
    result = solved.result if solved else None
    record = Record(
        config=config,
        versions=versions(),
        machine=machine(),
        end=_end(result, failure),
        status=result.status if result else None,
        error=_failure(failure) if failure else None,
        started=started,
        wall_s=round(time.monotonic() - began, 6),
        runtime_s=result.runtime_s if result else None,
        loss=result.loss if result else None,
        bound=result.bound if result else None,
        utility=result.utility if result else None,
        terms=result.terms if result else None,
        metrics=result.metrics if result else None,
        details=result.details if result else {},
        schedule=schedule if result and result.loss is not None else None,
        trace=solved.trace if solved else (),
        latencies=solved.latencies if solved else (),
    )
    write_record(folder, record)
    return record


class Solved(NamedTuple):
    """What a run gave: its result, what it knew when, and how latencies are distributed."""

    result: Result
    trace: tuple[Moment, ...]
    latencies: tuple[Quantile, ...]


def _solved(task: Task, schedule: Path) -> Solved:
    """Solve a task, write its schedule, and make sure that the rest can be written as well."""
    config = task.config
    instance = read_instance(task.instance)
    if instance.sha256 != config.instance.sha256:
        raise InputError(
            "the file has changed since the report began", file=task.instance, hint="start anew"
        )
    price = config.latency_price
    problem = Problem(
        instance if price is None else msgspec.structs.replace(instance, latency_price_per_s=price)
    )
    solver = runnable(config.solver.spec)
    require(solver, problem)
    prepare(solver, problem)  # ahead of the recorder's clock, as ahead of the run's
    recorder = Recorder()
    result = solve(
        problem, solver, time_limit=config.time_limit, seed=config.seed, progress=recorder
    )
    if result.loss is not None:
        # The file is a schedule of the instance as it lies on disk, whatever the price it was for.
        kept = result.schedule if price is None else restated(result.schedule, instance)
        write_schedule(kept, schedule)
    msgspec.json.encode(result.summary())
    return Solved(
        result,
        recorder.finish(result.runtime_s, result.bound, result.loss),
        latency_quantiles(problem, result.replayed),
    )


def lost(config: RunConfig, end: End, error: Failure, wall_s: float) -> Record:
    """The record of a run whose process could not write its own."""
    started = datetime.fromtimestamp(time.time() - wall_s, UTC).isoformat(timespec="seconds")
    return Record(
        config=config,
        versions=versions(),
        machine=machine(),
        end=end,
        error=error,
        started=started,
        wall_s=round(wall_s, 6),
    )


def now() -> str:
    """UTC now, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _end(result: Result | None, failure: Exception | None) -> End:
    if result is not None:
        return End.SOLVED if result.loss is not None else End.NO_SCHEDULE
    if isinstance(failure, InfeasibleError):
        return End.INFEASIBLE
    if isinstance(failure, NoScheduleError):
        return End.NO_SCHEDULE
    return End.NOT_APPLICABLE if isinstance(failure, CapabilityError) else End.FAILED


def _failure(error: Exception) -> Failure:
    """An error as data; its trace names functions and lines, not this machine's folders."""
    frames = traceback.extract_tb(error.__traceback__)
    return Failure(
        type=type(error).__name__,
        message=one_line(str(error)) or type(error).__name__,
        detail="\n".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames),
    )


if __name__ == "__main__":
    main()
