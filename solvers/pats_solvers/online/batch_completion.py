"""Batch completion: finish what the GPU's adapters have queued before it turns to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Adapters, Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.arrival import earliest, least_switching, open_to
from pats_solvers.online.dispatch.packing import BatchBuilder
from pats_solvers.online.dispatch.rule import Desk, Rule, take_along

NONE: Adapters = frozenset()


class BatchCompletion(QueuePolicy, frozen=True, kw_only=True):
    """Only the running adapters' requests until none waits, then the oldest request's adapter.

    Rule: a GPU runs a set of adapters, none at first. While requests of that set wait that the GPU
    can hold, only these are served there, in order of arrival, those that do not fit skipped. When
    none waits the oldest request leads, and the set becomes the adapters of the batch it opens,
    which others join in order of arrival while it has fewer than ``max_per_batch`` adapters (one
    adapter where that is 1). A set stays as it is while it is served, also while one of its
    adapters has no request. Several idle GPUs: those whose set has requests first (the earliest
    request first); then the oldest request on the GPU of least switching, whatever sets others
    run. ``max_resident`` above ``max_per_batch`` only keeps adapters for later. A request that is
    forced by the bound on waiting opens a new set, unless its adapter is in the set.

    Source: ``batch_completion`` of the vLLM LoRA scheduling document.
    """

    name: ClassVar[str] = "batch-completion"

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return _BatchCompletion(desk)


class _BatchCompletion(Rule):
    def __init__(self, desk: Desk) -> None:
        super().__init__(desk)
        self._running: dict[int, Adapters] = {}  # by GPU

    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:  # noqa: ARG002
        """The earliest request of a running set, else the earliest."""
        lines = (
            (gpu, self.waiting.among(self._running.get(gpu.index, NONE), gpu.index)) for gpu in idle
        )
        return least_switching(self.site, lines) or earliest(self.site, self.waiting, idle)

    def fill(self, batch: BatchBuilder, tick: int) -> None:  # noqa: ARG002
        """The running set's requests; all that may join where a set begins."""
        gpu = batch.gpu.index
        running = self._running.get(gpu, NONE)
        if batch.jobs[0].adapter in running:
            jobs = self.waiting.among(running, gpu)
        else:
            jobs, running = self.waiting.in_order(gpu), NONE
        joining = open_to(batch, self.waiting, jobs, self.site.max_per_batch)
        take_along(batch, joining, self.option, load=True)
        self._running[gpu] = running or batch.active
