"""Results of a replay: latency, goodput and errors, and what the simulator predicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from pats_opt.core.policy import Policy
from pats_opt.model.instance import Instance
from pats_opt.model.problem import Problem
from pats_opt.serving.client import ReplayedRequest
from pats_opt.solving.solve import solve
from pats_opt.tables import ScheduleTable, measure
from pats_opt.tables.statistics import mean, quantile


class ReplayFigures(Struct, frozen=True, kw_only=True):
    """Figures of a load, as served or as predicted; of requests without an image, the counts only.

    Attributes:
        served: Requests that got an image.
        errors: Those that did not.
        late: Those served after their deadline.
        goodput_per_s: Images in time by seconds from the first arrival to the last answer.
        latency_mean_s: Mean seconds from arrival to image; then its quantiles and maximum.
        quality_loss: Sum of weight times quality lost to fewer steps; None where the server does
            not say how many it ran.
        latency_loss: Price of all seconds between arrival and image.
        late_loss: Price of deadlines missed.
    """

    served: int
    errors: int
    late: int
    goodput_per_s: float | None
    latency_mean_s: float | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    latency_max_s: float | None
    quality_loss: float | None
    latency_loss: float
    late_loss: float

    @property
    def loss(self) -> float | None:
        """Sum of the three losses."""
        quality = self.quality_loss
        return None if quality is None else quality + self.latency_loss + self.late_loss


class ReplaySummary(Struct, frozen=True, kw_only=True):
    """Outcome of a replay.

    Attributes:
        requests: Requests that were played.
        seconds: From the first arrival to the last answer.
        sent_late_s: The most by which a request was sent after its arrival.
        measured: As served.
        predicted: As the policy serves the same load in the simulator; None where that was not
            asked for.
        errors: How often each error came, the most frequent first.
    """

    requests: int
    seconds: float
    sent_late_s: float
    measured: ReplayFigures
    predicted: ReplayFigures | None
    errors: dict[str, int]


def sped_up(instance: Instance, speed: float) -> Instance:
    """Return an instance whose arrivals are closer by a factor."""
    if speed == 1:
        return instance
    requests = [replace(r, arrival_s=r.arrival_s / speed) for r in instance.requests]
    return replace(instance, requests=tuple(requests))


def summarize(
    instance: Instance,
    found: Sequence[ReplayedRequest],
    speed: float = 1.0,
    policy: Policy | None = None,
) -> ReplaySummary:
    """Summarize a replay.

    Args:
        instance: What was played.
        found: What became of its requests, in its order.
        speed: Factor by which it was sped up.
        policy: Policy of the prediction; None for none.

    Raises:
        PatsError: The policy fails on the instance.
    """
    first = min([one.arrival_s for one in found], default=0.0)
    errors = Counter(f"{one.status}: {one.error}" for one in found if one.error is not None)
    return ReplaySummary(
        requests=len(found),
        seconds=max([one.end_s for one in found], default=0.0) - first,
        sent_late_s=max([one.sent_s - one.arrival_s for one in found], default=0.0),
        measured=_measured(instance, found),
        predicted=None if policy is None else predict(sped_up(instance, speed), policy),
        errors=dict(errors.most_common()),
    )


def _measured(instance: Instance, found: Sequence[ReplayedRequest]) -> ReplayFigures:
    seconds: list[float | None] = []
    quality: float | None = 0.0
    for request, one in zip(instance.requests, found, strict=True):
        served = one.error is None
        seconds.append(one.latency_s if served else None)
        if served and quality is not None:
            best = max(option.quality for option in request.options)
            run = {option.steps: option.quality for option in request.options}
            known = one.steps in run or None
            quality = known and quality + request.weight * (best - run[one.steps or 0])
    ends = [one.end_s for one in found]
    arrivals = [one.arrival_s for one in found]
    span_s = max(ends, default=0.0) - min(arrivals, default=0.0)
    return _figures(instance, seconds, quality, span_s)


def predict(instance: Instance, policy: Policy) -> ReplayFigures:
    """Return the figures of a policy in the simulator.

    Raises:
        PatsError: It fails on the instance.
    """
    problem = Problem(instance)
    result = solve(problem, policy)
    done = {
        served.id: (served.option, served.completion * instance.tick_s)
        for gpu in result.schedule.gpus
        for batch in gpu.batches
        for served in batch.requests
    }
    seconds: list[float | None] = []
    quality = 0.0
    for request in instance.requests:
        if request.id not in done:
            seconds.append(None)
            continue
        option, end_s = done[request.id]
        best = max(o.quality for o in request.options)
        quality += request.weight * (best - request.options[option].quality)
        seconds.append(end_s - request.arrival_s)
    metrics = measure(ScheduleTable.from_replay(problem, result.replayed, result.loads))
    first = min([r.arrival_s for r in instance.requests], default=0.0)
    return _figures(instance, seconds, quality, metrics.makespan_s - first)


def _figures(
    instance: Instance, seconds: Sequence[float | None], quality: float | None, span_s: float
) -> ReplayFigures:
    """Return the figures of requests whose latencies these are, None where there is no image."""
    served = [
        (request, latency)
        for request, latency in zip(instance.requests, seconds, strict=True)
        if latency is not None
    ]
    late = [r for r, s in served if r.deadline_s is not None and s > r.deadline_s]
    rising = np.sort(np.array([s for _, s in served], dtype=float))
    in_time = len(served) - len(late)
    return ReplayFigures(
        served=len(served),
        errors=len(seconds) - len(served),
        late=len(late),
        goodput_per_s=in_time / span_s if span_s > 0 else None,
        latency_mean_s=mean(rising),
        latency_p50_s=quantile(rising, 0.5),
        latency_p95_s=quantile(rising, 0.95),
        latency_p99_s=quantile(rising, 0.99),
        latency_max_s=quantile(rising, 1.0),
        quality_loss=quality,
        latency_loss=instance.latency_price_per_s * math.fsum([r.weight * s for r, s in served]),
        late_loss=instance.late_price * math.fsum([r.weight for r in late]),
    )
