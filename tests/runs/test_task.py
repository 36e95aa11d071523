"""Worker processes: whatever one run does, it is one record, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pats_opt.model.schedule import SolutionStatus
from pats_opt.report.config import ReportConfig, tasks
from pats_opt.runs.pool import WorkerPool
from pats_opt.runs.record import Record, RunOutcome, read_record
from pats_opt.runs.task import perform, perform_all

pytestmark = pytest.mark.usefixtures("stubs")

#: Seconds that starting a process and reading an instance may take on a busy machine.
PATIENCE_S = 60.0


def run(folder: Path, config: ReportConfig, grace_s: float = PATIENCE_S) -> list[Record]:
    """Run a configuration, and read back what it left."""
    found = tasks(config, folder)
    with WorkerPool(2) as pool:
        perform_all(found, pool, grace_s)
    return [r for task in found if (r := read_record(folder, task.config)) is not None]


@pytest.mark.parametrize(
    ("spec", "end", "message"),
    [
        ("steady", RunOutcome.SOLVED, ""),
        ("bad:how=raise", RunOutcome.FAILED, "| it <broke>\\n`here` |"),
        ("bad:how=stop", RunOutcome.NO_SCHEDULE, "stopped without a schedule"),
        ("bad:how=infeasible", RunOutcome.INFEASIBLE, "proven: none exists"),
        ("boastful", RunOutcome.NO_SCHEDULE, ""),
        ("picky", RunOutcome.NOT_APPLICABLE, "several options per request"),
        ("steady:delay=-5", RunOutcome.FAILED, "broke rule"),
    ],
)
def test_every_end_is_recorded(
    tmp_path: Path, write: Callable[..., str], spec: str, end: RunOutcome, message: str
) -> None:
    """Inside the worker, in this process."""
    (task,) = tasks(ReportConfig(instances=(write(),), solvers=(spec,)), tmp_path / "out")
    record = perform(task)
    assert record == read_record(tmp_path / "out", task.config)
    assert record.end is end
    assert message in (record.error.message if record.error else "")
    assert (record.loss is not None) == (end is RunOutcome.SOLVED)


def test_a_record_holds_what_is_needed_to_judge_it(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    config = ReportConfig(
        instances=(write(requests=4),), solvers=("proud:option=1",), time_limit=60.0, seed=7
    )
    (record,) = run(tmp_path / "out", config)
    assert record.config.solver.params == {"option": 1, "delay": 0, "share": 1.0}
    assert (record.config.seed, record.config.time_limit) == (7, 60.0)
    assert {"python", "pats-opt", "ortools", "pulp", "numpy"} <= set(record.versions)
    assert set(record.machine) == {"platform", "cpu", "cores"}
    assert record.status is not None
    assert record.status.point is SolutionStatus.OPTIMAL
    assert record.loss == record.bound == pytest.approx(record.terms.total if record.terms else 0)
    assert record.metrics is not None
    assert record.metrics.served == 4
    assert record.peak_gib is not None
    assert 0.01 < record.peak_gib < 10
    assert record.schedule is not None
    assert (tmp_path / "out" / record.schedule).is_file()


def test_crashes_harm_nobody_else(tmp_path: Path, write: Callable[..., str]) -> None:
    """Two runs die, one of them by a signal; the others are done all the same."""
    specs = ("bad:how=kill", "steady", "bad:how=exit", "steady:option=1")
    records = run(tmp_path / "out", ReportConfig(instances=(write(),), solvers=specs))
    assert [r.end for r in records] == [
        RunOutcome.CRASHED,
        RunOutcome.SOLVED,
        RunOutcome.CRASHED,
        RunOutcome.SOLVED,
    ]
    killed, exited = records[0].error, records[2].error
    assert killed is not None
    assert "SIGKILL" in killed.message
    assert exited is not None
    assert "status 7" in exited.message
    assert "last words" in exited.detail


def test_a_run_that_never_ends_is_killed(tmp_path: Path, write: Callable[..., str]) -> None:
    """It counts as timed out, not as a crash."""
    config = ReportConfig(instances=(write(),), solvers=("bad:how=hang",), time_limit=0.5)
    (record,) = run(tmp_path / "out", config, grace_s=0.5)
    assert record.end is RunOutcome.TIMED_OUT
    assert record.error is not None
    assert "after its time limit of 0.5 s" in record.error.message


def test_an_instance_that_changes_meanwhile_is_not_mistaken(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    (task,) = tasks(ReportConfig(instances=(write(),), solvers=("steady",)), tmp_path / "out")
    write(requests=5)
    record = perform(task)
    assert record.end is RunOutcome.FAILED
    assert record.error is not None
    assert "has changed" in record.error.message


def test_runs_share_a_process_and_give_what_they_give_alone(
    tmp_path: Path, write: Callable[..., str]
) -> None:
    """A crash and a hang in between cost their own runs only."""
    specs = ("fifo", "bad:how=kill", "price-index", "exhaustive", "bad:how=hang", "pats")
    config = ReportConfig(instances=(write(requests=6),), solvers=specs, time_limit=2.0)
    together, alone = tmp_path / "together", tmp_path / "alone"
    found = tasks(config, together)
    with WorkerPool(1) as lasting, WorkerPool(1, fresh=True) as fresh:
        perform_all(found, lasting, 2.0)
        perform_all(tasks(config, alone), fresh, 2.0)
    ends = []
    for task in found:
        one, other = (read_record(folder, task.config) for folder in (together, alone))
        assert one is not None
        assert other is not None
        ends.append(one.end)
        kept = ("end", "loss", "terms", "metrics", "latencies", "status")
        assert [getattr(one, name) for name in kept] == [getattr(other, name) for name in kept]
    assert ends.count(RunOutcome.SOLVED) == 4
    assert set(ends) >= {RunOutcome.CRASHED, RunOutcome.TIMED_OUT}
