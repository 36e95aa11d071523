"""The recipe's table ``approximate_cache``: hits, levels, quality and cost of skipping steps.

None of the default figures is measured here; each is published, or an assumption that is marked so.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from pats_opt.caching.cache import CacheScope, PromptCacheSettings
from pats_opt.caching.embedders import MINILM as SENTENCES
from pats_opt.caching.embedders import WORDS as WORD_EMBEDDER
from pats_opt.caching.eviction import Eviction
from pats_opt.caching.levels import (
    CLIP,
    LEVELS,
    MINILM,
    WORDS,
    CacheLevels,
    Cosine,
    Level,
    check_rising,
    check_thresholds,
    published,
)
from pats_opt.errors import InputError
from pats_opt.generate.config import ConfigTable, NotNegative, Share

#: Shares of the levels of NIRVANA in 20,000 look-ups of a warm cache, in a public hit log.
SHARES = (0.426, 0.213, 0.046, 0.032, 0.059)

#: Seconds of a look-up, as the Katz simulator assumes for NIRVANA.
LOOKUP_S = 0.35


class ApproximateCache(ConfigTable, frozen=True, kw_only=True):
    """Approximate caching: each request gets an option for every level, and a look-up.

    With a level K, a request of N steps gets the option of N - K steps that skips K, and the one of
    N steps that skips none; options with fewer steps from the table ``steps`` fall away. A level
    beyond what the look-up found remains an option: its quality is as low as that level's is.

    Attributes:
        source: Origin of hits. ``shares`` draws each request's level, by itself. ``log`` takes
            logged cosines. ``prompts`` looks the prompts up in a cache that starts empty, and
            stores each prompt that misses as soon as it arrives.
        levels: Steps that may be skipped, rising.
        thresholds: Cosine above which each level is found; empty for the published ones.
        shares: Probability of each level, for ``shares``; what is left over misses.
        log: CSV file with the column ``similarity``, for ``log``; its rows are taken in order from
            a drawn one, and again from the first. None for the column of an imported log.
        prompts: Prompts for ``generate``: a text file with one per line, or a CSV or TSV file with
            the column ``prompt``, taken in order from a drawn one.
        warm: Prompts of that file before the first request's that are looked up too.
        embedder: ``words``, ``minilm:FOLDER`` for all-MiniLM-L6-v2 in a folder, or
            ``module:function`` for a function from a prompt to numbers.
        capacity: Prompts that the cache has room for.
        eviction: lcbfu, lru, lfu or none.
        scope: Prompts that a request may start from: those of its adapter, or all (``global``).
        lookup_s: Seconds of a look-up. Arrivals are later by as much, and deadlines are kept.
        spread: Coefficient of variation of how much prompts suffer from skipped steps, an
            assumption: nobody has published it.
        quality_table: CSV file with the columns ``skip`` and ``quality``, and optionally
            ``similarity``, in place of the published quality.
    """

    source: Literal["shares", "log", "prompts"] = "shares"
    levels: tuple[Level, ...] = LEVELS
    thresholds: tuple[Cosine, ...] = ()
    shares: tuple[Share, ...] = SHARES
    log: str | None = None
    prompts: str | None = None
    warm: Annotated[int, Meta(ge=0, le=100_000_000)] = 0
    embedder: str = WORD_EMBEDDER
    capacity: Annotated[int, Meta(ge=1, le=100_000_000)] = 20_000
    eviction: Eviction = "lcbfu"
    scope: CacheScope = "adapter"
    lookup_s: NotNegative = LOOKUP_S
    spread: Annotated[float, Meta(ge=0, le=100)] = 1.0
    quality_table: str | None = None

    def __post_init__(self) -> None:
        check_rising(self.levels)
        if self.thresholds:
            check_thresholds(self.levels, self.thresholds)
        if self.source == "shares" and (
            len(self.shares) != len(self.levels) or sum(self.shares) > 1 + 1e-9
        ):
            raise ValueError("'shares' needs one share for each of 'levels', 1 at most in sum")

    def found_levels(self) -> CacheLevels:
        """Return the levels with their thresholds.

        Raises:
            InputError: None are given or published for these levels or this embedder.
        """
        if self.thresholds:
            return CacheLevels(levels=self.levels, thresholds=self.thresholds)
        known = CLIP
        if self.source == "prompts":
            if self.embedder == WORD_EMBEDDER:
                known = WORDS
            elif self.embedder.startswith(SENTENCES):
                known = MINILM
            else:
                raise InputError(
                    f"embedder {self.embedder!r} has no published thresholds",
                    place="approximate_cache.thresholds",
                    hint="give one cosine for each level",
                )
        try:
            return published(self.levels, known)
        except ValueError as error:
            raise InputError(
                str(error), place="approximate_cache.thresholds", hint="add --cache-thresholds"
            ) from None

    def settings(self) -> PromptCacheSettings:
        """Return the settings of the cache of prompts."""
        return PromptCacheSettings(
            capacity=self.capacity,
            eviction=self.eviction,
            scope=self.scope,
            levels=self.found_levels(),
        )
