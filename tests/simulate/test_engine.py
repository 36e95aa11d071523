"""The event simulator on hand-worked timelines."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pats_opt.core.policy import Action, Start, State, SwitchTo, WakeAt
from pats_opt.core.solver import Run
from pats_opt.errors import InfeasibleError, NoScheduleError
from pats_opt.model.plan import PlannedBatch
from pats_opt.model.schedule import StopReason
from pats_opt.simulate import PolicySolver, policy_run, simulate
from tests.simulate.scripted import Scripted, alone, problem_of, scheduled
from tests.support.zoo import adapter, document, gpu, request

A, B = frozenset((0,)), frozenset((1,))
TWO = [adapter("a"), adapter("b", load_s=2.0)]


def test_timeline_with_a_switch() -> None:
    """r0 runs in ticks 0-2; b arrives at 1, is loaded in 2-4 and served in 4-5."""
    r1 = request("r1", adapter="b", arrival_s=1.0)
    problem = problem_of(document(request("r0", steps=2), r1, adapters=TWO))
    policy = Scripted(alone)
    done = simulate(problem, policy)
    assert done.plan is not None
    assert done.plan.gpus == ((PlannedBatch(0, ((0, 0),), A), PlannedBatch(4, ((1, 0),), B)),)
    assert policy.ticks == [0, 1, 2], "arrival, arrival while busy, batch end"
    assert done.decisions == 3
    assert done.events == 3
    assert done.stop is StopReason.COMPLETE
    assert 0 < done.longest_decision_s <= done.decision_s


def test_all_events_of_a_tick_make_one_decision() -> None:
    """At tick 2 a batch ends, two requests arrive and a timer goes off: one question."""
    late = [request(name, arrival_s=2.0) for name in ("r1", "r2")]
    seen: list[tuple[int, int, bool]] = []

    def decide(state: State) -> list[Action]:
        seen.append((state.tick, len(state.arrived), bool(state.idle)))
        timer: list[Action] = [WakeAt(2)] if state.tick == 0 else []
        return alone(state) + timer

    done = simulate(problem_of(document(request("r0", steps=2), *late)), Scripted(decide))
    assert seen == [(0, 1, True), (2, 2, True), (3, 0, True)]
    assert done.events == 1 + 4 + 1


def test_a_timer_wakes_once() -> None:
    """A policy that waits for its timer is asked at it, and not before."""
    policy = Scripted(lambda state: alone(state) if state.tick == 7 else [WakeAt(7), WakeAt(7)])
    done = simulate(problem_of(document(request("r0"))), policy)
    assert policy.ticks == [0, 7]
    assert done.plan is not None
    assert done.plan.gpus[0][0].start == 7


def test_a_prefetch_saves_its_time_and_is_written_down() -> None:
    """Loading b takes ticks 1-3, long before its request comes at 5 and starts at once."""
    r1 = request("r1", adapter="b", arrival_s=5.0)
    problem = problem_of(document(request("r0"), r1, adapters=TWO))

    def decide(state: State) -> list[Action]:
        return [SwitchTo(0, B)] if state.tick == 1 else alone(state)

    policy = Scripted(decide)
    schedule, verdict = scheduled(problem, simulate(problem, policy).plan)
    assert policy.ticks == [0, 1, 3, 5], "the end of a prefetch is an event"
    batch = schedule.gpus[0].batches[1]
    assert (batch.switch_start, batch.start, batch.load) == (1, 5, ("b",))
    assert verdict.ok
    assert verdict.terms.switching == 2.0


def test_after_a_switch_of_no_time_the_policy_decides_at_once() -> None:
    """After a prefetch that takes no tick the policy is asked again at that tick, and only once."""
    free = [adapter("a"), adapter("b")]
    problem = problem_of(document(request("r0", adapter="b"), adapters=free))
    states = []

    def decide(state: State) -> list[Action]:
        states.append(state)
        return [SwitchTo(0, B)] if state.gpus[0].before is None else alone(state)

    policy = Scripted(decide)
    done = simulate(problem, policy)
    assert policy.ticks == [0, 0]
    assert [len(state.arrived) for state in states] == [1, 0]
    assert states[1].gpus[0].resident == B
    assert states[1].gpus[0].before == A
    assert scheduled(problem, done.plan)[1].ok


def test_switch_and_start_in_one_answer() -> None:
    """A prefetch of no time may be followed by its batch in the same answer."""
    free = [adapter("a"), adapter("b")]
    problem = problem_of(document(request("r0", adapter="b"), adapters=free))
    policy = Scripted(lambda _: [SwitchTo(0, B), Start(0, ((0, 0),), B)])
    assert scheduled(problem, simulate(problem, policy).plan)[1].ok
    assert policy.ticks == [0]


def test_slot_service() -> None:
    """In the slotted model every batch takes a tick, a switch none, and completion is the start."""
    requests = [request("r0"), request("r1", adapter="b")]
    problem = problem_of(document(*requests, adapters=TWO, service={"kind": "slot"}))
    schedule, verdict = scheduled(problem, simulate(problem, Scripted(alone)).plan)
    assert [b.start for b in schedule.gpus[0].batches] == [0, 1]
    assert [b.requests[0].completion for b in schedule.gpus[0].batches] == [0, 1]
    assert verdict.ok
    assert verdict.terms.switching == 2.0


def test_evicting_ahead_leaves_the_activation_to_the_batch() -> None:
    """An eviction takes no time; the batch after it uses another adapter and pays activation."""
    switching = {"max_resident": 2, "activate_s": 3.0}
    requests = [request("r0"), request("r1", adapter="b")]
    gpus = [gpu(resident=("a", "b"))]
    problem = problem_of(document(*requests, adapters=TWO, switching=switching, gpus=gpus))

    def decide(state: State) -> list[Action]:
        if 0 in state.waiting:
            return [Start(0, ((0, 0),), A | B)]
        if not state.idle:
            return []
        return [Start(0, ((1, 0),), B)] if state.gpus[0].before else [SwitchTo(0, B)]

    schedule, verdict = scheduled(problem, simulate(problem, Scripted(decide)).plan)
    batch = schedule.gpus[0].batches[1]
    assert (batch.switch_start, batch.start, batch.evict) == (1, 4, ("a",))
    assert verdict.ok
    assert verdict.terms.switching == 3.0


def test_two_gpus_at_one_tick() -> None:
    """Both idle GPUs can be started in one answer, and each has its own end."""
    requests = [request("r0", steps=1), request("r1", steps=3), request("r2")]
    problem = problem_of(document(*requests, gpus=[gpu("g0"), gpu("g1")]))

    def decide(state: State) -> Iterator[Action]:
        jobs = iter(state.waiting)
        for idle, job in zip(state.idle, jobs, strict=False):
            yield Start(idle.index, ((job, 0),), A)

    policy = Scripted(decide)
    done = simulate(problem, policy)
    assert done.plan is not None
    assert [[b.start for b in each] for each in done.plan.gpus] == [[0, 1], [0]]
    assert policy.ticks == [0, 1]


def test_what_can_no_longer_end_in_time_is_withdrawn() -> None:
    """Horizon 3: r1 takes 2 steps, so it leaves at tick 2, and may be rejected."""
    r1 = request("r1", steps=2, arrival_s=1.0, reject_loss=5.0)
    problem = problem_of(document(request("r0", steps=3), r1, horizon_ticks=3))
    withdrawn: dict[int, list[str]] = {}

    def decide(state: State) -> list[Action]:
        withdrawn[state.tick] = [job.id for job in state.withdrawn]
        assert not set(state.waiting) & {job.index for job in state.withdrawn}
        return alone(state)

    _, verdict = scheduled(problem, simulate(problem, Scripted(decide)).plan)
    assert withdrawn == {0: [], 1: [], 2: ["r1"]}
    assert verdict.ok
    assert verdict.terms.rejection == 5.0


def test_missing_the_horizon_is_no_schedule() -> None:
    """The same, but r1 must be served."""
    r1 = request("r1", steps=2, arrival_s=1.0)
    problem = problem_of(document(request("r0", steps=3), r1, horizon_ticks=3))
    with pytest.raises(NoScheduleError, match="'r1' in time: at tick 2"):
        simulate(problem, Scripted(alone))


def test_a_lazy_policy_at_a_horizon_ends() -> None:
    """A policy that never acts misses the horizon, instead of waiting for ever."""
    with pytest.raises(NoScheduleError, match="'r0'"):
        simulate(problem_of(document(request("r0"), horizon_ticks=9)), Scripted(lambda _: []))


def test_leaving_a_request_waiting_rejects_it() -> None:
    """A rejectable request that is never served is rejected at the end."""
    problem = problem_of(document(request("r0", reject_loss=2.0)))
    done = simulate(problem, Scripted(lambda _: []))
    schedule, verdict = scheduled(problem, done.plan)
    assert schedule.rejected == ("r0",)
    assert verdict.ok
    assert verdict.loss == 2.0


def test_what_fits_nowhere_never_reaches_the_policy() -> None:
    """A request too large for every GPU is rejected before it is seen; one too late as well."""
    large = request("large", demand={"vram_gib": 99.0}, reject_loss=1.0)
    late = request("late", arrival_s=8.0, steps=3, reject_loss=1.0)
    problem = problem_of(document(large, request("r0"), late, horizon_ticks=10))
    seen: list[str] = []

    def decide(state: State) -> list[Action]:
        seen.extend(job.id for job in state.arrived)
        return alone(state)

    done = simulate(problem, Scripted(decide))
    assert seen == ["r0"]
    assert scheduled(problem, done.plan)[1].ok


def test_what_must_be_served_and_cannot_is_infeasible() -> None:
    large = request("large", demand={"vram_gib": 99.0})
    with pytest.raises(InfeasibleError, match="'large': it fits no GPU"):
        simulate(problem_of(document(large)), Scripted(alone))


def test_a_table_that_falls_is_no_proof_of_lateness() -> None:
    """Alone a request takes 4 ticks, two together 1: the horizon of 2 can still be met."""
    table = {"kind": "steps", "step_s": {"table": [4.0, 1.0]}}
    two = [request("r0"), request("r1")]
    problem = problem_of(document(*two, service=table, horizon_ticks=2))
    both = Scripted(lambda _: [Start(0, ((0, 0), (1, 0)), A)])
    assert scheduled(problem, simulate(problem, both).plan)[1].ok


def test_no_requests_no_questions() -> None:
    policy = Scripted(alone)
    done = simulate(problem_of(document()), policy)
    assert done.plan is not None
    assert done.plan.gpus == ((),)
    assert policy.ticks == []


def test_broken_off_there_is_no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of a simulation is not a schedule."""
    monkeypatch.setattr(policy_run, "SECONDS_PER_CHECK", 0.0)
    problem = problem_of(document(*(request(f"r{i}", arrival_s=float(i)) for i in range(200))))
    asked = iter(range(1000))
    done = simulate(
        problem, Scripted(alone), stop=lambda: [None, StopReason.TIME_LIMIT][next(asked)]
    )
    assert done.stop is StopReason.TIME_LIMIT
    assert done.plan is None
    assert done.decisions == 1, "looked at before the first and the second decision"
    assert done.longest_decision_s == done.decision_p99_s == done.decision_p50_s > 0


