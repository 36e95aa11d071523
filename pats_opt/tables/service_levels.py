"""Service levels: requests in time, and the use of approximate caching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pats_opt.tables.schedule_table import ScheduleTable
from pats_opt.tables.statistics import Quantile, kept_quantiles

#: Multiples of the deadline up to which tables say how many requests are served.
MULTIPLES = (0.5, 1.0, 2.0, 3.0)


def deadline_figures(table: ScheduleTable) -> dict[str, Any]:
    """Return goodput, violations and quality of all; nothing where no request has a deadline."""
    jobs = table.problem.jobs
    if all(job.deadline is None for job in jobs):
        return {}
    served = table.jobs
    in_time = len(served) - int(table.requests.late.sum())
    span_s = table.makespan * table.unit_s
    options = table.requests.option.tolist()
    quality = sum([job.options[o].quality for job, o in zip(served, options, strict=True)])
    return {
        "goodput_per_s": in_time / span_s if span_s else None,
        "violation_share": 1 - in_time / len(jobs),
        "quality_of_all": quality / len(jobs),
    }


def cache_figures(table: ScheduleTable) -> dict[str, Any]:
    """Return hits, redirects and steps skipped; nothing where no request was looked up."""
    jobs = table.problem.jobs
    if all(job.cache_level is None for job in jobs):
        return {}
    options = table.requests.option.tolist()
    served = [(job, job.options[o]) for job, o in zip(table.jobs, options, strict=True)]
    redirected = sum([option.skip > (job.cache_level or 0) for job, option in served])
    skipped = sum([option.skip for _, option in served])
    steps = skipped + sum([option.steps for _, option in served])
    return {
        "look_up_hit_share": sum([bool(job.cache_level) for job in jobs]) / len(jobs),
        "redirected_share": redirected / len(served) if served else None,
        "skipped_share": skipped / steps if steps else None,
    }


def attainment(table: ScheduleTable) -> tuple[Quantile, ...]:
    """Return within which multiple of its deadline each share of the requests is served.

    The requests are those with a deadline, and one that is not served never is. The shares served
    within each of :data:`MULTIPLES` are among them, exactly. Nothing where no request has a
    deadline, or none of them is served.
    """
    import numpy as np

    jobs, asked = table.problem.jobs, table.problem.instance.requests
    count = sum([job.deadline is not None for job in jobs])
    if not count:
        return ()
    deadlines = [asked[job.position].deadline_s for job in table.jobs]
    bounded = np.array([deadline is not None for deadline in deadlines], dtype=np.bool_)
    allowed = np.array([d for d in deadlines if d is not None], dtype=np.float64)
    multiple = np.full(len(allowed), np.inf)
    np.divide(table.latency_s[bounded], allowed, out=multiple, where=allowed > 0)
    in_time = np.minimum(multiple, 1.0)  # the slack of the grid
    rising = np.sort(np.where(table.requests.late[bounded], multiple, in_time))
    rising = rising[np.isfinite(rising)]
    exact = np.searchsorted(rising, MULTIPLES, "right") / count
    return kept_quantiles(rising, count, exact.tolist())


def share_within(found: Sequence[Quantile], most: float) -> float:
    """Return the share of requests whose value is at most ``most``, of kept quantiles."""
    return max([share for share, value in found if value <= most], default=0.0)
