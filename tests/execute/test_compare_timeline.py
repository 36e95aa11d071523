"""The three timelines: on the grid, before rounding, and as measured on the schedule's clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pats_opt.execute.compare.comparing import compare
from pats_opt.execute.compare.pairing import by_place
from pats_opt.execute.compare.timeline import completions_s, on_grid, retimed, unrounded
from pats_opt.execute.record import Pace
from pats_opt.model.checker import check
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule
from pats_opt.model.timing import shape_of, to_ticks
from pats_opt.solving.solve import solve
from pats_opt.tables.schedule_table import TimedBatch, TimedMember
from pats_opt.testing.instances import random_instance
from tests.execute.samples import Device, as_predicted, executed
from tests.support import scale

SECONDS = st.floats(0, 100, allow_nan=False)


def solved(seed: int) -> tuple[Problem, Schedule]:
    """A random instance with a policy's schedule."""
    problem = Problem(random_instance(seed))
    return problem, solve(problem, "fcfs-grouped").schedule


def grid_of(problem: Problem, schedule: Schedule) -> list[TimedBatch]:
    return on_grid(problem, by_place(schedule, check(problem, schedule).replayed))


def batch(index: int, switch: float, ready: float, start: float, end: float) -> TimedBatch:
    """A batch of one request that is done when the batch is."""
    return TimedBatch(
        gpu="g",
        index=index,
        adapters=("a",),
        switch_start_s=switch,
        switch_end_s=ready,
        start_s=start,
        end_s=end,
        members=(TimedMember(id=f"r{index}", option=0, completion_s=end),),
    )


@given(st.integers(0, 10_000))
def test_completions_in_seconds_round_to_those_in_ticks(seed: int) -> None:
    """Rule 5 is stated once more, without rounding; rounding gives the rule's ticks."""
    problem, schedule = solved(seed)
    clock = problem.site.clock
    for replayed in check(problem, schedule).replayed:
        steps = [job.options[o].steps for job, o, _ in replayed.members]
        if not clock.slotted:
            seconds = completions_s(clock, steps)
            ticks = tuple(to_ticks(s, problem.site.tick_s) for s in seconds.values())
            assert ticks == clock.completions(shape_of(steps))


@given(st.integers(0, 10_000))
def test_equal_durations_give_the_schedule_back(seed: int) -> None:
    problem, schedule = solved(seed)
    grid = grid_of(problem, schedule)
    assert [(b.start_s, b.index) for b in retimed(grid, grid)] == [
        (b.start_s, b.index) for b in grid
    ]
    for one, other in zip(retimed(grid, grid), grid, strict=True):
        assert abs(one.end_s - other.end_s) < 1e-9 * max(1.0, other.end_s)


@given(
    st.lists(st.tuples(SECONDS, SECONDS, SECONDS, SECONDS), min_size=1, max_size=6),
    st.lists(st.tuples(SECONDS, SECONDS), min_size=6, max_size=6),
)
def test_retiming_keeps_order_and_durations_and_starts_nothing_early(
    plan: list[tuple[float, float, float, float]], took: list[tuple[float, float]]
) -> None:
    """Whatever batches really took, and whatever clock they were measured on."""
    scheduled, ran, now = [], [], 0.0
    for k, (idle, switch, wait, length) in enumerate(plan):
        begin = now + idle
        start = begin + switch + wait
        now = start + length
        scheduled.append(batch(k, begin, begin + switch, start, now))
        real_switch, real_length = took[k]
        offset = 1000.0 * k
        ran.append(
            batch(
                k,
                offset,
                offset + real_switch,
                offset + real_switch,
                offset + real_switch + real_length,
            )
        )
    moved, free = retimed(scheduled, ran), 0.0
    for planned, real, timed in zip(scheduled, ran, moved, strict=True):
        slack = 1e-9 * (1000 + real.end_s)
        assert timed.switch_start_s >= max(planned.switch_start_s, free)
        assert timed.start_s >= max(planned.start_s, timed.switch_end_s)
        assert abs((timed.end_s - timed.start_s) - (real.end_s - real.start_s)) <= slack
        assert timed.members[0].completion_s is not None
        assert abs(timed.members[0].completion_s - timed.end_s) <= slack
        free = timed.end_s
    assert [b.index for b in moved] == [b.index for b in ran]


