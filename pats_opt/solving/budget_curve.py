"""The trade-off between latency and every other loss: points, their lower hull, and what it proves.

Write F for a schedule's loss without the latency term and G for what it waits: the sum of weight x
latency over the requests served, plus weight x budget over those rejected. A solver that is given
the latency price lambda (:func:`priced`) minimises F + lambda * G, so what it finds are points of
the lower hull of all (G, F), and the slope of a hull's edge is the price at which its two ends are
equally good. Rejecting costs lambda * budget so that a rejection neither helps nor hurts the mean
over the requests served: weighted mean <= budget says the same as G <= sum of weight x budget.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from pats_opt.model.checker import ReplayedBatch, examine
from pats_opt.model.instance import Instance, Request
from pats_opt.model.loss import LossTerms
from pats_opt.model.plan import Plan, PlannedBatch, plan_of
from pats_opt.model.problem import Job, Problem
from pats_opt.model.schedule import InstanceRef, Schedule
from pats_opt.tables import Metrics, measure

#: Prices this close, relative to their size, are one price.
SAME_PRICE = 1e-6

#: A budget is met by what exceeds it by no more than this share: sums of floats round.
SLACK = 1e-9

#: The share of requests served that ``p95`` speaks of.
SHARE = 0.95


class Measure(StrEnum):
    """What a latency budget limits, over the requests served."""

    MEAN = "mean"  #: ``metrics.latency_mean_s``, every request alike
    P95 = "p95"  #: ``metrics.latency_p95_s``


@dataclass(frozen=True, slots=True)
class Found:
    """A valid schedule of the instance, found at one latency price (infinite: latency alone).

    ``waited`` is G; ``plain`` is G with every weight 1, which latency alone is about.
    """

    price: float
    plan: Plan
    terms: LossTerms
    metrics: Metrics
    waited: float
    plain: float
    proven: bool

    @property
    def other(self) -> float:
        """F: the loss without the latency term."""
        return without_latency(self.terms)

    @property
    def place(self) -> tuple[float, float]:
        """(G, F), without the noise of sums."""
        return round(self.waited, 9), round(self.other, 9)

    def reached(self, by: Measure) -> float | None:
        """Seconds of the measure, or None where nobody is served."""
        return self.metrics.latency_mean_s if by is Measure.MEAN else self.metrics.latency_p95_s

    def meets(self, by: Measure, budget_s: float) -> bool:
        """Whether it keeps the budget; one that serves nobody keeps any."""
        reached = self.reached(by)
        return reached is None or reached <= budget_s * (1 + SLACK)

    def total(self, price: float) -> float:
        """What the solver minimises at a price: see :func:`priced`."""
        return self.plain if math.isinf(price) else self.other + price * self.waited


def without_latency(terms: LossTerms) -> float:
    """The loss without its latency term, added up without cancellation."""
    return terms.quality + terms.late + terms.switching + terms.rejection


def priced(instance: Instance, price: float, budget_s: float) -> Instance:
    """The instance whose loss is F + price * G.

    Where the price is infinite its loss is latency alone, every request's alike: the sum of the
    latencies of those served, plus the budget for each one rejected.
    """
    replace = msgspec.structs.replace
    if math.isinf(price):
        return replace(
            instance,
            latency_price_per_s=1.0,
            late_price=0.0,
            switching=replace(instance.switching, price_per_s=0.0),
            requests=tuple(_only_waits(request, budget_s) for request in instance.requests),
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


def _only_waits(request: Request, budget_s: float) -> Request:
    """The request with every option as good as another, and a rejection that waits the budget."""
    replace = msgspec.structs.replace
    return replace(
        request,
        weight=1.0,
        options=tuple(replace(option, quality=0.0) for option in request.options),
        reject_loss=None if request.reject_loss is None else budget_s,
    )


def restated(schedule: Schedule, instance: Instance) -> Schedule:
    """A schedule made for the instance at other prices, as one of the instance itself.

    Prices decide no rule, so it stays valid; what it says of its loss, its bound and the worth of
    GPU time is left out.
    """
    ref = InstanceRef(name=instance.name, sha256=instance.sha256)
    return msgspec.structs.replace(
        schedule, instance=ref, loss=None, bound=None, extra=msgspec.UNSET
    )


def found(
    problem: Problem, schedule: Schedule, price: float, budget_s: float, *, proven: bool
) -> Found:
    """What a restated, valid schedule is worth on the instance itself."""
    verdict, batches = examine(problem, schedule)
    seconds = dict.fromkeys(range(len(problem.jobs)), budget_s)
    for batch in batches:
        for job, _, completion in batch.members:
            seconds[job.index] = (completion - job.arrival) * problem.site.tick_s
    return Found(
        price=price,
        plan=_plan(problem, batches),
        terms=verdict.terms,
        metrics=measure(problem, batches),
        waited=math.fsum(job.weight * seconds[job.index] for job in problem.jobs),
        plain=math.fsum(seconds.values()),
        proven=proven,
    )


def _plan(problem: Problem, batches: Iterable[ReplayedBatch]) -> Plan:
    """The plan that a replayed schedule follows."""
    planned: list[list[PlannedBatch]] = [[] for _ in problem.site.gpus]
    for played in batches:
        members = tuple((job.index, option) for job, option, _ in played.members)
        planned[played.gpu].append(
            PlannedBatch(played.batch.start, members, played.resident, played.batch.switch_start)
        )
    return plan_of(planned)


def hull(points: Iterable[Found]) -> list[Found]:
    """The lower hull of (G, F), from the quickest to the cheapest; F falls along it."""
    distinct: dict[tuple[float, float], Found] = {}
    for point in points:
        distinct.setdefault(point.place, point)
    kept: list[Found] = []
    for point in (distinct[place] for place in sorted(distinct)):
        if kept and point.place[1] >= kept[-1].place[1]:
            continue  # slower, and no better otherwise
        while len(kept) > 1 and slope(kept[-2], point) >= slope(kept[-2], kept[-1]):
            kept.pop()
        kept.append(point)
    return kept


def slope(left: Found, right: Found) -> float:
    """The price at which two neighbours of the hull are equally good."""
    (g, f), (more_g, less_f) = left.place, right.place
    return (f - less_f) / (more_g - g)


def least_price(point: Found, vertices: Sequence[Found]) -> float | None:
    """The least price at which no point of the hull beats this one; None where it is not on it."""
    places = [vertex.place for vertex in vertices]
    if point.place not in places:
        return None
    at = places.index(point.place)
    return slope(vertices[at], vertices[at + 1]) if at + 1 < len(vertices) else 0.0


def quickest_s(problem: Problem, job: Job) -> float:
    """Seconds that no schedule serves a job within fewer of."""
    clock = problem.site.clock
    ticks = 0 if clock.slotted else min(clock.quickest(o.steps) for o in job.options)
    return ticks * problem.site.tick_s


def allowance(problem: Problem, budget_s: float) -> float:
    """The most G that a schedule can have whose plain mean latency keeps the budget.

    Where all weights are equal, this is n x weight x budget, and G at most this says just that the
    mean keeps the budget. Else the seconds that the quickest requests leave over may all have gone
    to the heaviest request: served requests' latencies add up to at most their number x budget, and
    none is below :func:`quickest_s`.
    """
    limit = budget_s * (1 + SLACK)
    heaviest = max((job.weight for job in problem.jobs), default=0.0)
    parts = []
    for job in problem.jobs:
        spare = limit - quickest_s(problem, job)
        if job.reject_loss is not None:
            spare = max(0.0, spare)  # it is served, or it is rejected and spares nothing
        parts.append(job.weight * limit + (heaviest - job.weight) * spare)
    return math.fsum(parts)


def hopeless(problem: Problem, by: Measure, budget_s: float) -> bool:
    """Whether even each request served alone and at once would miss the budget: a proof."""
    limit = budget_s * (1 + SLACK)
    over = [(quickest_s(problem, job) - limit, job.reject_loss is None) for job in problem.jobs]
    if by is Measure.MEAN:
        # The best there is: serve whoever lowers the mean, and of the others those who must be.
        return math.fsum(s for s, must in over if must or s < 0) > SLACK * limit
    quick = sum(s <= 0 for s, _ in over)
    slow = sum(s > 0 and must for s, must in over)
    return quick < SHARE * (quick + slow) - SLACK
