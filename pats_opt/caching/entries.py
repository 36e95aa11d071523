"""Prompts that have latents: searched by look-ups, given up by evictions."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from pats_opt.caching.embedding import Embedder, NearestPrompt, PromptIndex
from pats_opt.caching.eviction import Eviction, EvictionOrder


class PromptEntries:
    """Prompts by scope, as entries numbered in the order in which they are added.

    Args:
        rule: Order in which latents are given up.
        embedder: Makes the indices; its vectors are added.

    Attributes:
        order: The latents in order of eviction.
    """

    def __init__(self, rule: Eviction, embedder: Embedder[Any]) -> None:
        self.order = EvictionOrder(rule)
        self._embedder = embedder
        self._indices: dict[str, PromptIndex[Any]] = {}
        self._levels: dict[int, list[int]] = {}  # of an entry, with latents; rising
        self._scope_of: dict[int, str] = {}
        self._added = 0

    def __len__(self) -> int:
        """Return the number of prompts with latents."""
        return len(self._levels)

    def nearest(self, scope: str, vector: Any) -> NearestPrompt | None:
        """Return the most similar entry of a scope; None if no cosine is above 0."""
        index = self._indices.get(scope)
        return None if vector is None or index is None else index.nearest(vector)

    def deepest(self, entry: int, most: int) -> int:
        """Return the largest level up to ``most`` of which an entry has latents; 0 if none."""
        return max([level for level in self._levels[entry] if level <= most], default=0)

    def add(self, scope: str, vector: Any, levels: Iterable[int]) -> int:
        """Add a prompt with latents of these levels; return its entry."""
        entry, self._added = self._added, self._added + 1
        if scope not in self._indices:
            self._indices[scope] = self._embedder.index()
        self._indices[scope].add(entry, vector)
        self._levels[entry], self._scope_of[entry] = sorted(levels), scope
        self.order.store(entry, self._levels[entry])
        return entry

    def extend(self, entry: int, levels: Collection[int]) -> None:
        """Add latents of further levels to an entry."""
        self._levels[entry] = sorted([*self._levels[entry], *levels])
        self.order.store(entry, levels)

    def evict(self) -> tuple[int, int]:
        """Forget the next latents to give up; return their entry and level."""
        entry, level = self.order.evict()
        self._forget(entry, level)
        return entry, level

    def drop(self, entry: int, level: int) -> None:
        """Forget latents, whatever their turn."""
        self.order.drop(entry, level)
        self._forget(entry, level)

    def _forget(self, entry: int, level: int) -> None:
        """Forget latents, and the prompt with its last ones."""
        self._levels[entry].remove(level)
        if self._levels[entry]:
            return
        del self._levels[entry]
        scope = self._scope_of.pop(entry)
        self._indices[scope].remove(entry)
        if not len(self._indices[scope]):
            del self._indices[scope]
