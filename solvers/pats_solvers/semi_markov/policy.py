"""Policy ``online-optimum``: the best decision for stationary arrivals, looked up in a table."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import msgspec

from pats_opt.core.policy import Action, Decide, GpuState, Start, State, SwitchTo, WakeAt
from pats_opt.core.solver import Capabilities, Feature, Kind
from pats_opt.errors import InputError
from pats_opt.model.files import read_document
from pats_opt.model.problem import Adapters, Job, Problem, Site
from pats_solvers.online.common.options import priced
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
    }
)


#: Probability of so long a time without arrivals that no more are thought to come.
NO_MORE = 1e-9


class TableDecider:
    """The decisions of a table in one run: waiting requests by kind, the earliest served first.

    Args:
        table: The table.
        site: Its site.
        ahead: Whether it switches to adapters that nobody waits for.
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
        if gpu.free_at > state.tick or (not any(self._queues) and not self._ahead):
            return []
        best = self._table.best[self._mode(gpu)][self._place()]
        members, resident = self._table.decisions[best] if best >= 0 else ((), gpu.resident)
        if members:
            return [self._start(members, resident)]
        if best >= 0 and (self._ahead or self._awaited(resident - gpu.resident)):
            return [SwitchTo(0, resident)]
        if not any(self._queues):
            return []
        if state.tick < self._last + self._patience:
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
        job = min(queues, key=lambda queue: queue[0].index).popleft()
        adapter = job.adapter
        resident = gpu.resident if adapter in gpu.resident else frozenset((adapter,))
        return [Start(0, ((job.index, priced(self._site, job)),), resident)]

    def _mode(self, gpu: GpuState) -> int:
        """Return the table's number of the GPU's state."""
        resident, before = gpu.resident, gpu.before
        ready: Adapters = resident
        if gpu.active is not None and self._site.activate_s and self._site.max_resident > 1:
            loaded = resident - before if before is not None else frozenset()
            ready = (gpu.active & resident) | loaded
        mode = self._table.modes.get((resident, ready, before is not None))
        if mode is None:
            raise InputError("the table lacks the GPU's first residents", hint=MEND)
        return mode


class OnlineOptimum(msgspec.Struct, frozen=True, kw_only=True):
    """Decide as the best online policy does where arrivals are stationary.

    Rule: ``pats-opt limit`` solves a semi-Markov decision process for a recipe with Poisson
    arrivals. The table that it writes has the best decision (batch, options and switch, a switch
    ahead, or to wait) for each number of waiting requests of each kind and each state of the GPU.
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
            arrives any more the others are never served. Without, it waits instead.
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
