"""Policy ``online-optimum``: the best decision for stationary arrivals, looked up in a table."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import msgspec
from msgspec.structs import replace

from pats_opt.core.policy import (
    Action,
    Decide,
    GpuState,
    Start,
    StartLoad,
    State,
    SwitchTo,
    WakeAt,
)
from pats_opt.core.solver import Capabilities, Feature, Kind
from pats_opt.errors import InputError
from pats_opt.model.files import read_document
from pats_opt.model.problem import Adapters, Job, Problem, Site
from pats_solvers.online.common.options import priced
from pats_solvers.semi_markov.decisions import GpuMode
from pats_solvers.semi_markov.table import PolicyTable, SiteTable

#: Mend where a table is missing or does not fit.
MEND = "make a table with 'pats-opt limit RECIPE -o DIR', and give model=DIR/policy.json"

#: Features of the problem that the decision process has.
FEATURES = frozenset(
    {
        Feature.OPTIONS,
        Feature.RESOURCES,
        Feature.TABLE,
        Feature.OVERHEAD,
        Feature.SLOT,
        Feature.RESIDENT,
        Feature.MIXED_BATCH,
        Feature.ACTIVATE,
        Feature.INITIAL,
        Feature.OVERLAP,
    }
)


#: Probability of so long a time without arrivals that no more are thought to come.
NO_MORE = 1e-9


class TableDecider:
    """The decisions of a table in one run: waiting requests by kind, the earliest served first.

    Args:
        table: The table.
        site: Its site.
        ahead: Whether it switches to adapters that nobody waits for, or loads them.
    """

    def __init__(self, table: SiteTable, site: Site, ahead: bool) -> None:
        self._table, self._site, self._ahead = table, site, ahead
        self._queues: list[deque[Job]] = [deque() for _ in table.limits]
        self._patience = math.ceil(-math.log(NO_MORE) / (table.rate_per_s * site.tick_s))
        self._last = 0  # tick of the last arrival

    def __call__(self, state: State) -> list[Action]:
        """Return the table's decision where the GPU is idle."""
        for job in state.arrived:
            kind = self._table.kind_of(job)
            if kind is None:
                raise InputError(f"the table has no kind of request like {job.id!r}", hint=MEND)
            self._queues[kind].append(job)
            self._last = state.tick
        gpu = state.gpus[0]
        if not any(self._queues) and not self._ahead:
            return []
        if self._site.channels is not None:
            return self._beside(gpu, state.tick)
        if gpu.free_at > state.tick:
            return []
        best = self._table.best[self._number(self._mode(gpu))][self._place()]
        members, resident = self._table.decisions[best] if best >= 0 else ((), gpu.resident)
        if members:
            return [self._start(members, resident)]
        if best >= 0 and (self._ahead or self._awaited(resident - gpu.resident)):
            return [SwitchTo(0, resident)]
        return self._wait(gpu, state.tick)

    def _beside(self, gpu: GpuState, tick: int) -> list[Action]:
        """Return the table's decision where loads run beside serving.

        While nothing arrives the table is looked up tick by tick, so that it is asked again when it
        decides otherwise.
        """
        busy = max(0, gpu.free_at - tick)
        using = gpu.active if busy and gpu.active is not None else frozenset[int]()
        ready, loading = gpu.resident.difference([a for a, _ in gpu.loading]), 0
        if gpu.loading:
            loading = gpu.loading[0][1] - tick
        mode = GpuMode(gpu.resident, ready, loading=loading, busy=busy, using=using)
        if busy and (loading or mode not in self._table.modes):  # nothing can be decided
            return []
        place, later = self._place(), 0
        while (best := self._table.best[self._number(mode)][place]) < 0:
            if not busy and not loading:
                return self._wait(gpu, tick)
            later += 1
            if later == busy + loading:  # an event by itself
                return []
            mode = replace(mode, loading=max(0, loading - later), busy=max(0, busy - later))
        if later:
            return [WakeAt(tick + later)]
        members, resident = self._table.decisions[best]
        actions: list[Action] = [WakeAt(tick + 1)]
        if members:
            actions.append(self._start(members, gpu.resident))
        evict = gpu.resident - resident
        return actions + [StartLoad(0, a, evict) for a in resident - gpu.resident]

    def _wait(self, gpu: GpuState, tick: int) -> list[Action]:
        """Wait for the next arrival; once none can be thought to come, serve the earliest."""
        if not any(self._queues):
            return []
        if tick < self._last + self._patience:
            return [WakeAt(self._last + self._patience)]
        return self._earliest(gpu)

    def _awaited(self, adapters: Adapters) -> bool:
        """Return whether a request waits for one of these adapters."""
        return any(queue and queue[0].adapter in adapters for queue in self._queues)

    def _start(self, members: Sequence[tuple[int, int, int]], resident: Adapters) -> Start:
        """Return a batch of the earliest of each kind."""
        queues = self._queues
        chosen = [(queues[i].popleft().index, o) for i, o, count in members for _ in range(count)]
        return Start(0, tuple(chosen), resident)

    def _place(self) -> int:
        """Return the table's number of the queues."""
        place = 0
        for queue, limit in zip(self._queues, self._table.limits, strict=True):
            place = place * (limit + 1) + min(len(queue), limit)
        return place

    def _earliest(self, gpu: GpuState) -> list[Action]:
        """Start the earliest request alone, if the GPU may serve it."""
        queues = [queue for queue in self._queues if queue]
        if gpu.before is not None:
            queues = [queue for queue in queues if queue[0].adapter in gpu.resident]
        if not queues:
            return []
        first = min(queues, key=lambda queue: queue[0].index)
        adapter = first[0].adapter
        if self._site.channels is not None and adapter not in gpu.resident:
            full = len(gpu.resident) >= self._site.max_resident
            return [StartLoad(0, adapter, frozenset(sorted(gpu.resident)[:1] if full else ()))]
        job = first.popleft()
        resident = gpu.resident if adapter in gpu.resident else frozenset((adapter,))
        return [Start(0, ((job.index, priced(self._site, job)),), resident)]

    def _mode(self, gpu: GpuState) -> GpuMode:
        """Return the mode of an idle GPU whose loads do not run beside serving."""
        resident, before = gpu.resident, gpu.before
        ready: Adapters = resident
        if gpu.active is not None and self._site.activate_s and self._site.max_resident > 1:
            loaded = resident - before if before is not None else frozenset()
            ready = (gpu.active & resident) | loaded
        return GpuMode(resident, ready, ahead=before is not None)

    def _number(self, mode: GpuMode) -> int:
        """Return the table's number of a mode."""
        if mode not in self._table.modes:
            raise InputError("the table lacks the GPU's first residents", hint=MEND)
        return self._table.modes[mode]