def test_a_late_batch_pushes_the_next_one_and_idle_time_takes_it_up() -> None:
    """By hand: 3 s instead of 2; the next begins 1 s late, the one after a pause on time."""
    scheduled = [batch(0, 0, 0, 0, 2), batch(1, 2, 2, 2, 4), batch(2, 9, 9, 9, 10)]
    ran = [batch(0, 50, 50, 50, 53), batch(1, 53, 54, 54, 55), batch(2, 55, 55, 55, 56)]
    found = [
        (b.switch_start_s, b.switch_end_s, b.start_s, b.end_s) for b in retimed(scheduled, ran)
    ]
    assert found == [(0, 0, 0, 3), (3, 4, 4, 5), (9, 9, 9, 10)]


def test_a_member_without_an_image_stays_without_one() -> None:
    one = batch(0, 0, 0, 0, 2)
    lost = replace(one, members=(TimedMember(id="r0", option=0, completion_s=None),))
    assert retimed([one], [lost])[0].members[0].completion_s is None


def test_gpus_do_not_wait_for_each_other() -> None:
    one, other = batch(0, 0, 0, 0, 9), replace(batch(0, 1, 1, 1, 2), gpu="h")
    assert [b.start_s for b in retimed([one, other], [one, other])] == [0, 1]


@given(st.integers(0, 10_000))
def test_before_rounding_batches_start_with_the_schedule_and_end_no_later(seed: int) -> None:
    problem, schedule = solved(seed)
    grid = grid_of(problem, schedule)
    for exact, ticks in zip(retimed(grid, unrounded(problem, grid)), grid, strict=True):
        assert abs(exact.start_s - ticks.start_s) < 1e-9 * max(1.0, ticks.start_s)
        assert exact.end_s <= ticks.end_s + 1e-6


@given(st.integers(0, 10_000))
def test_paces_agree_on_a_device_that_waits_for_nobody(seed: int) -> None:
    """Batches that ran without waiting are moved to the schedule's pace."""
    problem, schedule = solved(seed)
    device = as_predicted(problem)
    slow = compare(problem, executed(problem, schedule, device), schedule)
    fast = compare(problem, executed(problem, schedule, device, pace=Pace.FAST), schedule)
    assert fast.retimed
    assert not slow.retimed
    for one, other in zip(fast.measured, slow.measured, strict=True):
        assert abs(one.start_s - other.start_s) < 1e-6
        assert abs(one.end_s - other.end_s) < 1e-6


def test_a_resumed_batch_takes_its_prediction_times_what_the_others_took() -> None:
    """A device twice as slow as predicted; the resumed batch's own times are a made-up 0.001 s."""
    problem, schedule = _with_several_batches()
    step_s = problem.site.clock.step_s
    run = executed(
        problem,
        schedule,
        Device(
            step_s=lambda n: 2 * step_s(n),
            encode_s=lambda n: 2 * problem.site.clock.overhead_s(n),
            load_s=lambda a, before: 2 * problem.site.load_seconds(a, before),
            activate_s=2 * problem.site.activate_s,
        ),
        sittings=2,
    )
    gpu = run.gpus[0]
    cut = replace(
        gpu.batches[1],
        resumed=True,
        spans=(),
        switch_start_s=0.0,
        start_s=gpu.batches[1].start_s,
        end_s=gpu.batches[1].start_s + 0.001,
    )
    whole = compare(problem, run, schedule)
    resumed = compare(
        problem,
        replace(
            run, gpus=(replace(gpu, batches=(gpu.batches[0], cut, *gpu.batches[2:])), *run.gpus[1:])
        ),
        schedule,
    )
    assert resumed.measured[1].estimated
    assert not any(b.estimated for b in whole.measured)
    for one, other in zip(resumed.measured, whole.measured, strict=True):
        assert abs(one.start_s - other.start_s) < 1e-6
        assert abs(one.end_s - other.end_s) < 1e-6
    assert resumed.batches[1].batch_ratio is None
    assert resumed.constants.batches == whole.constants.batches - 1
    assert any("resumed" in note for note in resumed.notes)


def _with_several_batches() -> tuple[Problem, Schedule]:
    """A random instance that is not slotted, whose first GPU loads for several batches."""
    for seed in scale.seeds(200):
        problem, schedule = solved(seed)
        first = schedule.gpus[0].batches
        if not problem.site.clock.slotted and len(first) > 2 and first[1].load and first[2].load:
            return problem, schedule
    raise AssertionError("no such instance")
