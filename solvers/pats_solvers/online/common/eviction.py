"""Which residents go when room is needed: paging rules, usable by every policy.

They matter where ``max_resident`` is above 1. Belady's rule needs the future, so it is no choice
here: the solver ``belady`` applies it to what a policy did, as the yardstick.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Literal

from typing_extensions import override

from pats_opt.model.problem import Adapters, Job, Site

#: Names of the rules, for parameters.
EvictionRule = Literal["lru", "lfu", "cost", "polar", "ghost"]

#: What a request, or a second of loading, counts in :class:`GhostEviction` one arrival later.
FADES = math.exp(-0.01)

#: The recent ghost is followed unless it has loaded more than so many times what the other has.
CLEARLY = 1.1

#: Least share of the newest epoch in the running mean, so that it follows a drift.
NEWEST = 0.2


class Eviction(ABC):
    """A paging rule in one run."""

    def __init__(self, site: Site) -> None:
        self.site = site

    @abstractmethod
    def __call__(self, gpu: int, residents: Adapters) -> Sequence[int]:
        """Return ``residents`` of ``gpu`` in the order in which they are to go."""

    def arrived(self, job: Job) -> None:  # noqa: B027 - a hook
        """Note that a job arrives."""

    def evicted(self, gpu: int, adapters: Adapters) -> None:  # noqa: B027 - a hook
        """Note that a load beside serving evicts ``adapters`` from ``gpu``."""

    def served(  # noqa: B027 - a hook
        self, gpu: int, before: Adapters, after: Adapters, active: Adapters
    ) -> None:
        """Note that a batch starts on ``gpu``.

        Args:
            gpu: The GPU.
            before: Residents before the batch.
            after: Residents during the batch.
            active: Adapters that the batch uses.
        """


def eviction(rule: EvictionRule, site: Site) -> Eviction:
    """Return the rule of a name, with fresh memory."""
    return RULES[rule](site)


class LeastRecentlyUsed(Eviction):
    """Evicts the resident that a batch on that GPU used longest ago.

    Residents that were never used go first; ties go by adapter index.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        count = len(site.adapter_ids)
        self._count = count
        self._last = [list(range(count)) for _ in site.gpus]  # the lower, the longer ago

    @override
    def served(self, gpu: int, before: Adapters, after: Adapters, active: Adapters) -> None:
        for adapter in sorted(active) if len(active) > 1 else active:
            self._last[gpu][adapter] = self._count
            self._count += 1

    @override
    def __call__(self, gpu: int, residents: Adapters) -> list[int]:
        return sorted(residents, key=self._last[gpu].__getitem__)


class LeastFrequentlyUsed(Eviction):
    """Evicts the resident with the fewest requests so far, on all GPUs together; ties: the index.

    Requests count when they arrive, so an adapter with a queue is not taken for a rare one.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._requests = [0] * len(site.adapter_ids)

    @override
    def arrived(self, job: Job) -> None:
        self._requests[job.adapter] += 1

    @override
    def __call__(self, gpu: int, residents: Adapters) -> list[int]:
        return sorted(residents, key=lambda a: (self._requests[a], a))


class GreedyDual(Eviction):
    """Cost-aware: GreedyDual-Size (Cao, Irani 1997; Young 1994 for equal sizes).

    A resident's credit becomes L + load seconds / memory whenever a batch uses it; the one with the
    least credit goes, and L rises to its credit. So what is dear to load, small and recently used
    stays. Memory is relative to the largest adapter's, and alike where adapters take none.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._worth = load_s_per_memory(site)
        self._inflation = [0.0] * len(site.gpus)
        self._credit: dict[tuple[int, int], float] = {}

    @override
    def evicted(self, gpu: int, adapters: Adapters) -> None:
        for adapter in adapters:
            credit = self._credit.pop((gpu, adapter), 0.0)
            self._inflation[gpu] = max(self._inflation[gpu], credit)

    @override
    def served(self, gpu: int, before: Adapters, after: Adapters, active: Adapters) -> None:
        self.evicted(gpu, before - after)
        for adapter in active:
            self._credit[gpu, adapter] = self._inflation[gpu] + self._worth[adapter]

    @override
    def __call__(self, gpu: int, residents: Adapters) -> list[int]:
        return sorted(residents, key=lambda a: (self._credit.get((gpu, a), 0.0), a))


