"""The incumbent: what it keeps, what it reports, and what it claims in the end."""

from __future__ import annotations

import json
import math

from pats_opt.core.solver import Run
from pats_opt.model.checker import valid_loss
from pats_opt.model.files import parse_instance
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.bounds import trivial_bound
from pats_solvers.common.incumbent import Incumbent, trivial_outcome
from tests.support.zoo import document, request

PROBLEM = Problem(parse_instance(json.dumps(document(request("r0")))))


def starting_at(tick: int) -> Plan:
    """The plan that serves the only request from a tick on."""
    return Plan(((PlannedBatch(tick, ((0, 0),), frozenset((0,))),),))


def loss_from(tick: int) -> float:
    """Loss of :func:`starting_at`, which is valid from tick 1 on."""
    loss = valid_loss(PROBLEM, starting_at(tick))
    assert loss is not None
    return loss


def test_keeps_the_best_valid_plan() -> None:
    """A worse plan and one that breaks a rule change nothing."""
    incumbent = Incumbent(PROBLEM, Run())
    assert incumbent.bound == trivial_bound(PROBLEM) > 0.0
    assert incumbent.start is None
    assert incumbent.known_loss is None
    for tick in (9, 5, 7):
        assert incumbent.offer(starting_at(tick)) == loss_from(tick)
    assert incumbent.offer(starting_at(-3)) is None
    assert incumbent.start == (starting_at(5), loss_from(5))


def test_reports_what_improves() -> None:
    """Bounds never fall, losses never rise, also those of plans that are yet to come."""
    reports: list[tuple[float | None, float | None]] = []
    run = Run(progress=lambda bound, loss: reports.append((bound, loss)))
    incumbent = Incumbent(PROBLEM, run, -math.inf)
    incumbent.offer(starting_at(9))
    incumbent.report(loss=loss_from(7))
    incumbent.raise_bound(0.5)
    incumbent.raise_bound(0.25)
    assert reports == [(None, loss_from(9)), (None, loss_from(7)), *[(0.5, loss_from(7))] * 2]
    assert incumbent.plan == starting_at(9)


def test_claims_an_optimum_only_where_loss_and_bound_meet() -> None:
    """A claim of the solver's own becomes ``complete``; a bound above the loss proves the plan."""
    incumbent = Incumbent(PROBLEM, Run(start=(starting_at(5), loss_from(5))))
    assert not incumbent.over()
    assert incumbent.outcome(StopReason.OPTIMAL).stop is StopReason.COMPLETE
    assert incumbent.outcome(StopReason.MEMORY_LIMIT, size=3).details == {"size": 3}
    incumbent.raise_bound(math.inf)
    assert incumbent.over()
    outcome = incumbent.outcome()
    assert (outcome.stop, outcome.bound) == (StopReason.OPTIMAL, loss_from(5))


def test_infeasible_where_the_bound_is_infinite() -> None:
    """Without a plan, an infinite bound proves that there is none; minus infinity is no bound."""
    incumbent = Incumbent(PROBLEM, Run(), -math.inf)
    assert incumbent.outcome().bound is None
    incumbent.raise_bound(math.inf)
    assert incumbent.over()
    assert incumbent.outcome().stop is StopReason.INFEASIBLE


def test_limits_end_it() -> None:
    """The limit that was reached is the reason for stopping."""
    run = Run()
    incumbent = Incumbent(PROBLEM, run)
    assert incumbent.outcome().stop is StopReason.COMPLETE
    run.interrupted.set()
    assert incumbent.over()
    assert incumbent.outcome().stop is StopReason.INTERRUPTED


def test_problems_with_nothing_to_decide() -> None:
    """Without jobs the empty plan is optimal."""
    assert trivial_outcome(PROBLEM) is None
    outcome = trivial_outcome(Problem(parse_instance(json.dumps(document()))))
    assert outcome is not None
    assert (outcome.stop, outcome.bound) == (StopReason.OPTIMAL, 0.0)
