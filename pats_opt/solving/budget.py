"""Solve within a latency budget: search the latency price lambda whose schedule keeps it.

The search walks along the lower hull of the schedules found (:mod:`.budget_curve`). It keeps the
two neighbours on the hull between which the budget lies, and solves next at the price at which
these two are equally good. If a better schedule turns up, it is a new vertex between them; if not,
that price is the multiplier. For a single constraint this is the dual method of G. Y. Handler and
I. Zang, "A dual algorithm for the constrained shortest path problem", Networks 10, 1980. It needs
no initial bracket, and with exact solves it ends after finitely many prices. The latency of a
schedule does not depend on the price, so every schedule found is a candidate, and a warm start, at
every price.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from numbers import Real
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
    CurvePoint,
    allowance,
    curve_point,
    hopeless,
    hull,
    least_price,
    priced,
    restated,
    slope,
)
from pats_opt.solving.interrupt import interruptible
from pats_opt.solving.result import Budget, BudgetPoint, BudgetResult, LatencyMeasure, Result
from pats_opt.solving.solve import Phase, Progress, finish, runnable, solve, start_run

log = logging.getLogger(__name__)

#: The next price gets the time left, divided by this number.
PARTS = 3

#: No further price is tried once less than this share of the time limit is left.
LAST_SHARE = 0.02


def solve_within(
    instance: Instance | Problem,
    budget_s: float,
    solver: str | Solver | Policy = "auto",
    *,
    measure: LatencyMeasure | str = LatencyMeasure.MEAN,
    time_limit: float | None = None,
    seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
    phase: Phase | None = None,
    **params: Any,
) -> BudgetResult:
    """Find the latency price whose schedule keeps a latency budget at the least other loss.

    The search begins at the latency price of ``instance``. The schedule found is a schedule of
    ``instance`` itself, whatever price it was found at.

    Args:
        instance: The instance or problem to solve.
        budget_s: Seconds that the measure may reach; above 0.
        solver: The solver used at each price, as for :func:`pats_opt.solve`.
        measure: ``mean`` or ``p95``, over the requests served.
        time_limit: Seconds for all prices together; None for no limit.
        seed: Seed of every random choice.
        jobs: Threads that the solver may use.
        progress: Called with (bound, loss without latency) under the budget.
        phase: Called with the solver at work and its price, as for :func:`pats_opt.solve`.
        **params: Parameters of the solver.

    Returns:
        The best schedule that keeps the budget, otherwise the one nearest to it (``budget.met`` is
        false). It has no schedule if the solver found none in time.

    Raises:
        InfeasibleError: Proven: no schedule keeps the budget, or there is no schedule at all.
        CapabilityError: The solver cannot handle a feature of this instance.
        InputError: The budget or measure is out of range, or a solver or parameter is unknown.
        SolverError: A schedule breaks a rule or a claim is wrong: a bug in the solver.
    """
    if not (isinstance(budget_s, Real) and 0 < budget_s <= LARGEST):
        raise InputError(
            f"a latency budget of {budget_s} s", hint="give a number of seconds above 0"
        )
    try:
        by = LatencyMeasure(measure)
    except ValueError:
        raise InputError(
            f"there is no latency measure {measure!r}",
            hint=f"choose one of: {', '.join(LatencyMeasure)}",
        ) from None
    problem = instance if isinstance(instance, Problem) else Problem(instance)
    run = start_run(time_limit=time_limit, seed=seed, jobs=jobs, progress=progress, phase=phase)
    search = _MultiplierSearch(problem, runnable(solver, **params), by, budget_s, run)
    with interruptible(run):
        search.run_all()
    return search.result()


class _MultiplierSearch:
    """Search over latency prices: the prices tried so far and the schedules found at them."""

    def __init__(
        self, problem: Problem, solver: Solver, by: LatencyMeasure, budget_s: float, run: Run
    ) -> None:
        self.problem, self.solver, self.run = problem, solver, run
        self.by, self.budget_s = by, budget_s
        self.points: list[CurvePoint] = []
        self.tried: list[float] = []
        self.bound: float | None = None
        self.stops: set[StopReason] = set()

    def run_all(self) -> None:
        """Solve at one price after another until none is left that may help, or no time."""
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
            self._try(slope(*edge), self._seconds(1))  # all time left goes to the multiplier

    def _worth_trying(self) -> Iterator[float]:
        """Yield the prices that may improve the result, the most promising first."""
        met = any(map(self._meets, self.points))
        yield 0.0 if met else math.inf
        edge = self._edge()
        if edge is not None and not self._closed():
            yield slope(*edge)
        vertices = hull(self.points)
        if not any(map(self._meets, vertices)):
            # The schedule of least G need not have the least p95, nor, with unequal weights, the
            # least mean: search all along the hull.
            yield from map(slope, vertices, vertices[1:])
        yield from (0.0, math.inf)  # the ends of the curve

    def _edge(self) -> tuple[CurvePoint, CurvePoint] | None:
        """Return the neighbours on the hull between which the budget lies: kept, missed."""
        vertices = hull(self.points)
        keep = [i for i, vertex in enumerate(vertices) if self._meets(vertex)]
        if not keep or keep[-1] + 1 == len(vertices):
            return None
        return vertices[keep[-1]], vertices[keep[-1] + 1]

    def _try(self, price: float, seconds: float | None) -> None:
        """Solve at a price, starting from the best schedule there, and record the result."""
        instance = priced(self.problem.instance, price, self.budget_s)
        best = min(self.points, key=lambda point: point.total(price), default=None)
        at = "latency alone" if math.isinf(price) else f"lambda {price:.4g}"
        result = solve(
            instance,
            self.solver,
            time_limit=seconds,
            seed=self.run.seed,
            jobs=self.run.jobs,
            start=None if best is None else best.plan,
            phase=lambda name, share: self.run.phase(f"{name} at {at}", share),
        )
        self.tried.append(price)
        self.stops.add(result.status.stop)
        if result.status.stop is StopReason.INTERRUPTED:
            self.run.interrupted.set()
        if result.loss is not None:
            schedule = restated(result.schedule, self.problem.instance)
            proven = result.status.stop is StopReason.OPTIMAL
            point = curve_point(self.problem, schedule, price, self.budget_s, proven=proven)
            same = (price, point.coordinates)
            self.points = [p for p in self.points if (p.price, p.coordinates) != same] + [point]
        self._update_bound(price, result.bound)
        best = self._best()
        log.info("lambda %g: %s; best %s, bound %s", price, result.status.stop.value,
                 None if best is None else best.other, self.bound)  # fmt: skip
        self.run.progress(
            self.bound, best.other if best is not None and self._meets(best) else None
        )

    def _update_bound(self, price: float, bound: float | None) -> None:
        """Weak duality: within the budget, F >= min(F + price * G) - price * allowance."""
        if bound is None or (self.by is LatencyMeasure.P95 and price > 0):
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
            implied = min(implied, best.other)  # rounding may put it just above
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

    def _meets(self, point: CurvePoint) -> bool:
        return point.meets(self.by, self.budget_s)

    def _best(self) -> CurvePoint | None:
        """Return the point of least other loss within the budget, otherwise the nearest to it."""
        meeting = [point for point in self.points if self._meets(point)]
        if meeting:
            return min(meeting, key=lambda point: (point.coordinates[1], point.coordinates[0]))
        return min(
            self.points, key=lambda p: (p.reached(self.by) or 0.0, p.coordinates), default=None
        )

    def _closed(self) -> bool:
        """Return whether the bound proves the best schedule that keeps the budget optimal."""
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
        """Return the best schedule, checked against the instance itself, with the curve."""
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

    def _budget(self, best: CurvePoint | None) -> Budget:
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
                for point in sorted(self.points, key=lambda point: point.price)
            ),
        )

    def _multiplier(self, point: CurvePoint) -> float | None:
        """Return the least price at which a point is the best; off the hull, its own price."""
        least = least_price(point, hull(self.points))
        return _finite(point.price) if least is None else least

    def _point(self, point: CurvePoint, *, chosen: bool) -> BudgetPoint:
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
