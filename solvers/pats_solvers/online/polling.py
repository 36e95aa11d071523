"""Policies that serve adapter by adapter, as polling systems do: stay at a queue, then go on.

Polling has two axes: the *discipline*, when a GPU leaves its queue, and the *route*, where it goes
next (Takagi 1986; Boxma and Groenendijk 1987).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, cast

from msgspec import Meta
from typing_extensions import TypeVar, override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_opt.model.timing import to_ticks
from pats_solvers.online.base import MaxWait, QueuePolicy
from pats_solvers.online.common.batch import BatchBuilder, make_room
from pats_solvers.online.common.context import Leader, RunSetup
from pats_solvers.online.common.estimates import ArrivalRates, MemoryS
from pats_solvers.online.common.visits import (
    ROUTES,
    Heads,
    PollingRun,
    RouteRule,
    Visit,
    longest,
)

PollingT = TypeVar("PollingT", bound=PollingRun, default=PollingRun)


class PollingPolicy(QueuePolicy[PollingT], frozen=True, kw_only=True):
    """Stays at a queue while :meth:`stays` says so and a request waits there, then takes a route.

    The earliest request of the queue leads. A batch that is forced by the bound on waiting begins a
    visit of its own. By default a visit lasts until the queue is empty and the longest queue is
    next.
    """

    def covers(self, visit: Visit, head: Job) -> bool:  # noqa: ARG002 - a hook
        """Whether the visit may serve ``head`` of its adapter too."""
        return True

    def stays(self, run: PollingT, gpu: GpuState, visit: Visit, head: Job) -> bool:  # noqa: ARG002
        """Whether the visit goes on, with ``head`` the earliest request that waits there."""
        return self.covers(visit, head)

    def next_adapter(self, run: PollingT, gpu: GpuState, heads: Heads) -> int:
        """Return which of ``heads``, not empty, ``gpu`` goes to."""
        return longest(run, gpu, heads)

    def next_head(self, run: PollingT, gpu: GpuState) -> Job | None:
        """Return the head of the queue that ``gpu`` goes to, or None to leave it idle."""
        heads = run.free_heads(gpu)
        return heads[self.next_adapter(run, gpu, heads)] if heads else None

    @override
    def new_run(self, setup: RunSetup) -> PollingT:
        return cast("PollingT", PollingRun(setup))

    @override
    def select_leader(self, run: PollingT, idle: Sequence[GpuState]) -> Leader | None:
        for gpu in idle:
            visit = run.visits.get(gpu.index)
            if visit is not None:
                head = run.waiting.first(visit.adapter, gpu.index)
                if head is not None and self.stays(run, gpu, visit, head):
                    return gpu, head
            head = self.next_head(run, gpu)
            if head is not None:
                return gpu, head
        return None

    @override
    def served(self, run: PollingT, batch: BatchBuilder) -> None:
        adapter = batch.jobs[0].adapter
        visit = self.continued(run, batch)
        if visit is None:
            visit = run.visits[batch.gpu.index] = self.begun(batch)
        visit.requests += sum([job.adapter == adapter for job in batch.jobs])

    def begun(self, batch: BatchBuilder) -> Visit:
        """Return the visit that a batch begins; without its ``began``, where that is not used."""
        return Visit(batch.jobs[0].adapter)

    def continued(self, run: PollingT, batch: BatchBuilder) -> Visit | None:
        """Return the visit that a batch goes on with; None where it begins another one."""
        visit, leader = run.visits.get(batch.gpu.index), batch.jobs[0]
        if visit is None or visit.adapter != leader.adapter or not self.covers(visit, leader):
            return None
        return visit


class Exhaustive(PollingPolicy, frozen=True, kw_only=True):
    """Serve the adapter until its queue is empty; requests that arrive meanwhile are served too.

    Rule: a GPU that has become idle serves its adapter again while a request waits there, the
    earliest leading and the next ones following while they fit. Then it goes where the route says.
    Source: the exhaustive discipline of polling systems (Takagi 1986).

    Args:
        route: Where to go next: ``longest`` queue, ``cyclic`` order, ``cheapest`` switch or
            ``oldest`` head.
    """

    name: ClassVar[str] = "exhaustive"

    route: RouteRule = "longest"

    @override
    def next_adapter(self, run: PollingRun, gpu: GpuState, heads: Heads) -> int:
        return ROUTES[self.route](run, gpu, heads)


class Gated(PollingPolicy, frozen=True, kw_only=True):
    """Serve the requests of the adapter that had arrived when the visit began, then move on.

    Rule: the gate closes at the start of the visit's first batch, its switch done. A request that
    arrives later waits for the next visit, which begins at once where the route leads back. Source:
    the gated discipline of polling systems (Takagi 1986).

    Args:
        route: Where to go next: ``longest`` queue, ``cyclic`` order, ``cheapest`` switch or
            ``oldest`` head.
    """

    name: ClassVar[str] = "gated"

    route: RouteRule = "cyclic"

    @override
    def begun(self, batch: BatchBuilder) -> Visit:
        return Visit(batch.jobs[0].adapter, batch.start_tick)

    @override
    def covers(self, visit: Visit, head: Job) -> bool:
        return head.arrival <= visit.began

    @override
    def next_adapter(self, run: PollingRun, gpu: GpuState, heads: Heads) -> int:
        return ROUTES[self.route](run, gpu, heads)

    @override
    def fill_batch(self, run: PollingRun, batch: BatchBuilder) -> None:
        visit = self.continued(run, batch)
        gate = run.tick if visit is None else visit.began
        jobs = run.waiting.of(batch.jobs[0].adapter, batch.gpu.index)
        run.add_fitting(batch, (job for job in jobs if job.arrival <= gate))


class KLimited(PollingPolicy, frozen=True, kw_only=True):
    """Serve at most ``limit`` requests of the adapter, or until its queue is empty; then move on.

    Rule: the earliest request leads and the next ones follow while they fit, up to the limit. Where
    the route leads back, another visit begins at once. In a batch that mixes adapters requests of
    other residents come along; they do not count. Each GPU counts its own visits. Source: the
    k-limited discipline of polling systems (Takagi 1986).

    Args:
        limit: Largest number of requests per visit.
        route: Where to go next: ``longest`` queue, ``cyclic`` order, ``cheapest`` switch or
            ``oldest`` head.
    """

    name: ClassVar[str] = "k-limited"

    limit: Annotated[int, Meta(ge=1, le=10**9, extra={"search": [1, 64], "log": True})] = 8
    route: RouteRule = "cyclic"

    @override
    def covers(self, visit: Visit, head: Job) -> bool:
        return visit.requests < self.limit

    @override
    def next_adapter(self, run: PollingRun, gpu: GpuState, heads: Heads) -> int:
        return ROUTES[self.route](run, gpu, heads)

    @override
    def fill_batch(self, run: PollingRun, batch: BatchBuilder) -> None:
        visit = self.continued(run, batch)
        served = 1 if visit is None else visit.requests + 1  # its leader is in the batch
        jobs = run.waiting.of(batch.jobs[0].adapter, batch.gpu.index)
        run.add_fitting(batch, jobs, most=self.limit - served)
        run.add_other_adapters(batch)


class DrainFirst(PollingPolicy, frozen=True, kw_only=True):
    """Serve the adapter until its queue is empty, then go to the longest queue.

    Rule: ``exhaustive`` service and the route ``longest``, with a bound on waiting by default: the
    only thing that ends a visit early is a request that has waited ``max_wait_s``. It begins a
    visit of its own, so its whole queue is drained before the GPU goes back. Source: the exhaustive
    end of the llmux scheduling problem's first axis, and its staleness bound. Ties, several GPUs,
    several residents and mixed batches: as ``exhaustive``.
    """

    name: ClassVar[str] = "drain-first"

    max_wait_s: MaxWait = 60.0


class PatientRun(PollingRun):
    """Visits, arrival rates and the timers of GPUs that wait.

    Attributes:
        rates: Arrivals per second of each adapter.
        until: End of each GPU's timer, by its index, as of its last decision.
    """

    def __init__(self, setup: RunSetup, memory_s: float) -> None:
        super().__init__(setup)
        self.rates = ArrivalRates(setup.site, memory_s)
        self.until: dict[int, int] = {}


class Patient(PollingPolicy[PatientRun], frozen=True, kw_only=True):
    """``drain-first``, but at its empty queue a GPU waits for a timer when an arrival is likely.

    Rule: going to the longest queue would evict the GPU's own adapter, which takes C seconds to
    load again from there. So it waits ``patience`` x C seconds, from when it was idle and another
    request waited, where the chance of an arrival at its own queue in that time,
    1 - exp(-lambda ``patience`` C), is at least ``likely``; lambda is the adapter's arrival rate,
    an exponentially decaying count. A request that arrives there is served at once; when the timer
    ends the GPU goes. It does not wait where the own adapter stays resident anyway, nor under a
    hard horizon, as the time might be missing in the end. No request waits for ever: the timer's
    start is fixed, and after it the longest queue is served. With several GPUs each waits at its
    own queue. Source: the llmux scheduling problem's question whether a timer helps; patient
    servers are known from polling systems (Boxma, Schlegel and Yechiali, Annals of Operations
    Research 112, 2002).

    Args:
        patience: How long to wait, as a multiple of the seconds of loading the adapter again.
        likely: Chance of an arrival in that time, from which on it waits, 0 to 1.
        memory_s: How long an arrival counts in the estimate of its adapter's rate, seconds.
    """

    name: ClassVar[str] = "patient"

    patience: Annotated[float, Meta(ge=0, le=1e6, extra={"search": [0.0, 4.0]})] = 0.5
    likely: Annotated[float, Meta(ge=0, le=1)] = 0.5
    memory_s: MemoryS = 120.0
    max_wait_s: MaxWait = 60.0

    @override
    def new_run(self, setup: RunSetup) -> PatientRun:
        return PatientRun(setup, self.memory_s)

    @override
    def arrived(self, run: PatientRun, job: Job) -> None:
        run.rates.arrived(job.adapter, run.tick)

    @override
    def next_head(self, run: PatientRun, gpu: GpuState) -> Job | None:
        run.until.pop(gpu.index, None)
        heads = run.free_heads(gpu)
        if not heads:
            return None
        head = heads[self.next_adapter(run, gpu, heads)]
        idle_from = min(gpu.free_at, run.tick)  # later where a busy GPU is asked what comes next
        until = max(idle_from, min(job.arrival for job in heads.values()))
        until += self._patience_ticks(run, gpu, head)
        if until <= run.tick:
            return head
        run.until[gpu.index] = until
        return None

    @override
    def wake(self, run: PatientRun, idle: Sequence[GpuState]) -> int | None:
        return min((run.until[g.index] for g in idle if g.index in run.until), default=None)

    def _patience_ticks(self, run: PatientRun, gpu: GpuState, head: Job) -> int:
        """Ticks to wait before going to ``head``."""
        visit, site = run.visits.get(gpu.index), run.site
        if visit is None or site.horizon is not None:
            return 0
        after = make_room(site, gpu, (head,), run.eviction)
        if after is None or visit.adapter in after:
            return 0
        seconds = self.patience * site.load_seconds(visit.adapter, after)
        chance = -math.expm1(-run.rates(visit.adapter, run.tick) * seconds)
        return to_ticks(seconds, site.tick_s) if chance >= self.likely else 0
