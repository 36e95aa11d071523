"""Loads beside serving in the simulator: rules of the actions, events, and the plan made."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.core.policy import Action, GpuState, Start, StartLoad, State, SwitchTo
from pats_opt.core.solver import ALL_FEATURES, Feature
from pats_opt.errors import NoScheduleError, SolverError
from pats_opt.model.checker import check
from pats_opt.model.plan import PlannedLoad, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolverRef
from pats_opt.simulate import policy_run, simulate
from pats_opt.simulate.rules import BrokenRuleError, admit_load, admit_start, admit_switch
from pats_opt.testing.instances import random_features, random_instance
from tests.simulate.scripted import Scripted, problem_of, scheduled
from tests.support.overlap_zoo import overlapping
from tests.support.zoo import Json, adapter, document, gpu, request

A, B, C, NONE = frozenset((0,)), frozenset((1,)), frozenset((2,)), frozenset[int]()


def problem(**changes: object) -> Problem:
    """r0 of a, r1 of b and r2 of c; a is resident, loads take 1, 2 and 3 s; two adapters fit."""
    made: Json = {
        "adapters": [adapter("a", 1.0, 1.0), adapter("b", 2.0, 1.0), adapter("c", 3.0, 7.0)],
        "switching": {"max_resident": 2, "activate_s": 4.0},
        **changes,
    }
    requests = [request(f"r{i}", 5, adapter=a) for i, a in enumerate("abc")]
    return problem_of(overlapping(*requests, **made))


ADMIT: dict[type, Callable[..., object]] = {
    Start: admit_start,
    StartLoad: admit_load,
    SwitchTo: admit_switch,
}


def refused(made: Problem, action: Action, state: GpuState, tick: int = 10) -> str:
    """The message with which an action is refused while all requests wait."""
    now = State(tick, {job.index: job for job in made.jobs}, (), (), (state,))
    with pytest.raises(BrokenRuleError) as error:
        ADMIT[type(action)](made.site, now, action)
    return str(error.value)


IDLE, BUSY = GpuState(0, A), GpuState(0, A | B, A, free_at=12, taken=3 * 10**9)


@pytest.mark.parametrize(
    ("state", "action", "expected"),
    [
        (IDLE, StartLoad(1, 1), "section 7: there is no GPU 1"),
        (IDLE, StartLoad(0, 3), "rule 2: there is no adapter 3"),
        (IDLE, StartLoad(0, 0), "rule 2: GPU 'gpu-0' holds 'a' already"),
        (IDLE, StartLoad(0, 1, {0}), "section 7: evicts {0}, which is no frozenset"),  # type: ignore[arg-type]
        (IDLE, StartLoad(0, 1, C), "rule 2: GPU 'gpu-0' evicts c, which is not resident"),
        (IDLE, StartLoad(0, 1, frozenset((9,))), "rule 2: there is no adapter 9"),
        (
            GpuState(0, NONE),
            StartLoad(0, 0, B | C),
            "rule 2: GPU 'gpu-0' evicts b, c, which is not resident",
        ),
        (BUSY, StartLoad(0, 2, A), "section 5a: the batch on GPU 'gpu-0' uses a"),
        (
            GpuState(0, A | B, A | B, free_at=12),
            StartLoad(0, 2, A | B),
            "section 5a: the batch on GPU 'gpu-0' uses a, b",
        ),
        (BUSY, StartLoad(0, 2), "section 5a: GPU 'gpu-0': 3 residents of 2"),
        (
            BUSY,
            StartLoad(0, 2, B),
            "section 5a: GPU 'gpu-0': residents and batch in progress take 1 GiB too much",
        ),
        (
            GpuState(0, A | B, loading=((1, 11),)),
            StartLoad(0, 2, A),
            "section 5a: GPU 'gpu-0' loads 1 adapter, channels 1",
        ),
        (
            GpuState(0, A | B, loading=((1, 11),)),
            StartLoad(0, 2, B),
            "section 5a: GPU 'gpu-0' evicts b, which is being loaded",
        ),
        (
            GpuState(0, A | B, loading=((0, 11), (1, 11))),
            StartLoad(0, 2, A | B),
            "section 5a: GPU 'gpu-0' evicts a, b, which is being loaded",
        ),
        (
            GpuState(0, A | B, A, loading=((1, 15),)),
            Start(0, ((1, 0),), A | B),
            "section 5a: GPU 'gpu-0' is loading 'b' to tick 15, after the batch's start at 14",
        ),
        (
            GpuState(0, A | B, A, loading=((1, 11),)),
            Start(0, ((0, 0),), A),
            "section 5a: GPU 'gpu-0' evicts b, which is being loaded",
        ),
        (
            IDLE,
            Start(0, ((1, 0),), B),
            "section 5a: GPU 'gpu-0' does not hold b; start its load first",
        ),
        (
            IDLE,
            Start(0, ((1, 0),), B | C),
            "section 5a: GPU 'gpu-0' does not hold b, c; start its load first",
        ),
        (IDLE, SwitchTo(0, B), "section 5a: with overlap a StartLoad loads ahead, not a SwitchTo"),
    ],
)
def test_messages_name_what_is_broken(state: GpuState, action: Action, expected: str) -> None:
    assert refused(problem(), action, state) == expected


def test_a_load_ends_by_the_horizon() -> None:
    made = problem(horizon_ticks=12)
    now = State(9, {}, (), (), (IDLE,))
    assert admit_load(made.site, now, StartLoad(0, 2, A)) == (C, 12)
    assert refused(made, StartLoad(0, 2, A), IDLE) == (
        "rule 6: the load on GPU 'gpu-0' ends at tick 13, after horizon_ticks 12"
    )


def test_only_a_batch_in_progress_takes_memory() -> None:
    """To the last quantum; a load may start in the tick in which the batch has ended."""
    made, taken = problem(), 3 * 10**9
    for gpu_now in (
        GpuState(0, A | B, A, free_at=10, taken=taken),
        GpuState(0, A | B, A, free_at=11, taken=taken - 10**9),
    ):
        now = State(10, {}, (), (), (gpu_now,))
        assert admit_load(made.site, now, StartLoad(0, 2, B)) == (A | C, 13)
    full = problem(adapters=[adapter("a"), adapter("b"), adapter("c", 3.0, 10.0)])
    ended = State(10, {}, (), (), (GpuState(0, A, A, free_at=10, taken=taken),))
    assert admit_load(full.site, ended, StartLoad(0, 2)) == (A | C, 13)


def test_loads_beside_serving_need_overlap() -> None:
    made = problem_of(document(request("r0")))
    assert refused(made, StartLoad(0, 0), GpuState(0, NONE)) == (
        "section 5a: the instance has no overlap, so a Start or SwitchTo loads"
    )


def test_a_batch_may_use_what_is_loaded_by_its_start() -> None:
    """Its adapter is activated while it is still being loaded."""
    made, state = problem(), GpuState(0, A | B, A, loading=((1, 14),))
    now = State(10, {job.index: job for job in made.jobs}, (), (), (state,))
    assert admit_start(made.site, now, Start(0, ((1, 0),), A | B)).start == 14


class Script:
    """Answers by tick, and the loads that were in progress at each."""

    def __init__(self, answers: dict[int, list[Action]]) -> None:
        self.answers = answers
        self.loading: dict[int, tuple[tuple[int, int], ...]] = {}

    def __call__(self, state: State) -> list[Action]:
        """The answer, given once."""
        self.loading[state.tick] = state.gpus[0].loading
        return self.answers.pop(state.tick, [])


def test_a_load_runs_beside_a_batch_and_its_end_is_an_event() -> None:
    made = problem(switching={"max_resident": 2, "activate_s": 1.0})
    script = Script(
        {
            0: [Start(0, ((0, 0),), A), StartLoad(0, 1)],
            5: [Start(0, ((1, 0),), B), StartLoad(0, 2)],
            11: [Start(0, ((2, 0),), C)],
        }
    )
    done = simulate(made, Scripted(script))
    schedule, verdict = scheduled(made, done.plan)
    assert verdict.ok, verdict.violations
    assert done.plan is not None
    assert done.plan.loads == ((PlannedLoad(1, 0), PlannedLoad(2, 5)),)
    assert [(b.switch_start, b.start, b.evict) for b in schedule.gpus[0].batches] == [
        (0, 0, ()),
        (5, 6, ("a",)),
        (11, 12, ("b",)),
    ]
    # 0: both batches' events; 2 and 8: ends of loads.
    assert script.loading == {0: (), 2: (), 5: (), 8: (), 11: ()}
    assert verdict.terms.switching == 2.0 + 3.0 + 2 * 1.0


def test_a_load_of_no_ticks_is_an_event_of_the_same_tick() -> None:
    """It takes no channel, and the policy is asked again."""
    made = problem(adapters=[adapter("a"), adapter("b"), adapter("c")])
    asked: list[int] = []

    def decide(state: State) -> list[Action]:
        asked.append(state.tick)
        (one,) = state.gpus
        if one.free_at > state.tick or not state.waiting:
            return []
        job = next(iter(state.waiting.values()))
        if job.adapter not in one.resident:
            return [StartLoad(0, job.adapter, one.resident)]
        return [Start(0, ((job.index, 0),), one.resident)]

    _, verdict = scheduled(made, simulate(made, Scripted(decide)).plan)
    assert verdict.ok, verdict.violations
    assert asked == [0, 5, 5, 14, 14]


def test_a_batch_evicts_before_the_loads_of_its_tick() -> None:
    """The other order is refused: within a tick a batch's evictions come first."""
    gpus = [gpu(resident=("a", "c"))]
    made = problem(switching={"max_resident": 3}, gpus=gpus)
    load, start = StartLoad(0, 1), Start(0, ((0, 0),), A | B)
    with pytest.raises(SolverError, match="a batch evicts before loads start"):
        simulate(made, Scripted(Script({0: [load, start]})))
    first = Start(0, ((0, 0),), A)
    with pytest.raises(SolverError, match="r1, r2"):  # both are admitted; the rest is not served
        simulate(made, Scripted(Script({0: [first, load]})))


