"""Queue over time: the requests that have arrived and whose batch has not started.

Requests that are rejected are left out: a schedule does not say when they give up. So, by Little's
law, the mean queue times the span is the sum of all waits, exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from pats_opt.tables.schedule_table import ScheduleTable

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Floats, Ints

#: Buckets of a series by default.
BUCKETS = 200


class QueueSeries(Struct, frozen=True, kw_only=True):
    """Requests that wait, from tick 0 to the last batch's end.

    Attributes:
        span_s: Seconds to the last batch's end.
        mean: Mean over time.
        max: The most at any time (requests that start in the tick they arrive in never wait).
        bucket_s: Seconds of each bucket of the series; all are alike.
        bucket_mean: Mean over time within each bucket.
        bucket_max: The most at any time within each bucket.
    """

    span_s: float
    mean: float
    max: int
    bucket_s: float
    bucket_mean: tuple[float, ...]
    bucket_max: tuple[int, ...]


def queue_series(table: ScheduleTable, buckets: int = BUCKETS) -> QueueSeries:
    """Return the queue of a schedule, in at most this many buckets of a tick or more each."""
    import numpy as np

    times, levels = queue_steps(table)
    span, unit_s = table.makespan, table.unit_s
    count = min(buckets, round(span * unit_s / table.problem.site.tick_s))
    if count == 0:
        return QueueSeries(span_s=0.0, mean=0.0, max=0, bucket_s=0.0, bucket_mean=(), bucket_max=())
    edges = np.linspace(0.0, span, count + 1)
    area = np.concatenate(([0.0], np.cumsum(levels[:-1] * np.diff(times))))  # up to each step
    # Nothing waits after the last step, so the area stays as it is from there on.
    means = np.diff(np.interp(edges, times, area)) / (span / count)
    # The levels of a bucket: from the one that holds at its start to the last that begins in it.
    first = np.searchsorted(times, edges[:-1], "right") - 1
    last = np.searchsorted(times, edges[1:], "left")
    ranges = np.column_stack((first, last)).ravel()
    tops = np.maximum.reduceat(np.append(levels, 0), ranges)[::2]
    return QueueSeries(
        span_s=span * unit_s,
        mean=float(area[-1]) / span,
        max=int(levels.max()),
        bucket_s=span * unit_s / count,
        bucket_mean=tuple(means.clip(min=0.0).tolist()),
        bucket_max=tuple(tops.tolist()),
    )


def queue_steps(table: ScheduleTable) -> tuple[Floats, Ints]:
    """Return the queue as a step function: rising times from 0, and how many wait from each on.

    Times are on the table's clock.
    """
    import numpy as np

    arrivals, starts = np.sort(table.requests.arrival), np.sort(table.requests.start)
    times = np.unique(np.concatenate(([0.0], arrivals, starts)))
    arrived, started = (np.searchsorted(at, times, "right") for at in (arrivals, starts))
    return times, arrived - started


def longest_queues(table: ScheduleTable) -> Ints:
    """Return the most requests of each adapter that wait at any time."""
    import numpy as np

    requests, served = table.requests, len(table.requests.job)
    most = np.zeros(len(table.problem.site.adapter_ids), dtype=np.int64)
    if not served:
        return most
    adapter = np.concatenate((requests.adapter, requests.adapter))
    when = np.concatenate((requests.arrival, requests.start))
    change = np.repeat(np.array([1, -1]), served)
    order = np.lexsort((change, when, adapter))  # in one tick, starts come before arrivals
    adapter, when = adapter[order], when[order]
    # Each adapter's changes add up to 0, so one running sum serves all adapters in a row.
    levels = np.cumsum(change[order])
    settled = np.append((adapter[1:] != adapter[:-1]) | (when[1:] != when[:-1]), [True])
    np.maximum.at(most, adapter[settled], levels[settled])
    return most
