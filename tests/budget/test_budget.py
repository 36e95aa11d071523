"""A latency budget: against every schedule of tiny instances, with stub solvers, and its errors."""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any, ClassVar

import msgspec
import pytest
from msgspec import Struct

import pats_opt
from pats_opt.core.solver import Capabilities, Feature, Kind, Outcome, Run
from pats_opt.errors import InfeasibleError, InputError, NoScheduleError, SolverError
from pats_opt.model.checker import valid_loss
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.budget import solve_within
from pats_opt.solving.budget_curve import priced, without_latency
from pats_opt.solving.result import BudgetResult, LatencyMeasure, require_met
from pats_opt.solving.solve import runnable
from pats_opt.testing.instances import random_features, random_instance
from pats_solvers.dp import Dp
from tests.support import scale
from tests.support.every_schedule import ENUMERATED, Outline, every_schedule
from tests.support.zoo import document, gpu, request

SLACK = 1e-6


def drawn(seed: int, *, alike: bool) -> Instance:
    """A random instance of up to four requests, with equal weights where they are to be alike."""
    rng = random.Random(seed)
    features = random_features(rng, 0.5, ENUMERATED) | {Feature.OPTIONS}
    made = random_instance(rng, features, requests=(2, 4))
    if alike:
        same = tuple(msgspec.structs.replace(r, weight=0.5) for r in made.requests)
        made = msgspec.structs.replace(made, requests=same)
    return made


