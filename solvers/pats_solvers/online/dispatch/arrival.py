"""In order of arrival: who came first, the GPU where it pays least, and who may come along."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.dispatch.packing import BatchBuilder, switching_seconds
from pats_solvers.online.dispatch.waiting import Waiting


def earliest(site: Site, waiting: Waiting, idle: Sequence[GpuState]) -> tuple[GpuState, Job] | None:
    """The earliest job that one of the idle GPUs can serve, and the one of least switching.

    Ties go to the first GPU. None where they can serve nothing.
    """
    if len(idle) == 1:
        job = next(waiting.in_order(idle[0].index), None)
        return None if job is None else (idle[0], job)
    return least_switching(site, ((gpu, waiting.in_order(gpu.index)) for gpu in idle))


def least_switching(
    site: Site, lines: Iterable[tuple[GpuState, Iterator[Job]]]
) -> tuple[GpuState, Job] | None:
    """Of the jobs at the head of each GPU's line the earliest, where it pays least switching.

    Ties go to the first GPU. None where all lines are empty.
    """
    found = [(gpu, job) for gpu, line in lines if (job := next(line, None))]
    return min(
        found,
        key=lambda pair: (pair[1].index, switching_seconds(site, pair[1].adapter, pair[0])),
        default=None,
    )


def open_to(batch: BatchBuilder, waiting: Waiting, jobs: Iterator[Job], most: int) -> Iterator[Job]:
    """Those of ``jobs`` that the batch's adapters leave a chance, while it grows.

    Args:
        batch: Looked at again before each job.
        waiting: The waiting jobs.
        jobs: In order of arrival. Once the batch uses ``most`` adapters only theirs go on, so
            that a decision does not walk over everybody who waits; ``jobs`` must hold all of them.
        most: Largest number of adapters.
    """
    last = -1
    while len(batch.active) < most:
        job = next(jobs, None)
        if job is None:
            return
        last = job.index
        yield job
    yield from (j for j in waiting.among(batch.active, batch.gpu.index) if j.index > last)