def test_a_limit_that_has_passed_asks_nothing() -> None:
    """The limit is looked at before the policy is; without a decision every figure of them is 0."""
    policy = Scripted(alone)
    done = simulate(problem_of(document(request("r0"))), policy, stop=lambda: StopReason.TIME_LIMIT)
    assert policy.ticks == []
    assert (done.decisions, done.decision_s, done.decision_p99_s, done.longest_decision_s) == (
        0,
        0.0,
        0.0,
        0.0,
    )


def test_decision_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred decisions of 1 to 100 s: their sum, median, 99 % point and longest."""
    clock = [0.0]
    monkeypatch.setattr(policy_run, "perf_counter", lambda: clock[0])

    def decide(state: State) -> list[Action]:
        clock[0] += 1 + state.tick * 37 % 100  # 37 and 100 have no common factor
        return alone(state)

    late = [request(f"r{i}", arrival_s=float(i)) for i in range(100)]
    done = simulate(problem_of(document(*late)), Scripted(decide))
    assert done.decisions == 100
    assert (done.decision_p50_s, done.decision_p99_s) == (50.0, 99.0)
    assert (done.decision_s, done.longest_decision_s) == (5050.0, 100.0)


def test_policy_solver() -> None:
    """A policy solves by being simulated; an interrupt gives no plan, and says why."""
    problem = problem_of(document(request("r0")))
    solver = PolicySolver(Scripted(alone))
    outcome = solver.solve(problem, Run())
    assert outcome.stop is StopReason.COMPLETE
    assert outcome.plan is not None
    assert list(outcome.details) == [
        "events",
        "decisions",
        "decision_s",
        "decision_p50_s",
        "decision_p99_s",
        "longest_decision_s",
    ]
    assert outcome.details["decisions"] == 1
    assert solver.name == "scripted"
    run = Run()
    run.interrupted.set()
    assert solver.solve(problem, run).stop is StopReason.INTERRUPTED
    assert solver.solve(problem, run).plan is None


def test_the_state_cannot_be_written_to() -> None:
    """A policy only reads: it cannot change the simulator's state."""

    def decide(state: State) -> list[Action]:
        with pytest.raises(TypeError):
            del state.waiting[0]  # type: ignore[attr-defined]
        with pytest.raises(AttributeError):
            state.gpus[0].free_at = -5  # type: ignore[misc]
        with pytest.raises(TypeError):
            state.gpus[0] = state.gpus[0]  # type: ignore[index]
        with pytest.raises(TypeError):
            state.arrived[0] = state.arrived[0]  # type: ignore[index]
        return alone(state)

    assert simulate(problem_of(document(request("r0"))), Scripted(decide)).plan is not None
