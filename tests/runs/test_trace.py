"""Progress trace of a run: only improvements, thinned, finite, and kept in its record."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from pats_opt.model.files import encode, read_instance
from pats_opt.model.problem import Problem
from pats_opt.report.config import ReportConfig, tasks
from pats_opt.runs.record import ProgressPoint, read_record, record_path, write_record
from pats_opt.runs.statistics import thinned
from pats_opt.runs.task import Recorder, perform
from pats_opt.solving.solve import solve
from pats_opt.tables import ScheduleTable, latency_quantiles, measure
from pats_opt.tables.service_levels import share_within
from tests.report.examples import document, instance, record, solver

pytestmark = pytest.mark.usefixtures("stubs")


def test_only_improvements_are_points() -> None:
    """The bound only rises and the loss only falls, whatever a solver reports."""
    recorder = Recorder()
    for bound, loss in [(None, None), (None, 9.0), (1.0, 9.5), (0.5, None), (-math.inf, 7.0)]:
        recorder(bound, loss)
    points = recorder.finish(3.0, 6.0, 6.0)
    assert [(p.bound, p.loss) for p in points] == [(None, 9.0), (1.0, 9.0), (1.0, 7.0), (6.0, 6.0)]
    assert [p.seconds for p in points] == sorted(p.seconds for p in points)
    assert points[-1].seconds == 3.0


def test_no_point_is_later_than_the_end() -> None:
    recorder = Recorder()
    recorder(None, 4.0)
    assert recorder.finish(0.0, None, 4.0) == (ProgressPoint(0.0, None, 4.0),)


@pytest.mark.parametrize("most", [200, 400])
def test_many_points_are_thinned(most: int) -> None:
    """Both ends stay, and no improvement moves ahead in time."""
    points = [ProgressPoint(float(k), float(k), None) for k in range(5000)]
    thin = thinned(points, most)
    assert len(thin) == most
    assert (thin[0], thin[-1]) == (points[0], points[-1])
    assert set(thin) <= set(points)
    assert thinned(points[:most], most) == points[:most]


def test_a_worker_keeps_trace_and_latencies(tmp_path: Path, write: Callable[..., str]) -> None:
    """Its record ends the trace with its loss and bound, and its quantiles are the metrics'."""
    out = tmp_path / "out"
    (task,) = tasks(ReportConfig(instances=(write(requests=5),), solvers=("proud",)), out)
    made = perform(task)
    assert made == read_record(out, task.config)
    last = made.trace[-1]
    assert (last.bound, last.loss) == (made.bound, made.loss)
    assert last.seconds == pytest.approx(made.runtime_s)
    shares, seconds = zip(*made.latencies, strict=True)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert list(seconds) == sorted(seconds)
    told = dict(made.latencies)
    metrics = made.metrics
    assert metrics is not None
    assert (told[0.5], told[0.99], told[1.0]) == (
        metrics.latency_p50_s,
        metrics.latency_p99_s,
        metrics.latency_max_s,
    )


def test_latency_quantiles_are_those_of_the_requests(write: Callable[..., str]) -> None:
    problem = Problem(read_instance(write(requests=4)))
    result = solve(problem, "steady")
    done = [
        (completion - job.arrival) * problem.site.tick_s
        for batch in result.replayed
        for job, _, completion in batch.members
    ]
    table = ScheduleTable.from_replay(problem, result.replayed)
    found = latency_quantiles(table)
    assert {seconds for _, seconds in found} == set(done)
    for share, seconds in found:
        assert sum(latency <= seconds for latency in done) >= share * len(done) - 1e-9
    assert measure(table).latency_max_s == found[-1][1]
    assert latency_quantiles(ScheduleTable.from_replay(problem, ())) == ()


def test_a_worker_keeps_deadlines_and_levels(tmp_path: Path, write: Callable[..., str]) -> None:
    """Where the instance has such: the record says what the schedule does."""
    asked = document("b", requests=4)
    for request in asked["requests"]:
        request["options"] = [{"steps": 20, "skip": 40, "quality": 0.9}]
        request["deadline_s"] = 4.0
    path = tmp_path / "b.json"
    path.write_bytes(encode(asked))
    config = ReportConfig(instances=(write("a.json"), str(path)), solvers=("fifo",))
    plain, made = (perform(task) for task in tasks(config, tmp_path / "out"))
    assert (plain.attainment, plain.levels) == ((), ())
    assert made.levels == ((40, 4),)
    assert made.metrics is not None
    in_time = 4 - made.metrics.deadline_misses
    assert 0 < share_within(made.attainment, 1.0) == in_time / 4
    assert made.attainment[-1][0] == 1.0


def test_a_record_without_them_is_read(tmp_path: Path) -> None:
    """Records of versions that did not keep them count as finished runs."""
    made = record(instance("one"), solver("milp", "exact"), 4.0, 3.0, trace=[(1, 2, 4)])
    write_record(tmp_path, made)
    path = record_path(tmp_path, made.config)
    document = json.loads(path.read_text())
    assert document.pop("trace") == [[1, 2, 4]]
    for name in ("latencies", "attainment", "levels"):
        document.pop(name)
    path.write_text(json.dumps(document))
    old = read_record(tmp_path, made.config)
    assert old is not None
    assert (old.trace, old.latencies, old.loss) == ((), (), 4.0)
