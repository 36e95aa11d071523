"""The cache against its plain restatement, and what it promises of memory and order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.caching.cache import CacheScope, PromptCache, PromptCacheSettings
from pats_opt.caching.dense import DenseEmbedder
from pats_opt.caching.embedding import Embedder
from pats_opt.caching.eviction import RULES, Eviction
from pats_opt.caching.levels import CacheLevels
from pats_opt.caching.words import WordEmbedder
from tests.caching.plain_cache import PlainCache

#: Directions some of whose cosines lie between each two thresholds.
VECTORS: dict[str, list[float]] = {
    "zero": [0, 0, 0],
    "x": [1, 0, 0],
    "x long": [7, 0, 0],
    "near x": [9, 2, 0],
    "x and y": [5, 4, 0],
    "y": [0, 1, 0],
    "near y": [0, 9, 1],
    "z": [0, 0, 1],
    "against x": [-1, 0, 0.5],
    "all": [1, 1, 1],
}
THRESHOLDS = {5: 0.5, 10: 0.75, 25: 0.95}

streams = st.lists(
    st.tuples(st.sampled_from(sorted(VECTORS)), st.sampled_from(["a", "b"])), max_size=60
)
rules = st.sampled_from([*RULES, "none"])


def dense() -> Embedder[Any]:
    """An embedder of the vectors above."""
    return DenseEmbedder(VECTORS.__getitem__, "vectors")


def cache(
    capacity: int, rule: Eviction = "lcbfu", scope: CacheScope = "adapter", **other: Any
) -> PromptCache:
    """A cache with the thresholds above."""
    levels = CacheLevels(levels=tuple(THRESHOLDS), thresholds=tuple(THRESHOLDS.values()))
    settings = PromptCacheSettings(capacity=capacity, eviction=rule, scope=scope, levels=levels)
    return PromptCache(settings, other.get("embedder") or dense())


@given(streams, rules, st.booleans(), st.integers(1, 4))
def test_each_rule_against_its_plain_restatement(
    stream: list[tuple[str, str]], rule: Eviction, shared: bool, capacity: int
) -> None:
    plain = PlainCache(VECTORS.__getitem__, capacity, rule, shared, THRESHOLDS)
    real = cache(capacity, rule, "global" if shared else "adapter")
    for prompt, adapter in stream:
        found = real.request(prompt, adapter)
        level, similarity = plain.request(prompt, adapter)
        assert found.level == level
        assert found.similarity == (None if similarity is None else pytest.approx(similarity))
        assert real.latents == len(plain.kept)
        assert len(real) == len({one.entry for one in plain.kept})


def test_least_saved_steps_go_first() -> None:
    """Two shallow hits save less than one deep one; a latent never used goes before both."""
    real = cache(2)
    for prompt in ("x", "y"):
        real.request(prompt, "a")
    for prompt in ("x and y", "x and y", "near y"):  # twice level 10 of x, once level 25 of y
        assert real.request(prompt, "a").level
    missed = real.look_up("z", "a")
    stored = real.store(missed)
    assert stored is not None
    assert stored.evicted == ((0, 5), (0, 25), (1, 5))


def test_a_nearest_prompt_without_shallow_latents_is_a_miss() -> None:
    real = cache(1, "lru")
    real.request("x", "a")
    for level in (5, 10):
        assert real._entries.evict() == (0, level)  # as storing part of a prompt would
    assert real.look_up("x", "a").level == 25
    assert real.look_up("x and y", "a")[:3] == (0, 0.780869, None)


def test_scope() -> None:
    """Latents of another adapter count only where the scope is global."""
    own, all_ = cache(4), cache(4, scope="global")
    for real, expected in ((own, [0, 0, 25, 25]), (all_, [0, 25, 25, 25])):
        stream = [("x", "a"), ("x", "b"), ("x", "a"), ("x", "b")]
        assert [real.request(*one).level for one in stream] == expected


words = st.lists(st.sampled_from(["red fox", "red", "blue sky", "sky over hills", "fox"]))
sentences = st.lists(words.map(" ".join), max_size=30)


@given(sentences, sentences)
def test_no_sight_of_the_future(first: list[str], rest: list[str]) -> None:
    """The first requests get the same answers, whatever comes later."""

    def answers(stream: list[str]) -> list[tuple[int, float | None]]:
        real = cache(3, embedder=WordEmbedder())
        return [real.request(prompt, "a")[:2] for prompt in stream]

    assert answers(first + rest)[: len(first)] == answers(first)


@pytest.mark.parametrize("rule", [*RULES, "none"])
def test_memory_does_not_grow_with_the_stream(rule: Eviction) -> None:
    """Entries, latents, lists of the index and the order of eviction stay within the capacity."""
    real = cache(20, rule, embedder=WordEmbedder(2**12))
    longest = 0
    for i in range(3000):
        real.request(f"picture number{i} of thing{i * i % 97} and thing{i % 89}", "a")
        index: Any = real._entries._indices["a"]
        longest = max(longest, len(index._entries), len(real._entries.order._heap))
        assert len(real) <= 20 * 3
        assert real.latents <= 20 * 3
    features = sum(len(slots) for slots, _ in index._lists.values())
    assert longest <= 64 + 2 * 20 * 3 + 1
    assert features <= 13 * longest
    assert len(real._entries._levels) == len(real._entries._scope_of) == len(real)


def test_prompts_that_say_nothing_are_neither_found_nor_stored() -> None:
    real = cache(2)
    for _ in range(2):
        assert real.request("zero", "a")[:3] == (0, None, None)
    assert len(real) == 0
