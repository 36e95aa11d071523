"""The cache of prompts: look-up, store on a miss, eviction."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta, Struct

from pats_opt.caching.embedding import Embedder
from pats_opt.caching.entries import PromptEntries
from pats_opt.caching.eviction import Eviction
from pats_opt.caching.levels import CacheLevels

#: ``adapter`` keeps the prompts of each adapter apart, since latents of another are in its style.
CacheScope = Literal["adapter", "global"]


class PromptCacheSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of a cache.

    Attributes:
        capacity: Prompts whose latents of all levels fit; latents of some levels take their share.
        eviction: Latents to give up when it is full. ``lcbfu`` those that have saved least steps
            (hits x level), ``lfu`` those with fewest hits, ``lru`` those not used longest, ``none``
            none, so that a full cache stores nothing.
        scope: Prompts that a request may start from: those of its adapter, or all.
        levels: Levels and their thresholds.
    """

    capacity: Annotated[int, Meta(ge=1, le=100_000_000)] = 20_000
    eviction: Eviction = "lcbfu"
    scope: CacheScope = "adapter"
    levels: CacheLevels = CacheLevels()


class PromptLookup(NamedTuple):
    """Result of a look-up.

    Attributes:
        level: Steps to skip; 0 on a miss.
        similarity: Cosine of the nearest cached prompt; None if no prompt is at all similar.
        entry: Entry whose latents of ``level`` are to be used, or None on a miss.
        vector: Vector of the prompt, as the embedder makes it, or None where it says nothing.
        scope: Key of the prompts that were searched.
    """

    level: int
    similarity: float | None
    entry: int | None
    vector: Any
    scope: str


class StoredPrompt(NamedTuple):
    """Result of storing: the new entry, and the (entry, level) of each latent that was evicted."""

    entry: int
    evicted: tuple[tuple[int, int], ...]


class PromptCache:
    """A cache of prompts, by entries numbered in the order in which they are stored.

    The largest level at or below that of the similarity counts for which the *nearest* prompt still
    has latents; if it has none, the look-up is a miss.
    """

    def __init__(self, settings: PromptCacheSettings, embedder: Embedder[Any]) -> None:
        self.settings, self._embedder = settings, embedder
        self._entries = PromptEntries(settings.eviction, embedder)

    def __len__(self) -> int:
        """Return the number of prompts with latents."""
        return len(self._entries)

    @property
    def latents(self) -> int:
        """Number of latents kept."""
        return len(self._entries.order)

    def request(self, prompt: str, adapter: str) -> PromptLookup:
        """Look a prompt up, and store it on a miss."""
        found = self.look_up(prompt, adapter)
        if found.entry is None:
            self.store(found)
        return found

    def look_up(self, prompt: str, adapter: str) -> PromptLookup:
        """Look a prompt up; a hit counts as a use of the latents."""
        scope = adapter if self.settings.scope == "adapter" else ""
        vector = self._embedder.embed(prompt)
        near = self._entries.nearest(scope, vector)
        if near is None:
            return PromptLookup(0, None, None, vector, scope)
        level = self._entries.deepest(near.entry, self.settings.levels.of(near.similarity))
        if not level:
            return PromptLookup(0, near.similarity, None, vector, scope)
        self._entries.order.hit(near.entry, level)
        return PromptLookup(level, near.similarity, near.entry, vector, scope)

    def store(self, missed: PromptLookup) -> StoredPrompt | None:
        """Store latents of all levels for a prompt that was looked up.

        None is stored of a prompt that could never be found, or in a full cache that evicts none.
        """
        levels = self.settings.levels.levels
        room = self.settings.capacity * len(levels)
        full = self.latents + len(levels) > room
        if missed.vector is None or (full and self.settings.eviction == "none"):
            return None
        evicted = []
        while self.latents + len(levels) > room:
            evicted.append(self._entries.evict())
        entry = self._entries.add(missed.scope, missed.vector, levels)
        return StoredPrompt(entry, tuple(evicted))
