"""Adapter affinity: what is resident goes first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.arrival import earliest, least_switching, open_to
from pats_solvers.online.dispatch.packing import BatchBuilder
from pats_solvers.online.dispatch.rule import Desk, Rule, take_along


class Affinity(QueuePolicy, frozen=True, kw_only=True):
    """Requests whose adapter is resident in order of arrival, then all others likewise.

    Rule: of the requests that find their adapter resident on an idle GPU that can hold them the
    earliest leads, there (where several hold it: where least switching is paid, then the first).
    Where there is none, the earliest request of all leads on the idle GPU where it pays the least
    switching. The batch takes along those of its residents' adapters in order of arrival, then the
    others in order of arrival, whose adapters are loaded; a request is skipped where its adapter
    would be one more than ``max_per_batch`` or it does not fit. With ``max_resident`` 1 that is
    serving an adapter until its queue is empty, and can starve the others: see ``max_wait_s``.

    Source: ``affinity_scheduling`` of the vLLM LoRA scheduling document.
    """

    name: ClassVar[str] = "affinity"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _Affinity(desk)


class _Affinity(Rule):
    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:  # noqa: ARG002
        """The earliest request of a resident adapter, else the earliest."""
        among = self.waiting.among
        lines = ((gpu, among(gpu.resident, gpu.index)) for gpu in idle)
        return least_switching(self.site, lines) or earliest(self.site, self.waiting, idle)

    def fill(self, batch: BatchBuilder, tick: int) -> None:  # noqa: ARG002
        """Residents' requests, then the others."""
        gpu, most = batch.gpu.index, self.site.max_per_batch
        for jobs in (self.waiting.among(batch.resident, gpu), self.waiting.in_order(gpu)):
            take_along(batch, open_to(batch, self.waiting, jobs, most), self.option, load=True)
