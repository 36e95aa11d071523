"""TF-IDF over words against a dictionary, and its nearest prompt against a full scan."""

from __future__ import annotations

import math
import random
import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.caching import words
from pats_opt.caching.words import WordEmbedder

VOCABULARY = ["red", "fox", "a", "in", "snow", "photo", "of", "Fox", "sky,", "bokeh", "8k"]
prompts = st.lists(st.sampled_from(VOCABULARY), max_size=7).map(" ".join)
streams = st.lists(prompts, min_size=1, max_size=30)


def features(prompt: str) -> Counter[str]:
    """Words of two or more characters, and pairs of them."""
    words = [w for w in re.split(r"\W+", prompt.lower()) if len(w) > 1]
    return Counter(words + [f"{words[i]} {words[i + 1]}" for i in range(len(words) - 1)])


class PlainWords:
    """TF-IDF in dictionaries, with idf brought up to date by the same calendar."""

    def __init__(self) -> None:
        self.seen: list[set[str]] = []
        self.idf_of: list[set[str]] = []  # the prompts that idf knows

    def see(self, prompt: str) -> None:
        """Count a prompt that has features."""
        if found := features(prompt):
            self.seen.append(set(found))
            if len(self.seen) >= 1.1 * len(self.idf_of) - 1e-9:
                self.idf_of = list(self.seen)

    def weights(self, prompt: str) -> dict[str, float]:
        """Weights of a prompt under the idf of now."""
        n = len(self.idf_of)
        return {
            f: count * (math.log((1 + n) / (1 + sum(f in p for p in self.idf_of))) + 1)
            for f, count in features(prompt).items()
        }

    def cosine(self, a: str, b: str) -> float:
        """Cosine of two prompts with features."""
        u, v = self.weights(a), self.weights(b)
        length = math.sqrt(sum(w * w for w in u.values()) * sum(w * w for w in v.values()))
        return sum(w * v.get(f, 0.0) for f, w in u.items()) / length


@given(streams, st.sets(st.integers(0, 30)))
def test_nearest_prompt_and_cosine(stream: list[str], removed: set[int]) -> None:
    """The nearest of all earlier prompts (some of them removed), by a scan over all."""
    embedder, plain = WordEmbedder(), PlainWords()
    index = embedder.index()
    there: dict[int, str] = {}
    for entry, prompt in enumerate(stream):
        vector = embedder.embed(prompt)
        plain.see(prompt)
        assert (vector is None) == (not features(prompt))
        if vector is None:
            continue
        found = index.nearest(vector)
        cosines = {e: plain.cosine(prompt, other) for e, other in there.items()}
        best = max(cosines.values(), default=0.0)
        if best <= 0:
            assert found is None
        else:
            assert found is not None
            assert found.similarity == pytest.approx(best, abs=2e-6)
            assert found.entry == min(e for e, c in cosines.items() if c > best - 1e-9)
        index.add(entry, vector)
        there[entry] = prompt
        if entry in removed:
            index.remove(entry)
            del there[entry]
        assert len(index) == len(there)


def test_frequent_words_count_as_others_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digit, while entries come and go."""
    found = []
    for long in (5, 10_000):
        monkeypatch.setattr(words, "LONG", long)
        embedder, rng = WordEmbedder(), random.Random(0)
        index, there, nearest = embedder.index(), list[int](), []
        for entry in range(400):
            vector = embedder.embed(" ".join(rng.choices(VOCABULARY, k=6)) + f" of {entry % 50}0")
            assert vector is not None
            nearest.append(index.nearest(vector))
            index.add(entry, vector)
            there.append(entry)
            if len(there) > 60:
                index.remove(there.pop(rng.randrange(len(there))))
        found.append(nearest)
    assert found[0] == found[1]


def test_an_equal_prompt_has_cosine_1_however_old() -> None:
    """Document frequencies change in between."""
    embedder = WordEmbedder()
    index = embedder.index()
    first = embedder.embed("a portrait of an old sailor, oil painting")
    assert first is not None
    index.add(0, first)
    for i in range(500):
        other = embedder.embed(f"portrait number {i} of an old castle")
        assert other is not None
        index.add(i + 1, other)
    again = embedder.embed("A PORTRAIT of an old sailor - oil painting!")
    assert again is not None
    found = index.nearest(again)
    assert found is not None
    assert tuple(found) == (0, 1.0)


def test_buckets_are_all_the_memory_there_is() -> None:
    """A vocabulary larger than the buckets is hashed into them."""
    embedder = WordEmbedder(buckets=64)
    for i in range(1000):
        vector = embedder.embed(f"thing{i} besides thing{i + 1}")
        assert vector is not None
        assert vector.buckets.max() < 64
        assert np.all(np.diff(vector.buckets) > 0)
    assert len(embedder.idf) == 64
    assert np.all(embedder.idf >= 1.0)
