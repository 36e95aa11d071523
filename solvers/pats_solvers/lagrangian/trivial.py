"""Problems without jobs or without GPUs, which leave nothing to decide."""

from __future__ import annotations

import math

from pats_opt.core.solver import Outcome
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason


def trivial(problem: Problem) -> Outcome | None:
    """The optimum where there is nothing to decide: everything is rejected; else None."""
    if problem.jobs and problem.site.gpus:
        return None
    empty = Plan(tuple(() for _ in problem.site.gpus))
    return Outcome(
        StopReason.OPTIMAL, empty, math.fsum(job.reject_loss or 0.0 for job in problem.jobs)
    )
