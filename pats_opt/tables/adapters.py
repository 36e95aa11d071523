"""Metrics by adapter: its requests, their service, its loads and its part of the loss."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from pats_opt.model.loss import switching_loss
from pats_opt.tables.queue import longest_queues
from pats_opt.tables.schedule_table import ScheduleTable
from pats_opt.tables.statistics import group_means, group_quantiles, group_sums

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Floats


class AdapterMetrics(Struct, frozen=True, kw_only=True):
    """Figures of one adapter in one schedule; None where none of its requests is served.

    Attributes:
        adapter: Its id.
        requests: Requests that ask for it.
        served: Those served.
        rejected: Those rejected.
        latency_mean_s: Mean seconds from arrival to completion.
        latency_p95_s: Its 95 % quantile.
        latency_max_s: Its maximum.
        wait_mean_s: Mean seconds from arrival to the batch's start.
        wait_max_s: Its maximum.
        queue_max: The most of its requests that wait at any time.
        loads: How often it is loaded, on all GPUs.
        load_s: Seconds of loading it, before rounding to ticks.
        batches: Batches that serve it.
        mean_batch: Its members per such batch.
        serving_share: Share of GPU time spent serving it; a batch of several adapters counts for
            each in proportion to its members. Over all adapters they add up to ``busy_share``.
        loss: Its part of the loss: its requests' and that of loading and activating it. Over all
            adapters they add up to the loss.
        loss_share: That, by the whole loss.
    """

    adapter: str
    requests: int
    served: int
    rejected: int
    latency_mean_s: float | None
    latency_p95_s: float | None
    latency_max_s: float | None
    wait_mean_s: float | None
    wait_max_s: float | None
    queue_max: int
    loads: int
    load_s: float
    batches: int
    mean_batch: float | None
    serving_share: float
    loss: float
    loss_share: float


def adapter_table(table: ScheduleTable) -> list[AdapterMetrics]:
    """Return the metrics of the adapters that requests ask for or that are loaded, in order."""
    import numpy as np

    site, adapter = table.problem.site, table.requests.adapter
    many = len(site.adapter_ids)
    asked = np.bincount([job.adapter for job in table.problem.jobs], minlength=many)
    served = np.bincount(adapter, minlength=many)
    wait_s = table.wait * table.unit_s
    p95, most = group_quantiles(table.latency_s, adapter, served, 0.95, 1.0)
    (longest_wait,) = group_quantiles(wait_s, adapter, served, 1.0)
    of_served = {
        "latency_mean_s": group_means(table.latency_s, adapter, served),
        "latency_p95_s": p95,
        "latency_max_s": most,
        "wait_mean_s": group_means(wait_s, adapter, served),
        "wait_max_s": longest_wait,
    }
    queued = longest_queues(table)
    used = np.bincount(table.used[:, 1], minlength=many)
    share = _serving(table)
    loads, load_s, switching = _loads(table)
    losses = switching + _requests(table)
    whole = math.fsum(losses)
    return [
        AdapterMetrics(
            adapter=site.adapter_ids[a],
            requests=int(asked[a]),
            served=int(served[a]),
            rejected=int(asked[a] - served[a]),
            **{name: float(v[a]) if served[a] else None for name, v in of_served.items()},
            queue_max=int(queued[a]),
            loads=loads[a],
            load_s=load_s[a],
            batches=int(used[a]),
            mean_batch=float(served[a] / used[a]) if used[a] else None,
            serving_share=float(share[a]),
            loss=float(losses[a]),
            loss_share=float(losses[a] / whole) if whole else 0.0,
        )
        for a in range(many)
        if asked[a] or loads[a]
    ]


def _serving(table: ScheduleTable) -> Floats:
    """Share of GPU time spent serving each adapter."""
    import numpy as np

    site, batches, batch = table.problem.site, table.batches, table.requests.batch
    span = table.makespan * len(site.gpus)
    if not span:
        return np.zeros(len(site.adapter_ids))
    each = ((batches.end - batches.start)[batch] / batches.size[batch]) / span
    return group_sums(each, table.requests.adapter, len(site.adapter_ids))


def _loads(table: ScheduleTable) -> tuple[list[int], list[float], Floats]:
    """Loads of each adapter, the seconds they take, and its loss by switching."""
    import numpy as np

    site, batches = table.problem.site, table.batches
    many = len(site.adapter_ids)
    loads, load_s, loss = [0] * many, [0.0] * many, np.zeros(many)
    # The same few changes recur a million times.
    changes = Counter(zip(batches.resident, batches.load, batches.evict, strict=True))
    for (after, load, evict), times in changes.items():
        for a in load:
            seconds = times * site.load_seconds(a, evict.union(after) - load)
            loads[a] += times
            load_s[a] += seconds
            loss[a] += switching_loss(site, seconds)
    for activate, times in Counter(batches.activate).items():
        for a in activate:
            loss[a] += switching_loss(site, times * site.activate_s)
    if (beside := table.loads) is not None:
        for a, seconds in zip(beside.adapter.tolist(), beside.seconds.tolist(), strict=True):
            loads[a] += 1
            load_s[a] += seconds
            loss[a] += switching_loss(site, seconds)
    return loads, load_s, loss


def _requests(table: ScheduleTable) -> Floats:
    """Loss of each adapter's requests, served or rejected."""
    import numpy as np

    jobs, many = table.problem.jobs, len(table.problem.site.adapter_ids)
    served = np.zeros(len(jobs), dtype=np.bool_)
    served[table.requests.job] = True
    left = [jobs[j] for j in np.flatnonzero(~served).tolist()]
    adapters = np.array([job.adapter for job in left], dtype=np.int64)
    given_up = np.array([job.reject_loss or 0.0 for job in left])
    total = group_sums(table.losses.total, table.requests.adapter, many)
    return total + group_sums(given_up, adapters, many)
