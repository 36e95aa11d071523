"""The cache controller of ``polar``: what it is worth to have an adapter resident, learnt."""

from __future__ import annotations

import math
from collections import Counter

from pats_opt.model.problem import Adapters, Job, Site

#: Least share of the newest epoch in the running mean, so that it follows a drift.
NEWEST = 0.2


class LearntValue:
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
        largest = max(site.adapter_vram, default=0)
        worth = [
            seconds * (largest / vram if vram else 1.0)
            for seconds, vram in zip(site.load_s, site.adapter_vram, strict=True)
        ]
        self.caches = [Cache(worth, site.max_resident, epoch, doubling, bonus) for _ in site.gpus]

    def arrived(self, job: Job) -> None:
        """Not looked at."""

    def served(self, gpu: int, before: Adapters, after: Adapters, active: Adapters) -> None:  # noqa: ARG002
        """Learn from a batch."""
        self.caches[gpu].served(active)

    def __call__(self, gpu: int, residents: Adapters) -> list[int]:
        """``residents`` in the order in which they are to go."""
        return sorted(residents, key=self.caches[gpu].rank)


class Cache:
    """One GPU's: what it has learnt, and the adapters that are to stay.

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
        """A batch that uses ``active`` starts."""
        self._returns.update(active - self._active)
        self._active = active
        self._batches += 1
        self._in_epoch += 1
        for adapter in active:
            self._last[adapter] = self._batches
        if self._in_epoch == self._epoch:
            self._end_epoch()

    def rank(self, adapter: int) -> tuple[bool, float, int, int]:
        """The lower, the sooner it goes."""
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
