"""Every way in which a policy can misbehave ends in an error that names the policy and the rule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from pats_opt.errors import SolverError
from pats_opt.policy import Action, Decide, Start, State, SwitchTo, WakeAt
from pats_opt.problem import Site
from pats_opt.simulate import engine, simulate
from tests.simulate.scripted import Scripted, alone, problem_of
from tests.support.zoo import adapter, document, gpu, request

A, B, C = frozenset((0,)), frozenset((1,)), frozenset((2,))

#: r0 and r1 use a, r2 uses b; r3 comes at tick 50. Two residents, batches of one adapter.
PROBLEM = problem_of(
    document(
        request("r0", steps=2),
        request("r1"),
        request("r2", adapter="b"),
        request("r3", arrival_s=50.0),
        adapters=[
            adapter("a", load_s=1.0, vram_gib=1.0),
            adapter("b", load_s=1.0, vram_gib=1.0),
            adapter("c", load_s=1.0, vram_gib=9.5),
        ],
        gpus=[gpu("g0", batch=2.0), gpu("g1", batch=2.0)],
        switching={"max_resident": 2, "activate_s": 1.0},
        service={"kind": "steps", "step_s": {"table": [1.0, 1.0, 1.0]}},
        horizon_ticks=100,
    )
)

WRONG: dict[str, tuple[list[Any], str]] = {
    "unknown job": ([Start(0, ((99, 0),), A)], "rule 1: job 99 does not wait"),
    "future job": ([Start(0, ((3, 0),), A)], "rule 1: job 3 does not wait"),
    "twice in a batch": ([Start(0, ((0, 0), (0, 0)), A)], "rule 1: .* same request twice"),
    "on two GPUs": ([Start(0, ((0, 0),), A), Start(1, ((0, 0),), A)], "rule 1: job 0 does not"),
    "no such option": ([Start(0, ((0, 1),), A)], "'r0' has no option 1"),
    "negative option": ([Start(0, ((0, -1),), A)], "'r0' has no option -1"),
    "empty batch": ([Start(0, (), A)], "has no members"),
    "no such GPU": ([Start(2, ((0, 0),), A)], "there is no GPU 2"),
    "negative GPU": ([SwitchTo(-1, B)], "there is no GPU -1"),
    "busy GPU": ([Start(0, ((0, 0),), A), Start(0, ((1, 0),), A)], "rule 6: GPU 'g0' is busy to"),
    "switch of a busy GPU": ([Start(0, ((0, 0),), A), SwitchTo(0, B)], "rule 6: GPU 'g0' is busy"),
    "not resident": ([Start(0, ((0, 0),), B)], "rule 2: GPU 'g0': a is not resident"),
    "unknown adapter": ([Start(0, ((0, 0),), frozenset((0, 7)))], "rule 2: there is no adapter 7"),
    "three residents": ([Start(0, ((0, 0),), A | B | C)], "rule 2: .* 3 residents of 2"),
    "two adapters": ([Start(0, ((0, 0), (2, 0)), A | B)], "rule 2: .* 2 adapters of 1 a batch"),
    "residents too large": ([Start(0, ((0, 0),), A | C)], "rule 3: .* 1 of vram_gib, -0.5 is free"),
    "prefetch too large": ([SwitchTo(0, A | C)], "rule 3: .* 0 of vram_gib, -0.5 is free"),
    "prefetch of too many": ([SwitchTo(0, A | B | C)], "rule 2: .* 3 residents"),
    "prefetch of nothing": ([SwitchTo(0, A)], "section 7: GPU 'g0' holds .* already"),
    "prefetch twice": (
        [SwitchTo(0, frozenset()), SwitchTo(0, A)],
        "section 4: GPU 'g0' has switched ahead and must serve before",
    ),
    "start after another prefetch": (
        [SwitchTo(0, frozenset()), Start(0, ((0, 0),), A)],
        "section 4: GPU 'g0' has switched ahead and must serve as it is",
    ),
    "timer now": ([WakeAt(0)], "section 7: a timer for tick 0"),
    "timer in the past": ([WakeAt(-3)], "section 7: a timer for tick -3"),
    "no action": (["start!"], "section 7: 'start!' is no action"),
    "malformed members": ([Start(0, cast(Any, (0, 1)), A)], "malformed action Start"),
    "malformed residents": ([SwitchTo(0, cast(Any, 3))], "malformed action SwitchTo"),
    "malformed timer": ([WakeAt(cast(Any, "soon"))], "malformed action WakeAt"),
}


def stopped(decide: Callable[[State], Iterable[Action]], problem: Any = PROBLEM) -> str:
    """The message with which a policy is stopped; its name and the tick are in it."""
    with pytest.raises(SolverError) as caught:
        simulate(problem, Scripted(decide))
    message = str(caught.value)
    assert message.startswith("policy 'scripted' at tick ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", WRONG)
def test_wrong_action(name: str) -> None:
    """The error names the rule, the tick and the state."""
    actions, rule = WRONG[name]
    with pytest.raises(SolverError, match=rule) as caught:
        simulate(PROBLEM, Scripted(lambda _: actions))
    message = str(caught.value)
    assert message.startswith("policy 'scripted' at tick 0: ")
    assert "waiting (r" in message
    assert "; g0 " in message


def test_three_in_a_table_of_two() -> None:
    """The step table limits a batch."""
    table = {"kind": "steps", "step_s": {"table": [1.0]}}
    problem = problem_of(document(request("r0"), request("r1"), service=table))
    message = stopped(lambda _: [Start(0, ((0, 0), (1, 0)), A)], problem)
    assert "rule 3: GPU 'gpu-0': 2 members, the table has 1" in message


def test_a_resource_other_than_memory() -> None:
    problem = problem_of(
        document(
            *(request(f"r{i}", demand={"vram_gib": 1.0, "batch": 1.0}) for i in range(2)),
            gpus=[gpu(batch=1.0)],
        )
    )
    message = stopped(lambda _: [Start(0, ((0, 0), (1, 0)), A)], problem)
    assert "rule 3: GPU 'gpu-0': the batch takes 2 of batch, 1 is free" in message


def test_past_the_horizon() -> None:
    """A batch that would end after the hard horizon is refused, and so is a switch."""
    both = [adapter("a"), adapter("b", load_s=5.0)]
    problem = problem_of(document(request("r0"), adapters=both, horizon_ticks=4))
    late = stopped(lambda s: [WakeAt(s.tick + 1)] if s.tick < 3 else [SwitchTo(0, B)], problem)
    assert "at tick 3: broke rule 6: the switch of GPU 'gpu-0' ends at tick 8" in late
    long = problem_of(
        document(
            request("r0", options=[{"steps": s, "quality": 1.0} for s in (2, 9)]), horizon_ticks=4
        )
    )
    message = stopped(lambda _: [Start(0, ((0, 1),), A)], long)
    assert "rule 6: the batch on GPU 'gpu-0' ends at tick 9, after horizon_ticks 4" in message


def test_a_policy_that_fails() -> None:
    """An exception of the policy is told as its failure, with the cause kept."""
    with pytest.raises(SolverError, match=r"at tick 0: failed with ZeroDivisionError") as caught:
        simulate(PROBLEM, Scripted(lambda _: [WakeAt(1 // 0)]))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_policy_that_fails_to_start() -> None:
    class Broken(Scripted):
        def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002
            """Fails."""
            raise KeyError(site.name)

    with pytest.raises(SolverError, match="policy 'scripted' failed to start: KeyError"):
        simulate(PROBLEM, Broken(alone))


def test_an_answer_that_is_no_list() -> None:
    assert "failed with TypeError" in stopped(lambda _: cast(Any, None))


def test_waiting_for_ever() -> None:
    """Nothing is to come, and the policy does not act: it is stopped, not waited for."""
    message = stopped(lambda _: [], problem_of(document(request("r0"), request("r1"))))
    assert "leaves 'r0', which must be served, waiting for ever (section 7" in message
    assert "2 waiting (r0, r1); gpu-0 idle, holding a" in message


def test_timers_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting timers and never acting is no waiting either."""
    monkeypatch.setattr(engine, "MOST_IDLE_TIMERS", 50)
    message = stopped(lambda s: [WakeAt(s.tick + 1)], problem_of(document(request("r0"))))
    assert "at tick 50: sets timers but did not act at 51 of them" in message


def test_timers_beside_a_busy_gpu_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy may look at the clock as often as it likes while there is nothing it can do."""
    monkeypatch.setattr(engine, "MOST_IDLE_TIMERS", 50)
    problem = problem_of(document(request("r0", steps=200), request("r1", steps=2)))
    policy = Scripted(lambda s: [*alone(s), WakeAt(s.tick + 1)])
    assert simulate(problem, policy).plan is not None
    assert len(policy.ticks) == 201


def test_a_prefetch_that_serves_nobody() -> None:
    """A GPU that switched ahead for an adapter nobody wants is stuck: it must serve as it is."""
    both = [adapter("a"), adapter("b")]
    problem = problem_of(document(request("r0"), adapters=both))
    switch = stopped(lambda s: [SwitchTo(0, B)] if s.gpus[0].before is None else [], problem)
    assert "waiting for ever" in switch
    assert "holding b" in switch