class GhostCache:
    """A cache on paper in :class:`GhostEviction`.

    Attributes:
        rank: Rank of each adapter: the lower, the sooner it goes.
        loaded_s: Seconds that it has spent loading; they fade.
    """

    def __init__(self, site: Site, rank: list[float]) -> None:
        self.rank, self.loaded_s = rank, 0.0
        self._load_s, self._most = site.load_s, site.max_resident * len(site.gpus)
        self._held = {adapter for gpu in site.gpus for adapter in gpu.resident}

    def arrived(self, adapter: int) -> None:
        """Load the adapter of a request if it is missing."""
        self.loaded_s *= FADES
        if adapter not in self._held:
            self.loaded_s += self._load_s[adapter]
            if len(self._held) == self._most:
                self._held.remove(self.order(self._held)[0])
            self._held.add(adapter)

    def order(self, adapters: Collection[int]) -> list[int]:
        """Return adapters in the order in which they are to go."""
        return sorted(sorted(adapters), key=self.rank.__getitem__)


class GhostEviction(Eviction):
    """Evicts in the order of the ghost cache that has loaded less: the recent or the frequent one.

    A *ghost* is a cache on paper. It has room for as many adapters as all GPUs together, and loads
    what each request needs when it arrives. The recent ghost evicts what was requested longest ago,
    the frequent one what has the least load seconds x requests. Requests and seconds of loading
    fade: they count 1 / e after 100 further requests. Residents go in the recent ghost's order,
    unless the frequent one has loaded clearly less (``CLEARLY``). So what is popular and dear to
    load stays where popularity lasts, and what was requested last where it does not. Ties go by
    adapter index.

    Rule: ghosts of recency and frequency as in ARC (Megiddo, Modha 2003), of which the better one
    is followed (Ari et al. 2002).
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        count = len(site.adapter_ids)
        self._arrivals = 0
        self._requests = [0.0] * count  # as of an adapter's last request
        self._recent = GhostCache(site, [0.0] * count)  # ranks: requests up to the last one
        self._frequent = GhostCache(site, [-math.inf] * count)  # logarithms, as if nothing faded

    @override
    def arrived(self, job: Job) -> None:
        if self.site.max_resident == 1:
            return  # there is nothing to choose
        adapter, last = job.adapter, self._recent.rank
        self._arrivals += 1
        age = self._arrivals - last[adapter]
        self._requests[adapter] = 1.0 + self._requests[adapter] * FADES**age
        last[adapter] = self._arrivals
        if worth := self.site.load_s[adapter] * self._requests[adapter]:
            self._frequent.rank[adapter] = math.log(worth) - self._arrivals * math.log(FADES)
        self._recent.arrived(adapter)
        self._frequent.arrived(adapter)

    @override
    def __call__(self, gpu: int, residents: Adapters) -> list[int]:
        followed = self._recent
        if CLEARLY * self._frequent.loaded_s < self._recent.loaded_s:
            followed = self._frequent
        return followed.order(residents)


class LearntValue(Eviction):
    """Evicts what is not in the target cache first, and the least valuable before others.

    Residency saves the load whenever a batch uses an adapter that the GPU's batch before did not: a
    *return*. Each GPU counts them over an epoch of batches; at its end the share of batches that
    return to an adapter moves towards the epoch's (a running mean, in which the newest epoch counts
    a fifth at least). Its value after T batches is ::

        load seconds x (share + bonus x (sqrt(2 x share x ln T / T) + ln T / T))

    an upper confidence bound of empirical Bernstein form, divided by its memory relative to the
    largest adapter's (alike where adapters take none). The target cache is the ``max_resident``
    adapters of the largest values. Ties, and so the whole first epoch, go by least recent use, then
    by index.

    Args:
        site: Where it caches.
        epoch: Batches of an epoch.
        doubling: Whether each epoch is twice as long as the one before.
        bonus: Weight of the optimism.
    """

    def __init__(
        self, site: Site, epoch: int = 50, doubling: bool = False, bonus: float = 1.0
    ) -> None:
        super().__init__(site)
        worth = load_s_per_memory(site)
        self.caches = [
            LearntCache(worth, site.max_resident, epoch, doubling, bonus) for _ in site.gpus
        ]

    @override
    def served(self, gpu: int, before: Adapters, after: Adapters, active: Adapters) -> None:
        self.caches[gpu].served(active)

    @override
    def __call__(self, gpu: int, residents: Adapters) -> list[int]:
        return sorted(residents, key=self.caches[gpu].rank)


class LearntCache:
    """The cache of one GPU in :class:`LearntValue`.

    Attributes:
        value: What each adapter's residency is worth, as of the last epoch's end.
        target: The adapters that are to stay.
    """

    def __init__(
        self, worth: list[float], most: int, epoch: int, doubling: bool, bonus: float
    ) -> None:
        self._worth, self._most = worth, most
        self._epoch, self._doubling, self._bonus = epoch, doubling, bonus
        self._in_epoch, self._batches, self._epochs = 0, 0, 0
        self._active: Adapters = frozenset()
        self._returns = Counter[int]()  # in this epoch
        self._share = [0.0] * len(worth)  # returns a batch
        self._last = [0] * len(worth)  # count of batches at the last use
        self.value = [0.0] * len(worth)
        self.target: Adapters = frozenset()

    def served(self, active: Adapters) -> None:
        """Learn from a batch that uses ``active``."""
        self._returns.update(active - self._active)
        self._active = active
        self._batches += 1
        self._in_epoch += 1
        for adapter in active:
            self._last[adapter] = self._batches
        if self._in_epoch == self._epoch:
            self._end_epoch()

    def rank(self, adapter: int) -> tuple[bool, float, int, int]:
        """Rank of a resident: the lower, the sooner it goes."""
        return adapter in self.target, self.value[adapter], self._last[adapter], adapter

    def _end_epoch(self) -> None:
        self._epochs += 1
        newest = max(NEWEST, 1.0 / self._epochs)
        doubt = math.log(self._batches) / self._batches
        for adapter, before in enumerate(self._share):
            share = before + newest * (self._returns[adapter] / self._epoch - before)
            optimism = self._bonus * (math.sqrt(2.0 * share * doubt) + doubt)
            self._share[adapter] = share
            self.value[adapter] = self._worth[adapter] * (share + optimism)
        best = sorted(range(len(self.value)), key=self._best)[: self._most]
        self.target = frozenset(best)
        self._returns.clear()
        self._in_epoch = 0
        if self._doubling:
            self._epoch *= 2

    def _best(self, adapter: int) -> tuple[float, int, int]:
        return -self.value[adapter], -self._last[adapter], adapter


def load_s_per_memory(site: Site) -> list[float]:
    """Seconds to load each adapter over its memory, relative to the largest adapter's.

    Memory is alike where an adapter takes none.
    """
    largest = max(site.adapter_vram, default=0)
    return [
        seconds * (largest / vram if vram else 1.0)
        for seconds, vram in zip(site.load_s, site.adapter_vram, strict=True)
    ]


#: The rules by name.
RULES: dict[EvictionRule, Callable[[Site], Eviction]] = {
    "lru": LeastRecentlyUsed,
    "lfu": LeastFrequentlyUsed,
    "cost": GreedyDual,
    "polar": LearntValue,
    "ghost": GhostEviction,
}
