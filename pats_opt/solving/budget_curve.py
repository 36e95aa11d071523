"""Trade-off between latency and every other loss: points, their lower hull, and proofs from it.

Let F be the loss of a schedule without the latency term. Let G be its weighted waiting: the sum of
weight x latency over the requests served, plus weight x budget over those rejected. At the latency
price lambda (:func:`priced`) a solver minimises F + lambda * G. So it finds points of the lower
hull of all (G, F), and the slope of an edge is the price at which both its ends are equally good.
A rejection costs lambda * budget, so that it neither helps nor hurts the mean over the requests
served: weighted mean <= budget is equivalent to G <= sum of weight x budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from pats_opt.model.checker import Verdict, check
from pats_opt.model.instance import Instance, Request
from pats_opt.model.loss import LossTerms
from pats_opt.model.plan import Plan, PlannedBatch, PlannedLoad, plan_of
from pats_opt.model.problem import Job, Problem
from pats_opt.model.schedule import InstanceRef, Schedule
from pats_opt.solving.result import LatencyMeasure
from pats_opt.tables import Metrics, ScheduleTable, measure

#: Prices this close, relative to their size, are the same price.
SAME_PRICE = 1e-6

#: Share by which a latency may exceed its budget, because sums of floats round.
SLACK = 1e-9

#: Share of the requests served that the measure ``p95`` covers.
P95_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Valid schedule of the instance, found at one latency price.

    Attributes:
        price: The latency price; infinite if only latency was minimised.
        plan: The schedule's plan.
        terms: Its loss at the instance's own prices.
        waited: G, in weighted seconds.
        waited_unweighted: G with every weight 1, the objective when only latency is minimised.
        proven: Whether the plan is proven optimal at ``price``.
    """

    price: float
    plan: Plan
    terms: LossTerms
    metrics: Metrics
    waited: float
    waited_unweighted: float
    proven: bool

    @property
    def other(self) -> float:
        """F, the loss without the latency term."""
        return without_latency(self.terms)

    @property
    def coordinates(self) -> tuple[float, float]:
        """(G, F), rounded so that equal sums of floats compare equal."""
        return round(self.waited, 9), round(self.other, 9)

    def reached(self, by: LatencyMeasure) -> float | None:
        """Return the measured latency in seconds, or None if no request is served."""
        mean, p95 = self.metrics.latency_mean_s, self.metrics.latency_p95_s
        return mean if by is LatencyMeasure.MEAN else p95

    def meets(self, by: LatencyMeasure, budget_s: float) -> bool:
        """Return whether it keeps the budget. A schedule that serves no request keeps any."""
        reached = self.reached(by)
        return reached is None or reached <= budget_s * (1 + SLACK)

    def total(self, price: float) -> float:
        """Return the objective of the solver at a price: see :func:`priced`."""
        return self.waited_unweighted if math.isinf(price) else self.other + price * self.waited


def without_latency(terms: LossTerms) -> float:
    """Return the loss without its latency term, added up without cancellation."""
    return terms.quality + terms.late + terms.switching + terms.rejection


def priced(instance: Instance, price: float, budget_s: float) -> Instance:
    """Return the instance whose loss is F + price * G.

    At an infinite price its loss is latency alone, with equal weights: the sum of the latencies of
    the requests served, plus the budget for each one rejected.
    """
    replace = msgspec.structs.replace
    if math.isinf(price):
        return replace(
            instance,
            latency_price_per_s=1.0,
            late_price=0.0,
            switching=replace(instance.switching, price_per_s=0.0),
            requests=tuple(_latency_only(request, budget_s) for request in instance.requests),
        )
    return replace(
        instance,
        latency_price_per_s=price,
        requests=tuple(
            request
            if request.reject_loss is None
            else replace(request, reject_loss=request.reject_loss + price * budget_s)
            for request in instance.requests
        ),
    )


def _latency_only(request: Request, budget_s: float) -> Request:
    """Return the request with equally good options, and a rejection that costs the budget."""
    replace = msgspec.structs.replace
    return replace(
        request,
        weight=1.0,
        options=tuple(replace(option, quality=0.0) for option in request.options),
        reject_loss=None if request.reject_loss is None else budget_s,
    )


def restated(schedule: Schedule, instance: Instance) -> Schedule:
    """Return a schedule that was made at other prices as a schedule of the instance itself.

    No rule depends on prices, so it stays valid. Its loss, its bound and its GPU-time prices do
    depend on them, and are left out.
    """
    ref = InstanceRef(name=instance.name, sha256=instance.sha256)
    return msgspec.structs.replace(
        schedule, instance=ref, loss=None, bound=None, extra=msgspec.UNSET
    )


