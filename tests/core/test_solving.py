"""``solve``: the checker has the last word, whatever a solver claims."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import pytest
from msgspec import Struct

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run, Solver
from pats_opt.errors import CapabilityError, InfeasibleError, NoScheduleError, SolverError
from pats_opt.generate import Recipe, generate
from pats_opt.model.checker import valid_loss
from pats_opt.model.files import parse_instance
from pats_opt.model.instance import Instance
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolutionStatus, StopReason
from pats_opt.simulate import PolicySolver
from pats_opt.solving.result import require_schedule
from pats_opt.solving.solve import solve
from pats_opt.solving.starts import BEST_POLICIES, SOME_REQUESTS, PolicyStarts, checked_start
from pats_solvers.online.simple import Fifo
from tests.support.zoo import document, request


def instance() -> Instance:
    """One request of one step; its optimum is 1."""
    return parse_instance(json.dumps(document(request("r0"))))


#: Serves r0 at once: loss 1.
AT_ONCE = Plan(((PlannedBatch(0, ((0, 0),), frozenset((0,))),),))
#: Serves it a tick late: loss 2.
LATE = Plan(((PlannedBatch(1, ((0, 0),), frozenset((0,))),),))
#: Serves it without its adapter.
WRONG = Plan(((PlannedBatch(0, ((0, 0),), frozenset()),),))


def scripted(
    outcome: Outcome,
    seen: list[Run] | None = None,
    act: Callable[[Run], None] = lambda _run: None,
    features: frozenset[Feature] = frozenset((Feature.INITIAL,)),
) -> Solver:
    """A solver that acts, notes the run in ``seen``, and answers as it is made to."""
    can = Capabilities(features=features, bound=True, warm_start=True)

    class Scripted(Struct, frozen=True):
        name: ClassVar[str] = "scripted"
        kind: ClassVar[Kind] = Kind.EXACT
        capabilities: ClassVar[Capabilities] = can

        def solve(self, problem: Problem, run: Run) -> Outcome:  # noqa: ARG002
            act(run)
            if seen is not None:
                seen.append(run)
            return replace(outcome, stop=run.stop() or outcome.stop)

    return Scripted()


def test_result_is_the_checker_s() -> None:
    """Loss, terms and metrics come from the checker; the schedule carries the claim."""
    result = solve(instance(), scripted(Outcome(StopReason.OPTIMAL, AT_ONCE, 1.0)))
    assert (result.loss, result.bound, result.gap) == (1.0, 1.0, 0.0)
    assert result.terms is not None
    assert result.terms.latency == 1.0
    assert result.utility == 0.0
    assert result.status.point is SolutionStatus.OPTIMAL
    assert result.schedule.loss == 1.0
    assert result.metrics is not None
    assert result.metrics.served == 1
    assert "schedule" not in result.summary()
    json.dumps(result.summary()["metrics"])


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome(StopReason.OPTIMAL, WRONG, 1.0), "broke rule 2"),
        (Outcome(StopReason.TIME_LIMIT, AT_ONCE, 1.1), "claims bound 1.1, above its loss"),
        (Outcome(StopReason.TIME_LIMIT, AT_ONCE, float("nan")), "claims bound nan"),
        (Outcome(StopReason.OPTIMAL, LATE, 1.0), "claims an optimum of loss 2"),
        (Outcome(StopReason.OPTIMAL, LATE), "claims an optimum of loss 2"),
    ],
    ids=["broken rule", "bound above loss", "bound no number", "no optimum", "no bound"],
)
def test_false_claims_are_refused(outcome: Outcome, expected: str) -> None:
    """A solver that breaks a rule, or whose claims do not hold, is an error, never a result."""
    with pytest.raises(SolverError, match=expected):
        solve(instance(), scripted(outcome))


def test_bound_within_rounding_is_not_above_the_loss() -> None:
    """A bound that rounding put just above the loss is cut back to it."""
    result = solve(instance(), scripted(Outcome(StopReason.OPTIMAL, AT_ONCE, 1.0 + 1e-9)))
    assert result.bound == result.loss == 1.0


def test_a_bound_below_a_tiny_loss_is_not_raised() -> None:
    """Losses of 1e-13 are losses too: that they are near 0 proves no optimum."""
    tiny = parse_instance(json.dumps(document(request("r0"), latency_price_per_s=1e-13)))
    result = solve(tiny, scripted(Outcome(StopReason.TIME_LIMIT, AT_ONCE, 0.0)))
    assert result.loss == pytest.approx(1e-13)
    assert result.bound == 0.0


def test_stopped_without_a_schedule() -> None:
    """A bound alone is a result without loss; whoever needs a schedule gets an error that tells."""
    result = solve(instance(), scripted(Outcome(StopReason.TIME_LIMIT, None, 0.5)))
    assert result.loss is None
    assert result.gap is None
    assert result.status.point is SolutionStatus.NONE
    with pytest.raises(NoScheduleError, match=r"time-limit.*bound is 0\.5"):
        require_schedule(result)


def test_proven_infeasible() -> None:
    """A solver's proof that there is no schedule is its own error."""
    with pytest.raises(InfeasibleError, match="no schedule exists"):
        solve(instance(), scripted(Outcome(StopReason.INFEASIBLE)))


def test_lacking_feature_is_named() -> None:
    """A problem with a feature outside the record never reaches the solver."""
    two = parse_instance(json.dumps(document(request("r0"), horizon_ticks=9)))
    seen: list[Run] = []
    with pytest.raises(CapabilityError, match="hard horizon"):
        solve(two, scripted(Outcome(StopReason.OPTIMAL, AT_ONCE, 1.0), seen))
    assert seen == []


