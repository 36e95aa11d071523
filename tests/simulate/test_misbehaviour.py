"""Every way in which a policy can misbehave ends in an error that names the policy and the rule."""

from __future__ import annotations

import math
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import count, repeat
from typing import Any, ClassVar, NoReturn, cast

import msgspec
import numpy as np
import pytest

from pats_opt.core.policy import Action, Decide, Start, State, SwitchTo, WakeAt
from pats_opt.core.solver import Capabilities, Kind
from pats_opt.errors import SolverError
from pats_opt.model.problem import Site
from pats_opt.model.schedule import SolutionStatus, Status, StopReason
from pats_opt.simulate import policy_run, simulate
from pats_opt.simulate.rules import BrokenRuleError
from pats_opt.solving.solve import solve
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

#: An integer that Python refuses to write out.
HUGE = 10**5000

WRONG: dict[str, tuple[Any, str]] = {
    "unknown job": ([Start(0, ((99, 0),), A)], "rule 1: job 99 does not wait"),
    "future job": ([Start(0, ((3, 0),), A)], "rule 1: job 3 does not wait"),
    "twice in a batch": (
        [Start(0, ((0, 0), (0, 0)), A)],
        "broke rule 1: a batch has the same request twice",
    ),
    "on two GPUs": ([Start(0, ((0, 0),), A), Start(1, ((0, 0),), A)], "rule 1: job 0 does not"),
    "no such option": ([Start(0, ((0, 1),), A)], "'r0' has no option 1"),
    "negative option": ([Start(0, ((0, -1),), A)], "'r0' has no option -1"),
    "empty batch": ([Start(0, (), A)], "has no members"),
    "no such GPU": ([Start(2, ((0, 0),), A)], "there is no GPU 2"),
    "negative GPU": ([SwitchTo(-1, B)], "there is no GPU -1"),
    "busy GPU": ([Start(0, ((0, 0),), A), Start(0, ((1, 0),), A)], "rule 6: GPU 'g0' is busy to"),
    "switch of a busy GPU": ([Start(0, ((0, 0),), A), SwitchTo(0, B)], "rule 6: GPU 'g0' is busy"),
    "not resident": ([Start(0, ((0, 0),), B)], "rule 2: GPU 'g0': a is not resident"),
    "unknown adapter": ([Start(0, ((0, 0),), frozenset((0, 3)))], "rule 2: there is no adapter 3"),
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
    "numpy GPU": ([Start(cast(Any, np.int64(0)), ((0, 0),), A)], "section 7: there is no GPU "),
    "true GPU": ([Start(True, ((0, 0),), A)], "section 7: there is no GPU True"),
    "GPU that is no number": ([SwitchTo(cast(Any, math.nan), B)], "there is no GPU nan"),
    "members that are no pairs": (
        [Start(0, cast(Any, (0, 1)), A)],
        "section 7: member 0 is no tuple of two integers",
    ),
    "members of three": (
        [Start(0, cast(Any, ((0, 0, 0),)), A)],
        r"member \(0, 0, 0\) is no tuple of two integers",
    ),
    "list of members": ([Start(0, cast(Any, [(0, 0)]), A)], r"members \[\(0, 0\)\] are no tuple"),
    "endless members": ([Start(0, cast(Any, count()), A)], r"members count\(0\) are no tuple"),
    "numpy job": ([Start(0, ((cast(Any, np.int64(0)), 0),), A)], "is no tuple of two integers"),
    "true option": ([Start(0, ((0, True),), A)], r"member \(0, True\) is no tuple of two integers"),
    "job that is no number": ([Start(0, ((cast(Any, math.nan), 0),), A)], "member .nan, 0. is no"),
    "job of thousands of digits": ([Start(0, ((HUGE, 0),), A)], "rule 1: job <int> does not wait"),
    "option of thousands of digits": ([Start(0, ((0, HUGE),), A)], "'r0' has no option <int>"),
    "residents that are no set": (
        [SwitchTo(0, cast(Any, 3))],
        "section 7: residents 3 are no frozenset",
    ),
    "residents that can change": ([Start(0, ((0, 0),), cast(Any, {0}))], "are no frozenset"),
    "endless residents": (
        [SwitchTo(0, cast(Any, count()))],
        r"residents count\(0\) are no frozens",
    ),
    "numpy adapter": ([SwitchTo(0, cast(Any, frozenset((np.int64(1),))))], "there is no adapter"),
    "true adapter": ([Start(0, ((2, 0),), frozenset((True,)))], "rule 2: there is no adapter True"),
    "adapter that is a word": ([SwitchTo(0, cast(Any, frozenset("b")))], "is no adapter 'b'"),
    "adapter that is no number": ([SwitchTo(0, cast(Any, frozenset((math.nan,))))], "adapter nan"),
    "timer at no tick": ([WakeAt(cast(Any, "soon"))], "a timer for tick 'soon', which is no integ"),
    "timer at no number": (
        [WakeAt(cast(Any, math.nan))],
        "a timer for tick nan, which is no integ",
    ),
    "timer between ticks": ([WakeAt(cast(Any, 1.5))], "a timer for tick 1.5, which is no integer"),
    "timer at true": ([WakeAt(True)], "a timer for tick True, which is no integer"),
    "numpy timer": (
        [WakeAt(cast(Any, np.int64(7)))],
        "a timer for tick .*7.*, which is no integer",
    ),
    "timer at the end of time": (
        [WakeAt(10**16 + 1)],
        "a timer for tick 10000000000000001 is past the last that a schedule can state",
    ),
    "timer of thousands of digits": ([WakeAt(HUGE)], "a timer for tick <int> is past the last"),
    "timer long ago": ([WakeAt(-HUGE)], "a timer for tick <int> is not in the future"),
    "words": ("start!", "section 7: 's' is no action"),
    "class of an action": ([Start], "section 7: <class .*Start'> is no action"),
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


class UnspeakableError(Exception):
    """An error that cannot even be told."""

    def __repr__(self) -> str:
        raise ValueError


def recursing() -> NoReturn:
    recursing()


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def fail() -> NoReturn:
        raise error

    return fail


FAILING: dict[str, tuple[Callable[[], object], str]] = {
    "error": (lambda: 1 // 0, "failed with ZeroDivisionError"),
    "recursion without end": (recursing, "failed with RecursionError"),
    "no memory": (raising(MemoryError()), "failed with MemoryError"),
    "exit": (lambda: sys.exit(0), "failed with SystemExit(0)"),
    "exit of a generator": (raising(GeneratorExit()), "failed with GeneratorExit()"),
    "end of an iterator": (lambda: next(iter(())), "failed with StopIteration()"),
    "two lines": (raising(ValueError("one\ntwo")), r"failed with ValueError('one\ntwo')"),
    "error of a rule": (raising(BrokenRuleError("rule 1")), "broke rule 1"),
    "untold": (raising(UnspeakableError()), "failed with <UnspeakableError instance at"),
}


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("lazily", [False, True])
def test_a_policy_that_fails(name: str, lazily: bool) -> None:
    """An exception of the policy is told as its failure, also where a generator comes to it."""
    fail, what = FAILING[name]

    def decide(_: State) -> Iterator[Action]:
        yield WakeAt(5)
        fail()

    message = stopped(decide if lazily else lambda _: cast(Any, fail()))
    if not (lazily and name == "end of an iterator"):  # Python makes it a RuntimeError
        assert message.startswith(f"policy 'scripted' at tick 0: {what}")
    assert message.endswith("; 3 waiting (r0, r1, r2); g0 idle, holding a; g1 idle, holding a")


def test_the_cause_of_a_failure_is_kept() -> None:
    with pytest.raises(SolverError) as caught:
        simulate(PROBLEM, Scripted(lambda _: [WakeAt(1 // 0)]))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_long_error_is_shortened() -> None:
    """Half a line of it, not the whole queue that a policy puts into its message."""
    message = stopped(lambda _: cast(Any, raising(ValueError("x" * 10**6))()))
    assert "failed with ValueError('xxx" in message
    assert len(message) < 400


@pytest.mark.parametrize("error", [KeyError("site"), SystemExit(0)])
def test_a_policy_that_fails_to_start(error: BaseException) -> None:
    class Broken(Scripted):
        def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002
            """Fails."""
            raise error

    with pytest.raises(SolverError) as caught:
        simulate(PROBLEM, Broken(alone))
    assert str(caught.value) == f"policy 'scripted' failed to start: {error!r}"


def test_a_policy_that_starts_with_nothing() -> None:
    class Empty(Scripted):
        def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002
            """Forgets to return the decision function."""
            return cast(Decide, None)

    with pytest.raises(SolverError, match=r"at tick 0: failed with TypeError.*not callable"):
        simulate(PROBLEM, Empty(alone))


@pytest.mark.parametrize("answer", [None, 7, WakeAt(3)])
def test_an_answer_that_is_no_list(answer: Any) -> None:
    assert f"broke section 7: {answer!r} is no list of actions" in stopped(lambda _: answer)


def test_an_answer_without_end() -> None:
    """An endless iterator of actions, each of them right, is cut off."""
    message = stopped(lambda s: repeat(WakeAt(s.tick + 1)))
    assert "at tick 0: broke section 7: over 1000000 actions in an answer; 3 waiting" in message


def test_a_finite_list_of_too_many_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound holds for a list as well, and what it allows goes through."""
    monkeypatch.setattr(policy_run, "MOST_ACTIONS", 3)
    assert "over 3 actions in an answer" in stopped(lambda s: [WakeAt(s.tick + 1)] * 4)
    problem = problem_of(document(request("r0")))
    policy = Scripted(lambda s: alone(s) if s.tick else (WakeAt(9) for _ in range(3)))
    assert simulate(problem, policy).plan is not None
    assert policy.ticks == [0, 9]


def test_switches_of_no_time_for_ever() -> None:
    """Prefetches that take no tick cannot follow one another at that tick without end."""
    free = [adapter("a"), adapter("b")]
    problem = problem_of(document(request("r0"), adapters=free))
    policy = Scripted(lambda s: [SwitchTo(0, B if s.gpus[0].resident == A else A)])
    with pytest.raises(SolverError, match="section 4: GPU 'gpu-0' has switched ahead and must ser"):
        simulate(problem, policy)
    assert policy.ticks == [0, 0]


@pytest.mark.parametrize("harm", ["waiting", "gpus", "arrived", "tick"])
def test_a_policy_that_changes_the_state(harm: str) -> None:
    """The state is for reading; an attempt to write to it fails in the policy."""

    def decide(state: Any) -> list[Action]:
        if harm == "tick":
            state.tick = 9
        else:
            cast(Any, getattr(state, harm)).clear()
        return []

    assert "at tick 0: failed with AttributeError" in stopped(decide)


def test_ctrl_c_in_a_policy_is_the_users() -> None:
    """Ctrl-C is no failure of the policy; the second one ends even a decision that never returns.

    The first asks for the best so far, and a part of a simulation is nothing, so there is no plan.
    """
    problem = problem_of(document(*(request(f"r{i}", arrival_s=float(i)) for i in range(3))))

    class Stuck(msgspec.Struct, frozen=True):
        """Gets Ctrl-C a few times while it decides for the first time."""

        times: int

        name: ClassVar[str] = "stuck"
        kind: ClassVar[Kind] = Kind.ONLINE
        capabilities: ClassVar[Capabilities] = Capabilities()

        def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002
            def decide(state: State) -> list[Action]:
                for _ in range(self.times if state.tick == 0 else 0):
                    signal.raise_signal(signal.SIGINT)
                return alone(state)

            return decide

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy_run, "SECONDS_PER_CHECK", 0.0)
        result = solve(problem, Stuck(1))
    assert result.status == Status(stop=StopReason.INTERRUPTED, point=SolutionStatus.NONE)
    assert result.details["decisions"] == 1
    with pytest.raises(KeyboardInterrupt):
        solve(problem, Stuck(2))


def test_waiting_for_ever() -> None:
    """Nothing is to come, and the policy does not act: it is stopped, not waited for."""
    message = stopped(lambda _: [], problem_of(document(request("r0"), request("r1"))))
    assert "leaves 'r0', which must be served, waiting for ever (section 7" in message
    assert "2 waiting (r0, r1); gpu-0 idle, holding a" in message


def test_timers_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting timers and never acting is no waiting either."""
    monkeypatch.setattr(policy_run, "MOST_IDLE_TIMERS", 50)
    message = stopped(lambda s: [WakeAt(s.tick + 1)], problem_of(document(request("r0"))))
    assert "at tick 51: sets timers but did not act at 51 of them in a row; 1 waiting" in message


def test_timers_for_ever_with_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ticking through a gap that has no end in sight is bounded as well."""
    monkeypatch.setattr(policy_run, "MOST_TIMERS", 50)
    problem = problem_of(document(request("r0"), request("r1", arrival_s=1e9)))
    message = stopped(lambda s: [*alone(s), WakeAt(s.tick + 1)], problem)
    assert "at tick 51: sets timers but did not act at 51 of them in a row; none wait" in message


def test_timers_for_ever_beside_a_busy_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """And so is ticking through a batch."""
    monkeypatch.setattr(policy_run, "MOST_TIMERS", 50)
    problem = problem_of(document(request("r0", steps=1000), request("r1")))
    message = stopped(lambda s: [*alone(s), WakeAt(s.tick + 1)], problem)
    assert "at tick 51: sets timers but did not act at 51 of them in a row; 1 wait" in message


def test_timers_at_which_a_policy_thinks_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow decisions are bounded by their time in all, long before they are many."""
    clock = [0.0]
    monkeypatch.setattr(policy_run, "perf_counter", lambda: clock[0])

    def decide(state: State) -> list[Action]:
        clock[0] += 25.0
        return [WakeAt(state.tick + 1)]

    message = stopped(decide, problem_of(document(request("r0"))))
    assert (
        "at tick 3: sets timers but did not act at 3 of them in a row, in which it thought for "
        "over 60 s; 1 waiting (r0)"
    ) in message


def test_an_arrival_ends_a_row_of_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy may wait for company for as long as requests come, ticking all the while."""
    monkeypatch.setattr(policy_run, "MOST_IDLE_TIMERS", 50)
    late = [request(f"r{i}", arrival_s=50.0 * i, demand={"vram_gib": 0.1}) for i in range(4)]
    problem = problem_of(document(*late))
    together = [Start(0, tuple((i, 0) for i in range(4)), A)]
    policy = Scripted(lambda s: together if len(s.waiting) == 4 else [WakeAt(s.tick + 1)])
    assert simulate(problem, policy).plan is not None
    assert len(policy.ticks) == 151


def test_timers_beside_a_busy_gpu_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy may look at the clock as often as it likes while there is nothing it can do."""
    monkeypatch.setattr(policy_run, "MOST_IDLE_TIMERS", 50)
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
