"""The cache restated plainly: lists that are searched from end to end, nothing kept up to date."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Vector = Sequence[float]


def cosine(a: Vector, b: Vector) -> float:
    """Cosine of two vectors, 0 where one is 0."""
    lengths = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


@dataclass
class PlainLatents:
    """Latents of one level of one stored prompt."""

    entry: int
    level: int
    hits: int
    used: int


@dataclass
class PlainCache:
    """A cache; a request is answered with (level, similarity)."""

    vector_of: Callable[[str], Vector]
    capacity: int
    rule: str
    shared: bool
    thresholds: dict[int, float]
    prompts: list[tuple[str, Vector]] = field(default_factory=list)  # adapter and vector of entries
    kept: list[PlainLatents] = field(default_factory=list)
    time: int = 0

    def request(self, prompt: str, adapter: str) -> tuple[int, float | None]:
        """Look up; store on a miss."""
        mine = self.vector_of(prompt)
        there = {one.entry for one in self.kept}
        cosines = {
            entry: round(cosine(mine, vector), 6)
            for entry, (owner, vector) in enumerate(self.prompts)
            if entry in there and (self.shared or owner == adapter) and cosine(mine, vector) > 0
        }
        self.time += 1
        similarity = max(cosines.values(), default=None)
        if similarity is not None:
            entry = min(e for e, c in cosines.items() if c == similarity)
            wanted = max((k for k, low in self.thresholds.items() if similarity > low), default=0)
            usable = [one for one in self.kept if one.entry == entry and one.level <= wanted]
            if usable:
                used = max(usable, key=lambda one: one.level)
                used.hits, used.used = used.hits + 1, self.time
                return used.level, similarity
        if any(mine):
            self._store(adapter, mine)
        return 0, similarity

    def _store(self, adapter: str, vector: Vector) -> None:
        room = self.capacity * len(self.thresholds)
        while len(self.kept) + len(self.thresholds) > room:
            if self.rule == "none":
                return
            self.kept.remove(min(self.kept, key=self._worth))
        self.prompts.append((adapter, vector))
        entry = len(self.prompts) - 1
        self.kept += [PlainLatents(entry, level, 0, self.time) for level in self.thresholds]

    def _worth(self, one: PlainLatents) -> tuple[int, int, int]:
        worth = {"lcbfu": one.hits * one.level, "lfu": one.hits, "lru": one.used}[self.rule]
        return worth, one.entry, one.level
