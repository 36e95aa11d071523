"""First in, first out: the baseline every serving system starts with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.arrival import earliest
from pats_solvers.online.dispatch.packing import BatchBuilder
from pats_solvers.online.dispatch.rule import Desk, Rule


class Fifo(QueuePolicy, frozen=True, kw_only=True):
    """First come, first served; a batch is the run of earliest requests that share the adapter.

    Rule: the earliest request that an idle GPU can hold starts at once, on the idle GPU where it
    pays the least switching (ties: the first). The requests after it that this GPU can hold join,
    in order of arrival, up to the first that has another adapter or does not fit. With
    ``max_resident`` above 1 the least recently used residents make room; a batch uses one adapter
    whatever ``max_per_batch`` is.
    """

    name: ClassVar[str] = "fifo"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Fifo(desk)


class _Fifo(Rule):
    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:  # noqa: ARG002
        """The earliest request."""
        return earliest(self.site, self.waiting, idle)

    def fill(self, batch: BatchBuilder, tick: int) -> None:  # noqa: ARG002
        """The run of requests after it."""
        leader = batch.jobs[0]
        for job in self.waiting.in_order(batch.gpu.index):
            if job.index <= leader.index:
                continue
            if job.adapter != leader.adapter or not batch.add(job, self.option(job)):
                return
