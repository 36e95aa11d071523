"""The loss that a run had, against the checker's and by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pats_opt.execute.compare import compare
from pats_opt.execute.compare.comparing import SERVICE
from pats_opt.execute.compare.document import ComparedFigure, ExecutionComparison
from pats_opt.execute.compare.pairing import by_place
from pats_opt.execute.compare.timeline import on_grid
from pats_opt.execute.record import BatchRun, Execution, GpuRun, MemberRun, Pace
from pats_opt.model.checker import check
from pats_opt.model.files import encode, parse_instance
from pats_opt.model.loss import LossTerms
from pats_opt.model.plan import PlannedBatch, plan_of, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef
from pats_opt.solving.solve import solve
from pats_opt.tables import Metrics, ScheduleTable, measure
from pats_opt.testing.instances import random_instance
from tests.execute.samples import as_predicted, executed
from tests.support.zoo import adapter, document, gpu, request


def made(*requests: dict[str, Any], **others: Any) -> Problem:
    return Problem(parse_instance(encode(document(*requests, **others))))


def one_by_one(problem: Problem, starts: tuple[int, ...]) -> Schedule:
    """Each request alone, on the first GPU, adapter ``a`` resident."""
    batches = [
        PlannedBatch(start=start, members=((j, 0),), resident=frozenset([0]))
        for j, start in enumerate(starts)
    ]
    empty: list[list[PlannedBatch]] = [[] for _ in problem.site.gpus[1:]]
    return schedule_of(problem, plan_of([batches, *empty]), SolverRef(name="by-hand"))


def figures(comparison: ExecutionComparison) -> dict[str, ComparedFigure]:
    return {f.name: f for f in (*comparison.totals, *comparison.service, *comparison.loss)}


@given(st.integers(0, 10_000))
def test_on_the_grid_the_loss_in_seconds_is_the_checkers(seed: int) -> None:
    problem = Problem(random_instance(seed))
    schedule = solve(problem, "fcfs-grouped").schedule
    verdict = check(problem, schedule)
    replayed = verdict.replayed
    out = [job for job in problem.jobs if job.id in schedule.rejected]
    grid = on_grid(problem, by_place(schedule, replayed))
    found = ScheduleTable.from_execution(problem, grid).loss_terms(out)
    for name in LossTerms.__struct_fields__:
        assert getattr(found, name) == pytest.approx(getattr(verdict.terms, name), abs=1e-9)


@given(st.integers(0, 10_000))
def test_on_the_grid_service_is_that_of_the_metrics(seed: int) -> None:
    problem = Problem(random_instance(seed))
    schedule = solve(problem, "fcfs-grouped").schedule
    replayed = check(problem, schedule).replayed
    grid = on_grid(problem, by_place(schedule, replayed))
    found = measure(ScheduleTable.from_execution(problem, grid))
    known = measure(ScheduleTable.from_replay(problem, replayed))
    unknown = {"evictions", "vram_peak_gib"}  # batches on a clock do not carry their residents
    for name in SERVICE:
        assert name in Metrics.__struct_fields__
    for name in {*Metrics.__struct_fields__} - unknown:
        value = getattr(known, name)
        if not isinstance(value, str):
            assert getattr(found, name) == pytest.approx(value, abs=1e-9), name


@given(st.integers(0, 10_000), st.sampled_from(list(Pace)))
def test_a_device_that_takes_what_was_predicted_has_the_loss_before_rounding(
    seed: int, pace: Pace
) -> None:
    problem = Problem(random_instance(seed))
    schedule = solve(problem, "fcfs-grouped").schedule
    found = compare(
        problem, executed(problem, schedule, as_predicted(problem), pace=pace), schedule
    )
    assert found.complete
    if found.slotted:
        return
    for figure in (*found.totals[:3], *found.loss):
        assert figure.measured == pytest.approx(figure.unrounded, abs=1e-6), figure.name
    for row in found.batches:
        assert row.batch_s == pytest.approx(row.batch_unrounded_s, abs=1e-6)
        assert row.switch_s == pytest.approx(row.switch_predicted_s, abs=1e-6)


def test_by_hand() -> None:
    """Two requests of 0.7 s steps on ticks of 1 s; the second took 1.3 s and ends late.

    On the grid both take a tick: latency 1 + 2, none late. Before rounding: 0.7 + 1.7. Measured:
    0.7, then 1 + 1.3 against a deadline of 2 s: 3.0, and 10 for being late. Prices are 1; rounding
    accounts for -0.6.
    """
    problem = made(
        request("r0"),
        request("r1", deadline_s=2.0, weight=1.0),
        service={"kind": "steps", "step_s": {"base": 0.7, "per_sample": 0.0}},
        late_price=10.0,
    )
    schedule = one_by_one(problem, (0, 1))
    run = executed(problem, schedule, as_predicted(problem))
    slow = _took(run, 1, 1.3)
    found = figures(compare(problem, slow, schedule))
    assert found["latency"].predicted == pytest.approx(3.0)
    assert found["latency"].unrounded == pytest.approx(0.7 + 1.7)
    assert found["latency"].measured == pytest.approx(0.7 + 2.3)
    assert found["late"].predicted == found["late"].unrounded == 0
    assert found["late"].measured == 10
    assert found["late"].ratio is None
    assert found["loss"].measured == pytest.approx(13.0)
    assert found["loss"].ratio == pytest.approx(13 / 3)
    assert found["makespan_s"].measured == pytest.approx(2.3)
    assert found["serving_s"].measured == pytest.approx(2.0)
    assert found["serving_s"].predicted == 2
    assert found["latency_max_s"].measured == pytest.approx(2.3)
    assert found["wait_max_s"].measured == 1


def test_latency_counts_from_the_arrival_on_the_grid() -> None:
    """A request of second 0.3 arrives at tick 1: done at 1.5 s its latency is 0.5 s."""
    problem = made(
        request("r0", arrival_s=0.3),
        service={"kind": "steps", "step_s": {"base": 0.5, "per_sample": 0.0}},
    )
    schedule = one_by_one(problem, (1,))
    found = compare(problem, executed(problem, schedule, as_predicted(problem)), schedule)
    assert figures(found)["latency_mean_s"].measured == pytest.approx(0.5)


def test_switching_is_priced_by_the_seconds_it_took() -> None:
    """A load of 3 s that took 0.5 s, at 2 a second."""
    problem = made(
        request("r0"),
        gpus=[gpu(resident=())],
        adapters=[adapter("a", 3.0)],
        switching={"price_per_s": 2.0},
    )
    schedule = one_by_one(problem, (3,))
    device = as_predicted(problem)
    device.load_s = lambda _a, _b: 0.5
    comparison = compare(problem, executed(problem, schedule, device, pace=Pace.FAST), schedule)
    found = figures(comparison)
    assert found["switching"].predicted == 6
    assert found["switching"].measured == pytest.approx(1.0)
    assert found["switching_s"].ratio == pytest.approx(0.5 / 3)
    assert comparison.measured[0].start_s == 3  # it waits for its scheduled start
    assert comparison.batches[0].switch_ratio == pytest.approx(0.5 / 3)


def test_a_failed_request_is_charged_where_it_may_be_rejected() -> None:
    """Two of three fail: one is charged 7, the other had to be served."""
    problem = made(request("r0"), request("r1", reject_loss=7.0), request("r2"))
    schedule = one_by_one(problem, (0, 1, 2))
    run = executed(problem, schedule, as_predicted(problem))
    one = compare(problem, _failing(run, "r1"), schedule)
    assert one.complete
    assert one.gaps.failed == ("r1",)
    assert figures(one)["rejection"].measured == 7
    assert figures(one)["loss"].ratio is not None
    assert figures(one)["served"].measured == 2
    both = compare(problem, _failing(run, "r1", "r2"), schedule)
    assert not both.complete
    assert both.gaps.charged == 1
    assert figures(both)["rejection"].measured == 7
    assert figures(both)["loss"].ratio is None
    assert figures(both)["makespan_s"].ratio == 1


def test_what_was_rejected_is_charged_in_all_three() -> None:
    problem = made(request("r0"), request("r1", reject_loss=7.0))
    schedule = one_by_one(problem, (0,))
    assert schedule.rejected == ("r1",)
    found = compare(problem, executed(problem, schedule, as_predicted(problem)), schedule)
    rejection = figures(found)["rejection"]
    assert (rejection.predicted, rejection.unrounded, rejection.measured) == (7, 7, 7)


def test_a_batch_that_did_not_run_leaves_totals_uncompared() -> None:
    problem = made(request("r0"), request("r1", reject_loss=7.0))
    schedule = one_by_one(problem, (0, 1))
    run = executed(problem, schedule, as_predicted(problem))
    cut = _with_batches(run, run.gpus[0].batches[:1])
    found = compare(problem, cut, schedule)
    assert not found.complete
    assert found.gaps.unrun == 1
    assert found.gaps.missing == ("r1",)
    assert figures(found)["makespan_s"].ratio is None
    assert found.batches[0].batch_ratio == pytest.approx(1.0)


def test_a_batch_cut_short_lacks_what_it_did_not_come_to() -> None:
    """Of a batch of two, one was made before the end of it all."""
    problem = made(request("r0"), request("r1"))
    batch = PlannedBatch(start=0, members=((0, 0), (1, 0)), resident=frozenset([0]))
    schedule = schedule_of(problem, plan_of([[batch]]), SolverRef(name="by-hand"))
    run = executed(problem, schedule, as_predicted(problem))
    (whole,) = run.gpus[0].batches
    cut = replace(whole, members=whole.members[:1], spans=(), resumed=True)
    found = compare(problem, _with_batches(run, (cut,), sittings=1), schedule)
    assert found.gaps.missing == ("r1",)
    assert found.gaps.failed == ()
    assert not found.complete


def test_a_request_that_failed_and_was_made_later_counts_as_made() -> None:
    """In a live run a failed request may be tried again in another batch."""
    problem = made(request("r0"))
    schedule = one_by_one(problem, (0,))
    first = BatchRun(
        index=0,
        switch_start_s=0,
        start_s=0,
        end_s=1,
        members=(MemberRun(id="r0", option=0, error="no"),),
    )
    then = BatchRun(
        index=1,
        switch_start_s=1,
        start_s=1,
        end_s=3,
        members=(MemberRun(id="r0", option=0, completion_s=3.5, image="x.png"),),
    )
    run = executed(problem, schedule, as_predicted(problem), live=True)
    found = compare(problem, _with_batches(run, (first, then)), schedule)
    assert found.gaps.failed == ()
    assert found.complete
    assert figures(found)["latency_mean_s"].measured == pytest.approx(3.5)


def _took(run: Execution, index: int, seconds: float) -> Execution:
    """The run with a batch of one request that took this long."""
    batches = list(run.gpus[0].batches)
    batch = batches[index]
    end = batch.start_s + seconds
    batches[index] = replace(
        batch, end_s=end, members=(replace(batch.members[0], completion_s=end),), spans=()
    )
    return _with_batches(run, tuple(batches))


def _failing(run: Execution, *names: str) -> Execution:
    """The run with requests that have no image."""
    batches = tuple(
        replace(
            batch,
            members=tuple(
                MemberRun(id=m.id, option=m.option, error="it did not work") if m.id in names else m
                for m in batch.members
            ),
        )
        for batch in run.gpus[0].batches
    )
    return _with_batches(run, batches)


def _with_batches(run: Execution, batches: tuple[BatchRun, ...], **others: Any) -> Execution:
    gpu = GpuRun(id=run.gpus[0].id, device="cpu", batches=batches)
    return replace(run, gpus=(gpu, *run.gpus[1:]), **others)
