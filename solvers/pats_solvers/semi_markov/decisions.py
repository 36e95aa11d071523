"""Decisions at an epoch: states of the GPU, and the batches and switches that each allows.

An epoch is a tick at which the GPU is idle. A decision is a batch (with the switch before it), a
switch ahead of a batch, or to wait for the next arrival. Arrivals have no memory, so no other time
to wait for is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, combinations_with_replacement
from typing import Protocol

from msgspec import Struct

from pats_opt.model.problem import Adapters, Job, Site
from pats_solvers.semi_markov.arrivals import RequestKind

#: Gpu of the model: the only one.
GPU = 0


class GpuMode(Struct, frozen=True):
    """An idle GPU, as far as it matters to what it can do.

    Attributes:
        resident: Its residents.
        ready: Those that a batch can use without an activation.
        ahead: Whether it has switched ahead of a batch, so that it must serve as it is.
    """

    resident: Adapters
    ready: Adapters
    ahead: bool = False


class Decision(Struct, frozen=True):
    """A batch with its switch, a switch ahead (without members), or a wait (of no ticks).

    Attributes:
        members: Number served of each kind and option, as (kind, option, count).
        resident: Residents afterwards.
        after: Index of the mode afterwards.
        ticks: Ticks until the next epoch; 0 for a wait, which ends with the next arrival.
        cost: Loss of the switch and of the members, the latency before this epoch apart.
    """

    members: tuple[tuple[int, int, int], ...]
    resident: Adapters
    after: int
    ticks: int
    cost: float


class BatchChoice(Struct, frozen=True):
    """A batch apart from its switch.

    Attributes:
        members: As in :class:`Decision`.
        served: Number served of each kind.
        ticks: Ticks from its start to its end.
        cost: Loss of the members from the batch's start on.
    """

    members: tuple[tuple[int, int, int], ...]
    served: tuple[int, ...]
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


class DecisionTable:
    """All modes that the GPU can come to, and the decisions in each that can be best.

    Args:
        site: Everything but the requests; one GPU.
        kinds: The kinds of requests.
        limits: Largest number waiting of each kind.
        empty_batch: Loss of a batch of nobody, with which a switch may go (see
            :mod:`pats_solvers.semi_markov.truncation`); None where there is none.

    Attributes:
        modes: The modes; the first is that of the GPU at tick 0.
        decisions: The decisions of each mode, the wait first.
        idle: Nothing: only those that wait make waiting dear.
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
        self._site, self._kinds, self._limits = site, kinds, limits
        self._jobs = [kind.job() for kind in kinds]
        self._prices = [kind.price(site) for kind in kinds]
        self._empty = empty_batch
        self.batches = {s: self._batches_of(s) for s in self._adapter_sets()}
        start = site.gpus[GPU].resident
        self.modes = [GpuMode(start, start)]
        self._index = {self.modes[0]: 0}
        self.decisions: list[list[Decision]] = []
        for mode in self.modes:  # grows
            self.decisions.append(self._decisions(mode))
        self.idle = [0.0] * len(self.modes)

    def _adapter_sets(self) -> list[Adapters]:
        """Return the sets of adapters that a batch may use."""
        used = sorted({kind.adapter for kind in self._kinds})
        return [
            frozenset(chosen)
            for size in range(1, min(len(used), self._site.max_per_batch) + 1)
            for chosen in combinations(used, size)
        ]

    def _batches_of(self, adapters: Adapters) -> list[BatchChoice]:
        """Return the batches of just these adapters: of each composition those that can be best.

        One that takes longer than another and costs no less cannot be best: the GPU could serve
        the other one and wait.
        """
        places = [
            (i, o)
            for i, kind in enumerate(self._kinds)
            if kind.adapter in adapters
            for o in range(len(kind.options))
        ]
        found: dict[tuple[int, ...], list[BatchChoice]] = {}
        size = 0
        while True:
            size += 1
            fits = False
            for chosen in combinations_with_replacement(places, size):
                served = tuple(sum(i == k for i, _ in chosen) for k in range(len(self._kinds)))
                if any(n > most for n, most in zip(served, self._limits, strict=True)):
                    continue
                jobs = [self._jobs[i] for i, _ in chosen]
                if not self._site.fits(GPU, adapters, jobs):
                    continue
                fits = True
                if {job.adapter for job in jobs} == adapters:
                    found.setdefault(served, []).append(self._batch(chosen, served))
            if not fits:
                break
        return [batch for batches in found.values() for batch in _undominated(batches)]

    def _batch(self, chosen: Sequence[tuple[int, int]], served: tuple[int, ...]) -> BatchChoice:
        """Return the batch of these kinds and options."""
        steps = tuple(self._kinds[i].options[o].steps for i, o in chosen)
        ends, ticks = self._site.clock.ends(steps)
        cost = sum(
            self._kinds[i].options[o].quality_loss + self._prices[i] * ends[s]
            for (i, o), s in zip(chosen, steps, strict=True)
        )
        members = tuple((i, o, chosen.count((i, o))) for i, o in sorted(set(chosen)))
        return BatchChoice(members, served, ticks, cost)

    def _decisions(self, mode: GpuMode) -> list[Decision]:
        """Return the decisions of a mode, the wait first."""
        found = [Decision((), mode.resident, self._number(mode), 0, 0.0)]
        for adapters in self.batches:
            found += self._starts(mode, adapters)
        if not mode.ahead:
            found += self._switches(mode)
        return found

    def _starts(self, mode: GpuMode, adapters: Adapters) -> Iterator[Decision]:
        """Yield the batches of some adapters, with each switch that may go with them."""
        for resident in self._targets(mode, adapters):
            ticks, seconds = self._switch(mode, resident, adapters)
            cost = self._site.switch_price_per_s * seconds
            active = GpuMode(resident, adapters if self._site.activate_s else resident)
            for batch in self.batches[adapters]:
                jobs = self._members(batch)
                if not self._site.fits(GPU, resident, jobs):
                    continue
                if self._crowded(mode, resident, jobs):
                    continue
                waited = sum(p * n for p, n in zip(self._prices, batch.served, strict=True))
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

    def _members(self, batch: BatchChoice) -> list[Job]:
        return [self._jobs[i] for i, _, count in batch.members for _ in range(count)]

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

    def _number(self, mode: GpuMode) -> int:
        """Return the index of a mode, which is added where it is new."""
        if mode not in self._index:
            self._index[mode] = len(self.modes)
            self.modes.append(mode)
        return self._index[mode]


def _undominated(batches: list[BatchChoice]) -> Iterator[BatchChoice]:
    """Yield the batches that neither last longer nor cost more than another one."""
    least = float("inf")
    for batch in sorted(batches, key=lambda b: (b.ticks, b.cost)):
        if batch.cost < least - 1e-12:
            least = batch.cost
            yield batch
