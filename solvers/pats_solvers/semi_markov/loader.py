"""Decisions where loads run beside serving (PROBLEM.md section 5a), on one channel.

A mode also says how long the batch and the load in progress still take. Of the two at most one is
in progress at an epoch: while both are there is nothing to decide. So an epoch is a tick at which
the GPU is idle, or at which it serves and its channel is free. A decision is a batch, a load or
both, and it leads to the first tick at which something can be decided again. To wait is to decide
anew a tick later. Nothing about the order of loads and batches is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

from msgspec.structs import replace
from typing_extensions import override

from pats_opt.errors import InputError
from pats_opt.model.problem import Adapters, Site
from pats_solvers.semi_markov.arrivals import RequestKind
from pats_solvers.semi_markov.batches import GPU, BatchChoices
from pats_solvers.semi_markov.decisions import Decision, GpuMode, ModeTable


class LoadingTable(ModeTable):
    """All modes that a GPU with a loader can come to, and the decisions in each.

    Args:
        site: Everything but the requests; one GPU, one channel, activations that take no time.
        kinds: The kinds of requests.
        limits: Largest number waiting of each kind.

    Raises:
        InputError: The site has what these decisions lack.
    """

    def __init__(self, site: Site, kinds: Sequence[RequestKind], limits: Sequence[int]) -> None:
        self._site = site
        self._used = sorted({kind.adapter for kind in kinds})
        self._choices = BatchChoices(site, kinds, limits)
        for refused, place, why, hint in self._lacks():
            if refused:
                raise InputError(why, place=place, hint=hint)
        super().__init__(site.gpus[GPU].resident)

    def _lacks(self) -> Iterator[tuple[bool, str, str, str]]:
        """Yield whether each thing is there that is refused, its place, why, and the mend."""
        site = self._site
        yield (
            site.channels != 1,
            "switching.channels",
            "several loads at a time beside serving",
            "set it to 1",
        )
        yield (
            site.activate_s > 0,
            "switching.activate_s",
            "activations that take time, with loads beside serving",
            "set it to 0",
        )
        yield (
            any(not site.load_ticks(a) for a in self._used),
            "switching.load_s",
            "an adapter whose load beside serving takes no time",
            "give every adapter a load time, and leave popularity.base_share out",
        )
        yield (
            self._crowded(),
            "switching.max_resident",
            "the largest batch does not fit beside so many residents",
            "lower it, or gpus.batch",
        )

    def _crowded(self) -> bool:
        """Return whether a batch has no room beside as many residents as there may be."""
        site = self._site
        known = sorted({*self._used, *site.gpus[GPU].resident})
        return any(
            not site.fits(GPU, beside, self._choices.members(batch))
            for chosen in combinations(known, min(site.max_resident, len(known)))
            for adapters, batches in self._choices.by_adapters.items()
            if adapters <= (beside := frozenset(chosen))
            for batch in batches
        )

    @override
    def _decisions(self, mode: GpuMode) -> Iterator[Decision]:
        yield Decision((), mode.resident, self._number(_later(mode, 1)), 0, 0.0)
        for loaded, cost in self._loads(mode):
            yield self._decision(loaded, (), cost, ticks=min(mode.busy, loaded.loading) or 1)
        if not mode.busy:
            yield from self._starts(mode)

    def _starts(self, mode: GpuMode) -> Iterator[Decision]:
        """Yield the batches of what is loaded, each by itself and with each load beside it."""
        for adapters, batches in self._choices.by_adapters.items():
            if not adapters <= mode.ready:
                continue
            for batch in batches:
                busy = replace(mode, busy=batch.ticks, using=adapters)
                loads = list(self._loads(busy))
                # While it serves without a load, one may start at the next tick.
                ticks = 1 if loads else min(batch.ticks, mode.loading or batch.ticks)
                yield self._decision(busy, batch.members, batch.cost, ticks=ticks)
                for loaded, cost in loads:
                    ticks = min(batch.ticks, loaded.loading)
                    yield self._decision(loaded, batch.members, cost + batch.cost, ticks=ticks)

    def _loads(self, mode: GpuMode) -> Iterator[tuple[GpuMode, float]]:
        """Yield the modes right after the start of a load, and what each load pays."""
        if mode.loading:
            return
        site, resident = self._site, mode.resident
        evict = [frozenset[int]()]
        if len(resident) >= site.max_resident:
            evict = [frozenset((a,)) for a in sorted(resident - mode.using)]
        for a in self._used:
            if a not in resident:
                for gone in evict:
                    loaded = replace(
                        mode,
                        resident=(resident - gone) | {a},
                        ready=mode.ready - gone,
                        loading=site.load_ticks(a),
                    )
                    yield loaded, site.load_s[a] * site.switch_price_per_s

    def _decision(
        self, now: GpuMode, members: tuple[tuple[int, int, int], ...], cost: float, *, ticks: int
    ) -> Decision:
        """Return the decision with which the GPU is in a mode right now."""
        return Decision(members, now.resident, self._number(_later(now, ticks)), ticks, cost)


def most_modes(site: Site, kinds: Sequence[RequestKind], limits: Sequence[int], sets: int) -> int:
    """Return a bound on the modes, where the GPU has so many sets of residents."""
    batches = BatchChoices(site, kinds, limits).by_adapters
    serving = sum([max([batch.ticks for batch in found], default=0) for found in batches.values()])
    loading = sum([site.load_ticks(a) for a in {kind.adapter for kind in kinds}])
    return sets * (1 + loading + serving)


def _later(mode: GpuMode, ticks: int) -> GpuMode:
    """Return the mode after so many ticks without a decision."""
    loading, busy = max(0, mode.loading - ticks), max(0, mode.busy - ticks)
    using: Adapters = mode.using if busy else frozenset()
    ready = mode.ready if loading else mode.resident
    return replace(mode, ready=ready, loading=loading, busy=busy, using=using)
