"""Long-run means of policies, and that of the offline optimum, on paths drawn from a load."""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from pats_opt.core.policy import Policy
from pats_opt.limits.stationary import StationaryLoad
from pats_opt.model.instance import Instance
from pats_opt.model.loss import switching_loss
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolutionStatus
from pats_opt.runs.statistics import Interval, mean_interval
from pats_opt.solving.result import Result, require_schedule
from pats_opt.solving.solve import solve
from pats_opt.tables import ScheduleTable

Floats = NDArray[np.float64]

#: Share of a path's requests that count neither at its beginning nor at its end.
ENDS = 0.1

#: A policy whose second half loses this many times what its first half does is thought to grow.
GROWTH = 1.5

#: First seeds of paths, for policies and for the offline optimum.
POLICY_SEEDS, OFFLINE_SEEDS = 1_000, 1_000_000

#: Requests of a path after the longest window, so that a policy's own end does not count.
AFTER = 60


class PolicyEstimate(Struct, frozen=True, kw_only=True):
    """Mean loss per request of a policy.

    Attributes:
        policy: Its specification.
        mean: The mean over the paths.
        interval: Its interval, by paths.
        gives_away: Mean by which it loses more than the online optimum's policy on the same paths,
            which has far less chance in it.
        gives_away_interval: Its interval, by paths.
        requests: Requests that count.
        growing: Whether losses grow along the paths, so that there is no long-run mean.
    """

    policy: str
    mean: float
    interval: Interval | None
    gives_away: float
    gives_away_interval: Interval | None
    requests: int
    growing: bool


class OfflineEstimate(Struct, frozen=True, kw_only=True):
    """Mean loss per request of the offline optimum.

    Attributes:
        low: Mean by lower bounds of the optima that are not proven.
        high: Mean by the losses of their schedules.
        interval: From the lower end of the interval of ``low`` to the upper end of that of
            ``high``.
        windows: Number of requests of the two windows of a path.
        paths: Number of paths.
        proven: Number of windows whose optimum is proven, of two a path.
    """

    low: float
    high: float
    interval: Interval | None
    windows: tuple[int, int]
    paths: int
    proven: int


def long_run_mean(
    load: StationaryLoad,
    name: str,
    policy: Policy,
    best: list[float],
    *,
    paths: int,
    requests: int,
    seed: int,
) -> PolicyEstimate:
    """Return the mean loss per request of a policy over paths.

    The first and the last requests of each path do not count.

    Args:
        load: The load.
        name: The policy's specification.
        policy: The policy.
        best: Means of the online optimum's policy by path; filled in if it is empty.
        paths: Number of paths.
        requests: Requests of each.
        seed: Seed of the paths.
    """
    left_out = math.ceil(ENDS * requests)
    halves = []
    for number in range(paths):
        instance = closed(load.path(requests, POLICY_SEEDS * (seed + 1) + number))
        counted = path_losses(instance, policy)[left_out : requests - left_out]
        middle = len(counted) // 2
        halves.append((float(counted[:middle].mean()), float(counted[middle:].mean())))
    means = [(first + second) / 2.0 for first, second in halves]
    best += [] if best else means
    more = [mean - least for mean, least in zip(means, best, strict=True)]
    first, second = (float(np.mean(side)) for side in zip(*halves, strict=True))
    return PolicyEstimate(
        policy=name,
        mean=float(np.mean(means)),
        interval=mean_interval(means, seed=0),
        gives_away=float(np.mean(more)),
        gives_away_interval=mean_interval(more, seed=0),
        requests=paths * (requests - 2 * left_out),
        growing=second > GROWTH * first,
    )


def closed(instance: Instance) -> Instance:
    """Return a path with two more requests of each adapter at its end.

    A policy that has switched ahead to an adapter cannot serve another one before.
    """
    last = {request.adapter: request for request in instance.requests}
    end = instance.requests[-1].arrival_s
    more = [
        replace(request, id=f"end-{adapter}-{copy}", arrival_s=end)
        for adapter, request in sorted(last.items())
        for copy in range(2)
    ]
    return replace(instance, requests=(*instance.requests, *more))


def path_losses(instance: Instance, policy: Policy) -> Floats:
    """Return the loss of each request by arrival; a switch counts to those of its time.

    A switch is paid by the request that arrived last before its batch's start, a load beside
    serving by the one that arrived last before its own.
    """
    problem = Problem(instance)
    result = solve(problem, policy)
    require_schedule(result)
    table = _table(problem, result)
    losses = np.zeros(len(problem.jobs))
    losses[table.requests.job] = table.losses.total
    arrivals = np.array([job.arrival for job in problem.jobs])
    starts, seconds = table.batches.start, table.batches.switch_s
    if table.loads is not None:
        starts = np.concatenate((starts, table.loads.start))
        seconds = np.concatenate((seconds, table.loads.seconds))
    payer = np.searchsorted(arrivals, starts, side="right") - 1
    paid = [switching_loss(problem.site, s) for s in seconds.tolist()]
    np.add.at(losses, np.maximum(payer, 0), paid)
    return losses


def _table(problem: Problem, result: Result) -> ScheduleTable:
    return ScheduleTable.from_replay(problem, result.replayed, result.loads)


def offline_mean(
    load: StationaryLoad,
    online: Policy,
    online_mean: float,
    *,
    paths: int,
    window: int,
    time_limit: float,
    seed: int,
) -> OfflineEstimate:
    """Return the mean loss per request of the offline optimum.

    Of each path two windows from its beginning are solved, of ``window`` requests and of twice as
    many. What the second loses more has neither the beginning nor the end of a window in it: both
    windows have one of each. The same requests under the online optimum, whose mean is known, take
    most of the chance out of it.

    Args:
        load: The load.
        online: The policy of the online optimum.
        online_mean: Its mean loss per request.
        paths: Number of paths.
        window: Requests of the shorter window.
        time_limit: Seconds for each optimum.
        seed: Seed of the paths.
    """
    ends, proven = [], 0
    for number in range(paths):
        path = load.path(2 * window + AFTER, OFFLINE_SEEDS * (seed + 1) + number)
        under = float(path_losses(closed(path), online)[window : 2 * window].mean())
        (low1, high1), (low2, high2) = (
            _optimum(path, size, time_limit) for size in (window, 2 * window)
        )
        proven += (low1 == high1) + (low2 == high2)
        shift = online_mean - under
        ends.append((shift + (low2 - high1) / window, shift + (high2 - low1) / window))
    lows, highs = zip(*ends, strict=True)
    low, high = mean_interval(lows, seed=0), mean_interval(highs, seed=0)
    return OfflineEstimate(
        low=float(np.mean(lows)),
        high=float(np.mean(highs)),
        interval=None if low is None or high is None else (low[0], high[1]),
        windows=(window, 2 * window),
        paths=paths,
        proven=proven,
    )


def _optimum(path: Instance, requests: int, time_limit: float) -> tuple[float, float]:
    """Return lower bound and loss of the offline optimum of a path's first requests."""
    part = replace(path, requests=path.requests[:requests])
    result = solve(part, "auto", time_limit=time_limit)
    loss = require_loss(result)
    bound = 0.0 if result.bound is None else result.bound
    return (loss, loss) if result.status.point is SolutionStatus.OPTIMAL else (bound, loss)


def require_loss(result: Result) -> float:
    """Return the loss of a result with a schedule."""
    require_schedule(result)
    assert result.loss is not None
    return result.loss
