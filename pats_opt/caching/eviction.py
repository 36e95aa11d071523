"""Eviction: the order in which a full cache gives up latents.

Latents are evicted one at a time, not prompt by prompt: those of a prompt's deep levels may stay
when its others have gone. Ties are broken by age, the oldest prompt first, then by level, the
shallowest first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

#: Rules of eviction; ``none`` keeps everything, and a full cache takes nothing new.
Eviction = Literal["lcbfu", "lru", "lfu", "none"]


class LatentUse(NamedTuple):
    """Use of the latents of one prompt and level.

    Attributes:
        hits: Hits so far.
        last: Time of the last hit, or else of the storing, in uses of the cache.
    """

    hits: int
    last: int


#: Rule -> value of latents by use and level; those of least value go first.
RULES: dict[str, Callable[[LatentUse, int], int]] = {
    "lcbfu": lambda use, level: use.hits * level,  # steps saved so far
    "lfu": lambda use, _level: use.hits,
    "lru": lambda use, _level: use.last,
}


class EvictionOrder:
    """Latents by (prompt, level), in order of eviction; prompts are numbered as they are stored."""

    def __init__(self, rule: Eviction) -> None:
        self.rule: Eviction = rule
        self._uses: dict[tuple[int, int], LatentUse] = {}
        self._heap: list[tuple[int, int, int]] = []  # with entries whose value has changed since
        self._clock = 0

    def __len__(self) -> int:
        return len(self._uses)

    def store(self, entry: int, levels: Iterable[int]) -> None:
        """Add the latents of a prompt; they count as used now, but not as hits."""
        self._clock += 1
        for level in levels:
            self._set(entry, level, LatentUse(0, self._clock))

    def hit(self, entry: int, level: int, times: int = 1) -> None:
        """Count a use, or several."""
        self._clock += 1
        self._set(entry, level, LatentUse(self._uses[entry, level].hits + times, self._clock))

    def drop(self, entry: int, level: int) -> None:
        """Remove latents, whatever their turn."""
        del self._uses[entry, level]

    def uses(self) -> list[tuple[int, int, LatentUse]]:
        """Return the prompt, level and use of all latents, the longest unused first."""
        found = [(entry, level, use) for (entry, level), use in self._uses.items()]
        return sorted(found, key=lambda one: one[2].last)

    def evict(self) -> tuple[int, int]:
        """Remove the next latents, and return their prompt and level."""
        while True:
            value, entry, level = heapq.heappop(self._heap)
            use = self._uses.get((entry, level))
            if use is not None and RULES[self.rule](use, level) == value:
                del self._uses[entry, level]
                return entry, level

    def _set(self, entry: int, level: int, use: LatentUse) -> None:
        self._uses[entry, level] = use
        if self.rule == "none":
            return
        heapq.heappush(self._heap, (RULES[self.rule](use, level), entry, level))
        if len(self._heap) > 64 + 2 * len(self._uses):  # so that memory stays bounded
            self._heap = [(RULES[self.rule](u, k), e, k) for (e, k), u in self._uses.items()]
            heapq.heapify(self._heap)
