"""A table by adapter: who is served how, and what it takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from pats_opt.model.checker import ReplayedBatch
from pats_opt.model.loss import serving_loss, switching_loss
from pats_opt.model.problem import Problem
from pats_opt.tables.queue import longest
from pats_opt.tables.request_table import Played, played
from pats_opt.tables.statistics import group_means, group_quantiles, group_sums

if TYPE_CHECKING:
    from pats_opt.tables.request_table import Floats, Ints


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
        loss: Its part of the loss: its requests' and that of loading it; an activation counts for
            the adapters of its batch alike. Over all adapters they add up to the loss.
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


def adapter_table(problem: Problem, batches: Sequence[ReplayedBatch]) -> list[AdapterMetrics]:
    """The adapters that are asked for or loaded, in the instance's order.

    Args:
        problem: The instance on the grid.
        batches: What was replayed (see :func:`pats_opt.model.checker.check`).
    """
    import numpy as np

    columns, site = played(problem, batches), problem.site
    many = len(site.adapter_ids)
    asked = np.bincount([job.adapter for job in problem.jobs], minlength=many)
    served = np.bincount(columns.adapter, minlength=many)
    latency, wait = columns.latency * site.tick_s, columns.wait * site.tick_s
    mean = group_means(latency, columns.adapter, served)
    p95, most = group_quantiles(latency, columns.adapter, served, 0.95, 1.0)
    waited = group_means(wait, columns.adapter, served)
    (longest_wait,) = group_quantiles(wait, columns.adapter, served, 1.0)
    queued = longest(columns, many)
    used = _batches(columns, many)
    share = _serving(problem, batches, columns, many)
    loads, load_s, switching = _loads(problem, batches, many)
    losses = switching + _requests(problem, columns, many)
    whole = math.fsum(losses)
    return [
        AdapterMetrics(
            adapter=site.adapter_ids[a],
            requests=int(asked[a]),
            served=int(served[a]),
            rejected=int(asked[a] - served[a]),
            latency_mean_s=_known(mean[a]),
            latency_p95_s=_known(p95[a]),
            latency_max_s=_known(most[a]),
            wait_mean_s=_known(waited[a]),
            wait_max_s=_known(longest_wait[a]),
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


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _batches(columns: Played, many: int) -> Ints:
    """Batches that serve each adapter."""
    import numpy as np

    pairs = np.unique(columns.batch * many + columns.adapter)
    return np.bincount(pairs % max(1, many), minlength=many)


def _serving(
    problem: Problem, batches: Sequence[ReplayedBatch], columns: Played, many: int
) -> Floats:
    """Share of GPU time spent serving each adapter."""
    import numpy as np

    span = columns.makespan * len(problem.site.gpus)
    if not span:
        return np.zeros(many)
    ticks = np.array([b.end - b.batch.start for b in batches], dtype=np.float64)
    each = (ticks[columns.batch] / columns.sizes[columns.batch]) / span
    return group_sums(each, columns.adapter, many)


def _loads(
    problem: Problem, batches: Sequence[ReplayedBatch], many: int
) -> tuple[list[int], list[float], Floats]:
    """How often each adapter is loaded, the seconds that takes, and its loss by switching."""
    import numpy as np

    site = problem.site
    loads, load_s, loss = [0] * many, [0.0] * many, [0.0] * many
    # The same few changes recur a million times.
    changes = Counter([(b.resident, b.switch.load, b.switch.evict) for b in batches])
    for (after, load, evict), times in changes.items():
        for a in load:
            seconds = times * site.load_seconds(a, (after - load) | evict)
            loads[a] += times
            load_s[a] += seconds
            loss[a] += switching_loss(site, seconds)
    for batch in batches:
        if batch.switch.seconds > 0 and not batch.switch.load:
            active = {job.adapter for job, _, _ in batch.members}
            for a in active:
                loss[a] += switching_loss(site, batch.switch.seconds) / len(active)
    return loads, load_s, np.array(loss)


def _requests(problem: Problem, columns: Played, many: int) -> Floats:
    """The loss of each adapter's requests, served or rejected."""
    import numpy as np

    site = problem.site
    members = zip(columns.jobs, columns.options, columns.completion.tolist(), strict=True)
    lost = [serving_loss(site, job, option, done) for job, option, done in members]
    served = np.zeros(len(problem.jobs), dtype=np.bool_)
    served[columns.job] = True
    left = [problem.jobs[j] for j in np.flatnonzero(~served).tolist()]
    adapters = np.array([job.adapter for job in left], dtype=np.int64)
    given_up = [job.reject_loss or 0.0 for job in left]
    total = group_sums(np.array(lost), columns.adapter, many)
    return total + group_sums(np.array(given_up), adapters, many)
