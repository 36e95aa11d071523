"""First come, first served, grouped by adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.arrival import earliest, open_to
from pats_solvers.online.dispatch.packing import BatchBuilder
from pats_solvers.online.dispatch.rule import Desk, Rule, take_along


class FcfsGrouped(QueuePolicy, frozen=True, kw_only=True):
    """The earliest request leads; the others join in order of arrival, those that cannot skipped.

    Rule: the earliest request that an idle GPU can hold starts at once, on the idle GPU where it
    pays the least switching (ties: the first). All that wait there are then gone through once in
    order of arrival. One joins unless its adapter would be one more than ``max_per_batch`` or it
    does not fit; where its adapter is not resident it is loaded. Unlike ``fifo`` a request that
    cannot join does not end the batch. With ``max_per_batch`` 1 the batch is of the leader's
    adapter. Residents that the batch does not use are evicted only as far as needed.

    Source: ``fcfs_grouped`` of the vLLM LoRA scheduling document.
    """

    name: ClassVar[str] = "fcfs-grouped"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _FcfsGrouped(desk)


class _FcfsGrouped(Rule):
    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:  # noqa: ARG002
        """The earliest request."""
        return earliest(self.site, self.waiting, idle)

    def fill(self, batch: BatchBuilder, tick: int) -> None:  # noqa: ARG002
        """All that may join, in order of arrival."""
        jobs = self.waiting.in_order(batch.gpu.index)
        joining = open_to(batch, self.waiting, jobs, self.site.max_per_batch)
        take_along(batch, joining, self.option, load=True)