def test_what_a_load_of_the_tick_evicts_is_no_eviction_of_the_batch() -> None:
    """Adapter c gives way to b, and the batch of that tick evicts nothing."""
    made = problem(gpus=[gpu(resident=("a", "c"))])
    script = Script(
        {
            0: [StartLoad(0, 1, C), Start(0, ((0, 0),), A | B)],
            5: [Start(0, ((1, 0),), A | B)],
            14: [StartLoad(0, 2, A | B)],
            17: [Start(0, ((2, 0),), C)],
        }
    )
    schedule, verdict = scheduled(made, simulate(made, Scripted(script)).plan)
    assert verdict.ok, verdict.violations
    assert [batch.evict for batch in schedule.gpus[0].batches] == [(), (), ()]


def test_loads_without_end_are_a_hang() -> None:
    """A policy that loads and evicts for ever serves nobody."""

    def decide(state: State) -> list[Action]:
        (one,) = state.gpus
        if one.loading:
            return []
        return [StartLoad(0, 1 - min(one.resident), one.resident)]

    with (
        mock.patch.object(policy_run, "MOST_IDLE_TIMERS", 50),
        pytest.raises(SolverError, match="starts loads but served nobody at 51 of them in a row"),
    ):
        simulate(problem(), Scripted(decide))


