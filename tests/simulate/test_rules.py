"""The rules for actions: what they admit, to the tick, and the messages of what they refuse."""

from __future__ import annotations

import pytest

from pats_opt.core.policy import GpuState, Start, State, SwitchTo, WakeAt
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import LAST_TICK
from pats_opt.simulate.rules import (
    AdmittedBatch,
    BrokenRuleError,
    admit_start,
    admit_switch,
    admit_timer,
    describe,
)
from tests.simulate.scripted import problem_of
from tests.support.zoo import Json, adapter, document, gpu, request

A, B, C = frozenset((0,)), frozenset((1,)), frozenset((2,))


def problem(**changes: object) -> Problem:
    """r0 of a, r1 of b and r2 of c; a is resident, loading takes 1, 2 and 3 s, activating 4."""
    made: Json = {
        "adapters": [adapter("a", 1.0), adapter("b", 2.0), adapter("c", 3.0)],
        "switching": {"max_resident": 2, "max_per_batch": 2, "activate_s": 4.0},
        **changes,
    }
    requests = [request(f"r{i}", 5, adapter=a) for i, a in enumerate("abc")]
    return problem_of(document(*requests, **made))


def state(made: Problem, tick: int = 10, *gpus: GpuState) -> State:
    """Everybody waits, and the GPUs are as at tick 0 if not given."""
    waiting = {job.index: job for job in made.jobs}
    first = tuple(GpuState(g.index, g.resident) for g in made.site.gpus)
    return State(tick, waiting, (), (), gpus or first)


def refused(made: Problem, action: Start | SwitchTo, *gpus: GpuState, tick: int = 10) -> str:
    """The message with which an action is refused."""
    now = state(made, tick, *gpus)
    with pytest.raises(BrokenRuleError) as error:
        admit_start(made.site, now, action) if isinstance(action, Start) else admit_switch(
            made.site, now, action
        )
    return str(error.value)


@pytest.mark.parametrize(
    ("gpu_state", "resident", "start"),
    [
        (GpuState(0, A), A | B, 12),  # b is loaded
        (GpuState(0, A | B, A), A | B, 14),  # b becomes active
        (GpuState(0, A | B, B), A | B, 10),  # nothing changes
        (GpuState(0, A | B, B, before=A), A | B, 10),  # b was loaded ahead
        (GpuState(0, B, A, before=A | B), B, 14),  # a was evicted ahead
    ],
)
def test_admitted_batch(gpu_state: GpuState, resident: frozenset[int], start: int) -> None:
    """A batch starts after its switch (rule 4) and ends by rule 5."""
    made = problem()
    if resident == gpu_state.resident:
        resident = frozenset(list(resident))  # equal is as good as the same
    found = admit_start(made.site, state(made, 10, gpu_state), Start(0, ((1, 0),), resident))
    assert found == AdmittedBatch(start, start + 5, resident, B)


def test_admitted_switch() -> None:
    """A prefetch takes the time of its loads; one that only evicts takes none yet."""
    made = problem()
    assert admit_switch(made.site, state(made), SwitchTo(0, B | C)) == (B | C, 15)
    held = GpuState(0, A | B, A)
    assert admit_switch(made.site, state(made, 10, held), SwitchTo(0, B)) == (B, 10)


def test_horizon_is_met_exactly() -> None:
    """Rule 6: a batch or a switch may end at the horizon, and not a tick later."""
    met, missed = problem(horizon_ticks=17), problem(horizon_ticks=16)
    batch, switch = Start(0, ((1, 0),), A | B), SwitchTo(0, A | C)
    assert admit_start(met.site, state(met), batch).end == 17
    late = "rule 6: the batch on GPU 'gpu-0' ends at tick 17, after horizon_ticks 16"
    assert refused(missed, batch) == late
    assert admit_switch(met.site, state(met, 14), switch)[1] == 17
    late = "rule 6: the switch of GPU 'gpu-0' ends at tick 17, after horizon_ticks 16"
    assert refused(missed, switch, tick=14) == late


