"""Credits: whoever is passed over is paid for it, until it is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Annotated, ClassVar

from msgspec import Meta

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.dispatch.arrival import least_switching
from pats_solvers.online.dispatch.packing import BatchBuilder, switching_seconds
from pats_solvers.online.dispatch.rule import Desk, Rule

#: Requests that an adapter is ahead of, or behind, first come first served.
Requests = Annotated[float, Meta(ge=1e-6, le=1e9, extra={"search": [1.0, 100.0], "log": True})]


class Credits(QueuePolicy, frozen=True, kw_only=True):
    """Stay with the active adapter, unless another has been passed over too often.

    Each adapter has a credit, counted in requests, 0 at first. A batch of m requests is compared
    with the m earliest that waited and that its GPU can hold, whom first come first served would
    have taken. For each of those who is left out one member has jumped the queue, and one credit
    moves from the adapter of that member to that of the one passed over, pairing both in order of
    arrival. So credits always sum to 0. (Where the batch is smaller than it could be as requests
    do not fit together, so is the comparison.)

    Rule: an adapter is called once its credit is at least ``call``, until it is below ``keep``
    x ``call``. Of the called adapters with a request that an idle GPU can hold, the one with
    the most credit goes first (ties: the earliest request), on the idle GPU where it pays the least
    switching (ties: the first). Where none is called a GPU stays with the adapters of its last
    batch (before its first: with its residents): their earliest request leads; of several such GPUs
    the one with the earliest goes first. Where these have none the first idle GPU goes to the
    resident adapter with the longest queue, or where no resident has one to the longest queue of
    all, each as that GPU can hold it (ties: the earliest request). Members follow in order of
    arrival: the leader's adapter's, then, in batches that may mix adapters, other residents'.

    Credits are one account for all GPUs, as the queue is one. Requests forced by the bound on
    waiting are accounted for like others.

    Source: the credit-based batching of dLoRA (Wu et al., OSDI 2024) and its published scheduler,
    between adapters that are merged in turn: there too credit moves from the adapter that preempts
    to the one preempted, and those past a threshold are served first, with a lower one to be let
    go. Its other half, a mode that serves all adapters unmerged, is what batches that mix adapters
    are here.

    Args:
        call: Requests passed over at which an adapter is called.
        keep: Share of ``call`` down to which it stays called, 0 to 1.
    """

    name: ClassVar[str] = "credits"

    call: Requests = 8.0
    keep: Annotated[float, Meta(ge=0, le=1)] = 0.5

    def rule(self, desk: Desk) -> Rule:
        """The rule at work in one run."""
        return CreditRule(desk, self.call, self.keep * self.call)


class CreditRule(Rule):
    """The rule at work in one run.

    Attributes:
        credit: Credit of each adapter, in requests.
    """

    def __init__(self, desk: Desk, call: float, release: float) -> None:
        super().__init__(desk)
        self._call, self._release = call, release
        self._called: set[int] = set()
        self.credit = [0] * len(desk.site.adapter_ids)

    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:  # noqa: ARG002
        """A called adapter, else the active ones, else the longest queue."""
        return self._calls(idle) or self._stays(idle) or self._longest(idle)

    def fill(self, batch: BatchBuilder, tick: int) -> None:
        """As usual; then whoever was passed over is paid."""
        super().fill(batch, tick)
        count = len(batch.jobs)
        fair = {job.index: job for job in islice(self.waiting.in_order(batch.gpu.index), count)}
        jumped = sorted(job.index for job in batch.jobs if job.index not in fair)
        payers = {job.index: job.adapter for job in batch.jobs}
        passed = (job.adapter for index, job in fair.items() if index not in payers)
        for to, index in zip(passed, jumped, strict=True):
            self._move(payers[index], -1)
            self._move(to, 1)

    def _move(self, adapter: int, amount: int) -> None:
        self.credit[adapter] += amount
        if self.credit[adapter] >= self._call:
            self._called.add(adapter)
        elif self.credit[adapter] < self._release:
            self._called.discard(adapter)

    def _calls(self, idle: Sequence[GpuState]) -> tuple[GpuState, Job] | None:
        found = [
            (gpu, head)
            for gpu in idle
            for adapter in self._called
            if (head := self.waiting.first(adapter, gpu.index)) is not None
        ]
        return min(
            found,
            key=lambda pair: (
                -self.credit[pair[1].adapter],
                pair[1].index,
                switching_seconds(self.site, pair[1].adapter, pair[0]),
                pair[0].index,
            ),
            default=None,
        )

    def _stays(self, idle: Sequence[GpuState]) -> tuple[GpuState, Job] | None:
        def own(gpu: GpuState) -> frozenset[int]:
            return gpu.resident if gpu.active is None else gpu.active

        return least_switching(
            self.site, ((gpu, self.waiting.among(own(gpu), gpu.index)) for gpu in idle)
        )

    def _longest(self, idle: Sequence[GpuState]) -> tuple[GpuState, Job] | None:
        for gpu in idle:
            heads: Mapping[int, Job] = self.waiting.heads(gpu.index)
            if heads:
                near = {a: job for a, job in heads.items() if a in gpu.resident} or heads
                adapter = min(near, key=lambda a: self._rank(a, gpu, near[a]))
                return gpu, near[adapter]
        return None

    def _rank(self, adapter: int, gpu: GpuState, head: Job) -> tuple[int, int]:
        return -self.waiting.count(adapter, gpu.index), head.index