def curve_point(
    problem: Problem, schedule: Schedule, price: float, budget_s: float, *, proven: bool
) -> CurvePoint:
    """Return the point of a restated, valid schedule."""
    verdict = check(problem, schedule)
    seconds = dict.fromkeys(range(len(problem.jobs)), budget_s)
    for batch in verdict.replayed:
        for job, _, completion in batch.members:
            seconds[job.index] = (completion - job.arrival) * problem.site.tick_s
    return CurvePoint(
        price=price,
        plan=_plan(problem, verdict),
        terms=verdict.terms,
        metrics=measure(ScheduleTable.from_replay(problem, verdict.replayed, verdict.loads)),
        waited=math.fsum(job.weight * seconds[job.index] for job in problem.jobs),
        waited_unweighted=math.fsum(seconds.values()),
        proven=proven,
    )


def _plan(problem: Problem, verdict: Verdict) -> Plan:
    """Return the plan of a replayed schedule."""
    planned: list[list[PlannedBatch]] = [[] for _ in problem.site.gpus]
    loads: list[list[PlannedLoad]] = [[] for _ in problem.site.gpus]
    for load in verdict.loads:
        loads[load.gpu].append(PlannedLoad(load.adapter, load.start, load.evict))
    for one in verdict.replayed:
        members = tuple((job.index, option) for job, option, _ in one.members)
        begun, start = one.batch.switch_start, one.batch.start
        # What a load evicts between the switch's start and the batch's stays until then.
        later = [load.evict for load in loads[one.gpu] if begun <= load.start <= start]
        stays = frozenset(one.resident).union(*later) - one.switch.evict
        planned[one.gpu].append(PlannedBatch(start, members, stays, begun))
    return plan_of(planned, loads if problem.site.channels is not None else ())


def hull(points: Iterable[CurvePoint]) -> list[CurvePoint]:
    """Return the lower hull of (G, F), sorted by rising G; F falls along it."""
    distinct: dict[tuple[float, float], CurvePoint] = {}
    for point in points:
        distinct.setdefault(point.coordinates, point)
    kept: list[CurvePoint] = []
    for point in (distinct[coordinates] for coordinates in sorted(distinct)):
        if kept and point.coordinates[1] >= kept[-1].coordinates[1]:
            continue  # later, and no better otherwise
        while len(kept) > 1 and slope(kept[-2], point) >= slope(kept[-2], kept[-1]):
            kept.pop()
        kept.append(point)
    return kept


def slope(left: CurvePoint, right: CurvePoint) -> float:
    """Return the price at which two neighbours on the hull are equally good."""
    (g, f), (more_g, less_f) = left.coordinates, right.coordinates
    return (f - less_f) / (more_g - g)


def least_price(point: CurvePoint, vertices: Sequence[CurvePoint]) -> float | None:
    """Return the least price at which no vertex of the hull beats a point; None off the hull."""
    corners = [vertex.coordinates for vertex in vertices]
    if point.coordinates not in corners:
        return None
    at = corners.index(point.coordinates)
    return slope(vertices[at], vertices[at + 1]) if at + 1 < len(vertices) else 0.0


def least_latency_s(problem: Problem, job: Job) -> float:
    """Return a lower bound on the latency of a job in any schedule, in seconds."""
    clock = problem.site.clock
    ticks = 0 if clock.slotted else min(clock.quickest(o.steps) for o in job.options)
    return ticks * problem.site.tick_s


def allowance(problem: Problem, budget_s: float) -> float:
    """Return an upper bound on G over the schedules whose unweighted mean latency keeps the budget.

    With equal weights it is n x weight x budget, and G reaches it exactly when the mean reaches the
    budget. With unequal weights, all seconds to spare may go to the heaviest request: the latencies
    served add up to at most their number x budget, and none is below :func:`least_latency_s`.
    """
    limit = budget_s * (1 + SLACK)
    heaviest = max((job.weight for job in problem.jobs), default=0.0)
    parts = []
    for job in problem.jobs:
        spare = limit - least_latency_s(problem, job)
        if job.reject_loss is not None:
            spare = max(0.0, spare)  # it is served, or it is rejected and spares nothing
        parts.append(job.weight * limit + (heaviest - job.weight) * spare)
    return math.fsum(parts)


def hopeless(problem: Problem, by: LatencyMeasure, budget_s: float) -> bool:
    """Return whether the budget is missed even if every request is served alone and at once.

    This proves that no schedule keeps the budget.
    """
    limit = budget_s * (1 + SLACK)
    over = [
        (least_latency_s(problem, job) - limit, job.reject_loss is None) for job in problem.jobs
    ]
    if by is LatencyMeasure.MEAN:
        # Best case: serve every request that lowers the mean, and those that must be served.
        return math.fsum(s for s, must in over if must or s < 0) > SLACK * limit
    quick = sum(s <= 0 for s, _ in over)
    slow = sum(s > 0 and must for s, must in over)
    return quick < P95_SHARE * (quick + slow) - SLACK
