"""Levels of a cache, and the similarity that each needs.

A cosine of CLIP's, of words and of another embedder are different numbers for the same pair of
prompts, so each embedder has thresholds of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta, Struct

#: Steps skipped, of 50, at each level of NIRVANA.
LEVELS = (5, 10, 15, 20, 25)

#: Cosines of NIRVANA's levels, between CLIP's text embeddings.
CLIP = dict(zip(LEVELS, (0.65, 0.75, 0.85, 0.90, 0.95), strict=True))

#: Cosines of words (TF-IDF) that agree best with CLIP's on 15,502 pairs of a public hit log. Misses
#: were not logged, so level 5 has no threshold of its own; with that of level 10 it is never found.
WORDS = dict(zip(LEVELS, (0.23, 0.23, 0.63, 0.76, 0.87), strict=True))

#: Cosines of all-MiniLM-L6-v2, likewise; the middles of the ranges that agree best.
MINILM = dict(zip(LEVELS, (0.62, 0.62, 0.83, 0.905, 0.95), strict=True))

Level = Annotated[int, Meta(ge=1, le=1_000_000)]
Cosine = Annotated[float, Meta(ge=0, lt=1)]


class CacheLevels(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Levels with their thresholds: a level is found by a similarity above its threshold.

    Where several are, the deepest counts.

    Attributes:
        levels: Steps skipped, rising.
        thresholds: One cosine for each, not falling.
    """

    levels: tuple[Level, ...] = LEVELS
    thresholds: tuple[Cosine, ...] = tuple(CLIP.values())

    def __post_init__(self) -> None:
        check_rising(self.levels)
        check_thresholds(self.levels, self.thresholds)

    def of(self, similarity: float) -> int:
        """Return the steps that a similarity lets a request skip, 0 where it is too low."""
        found = bisect_left(self.thresholds, similarity)
        return self.levels[found - 1] if found else 0


def check_rising(levels: Sequence[int]) -> None:
    """Refuse levels that do not rise.

    Raises:
        ValueError: They do not, or there is none.
    """
    if not levels or list(levels) != sorted(set(levels)):
        raise ValueError("'levels' needs rising numbers of steps, at least one")


def check_thresholds(levels: Sequence[int], thresholds: Sequence[float]) -> None:
    """Refuse thresholds that do not suit the levels.

    Raises:
        ValueError: There are too few or too many, or one is lower than the one before.
    """
    if len(thresholds) != len(levels) or list(thresholds) != sorted(thresholds):
        raise ValueError("'thresholds' needs one cosine for each of 'levels', none below the last")


def published(levels: Sequence[int], known: Mapping[int, float]) -> CacheLevels:
    """Return levels with their published thresholds.

    Args:
        levels: Steps skipped, rising.
        known: :data:`CLIP` or :data:`WORDS`.

    Raises:
        ValueError: A level has none.
    """
    lacking = [level for level in levels if level not in known]
    if lacking:
        raise ValueError(f"level {lacking[0]} has no published threshold; give 'thresholds'")
    return CacheLevels(levels=tuple(levels), thresholds=tuple(known[level] for level in levels))
