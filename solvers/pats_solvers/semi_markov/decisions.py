"""Decisions at an epoch: states of the GPU, and the batches and switches that each allows.

An epoch is a tick at which the GPU is idle. A decision is a batch (with the switch before it), a
switch ahead of a batch, or to wait for the next arrival. Arrivals have no memory, so no other time
to wait for is better.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Protocol

from msgspec import Struct
from typing_extensions import override

from pats_opt.model.problem import Adapters, Job, Site
from pats_solvers.semi_markov.arrivals import RequestKind
from pats_solvers.semi_markov.batches import GPU, BatchChoices


class GpuMode(Struct, frozen=True):
    """A GPU, as far as it matters to what it can do; idle where loads do not run beside serving.

    Attributes:
        resident: Its residents.
        ready: Those that a batch can use without an activation, and that are loaded.
        ahead: Whether it has switched ahead of a batch, so that it must serve as it is.
        loading: Ticks until the load in progress beside serving ends.
        busy: Ticks until the batch in progress ends.
        using: Adapters of the batch in progress.
    """

    resident: Adapters
    ready: Adapters
    ahead: bool = False
    loading: int = 0
    busy: int = 0
    using: Adapters = frozenset()


class Decision(Struct, frozen=True):
    """A batch with its switch, a switch ahead (without members), or a wait (of no ticks).

    Where loads run beside serving, what is new among the residents is a load that starts.

    Attributes:
        members: Number served of each kind and option, as (kind, option, count).
        resident: Residents afterwards.
        after: Index of the mode afterwards; after a wait that a tick later.
        ticks: Ticks until the next epoch; 0 for a wait, which is for a tick and then anew.
        cost: Loss of the switch and of the members, the latency before this epoch apart.
    """

    members: tuple[tuple[int, int, int], ...]
    resident: Adapters
    after: int
    ticks: int
    cost: float


class DecisionSpace(Protocol):
    """Modes of a process, the first that at tick 0, and what can be decided in each.

    Attributes:
        modes: The modes.
        decisions: The decisions of each mode, the wait first.
        idle: Loss per tick of waiting in each mode, besides that of all that wait.
    """

    modes: list[GpuMode]
    decisions: list[list[Decision]]
    idle: list[float]


class ModeTable(ABC):
    """The modes that can be reached from the first, and the decisions of each.

    Args:
        resident: Residents at tick 0.

    Attributes:
        modes: The modes; the first is that of the GPU at tick 0.
        decisions: The decisions of each mode, the wait first.
        idle: Nothing: only those that wait make waiting dear.
    """

    def __init__(self, resident: Adapters) -> None:
        self.modes = [GpuMode(resident, resident)]
        self._index = {self.modes[0]: 0}
        self.decisions: list[list[Decision]] = []
        for mode in self.modes:  # grows
            self.decisions.append(list(self._decisions(mode)))
        self.idle = [0.0] * len(self.modes)

    @abstractmethod
    def _decisions(self, mode: GpuMode) -> Iterator[Decision]:
        """Yield the decisions of a mode, the wait first."""

    def _number(self, mode: GpuMode) -> int:
        """Return the index of a mode, which is added where it is new."""
        if mode not in self._index:
            self._index[mode] = len(self.modes)
            self.modes.append(mode)
        return self._index[mode]


class DecisionTable(ModeTable):
    """All modes that the GPU can come to, and the decisions in each that can be best.

    Args:
        site: Everything but the requests; one GPU.
        kinds: The kinds of requests.
        limits: Largest number waiting of each kind.
        empty_batch: Loss of a batch of nobody, with which a switch may go (see
            :mod:`pats_solvers.semi_markov.truncation`); None where there is none.

    Attributes:
        batches: The batches of just some adapters that can be best.
    """

    def __init__(
        self,
        site: Site,
        kinds: Sequence[RequestKind],
        limits: Sequence[int],
        *,
        empty_batch: float | None = None,
    ) -> None:
        self._site, self._kinds, self._empty = site, kinds, empty_batch
        self._choices = BatchChoices(site, kinds, limits)
        self.batches = self._choices.by_adapters
        super().__init__(site.gpus[GPU].resident)

    @override
    def _decisions(self, mode: GpuMode) -> Iterator[Decision]:
        yield Decision((), mode.resident, self._number(mode), 0, 0.0)
        for adapters in self.batches:
            yield from self._starts(mode, adapters)
        if not mode.ahead:
            yield from self._switches(mode)

    def _starts(self, mode: GpuMode, adapters: Adapters) -> Iterator[Decision]:
        """Yield the batches of some adapters, with each switch that may go with them."""
        for resident in self._targets(mode, adapters):
            ticks, seconds = self._switch(mode, resident, adapters)
            cost = self._site.switch_price_per_s * seconds
            active = GpuMode(resident, adapters if self._site.activate_s else resident)
            for batch in self.batches[adapters]:
                jobs = self._choices.members(batch)
                if not self._site.fits(GPU, resident, jobs):
                    continue
                if self._crowded(mode, resident, jobs):
                    continue
                waited = sum(p * n for p, n in zip(self._choices.prices, batch.served, strict=True))
                yield Decision(
                    batch.members,
                    resident,
                    self._number(active),
                    ticks + batch.ticks,
                    cost + batch.cost + ticks * waited,
                )
            if self._empty is not None:
                ticks += min(batch.ticks for batch in self.batches[adapters])
                cost += self._empty
                yield Decision((), resident, self._number(active), ticks, cost)

    def _targets(self, mode: GpuMode, needed: Adapters) -> list[Adapters]:
        """Return the residents to choose from: what is needed, kept, or loaded besides."""
        if mode.ahead:
            return [mode.resident] if needed <= mode.resident else []
        known = sorted({kind.adapter for kind in self._kinds} | mode.resident)
        most = self._site.max_resident
        return [
            target
            for size in range(len(needed), min(most, len(known)) + 1)
            for chosen in combinations(known, size)
            if needed <= (target := frozenset(chosen)) and self._site.fits(GPU, target, ())
        ]

    def _crowded(self, mode: GpuMode, resident: Adapters, jobs: list[Job]) -> bool:
        """Return whether something is evicted without need, where what stays costs nothing.

        Where activation takes time it may cost: a load can go ahead of a batch, an activation not.
        """
        if self._site.activate_s:
            return False
        return any(
            self._site.fits(GPU, resident | {kept}, jobs) for kept in mode.resident - resident
        )

    def _switches(self, mode: GpuMode) -> Iterator[Decision]:
        """Yield the switches ahead of a batch; one that loads nothing can as well come with it."""
        for resident in self._targets(mode, frozenset()):
            load = resident - mode.resident
            ticks, seconds = self._switch(mode, resident, frozenset())
            if not ticks or self._crowded(mode, resident, []):
                continue
            ready = (mode.ready & resident) | load
            after = self._number(GpuMode(resident, ready, ahead=True))
            cost = self._site.switch_price_per_s * seconds
            yield Decision((), resident, after, ticks, cost)

    def _switch(self, mode: GpuMode, resident: Adapters, active: Adapters) -> tuple[int, float]:
        """Return ticks and seconds of a switch."""
        load, site = resident - mode.resident, self._site
        seconds = [site.load_seconds(a, mode.resident) for a in sorted(load)]
        seconds += [site.activate_s] * len((active & mode.resident) - mode.ready)
        return sum(site.switching_ticks(s) for s in seconds), sum(seconds)
