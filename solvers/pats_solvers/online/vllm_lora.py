"""The batch builder of the vLLM LoRA scheduling document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.arrival import earliest
from pats_solvers.online.dispatch.packing import BatchBuilder
from pats_solvers.online.dispatch.rule import Desk, Rule, take_along


class VllmLora(QueuePolicy, frozen=True, kw_only=True):
    """Score 0 if the request's adapter is in the batch, else its arrival time; lowest first.

    Rule: the document's batch grows from what is running. Here nothing runs on a GPU that is idle,
    so the oldest request leads, on the idle GPU where it pays the least switching (ties: the
    first). Scores depend on the batch, so they are taken anew after each admission: the requests
    of the batch's adapters come first (score 0, ties by arrival), and only when none of them fits
    comes the oldest other one, whose adapter is loaded, up to ``max_per_batch`` adapters. A request
    that does not fit in memory is skipped. Residency does not matter to the score; residents that
    the batch does not use make room, least recently used first (``eviction``). With
    ``max_per_batch`` 1 this is ``fcfs-grouped``; above it an adapter's whole queue goes before a
    second adapter is admitted.

    Source: ``schedule_lora_batch`` and ``score`` of the vLLM LoRA scheduling document.
    """

    name: ClassVar[str] = "vllm-lora"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _VllmLora(desk)


class _VllmLora(Rule):
    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:  # noqa: ARG002
        """The earliest request."""
        return earliest(self.site, self.waiting, idle)

    def fill(self, batch: BatchBuilder, tick: int) -> None:  # noqa: ARG002
        """Those whose adapter is in the batch; when there are no more, the oldest other one."""
        gpu = batch.gpu.index
        others = self.waiting.in_order(gpu)
        take_along(batch, self.waiting.among(batch.active, gpu), self.option)
        while len(batch.active) < self.site.max_per_batch and not batch.full:
            adapters = batch.active
            outside = (job for job in others if job.adapter not in adapters)
            if not any(batch.add(job, self.option(job), load=True) for job in outside):
                return
            take_along(batch, self.waiting.among(batch.active - adapters, gpu), self.option)
