"""Policies in order of arrival: ``fifo``, and those of the vLLM LoRA scheduling document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import NONE, Adapters
from pats_solvers.online.base import QueuePolicy
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunContext, RunSetup


class Fifo(QueuePolicy, frozen=True, kw_only=True):
    """First come, first served; a batch is the run of earliest requests that share the adapter.

    Rule: the earliest request that an idle GPU can hold starts at once, on the idle GPU where it
    pays the least switching (ties: the first). The requests after it that this GPU can hold join,
    in order of arrival, up to the first that has another adapter or does not fit. With
    ``max_resident`` above 1 the least recently used residents make room; a batch uses one adapter
    whatever ``max_per_batch`` is.
    """

    name: ClassVar[str] = "fifo"

    @override
    def select_leader(self, run: RunContext, idle: Sequence[GpuState]) -> Leader | None:
        return run.earliest(idle)

    @override
    def fill_batch(self, run: RunContext, batch: BatchBuilder) -> None:
        leader = batch.jobs[0]
        for job in run.waiting.in_order(batch.gpu.index):
            if job.index <= leader.index:
                continue
            if job.adapter != leader.adapter or not batch.add(job, run.option(job)):
                return


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

    @override
    def select_leader(self, run: RunContext, idle: Sequence[GpuState]) -> Leader | None:
        return run.earliest(idle)

    @override
    def fill_batch(self, run: RunContext, batch: BatchBuilder) -> None:
        run.add_loading(batch, run.waiting.in_order(batch.gpu.index))


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

    @override
    def select_leader(self, run: RunContext, idle: Sequence[GpuState]) -> Leader | None:
        ready = ((gpu, run.waiting.among(gpu.resident, gpu.index)) for gpu in idle)
        return run.least_switching(ready) or run.earliest(idle)

    @override
    def fill_batch(self, run: RunContext, batch: BatchBuilder) -> None:
        gpu = batch.gpu.index
        run.add_loading(batch, run.waiting.among(batch.resident, gpu))
        run.add_loading(batch, run.waiting.in_order(gpu))


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

    @override
    def select_leader(self, run: RunContext, idle: Sequence[GpuState]) -> Leader | None:
        return run.earliest(idle)

    @override
    def fill_batch(self, run: RunContext, batch: BatchBuilder) -> None:
        gpu = batch.gpu.index
        others = run.waiting.in_order(gpu)
        run.add_fitting(batch, run.waiting.among(batch.active, gpu))
        while len(batch.active) < run.site.max_per_batch and not batch.full:
            adapters = batch.active
            outside = (job for job in others if job.adapter not in adapters)
            if not any(batch.add(job, run.option(job), load=True) for job in outside):
                return
            run.add_fitting(batch, run.waiting.among(batch.active - adapters, gpu))


class RunningSets(RunContext):
    """The adapters that each GPU runs."""

    def __init__(self, setup: RunSetup) -> None:
        super().__init__(setup)
        self.running: dict[int, Adapters] = {}


class BatchCompletion(QueuePolicy[RunningSets], frozen=True, kw_only=True):
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

    @override
    def new_run(self, setup: RunSetup) -> RunningSets:
        return RunningSets(setup)

    @override
    def select_leader(self, run: RunningSets, idle: Sequence[GpuState]) -> Leader | None:
        running = (
            (gpu, run.waiting.among(run.running.get(gpu.index, NONE), gpu.index)) for gpu in idle
        )
        return run.least_switching(running) or run.earliest(idle)

    @override
    def fill_batch(self, run: RunningSets, batch: BatchBuilder) -> None:
        gpu = batch.gpu.index
        running = run.running.get(gpu, NONE)
        if batch.jobs[0].adapter in running:
            run.add_loading(batch, run.waiting.among(running, gpu))
        else:
            run.add_loading(batch, run.waiting.in_order(gpu))

    @override
    def served(self, run: RunningSets, batch: BatchBuilder) -> None:
        gpu = batch.gpu.index
        if batch.jobs[0].adapter not in run.running.get(gpu, NONE):
            run.running[gpu] = batch.active
