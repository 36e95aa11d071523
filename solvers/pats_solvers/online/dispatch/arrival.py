"""The request that came first, and the GPU where it pays least."""

from __future__ import annotations

from collections.abc import Sequence

from pats_opt.policy import GpuState
from pats_opt.problem import Job, Site
from pats_solvers.online.dispatch.packing import switching_seconds
from pats_solvers.online.dispatch.waiting import Waiting


def earliest(site: Site, waiting: Waiting, idle: Sequence[GpuState]) -> tuple[GpuState, Job] | None:
    """The earliest job that one of the idle GPUs can serve, and the one of least switching.

    Ties go to the first GPU. None where they can serve nothing.
    """
    if len(idle) == 1:
        job = next(waiting.in_order(idle[0].index), None)
        return None if job is None else (idle[0], job)
    found = [(gpu, job) for gpu in idle if (job := next(waiting.in_order(gpu.index), None))]
    return min(
        found,
        key=lambda pair: (pair[1].index, switching_seconds(site, pair[1].adapter, pair[0])),
        default=None,
    )
