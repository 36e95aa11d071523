"""Service of a schedule's requests in windows of equal numbers of them, by arrival.

One run over a long log gives several windows (the method of batch means), each of which begins
with the queue that the one before it left. So a mean over them has an interval.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from pats_opt.tables.schedule_table import ScheduleTable
from pats_opt.tables.statistics import mean, quantile

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Flags, Floats


class WindowService(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Service of the user's requests that arrive in one window.

    A group of images is one request, from its first arrival to its last completion.

    Attributes:
        requests: Requests of users in it.
        images: Requests of the instance in it: images.
        served: Requests of which every image is served.
        within: Those served within the objective's seconds; None without one.
        latency_mean_s: Mean latency of those served; then its quantiles. None without any.
    """

    requests: int
    images: int
    served: int
    within: int | None = None
    latency_mean_s: float | None = None
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None
    latency_p99_s: float | None = None


def window_services(
    table: ScheduleTable, windows: int, slo_s: float | None = None
) -> tuple[WindowService, ...]:
    """Measure the service in at most ``windows`` windows; the last ones may have a request more.

    Args:
        table: The schedule.
        windows: Number of windows; fewer where there are fewer requests.
        slo_s: Seconds within which requests should be served, on the grid as deadlines are.
    """
    import numpy as np

    images, served, arrival, completion = _by_user(table)
    latency_s = (completion - arrival) * table.unit_s
    order = np.argsort(arrival, kind="stable")
    count = min(windows, len(order))
    slack = 1e-9 * table.problem.site.tick_s
    found = []
    for k in range(count):
        some = order[k * len(order) // count : (k + 1) * len(order) // count]
        rising = np.sort(latency_s[some][served[some]])
        within = None if slo_s is None else int((rising <= slo_s + slack).sum())
        found.append(
            WindowService(
                requests=len(some),
                images=int(images[some].sum()),
                served=len(rising),
                within=within,
                latency_mean_s=mean(rising),
                latency_p50_s=quantile(rising, 0.5),
                latency_p95_s=quantile(rising, 0.95),
                latency_p99_s=quantile(rising, 0.99),
            )
        )
    return tuple(found)


def _by_user(table: ScheduleTable) -> tuple[Floats, Flags, Floats, Floats]:
    """By user's request: images, whether all are served, first arrival, last completion."""
    import numpy as np

    problem, requests = table.problem, table.requests
    instance = problem.instance.requests
    names: list[object] = [
        instance[job.position].group or (job.index,) for job in problem.jobs
    ]  # an image without a group is a request by itself
    known = {name: u for u, name in enumerate(dict.fromkeys(names))}
    user = np.array([known[name] for name in names], dtype=np.int64)
    tick = problem.site.tick_s / table.unit_s
    arrivals = np.array([job.arrival for job in problem.jobs], dtype=np.float64) * tick
    ends = np.full(len(user), np.inf)
    ends[requests.job] = requests.completion
    first, last = np.full(len(known), np.inf), np.zeros(len(known))
    np.minimum.at(first, user, arrivals)
    np.maximum.at(last, user, ends)
    images = np.bincount(user, minlength=len(known)).astype(np.float64)
    return images, np.isfinite(last), first, last