def test_last_tick_is_met_exactly() -> None:
    """Nothing ends after the last tick that a schedule can state, timers included."""
    made, batch = problem(), Start(0, ((0, 0),), A)
    assert admit_start(made.site, state(made, LAST_TICK - 5), batch).end == LAST_TICK
    late = f"GPU 'gpu-0' ends at tick {LAST_TICK + 1}, past the last that a schedule can state"
    assert refused(made, batch, tick=LAST_TICK - 4) == f"section 4: the batch on {late}"
    switch = SwitchTo(0, A | C)
    assert refused(made, switch, tick=LAST_TICK - 2) == f"section 4: the switch of {late}"
    assert admit_timer(state(made), WakeAt(LAST_TICK)) == LAST_TICK
    assert admit_timer(state(made), WakeAt(11)) == 11


@pytest.mark.parametrize(
    ("gpu_state", "action", "message"),
    [
        (
            GpuState(0, A, before=B),
            Start(0, ((1, 0),), B),
            "section 4: GPU 'gpu-0' has switched ahead and must serve as it is before it switches "
            "again",
        ),
        (
            GpuState(0, A, before=B),
            SwitchTo(0, B),
            "section 4: GPU 'gpu-0' has switched ahead and must serve before it switches again",
        ),
        (GpuState(0, A | B), SwitchTo(0, A | B), "section 7: GPU 'gpu-0' holds ('a', 'b') already"),
        (GpuState(0, A, free_at=11), SwitchTo(0, B), "rule 6: GPU 'gpu-0' is busy to tick 11"),
        (
            GpuState(0, A),
            Start(0, ((1, 0), (2, 0)), A),
            "rule 2: GPU 'gpu-0': b, c is not resident",
        ),
        (
            GpuState(0, A),
            Start(0, ((0, 0), (1, 0, 0)), A | B),  # type: ignore[arg-type]
            "section 7: member (1, 0, 0) is no tuple of two integers, job and option",
        ),
    ],
)
def test_refused(gpu_state: GpuState, action: Start | SwitchTo, message: str) -> None:
    assert refused(problem(), action, gpu_state) == message


def test_the_resource_that_is_short_is_named() -> None:
    """Not one that is used up exactly, nor the size of the batch where the table allows it."""
    made = problem(
        gpus=[gpu(resident=("a", "b"), slots=1.5, vram_gib=2.0)],
        service={"kind": "steps", "step_s": {"table": [1.0, 1.0]}},
        requests=[
            request(f"r{i}", adapter=a, demand={"vram_gib": 1.0, "slots": 0.800000001})
            for i, a in enumerate("ab")
        ],
    )
    assert refused(made, Start(0, ((0, 0), (1, 0)), A | B)) == (
        "rule 3: GPU 'gpu-0': the batch takes 1.600000002 of slots, 1.5 is free"
    )


def test_description() -> None:
    """Some of those who wait and some GPUs, each with what it does and holds."""
    made = problem(gpus=[gpu(f"g{i}") for i in range(9)])
    gpus = [GpuState(0, A | B, free_at=10), GpuState(1, A, free_at=11), GpuState(2, frozenset())]
    assert describe(made.site, state(made, 10, *gpus)) == (
        "3 waiting (r0, r1, r2); g0 idle, holding a, b; g1 busy to tick 11, holding a; "
        "g2 idle, holding nothing"
    )
    idle = "; ".join(f"g{i} idle, holding a" for i in range(8))
    full = state(made)
    assert describe(made.site, full) == f"3 waiting (r0, r1, r2); {idle}; ..."
    assert describe(made.site, state(made, 10, *full.gpus[:8])) == f"3 waiting (r0, r1, r2); {idle}"
    five = problem(requests=[request(f"r{i}") for i in range(6)])
    assert describe(five.site, state(five)) == (
        "6 waiting (r0, r1, r2, r3, r4, ...); gpu-0 idle, holding a"
    )
    nobody = State(10, {}, (), (), (GpuState(0, A),))
    assert describe(five.site, nobody) == "none waiting; gpu-0 idle, holding a"