def budgets(outlines: list[Outline]) -> list[float]:
    """Budgets from one that nothing meets to one that costs nothing."""
    means = sorted({o.mean for o in outlines if o.latency_s})
    if not means:
        return [1.0]
    picked = [means[0] * 0.9, means[0], means[len(means) // 10], means[len(means) // 3]]
    return sorted({budget for budget in picked if budget > 0}) or [1.0]


def dual(outlines: list[Outline], budget_s: float, allowed: float) -> float:
    """The largest of min(F + price * G) - price * allowed over all prices: the best dual bound."""
    points = [(o.waited(budget_s), o.other) for o in outlines]
    left = [(g, f) for g, f in points if g <= allowed + SLACK]
    chords = [
        f + (less - f) * (allowed - g) / (more - g)
        for g, f in left
        for more, less in points
        if more > allowed + SLACK
    ]
    return min([f for _, f in left] + chords)


@pytest.mark.parametrize("seed", scale.seeds(24))
def test_mean_against_every_schedule(seed: int) -> None:
    """The budget is kept, the bound holds, and with equal weights it is the best dual bound."""
    instance = drawn(seed, alike=seed % 2 == 0)
    problem = Problem(instance)
    outlines = list(every_schedule(problem))
    for budget_s in budgets(outlines):
        meeting = [o.other for o in outlines if o.mean <= budget_s * (1 + 1e-9)]
        try:
            result = solve_within(instance, budget_s, "dp")
        except InfeasibleError:
            assert not meeting
            continue
        budget = result.budget
        assert meeting
        assert budget.met
        check_figures(instance, result)
        assert budget.loss is not None
        assert budget.bound is not None
        assert budget.loss >= min(meeting) - SLACK
        assert budget.bound <= min(meeting) + SLACK
        if len({job.weight for job in problem.jobs}) == 1:
            allowed = budget_s * sum(job.weight for job in problem.jobs)
            assert budget.bound == pytest.approx(dual(outlines, budget_s, allowed), abs=SLACK)
            assert budget.loss == pytest.approx(best_vertex(outlines, budget_s, allowed), abs=SLACK)


def best_vertex(outlines: list[Outline], budget_s: float, allowed: float) -> float:
    """The least other loss that any price leads to within the budget, ties broken by waiting."""
    points = sorted({(round(o.waited(budget_s), 9), round(o.other, 9)) for o in outlines})
    reachable = []
    for g, f in points:
        if g > allowed + SLACK:
            break
        # The prices at which it is best lie between its steepest drop ahead and its least rise.
        ahead = max([(f - less) / (more - g) for more, less in points if more > g], default=0.0)
        back = min([(rise - f) / (g - fewer) for fewer, rise in points if fewer < g],
                   default=math.inf)  # fmt: skip
        lower = min(less for more, less in points if more <= g)
        if max(ahead, 0.0) < back - SLACK and f <= lower:
            reachable.append(f)
    return min(reachable)


def check_figures(instance: Instance, result: BudgetResult) -> None:
    """The schedule is the instance's own and is what the budget says of it."""
    verdict = pats_opt.check(instance, result.schedule)
    budget, metrics = result.budget, result.metrics
    assert verdict.ok
    assert metrics is not None
    assert result.loss == pytest.approx(verdict.loss)
    assert budget.loss == pytest.approx(without_latency(verdict.terms))
    mean = budget.measure is LatencyMeasure.MEAN
    assert budget.reached_s == (metrics.latency_mean_s if mean else metrics.latency_p95_s)
    if budget.met and budget.reached_s is not None:
        assert budget.reached_s <= budget.budget_s * (1 + 1e-9)
    prices = [point.price for point in budget.curve if point.price is not None]
    assert prices == sorted(prices)
    (chosen,) = [point for point in budget.curve if point.chosen]
    assert (chosen.other, chosen.meets) == (budget.loss, budget.met)


@pytest.mark.parametrize("seed", range(100, 112))
def test_p95_against_every_schedule(seed: int) -> None:
    """The p95 is kept; the bound, where there is one, holds; infeasible is said only if true."""
    instance = drawn(seed, alike=True)
    outlines = list(every_schedule(Problem(instance)))
    for budget_s in sorted({o.p95 for o in outlines if o.p95 > 0})[::4][:3]:
        meeting = [o.other for o in outlines if o.p95 <= budget_s * (1 + 1e-9)]
        try:
            result = solve_within(instance, budget_s, "dp", measure="p95")
        except InfeasibleError:
            assert not meeting
            continue
        check_figures(instance, result)
        budget = result.budget
        if budget.met and budget.loss is not None:
            assert budget.loss >= min(meeting) - SLACK
        if budget.bound is not None and meeting:
            assert budget.bound <= min(meeting) + SLACK


@pytest.mark.parametrize("seed", range(200, 206))
def test_a_looser_budget_costs_no_more(seed: int) -> None:
    """Bound, loss and multiplier never rise as the budget does."""
    instance = drawn(seed, alike=True)
    outlines = list(every_schedule(Problem(instance)))
    found = [
        solve_within(instance, mean, "dp").budget
        for mean in sorted({o.mean for o in outlines if o.mean > 0})[::25][:4]
    ]
    for tight, loose in pairwise(found):
        for name in ("loss", "bound", "price"):
            one, other = getattr(tight, name), getattr(loose, name)
            assert (one or 0.0) >= (other or 0.0) - SLACK, name


def two_speeds(**changes: Any) -> Instance:
    """Two requests at once, each of 2 s and perfect or of 1 s and worse by 0.3; one at a time."""
    options = [{"steps": 1, "quality": 0.7}, {"steps": 2, "quality": 1.0}]
    requests = (request("p", options=options), request("q", options=options))
    made = document(*requests, gpus=[gpu(batch=1)], **changes)
    for r in made["requests"]:
        r["demand"] = {"vram_gib": 1.0, "batch": 1}
    return msgspec.convert(made, Instance)


def test_by_hand() -> None:
    """Means of 3, 2 and 1.5 s cost 0, 0.3 and 0.6: the prices between them are 0.15 and 0.3.

    Both long: latencies 2 and 4, mean 3, loss 0. The first short: 1 and 3, mean 2, loss 0.3. Both
    short: 1 and 2, mean 1.5, loss 0.6. Second short: 2 and 3, mean 2.5, loss 0.3: never worth it.
    """
    costs_nothing = solve_within(two_speeds(), 3.0, "dp").budget
    assert (costs_nothing.price, costs_nothing.loss, costs_nothing.gap) == (0.0, 0.0, 0.0)
    middle = solve_within(two_speeds(), 2.0, "dp").budget
    assert middle.price == pytest.approx(0.15)  # 0.3 more loss for 2 s less, in all
    assert middle.reached_s == 2.0
    assert middle.loss == pytest.approx(0.3)
    assert middle.bound == pytest.approx(0.3)
    between = solve_within(two_speeds(), 1.8, "dp").budget
    assert between.reached_s == 1.5
    assert between.price == pytest.approx(0.3)
    assert between.bound == pytest.approx(0.3 + 0.3 * 0.4)  # on the chord from 2 s to 1.5 s
    with pytest.raises(InfeasibleError, match=r"no schedule has a mean latency of 1\.4 s"):
        solve_within(two_speeds(), 1.4, "dp")


def test_proofs_without_solving() -> None:
    """A budget below what each request takes alone is refused before anything is solved."""
    for measure in LatencyMeasure:
        with pytest.raises(InfeasibleError, match="proven"):
            solve_within(two_speeds(), 0.5, Refusing(), measure=measure)


def test_rejecting_does_not_buy_the_mean() -> None:
    """A rejection is priced as waiting the budget, so it does not help the mean."""
    instance = two_speeds()
    rejectable = tuple(msgspec.structs.replace(r, reject_loss=0.5) for r in instance.requests)
    instance = msgspec.structs.replace(instance, requests=rejectable)
    outlines = list(every_schedule(Problem(instance)))
    result = solve_within(instance, 1.2, "dp")
    meeting = min(o.other for o in outlines if o.mean <= 1.2)
    assert result.budget.loss == pytest.approx(meeting) == pytest.approx(0.8)
    assert priced(instance, 2.0, 1.5).requests[0].reject_loss == 3.5


def test_nobody_to_serve() -> None:
    """No requests: any budget is met, with nothing to measure."""
    instance = msgspec.structs.replace(two_speeds(), requests=())
    budget = solve_within(instance, 1.0, "fifo").budget
    assert (budget.met, budget.reached_s, budget.loss) == (True, None, 0.0)


def test_a_policy_that_ignores_the_price() -> None:
    """A policy has no bound; what it cannot reach is an error with exit status 4 that says so."""
    instance = two_speeds()
    kept = solve_within(instance, 3.0, "fifo:option=most")
    require_met(kept)
    assert (kept.budget.bound, kept.budget.gap, kept.budget.price) == (None, None, 0.0)
    missed = solve_within(instance, 2.0, "fifo:option=most")
    assert (missed.budget.met, missed.budget.reached_s) == (False, 3.0)
    with pytest.raises(NoScheduleError, match=r"nearest, at lambda 0, has 3 s") as error:
        require_met(missed)
    assert error.value.exit_code == 4


@pytest.mark.parametrize("budget_s", [0.0, -1.0, math.nan, math.inf])
def test_bad_budget(budget_s: float) -> None:
    with pytest.raises(InputError, match="latency budget"):
        solve_within(two_speeds(), budget_s)


def test_bad_measure() -> None:
    with pytest.raises(InputError, match="choose one of: mean, p95"):
        solve_within(two_speeds(), 1.0, measure="median")


class Refusing(Struct, frozen=True):
    """A solver that must not be asked."""

    name: ClassVar[str] = "refusing"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities()

    def solve(self, problem: Problem, run: Run) -> Outcome:  # noqa: ARG002
        """Fails."""
        raise AssertionError("it was not to be asked")


class Cut(Struct, frozen=True):
    """The dynamic program, which says that it was stopped; it notes what it was given."""

    stop: StopReason
    asked: list[tuple[float, float | None, bool]]
    name: ClassVar[str] = "cut"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(bound=True, warm_start=True)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """The optimum, with a bound somewhat below it."""
        started = run.start is not None
        self.asked.append((problem.site.latency_price_per_s, run.time_limit, started))
        outcome = Dp().solve(problem, run)
        assert outcome.bound is not None
        return Outcome(self.stop, outcome.plan, bound=0.9 * outcome.bound)


def test_interrupt_returns_the_best_so_far() -> None:
    """The search ends with the solve that was interrupted."""
    solver = Cut(StopReason.INTERRUPTED, [])
    result = solve_within(two_speeds(), 2.0, solver)
    assert len(solver.asked) == 1
    assert result.status.stop is StopReason.INTERRUPTED
    check_figures(two_speeds(), result)


def test_time_limit_is_shared_and_plans_are_handed_on() -> None:
    """Each price has a part of what is left; what is left at the end goes to the multiplier."""
    solver = Cut(StopReason.TIME_LIMIT, [])
    result = solve_within(two_speeds(), 1.8, solver, time_limit=600.0)
    limits = [limit for _, limit, _ in solver.asked]
    assert all(limit is not None and limit <= 201 for limit in limits[:-1])
    assert limits[-1] is not None
    assert limits[-1] > 500
    assert solver.asked[-1][0] == result.budget.price == pytest.approx(0.3)
    assert all(started for _, _, started in solver.asked)
    assert result.status.stop is StopReason.TIME_LIMIT
    assert not any(point.proven for point in result.budget.curve)
    assert result.budget.bound is not None
    assert result.budget.bound < 0.42


class Fickle(Struct, frozen=True):
    """Proves one plan at the instance's price and another, worse one at any other price."""

    name: ClassVar[str] = "fickle"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(bound=True)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """At the one price an optimum, else the fewest steps, under the claim that they are."""
        if problem.site.latency_price_per_s == 0.01:
            return Dp().solve(problem, run)
        worse = runnable("fifo:option=fewest").solve(problem, run)
        assert worse.plan is not None
        return Outcome(StopReason.OPTIMAL, worse.plan, bound=valid_loss(problem, worse.plan))


def test_claims_that_contradict_each_other() -> None:
    """A bound at one price that a schedule found at another disproves is a solver's bug."""
    instance = msgspec.structs.replace(two_speeds(), latency_price_per_s=0.01)
    with pytest.raises(SolverError, match="which a valid schedule contradicts"):
        solve_within(instance, 3.5, Fickle())