def test_warm_start() -> None:
    """The start is the best valid plan at hand, with its loss, and progress tells it."""
    seen: list[Run] = []
    reported: list[tuple[float | None, float | None]] = []
    solve(
        instance(),
        scripted(Outcome(StopReason.OPTIMAL, AT_ONCE, 1.0), seen),
        progress=lambda bound, loss: reported.append((bound, loss)),
    )
    assert seen[0].start is not None
    assert seen[0].start[1] == 1.0
    assert reported == [(None, 1.0)]
    given: list[Run] = []
    solve(instance(), scripted(Outcome(StopReason.OPTIMAL, AT_ONCE, 1.0), given), start=LATE)
    assert given[0].start == (LATE, 2.0)


@pytest.mark.parametrize("solver", ["auto", "milp", "cpsat", "lagrangian"])
def test_there_is_always_a_schedule(solver: str) -> None:
    """Not even the first policy has ended at this limit; its schedule counts all the same."""
    result = solve(generate(Recipe(requests=200), seed=1), solver, time_limit=1e-3)
    assert result.status.stop is StopReason.TIME_LIMIT
    assert result.status.point is SolutionStatus.FEASIBLE
    require_schedule(result)


def test_an_interrupted_start_is_none() -> None:
    """Only the time limit waits for the first policy."""
    run = Run(time_limit=60.0)
    run.interrupted.set()
    assert PolicyStarts(Problem(instance()), run).first() is None


def policy_losses(problem: Problem) -> dict[str, float]:
    """The loss of every policy by name."""
    losses = {}
    for name in registry.policies():
        result = solve(problem, name)
        assert result.loss is not None
        losses[name] = result.loss
    return losses


@pytest.mark.parametrize("requests", [SOME_REQUESTS, SOME_REQUESTS + 1])
def test_no_policy_is_better_than_a_solver(requests: int) -> None:
    """Before it where there are many requests, else after it, all policies are tried."""
    problem = Problem(generate(Recipe(requests=requests), seed=1))
    seen: list[Run] = []
    complete = PolicySolver(Fifo()).solve(problem, Run())
    result = solve(problem, scripted(complete, seen, features=ALL_FEATURES))
    start, best = seen[0].start, min(policy_losses(problem).values())
    assert start is not None
    assert result.loss is not None
    if requests > SOME_REQUESTS:
        assert start[1] <= best
    else:
        assert result.loss <= best


def test_a_proven_optimum_is_held_against_no_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The policies that are left to the end are not simulated then."""
    problem, made = Problem(generate(Recipe(requests=30), seed=1)), list[str]()
    make = registry.make

    def noted(name: str) -> Solver | Policy:
        made.append(name)
        return make(name)

    monkeypatch.setattr(registry, "make", noted)
    starts = PolicyStarts(problem, Run())
    starts.first()
    assert len(made) == len(BEST_POLICIES)
    outcome = PolicySolver(Fifo()).solve(problem, Run())
    proven = replace(outcome, stop=StopReason.OPTIMAL)
    assert starts.improved(proven) is proven
    assert len(made) == len(BEST_POLICIES)
    starts.improved(outcome)
    assert set(registry.policies()) <= set(made)


def test_time_is_kept_for_the_policies_left() -> None:
    """The solver gets less than the limit, and the whole run ends within it."""
    problem, seen = Problem(generate(Recipe(requests=60), seed=1)), list[Run]()
    complete = PolicySolver(Fifo()).solve(problem, Run())
    solve(problem, scripted(complete, seen, features=ALL_FEATURES), time_limit=30.0)
    limit = seen[0].time_limit
    assert limit is not None
    assert 28.5 <= limit < 30.0


def test_invalid_start_is_ignored() -> None:
    """A start that breaks a rule is no start."""
    problem = Problem(instance())
    assert valid_loss(problem, WRONG) is None
    assert checked_start(problem, Run(), WRONG) is None


def interrupt(times: int) -> Callable[[Run], None]:
    """Press Ctrl-C while solving."""

    def act(_run: Run) -> None:
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)

    return act


def test_interrupt_returns_the_best_so_far() -> None:
    """Ctrl-C ends the solver, not the program; the handler is put back afterwards."""
    before = signal.getsignal(signal.SIGINT)
    interrupted = scripted(Outcome(StopReason.COMPLETE, LATE, 0.5), act=interrupt(1))
    result = solve(instance(), interrupted, start=LATE)
    assert result.status.stop is StopReason.INTERRUPTED
    assert result.loss == 2.0
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupt_twice_stops_at_once() -> None:
    """The second Ctrl-C does not wait for the solver."""
    with pytest.raises(KeyboardInterrupt):
        solve(instance(), scripted(Outcome(StopReason.OPTIMAL, AT_ONCE, 1.0), act=interrupt(2)))


@pytest.mark.parametrize(
    ("limit", "set_up", "expected"),
    [
        (None, lambda _run: None, None),
        (60.0, lambda _run: None, None),
        (0.0, lambda _run: None, StopReason.TIME_LIMIT),
        (60.0, lambda run: run.interrupted.set(), StopReason.INTERRUPTED),
    ],
)
def test_run_says_why_to_stop(
    limit: float | None, set_up: Callable[[Run], None], expected: StopReason | None
) -> None:
    """A run tells whether to go on, and if not, why."""
    run = Run(time_limit=limit)
    set_up(run)
    assert run.stop() is expected