def rambling(made: Problem, seed: int) -> Callable[[State], Iterable[Action]]:
    """A policy that starts any loads and batches that the rules admit, in any order."""
    rng, site = random.Random(seed), made.site
    adapters = range(len(site.adapter_ids))
    loaded_at: dict[int, int] = {}  # GPU -> tick of its last load

    def decide(state: State) -> list[Action]:
        """One action per GPU at most, so that each is admitted in the state that it meets."""
        actions: list[Action] = []
        waiting = dict(state.waiting)
        for each in state.gpus:
            for _ in range(12):
                some = rng.sample(sorted(waiting), min(len(waiting), rng.randint(1, 3)))
                members = tuple((j, rng.randrange(len(waiting[j].options))) for j in some)
                drop = frozenset(a for a in each.resident if rng.random() < 0.3)
                stays = loaded_at.get(each.index) == state.tick  # evictions come before loads
                loaded = rng.choice(adapters)
                load = StartLoad(each.index, loaded, drop)
                start = Start(each.index, members, each.resident - (NONE if stays else drop))
                try:
                    if rng.random() < 0.5:
                        admit_start(site, state, start)
                        for j in some:
                            del waiting[j]
                        actions.append(start)
                    elif any(job.adapter == loaded for job in waiting.values()):
                        admit_load(site, state, load)
                        actions.append(load)
                        loaded_at[each.index] = state.tick
                    else:
                        continue
                except BrokenRuleError:
                    continue
                break
        return actions

    return decide


@given(seed=st.integers(0, 10**9), tight=st.booleans())
def test_whatever_the_rules_admit_is_a_valid_schedule(seed: int, tight: bool) -> None:
    """The independent checker accepts every load and batch that the simulator accepts."""
    rng = random.Random(seed)
    drawn = random_features(rng, among=ALL_FEATURES) | {Feature.OVERLAP, Feature.RESIDENT}
    drawn -= {Feature.PAIRS, Feature.SLOT}
    made = Problem(random_instance(rng, drawn, requests=(1, 8), tight=tight))
    try:
        done = simulate(made, Scripted(rambling(made, seed)))
    except NoScheduleError:
        return
    except SolverError as error:  # it may leave a request waiting for ever
        if "waiting for ever" not in str(error):
            raise
        return
    assert done.plan is not None
    verdict = check(made, schedule_of(made, done.plan, SolverRef(name="rambling")))
    assert verdict.ok, verdict.violations
