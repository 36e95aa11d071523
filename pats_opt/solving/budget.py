"""A latency budget instead of a latency price: find the multiplier lambda that meets it.

The search walks along the lower hull of what solvers find (:mod:`.budget_curve`). It keeps the two
neighbours of the hull between which the budget lies, and solves next at the price at which those
two are equally good: either something better than both turns up, which is a new vertex
between them, or that price is the multiplier (for a single constraint this is the dual method of
G. Y. Handler and I. Zang, "A dual algorithm for the constrained shortest path problem", Networks
10, 1980; no bracket has to be guessed, and with exact solves it ends after finitely many). A
schedule's latency does not depend on the price, so every schedule found is a candidate, and a
start, at every price.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from pats_opt.core.policy import Policy
from pats_opt.core.solver import Outcome, Run, Solver
from pats_opt.errors import InfeasibleError, InputError, SolverError
from pats_opt.model.checker import TOLERANCE
from pats_opt.model.instance import LARGEST, Instance
from pats_opt.model.loss import gap
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.solving.budget_curve import (
    SAME_PRICE,
    SLACK,
    Found,
    Measure,
    allowance,
    found,
    hopeless,
    hull,
    least_price,
    priced,
    restated,
    slope,
)
from pats_opt.solving.budget_result import Budget, BudgetPoint, BudgetResult
from pats_opt.solving.solve import Result, finish, interruptible, runnable, solve

log = logging.getLogger(__name__)

#: One of so many parts of the time left goes to the next price.
PARTS = 3

#: Once less than this share of the time limit is left, no other price is tried.
LAST_SHARE = 0.02


def solve_within(
    instance: Instance | Problem,
    budget_s: float,
    solver: str | Solver | Policy = "auto",
    *,
    measure: Measure | str = Measure.MEAN,
    time_limit: float | None = None,
    seed: int = 0,
    jobs: int = 1,
    progress: Callable[[float | None, float | None], None] | None = None,
    phase: Callable[[str, float | None], None] | None = None,
    **params: Any,
) -> BudgetResult:
    """Find the latency price whose schedule keeps a latency budget at the least other loss.

    The schedule is one of ``instance``, whose own latency price is only where the search begins.

    Args:
        instance: What to solve.
        budget_s: Seconds that the measure may reach; above 0.
        solver: What solves at each price, as for :func:`pats_opt.solve`.
        measure: ``mean`` or ``p95``, over the requests served.
        time_limit: Seconds for all prices together; None for no limit.
        seed: Seed of every random choice.
        jobs: Threads the solver may use.
        progress: Called with (bound, loss without latency) of the budget's problem.
        phase: Called with who is at work at which price, as for :func:`pats_opt.solve`.
        **params: Parameters of the solver.

    Returns:
        The best schedule that keeps the budget, else the nearest to it (``budget.met`` is false);
        without a schedule where the solver found none in time.

    Raises:
        InfeasibleError: Proven: no schedule keeps the budget, or there is no schedule at all.
        CapabilityError: The solver cannot handle a feature of this instance.
        InputError: A budget or measure out of range, an unknown solver or parameter.
        SolverError: The solver returned something that breaks a rule: a bug in it.
    """
    if not 0 < budget_s <= LARGEST:
        raise InputError(
            f"a latency budget of {budget_s} s", hint="give a number of seconds above 0"
        )
    try:
        by = Measure(measure)
    except ValueError:
        raise InputError(
            f"there is no latency measure {measure!r}", hint=f"choose one of: {', '.join(Measure)}"
        ) from None
    problem = instance if isinstance(instance, Problem) else Problem(instance)
    run = Run(time_limit=time_limit, seed=seed, jobs=jobs)
    if progress is not None:
        run.progress = progress
    if phase is not None:
        run.phase = phase
    search = _Search(problem, runnable(solver, **params), by, budget_s, run)
    with interruptible(run):
        search.go()
    return search.result()


class _Search:
    """The prices tried so far, and what they gave."""

    def __init__(
        self, problem: Problem, solver: Solver, by: Measure, budget_s: float, run: Run
    ) -> None:
        self.problem, self.solver, self.run = problem, solver, run
        self.by, self.budget_s = by, budget_s
        self.found: list[Found] = []
        self.tried: list[float] = []
        self.bound: float | None = None
        self.stops: set[StopReason] = set()

    def go(self) -> None:
        """Try one price after another until nothing is left to learn, or no time."""
        if hopeless(self.problem, self.by, self.budget_s):
            raise self._impossible()
        price: float | None = self.problem.instance.latency_price_per_s
        while price is not None and self.run.stop() is None:
            self._try(price, self._seconds(PARTS))
            price = next((p for p in self._worth_trying() if not self._was_tried(p)), None)
            if price is not None and self._late():
                break
        edge = None if self._closed() else self._edge()
        if edge is not None and StopReason.TIME_LIMIT in self.stops and self.run.stop() is None:
            self._try(slope(*edge), self._seconds(1))  # what time is left goes to the multiplier

    def _worth_trying(self) -> Iterator[float]:
        """Prices that may tell more, the one that tells most first."""
        met = any(map(self._meets, self.found))
        yield 0.0 if met else math.inf
        edge = self._edge()
        if edge is not None and not self._closed():
            yield slope(*edge)
        vertices = hull(self.found)
        if not any(map(self._meets, vertices)):
            # What waits least need not have the least p95, nor the least mean where weights differ:
            # look all along the hull.
            yield from map(slope, vertices, vertices[1:])
        yield from (0.0, math.inf)  # the ends of the curve

    def _edge(self) -> tuple[Found, Found] | None:
        """The neighbours on the hull between which the budget lies: it is kept, it is missed."""
        vertices = hull(self.found)
        keep = [i for i, vertex in enumerate(vertices) if self._meets(vertex)]
        if not keep or keep[-1] + 1 == len(vertices):
            return None
        return vertices[keep[-1]], vertices[keep[-1] + 1]

    def _try(self, price: float, seconds: float | None) -> None:
        """Solve at a price, from the schedule that is best there, and learn from the result."""
        instance = priced(self.problem.instance, price, self.budget_s)
        best = min(self.found, key=lambda point: point.total(price), default=None)
        at = "latency alone" if math.isinf(price) else f"lambda {price:.4g}"
        result = solve(
            instance,
            self.solver,
            time_limit=seconds,
            seed=self.run.seed,
            jobs=self.run.jobs,
            start=None if best is None else best.plan,
            phase=lambda who, share: self.run.phase(f"{who} at {at}", share),
        )
        self.tried.append(price)
        self.stops.add(result.status.stop)
        if result.status.stop is StopReason.INTERRUPTED:
            self.run.interrupted.set()
        if result.loss is not None:
            schedule = restated(result.schedule, self.problem.instance)
            proven = result.status.stop is StopReason.OPTIMAL
            point = found(self.problem, schedule, price, self.budget_s, proven=proven)
            same = (price, point.place)
            self.found = [p for p in self.found if (p.price, p.place) != same] + [point]
        self._learn_bound(price, result.bound)
        best = self._best()
        log.info("lambda %g: %s; best %s, bound %s", price, result.status.stop.value,
                 None if best is None else best.other, self.bound)  # fmt: skip
        self.run.progress(
            self.bound, best.other if best is not None and self._meets(best) else None
        )

    def _learn_bound(self, price: float, bound: float | None) -> None:
        """Weak duality: what keeps the budget has F >= min(F + price * G) - price * allowance."""
        if bound is None or (self.by is Measure.P95 and price > 0):
            return
        alone = math.isinf(price)
        unit = len(self.problem.jobs) * self.budget_s * (1 + SLACK)
        most = unit if alone else allowance(self.problem, self.budget_s)
        best = self._best()
        met = best is not None and self._meets(best)
        if alone:
            if bound <= most + TOLERANCE * max(1.0, most):
                return
            if not met:
                raise self._impossible()
            raise self._contradicted(price, bound)
        implied = max(0.0, bound - price * most)
        if best is not None and met:
            if implied > best.other + TOLERANCE * max(1.0, bound):
                raise self._contradicted(price, bound)
            implied = min(implied, best.other)  # they differ by what rounding does
        self.bound = implied if self.bound is None else max(self.bound, implied)

    def _contradicted(self, price: float, bound: float) -> SolverError:
        return SolverError(
            f"solver {self.solver.name!r} claims bound {bound} at latency price {price}, "
            "which a valid schedule contradicts"
        )

    def _impossible(self) -> InfeasibleError:
        return InfeasibleError(
            f"{self.problem.instance.name!r}: proven: no schedule has a {self.by} latency of "
            f"{self.budget_s:g} s or less; raise the budget"
        )

    def _meets(self, point: Found) -> bool:
        return point.meets(self.by, self.budget_s)

    def _best(self) -> Found | None:
        """Of those that keep the budget the one of least other loss; else the nearest to it."""
        meeting = [point for point in self.found if self._meets(point)]
        if meeting:
            return min(meeting, key=lambda point: (point.place[1], point.place[0]))
        return min(self.found, key=lambda p: (p.reached(self.by) or 0.0, p.place), default=None)

    def _closed(self) -> bool:
        """Whether the bound has met the best schedule that keeps the budget."""
        best = self._best()
        if best is None or self.bound is None or not self._meets(best):
            return False
        return best.other - self.bound <= SAME_PRICE * max(1.0, best.other)

    def _was_tried(self, price: float) -> bool:
        return any(math.isclose(price, p, rel_tol=SAME_PRICE) for p in self.tried)

    def _seconds(self, parts: int) -> float | None:
        left = self.run.remaining()
        return None if left is None else left / parts

    def _late(self) -> bool:
        left = self.run.remaining()
        return left is not None and left < LAST_SHARE * (self.run.time_limit or 0.0)

    def result(self) -> BudgetResult:
        """The best schedule, checked against the instance itself, and all that was learnt."""
        best = self._best()
        limits = (StopReason.INTERRUPTED, StopReason.TIME_LIMIT, StopReason.MEMORY_LIMIT)
        stop = next((stop for stop in limits if stop in self.stops), StopReason.COMPLETE)
        outcome = Outcome(stop, None if best is None else best.plan)
        plain = finish(self.problem, self.solver, self.run, outcome)
        budget = self._budget(best)
        fields = {name: getattr(plain, name) for name in Result.__struct_fields__}
        made = msgspec.structs.replace(
            plain.schedule.solver,
            extra={
                "latency_budget": {
                    "measure": budget.measure,
                    "budget_s": budget.budget_s,
                    "lambda": budget.price,
                }
            },
        )
        fields["schedule"] = msgspec.structs.replace(plain.schedule, solver=made)
        return BudgetResult(**fields, budget=budget)

    def _budget(self, best: Found | None) -> Budget:
        met = best is not None and self._meets(best)
        loss = None if best is None else best.other
        return Budget(
            measure=self.by,
            budget_s=self.budget_s,
            met=met,
            reached_s=None if best is None else best.reached(self.by),
            price=None if best is None else self._multiplier(best),
            loss=loss,
            bound=self.bound,
            gap=gap(loss, self.bound) if met else None,
            curve=tuple(
                self._point(point, chosen=point is best)
                for point in sorted(self.found, key=lambda point: point.price)
            ),
        )

    def _multiplier(self, point: Found) -> float | None:
        """The least price at which a schedule is the best found; off the hull, its own price."""
        least = least_price(point, hull(self.found))
        return _finite(point.price) if least is None else least

    def _point(self, point: Found, *, chosen: bool) -> BudgetPoint:
        return BudgetPoint(
            price=_finite(point.price),
            latency_mean_s=point.metrics.latency_mean_s,
            latency_p95_s=point.metrics.latency_p95_s,
            quality=point.terms.quality,
            late=point.terms.late,
            switching=point.terms.switching,
            rejection=point.terms.rejection,
            other=point.other,
            proven=point.proven,
            meets=self._meets(point),
            chosen=chosen,
        )


def _finite(price: float) -> float | None:
    return None if math.isinf(price) else price
