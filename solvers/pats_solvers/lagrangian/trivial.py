"""Problems without jobs or without GPUs, which leave nothing to decide."""

from __future__ import annotations

import math

from pats_opt.plan import Plan
from pats_opt.problem import Problem
from pats_opt.schedule import Stop
from pats_opt.solver import Outcome


def trivial(problem: Problem) -> Outcome | None:
    """The optimum where there is nothing to decide: everything is rejected; else None."""
    if problem.jobs and problem.site.gpus:
        return None
    empty = Plan(tuple(() for _ in problem.site.gpus))
    return Outcome(Stop.OPTIMAL, empty, math.fsum(job.reject_loss or 0.0 for job in problem.jobs))
