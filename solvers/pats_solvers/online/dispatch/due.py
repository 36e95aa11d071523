"""When a request is due."""

from __future__ import annotations

from pats_opt.model.problem import Job


def due_after(job: Job) -> int:
    """Ticks from arrival until ``job`` is due; 0 without a deadline.

    Every second of its latency is priced, so one without a deadline is due when it arrives.
    """
    return 0 if job.deadline is None else job.deadline
