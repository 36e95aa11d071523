"""Service levels: requests in time, and what approximate caching does to them."""

from __future__ import annotations

from typing import Any

from pats_opt.tables.schedule_table import ScheduleTable


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


def level_counts(table: ScheduleTable) -> dict[int, int]:
    """Return how many requests are served at each level (steps skipped), shallowest first."""
    options = table.requests.option.tolist()
    counts: dict[int, int] = {}
    for job, o in zip(table.jobs, options, strict=True):
        counts[job.options[o].skip] = counts.get(job.options[o].skip, 0) + 1
    return dict(sorted(counts.items()))