class OnlineOptimum(msgspec.Struct, frozen=True, kw_only=True):
    """Decide as the best online policy does where arrivals are stationary.

    Rule: ``pats-opt limit`` solves a semi-Markov decision process for a recipe with Poisson
    arrivals. The table that it writes has the best decision (batch, options and switch, a switch
    ahead, or to wait) for each number of waiting requests of each kind and each state of the GPU.
    Where loads run beside serving it also has the loads to start, and the state says how long the
    batch and the load in progress still take.
    Of a kind the earliest requests are served first. More waiting requests than the table knows
    are taken for as many as it knows.

    It needs one GPU and requests of the kinds in the table, without deadlines, rejection or a hard
    horizon.

    Source: Puterman, Markov Decision Processes, 1994, chapter 11.

    It waits where the table says so. Once nobody has arrived for so long that more arrivals are
    next to impossible, it takes the run for ended and serves the earliest request alone.

    Args:
        model: The table: ``policy.json`` of ``pats-opt limit RECIPE -o DIR``.
        ahead: Whether it also switches to an adapter that nobody waits for yet, where the table
            says so. The GPU must then serve that adapter before others, so if no request for it
            arrives any more the others are never served. Without, it waits instead. Where loads
            run beside serving none of them binds it: there it only says whether it loads anything
            while nobody waits at all.
    """

    name: ClassVar[str] = "online-optimum"
    kind: ClassVar[Kind] = Kind.ONLINE
    capabilities: ClassVar[Capabilities] = Capabilities(FEATURES)

    model: str = ""
    ahead: bool = False

    def prepare(self, problem: Problem | None) -> None:
        """Refuse a problem with requests that the table has no kind for."""
        if problem is None:
            return
        table = self._bound(problem.site)
        strange = next((job for job in problem.jobs if table.kind_of(job) is None), None)
        if strange is not None:
            raise InputError(
                f"requests[{strange.position}] {strange.id!r}: the table has no kind of request "
                "like it",
                hint=MEND,
            )

    def start(self, site: Site, seed: int) -> Decide:  # noqa: ARG002 - the protocol's
        """Return the decisions for one run.

        Raises:
            InputError: There is no table, or it is for another site.
        """
        return TableDecider(self._bound(site), site, self.ahead)

    def _bound(self, site: Site) -> SiteTable:
        if not self.model:
            raise InputError(f"{self.name!r} needs a table of decisions", hint=MEND)
        return SiteTable(_read(self.model), site)


@lru_cache(maxsize=4)
def _read(path: str) -> PolicyTable:
    return read_document(path, PolicyTable)
