"""Credits: an adapter that is passed over is paid for it, until it is called."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, ClassVar

from msgspec import Meta
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunContext, RunSetup

#: Requests that an adapter is ahead of, or behind, first come first served.
Requests = Annotated[float, Meta(ge=1e-6, le=1e9, extra={"search": [1.0, 100.0], "log": True})]


class CreditRun(RunContext):
    """The account of credits, and the adapters that are called.

    Attributes:
        credit: Credit of each adapter, in requests.
        called: Adapters that are called.
        due: Payments of the batch under construction, each as payer and payee.
    """

    def __init__(self, setup: RunSetup, call: float, release: float) -> None:
        super().__init__(setup)
        self._call, self._release = call, release
        self.called: set[int] = set()
        self.credit = [0] * len(setup.site.adapter_ids)
        self.due: list[tuple[int, int]] = []

    def pay(self, payer: int, payee: int) -> None:
        """Move one credit from an adapter to another."""
        self._move(payer, -1)
        self._move(payee, 1)

    def _move(self, adapter: int, amount: int) -> None:
        self.credit[adapter] += amount
        if self.credit[adapter] >= self._call:
            self.called.add(adapter)
        elif self.credit[adapter] < self._release:
            self.called.discard(adapter)


class Credits(QueuePolicy[CreditRun], frozen=True, kw_only=True):
    """Stay with the active adapter, unless another has been passed over too often.

    Each adapter has a credit, counted in requests, 0 at first. A batch of m requests is compared
    with the m earliest that waited and that its GPU can hold, which first come first served would
    have taken. For each of those that is left out one member has jumped the queue, and one credit
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

    @override
    def new_run(self, setup: RunSetup) -> CreditRun:
        return CreditRun(setup, self.call, self.keep * self.call)

    @override
    def select_leader(self, run: CreditRun, idle: Sequence[GpuState]) -> Leader | None:
        return called(run, idle) or of_last_batch(run, idle) or of_longest_queue(run, idle)

    @override
    def fill_batch(self, run: CreditRun, batch: BatchBuilder) -> None:
        super().fill_batch(run, batch)
        count = len(batch.jobs)
        fair = {job.index: job for job in islice(run.waiting.in_order(batch.gpu.index), count)}
        jumped = sorted(job.index for job in batch.jobs if job.index not in fair)
        members = {job.index: job.adapter for job in batch.jobs}
        passed = (job.adapter for index, job in fair.items() if index not in members)
        run.due = [(members[index], payee) for payee, index in zip(passed, jumped, strict=True)]

    @override
    def served(self, run: CreditRun, batch: BatchBuilder) -> None:
        for payer, payee in run.due:
            run.pay(payer, payee)


def called(run: CreditRun, idle: Sequence[GpuState]) -> Leader | None:
    """Return the head of the called adapter with the most credit."""
    heads = [
        (gpu, head)
        for gpu in idle
        for adapter in run.called
        if (head := run.waiting.first(adapter, gpu.index)) is not None
    ]
    return min(
        heads,
        key=lambda pair: (
            -run.credit[pair[1].adapter],
            pair[1].index,
            run.switching_s(pair[1].adapter, pair[0]),
            pair[0].index,
        ),
        default=None,
    )


def of_last_batch(run: CreditRun, idle: Sequence[GpuState]) -> Leader | None:
    """Return the earliest request of the adapters that a GPU used last."""

    def own(gpu: GpuState) -> frozenset[int]:
        return gpu.resident if gpu.active is None else gpu.active

    return run.least_switching((gpu, run.waiting.among(own(gpu), gpu.index)) for gpu in idle)


def of_longest_queue(run: CreditRun, idle: Sequence[GpuState]) -> Leader | None:
    """Return the head of the longest queue of a resident adapter, else of all."""
    for gpu in idle:
        heads = run.waiting.heads(gpu.index)
        if heads:
            near = [head for a, head in heads.items() if a in gpu.resident] or heads.values()
            counts = run.waiting.counts(gpu.index)
            return gpu, min(near, key=lambda head: (-counts[head.adapter], head.index))
    return None
