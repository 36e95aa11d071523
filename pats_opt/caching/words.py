"""TF-IDF over words and pairs of words, with the exact nearest prompt by an inverted index.

A feature is a word of two or more characters, or two such words in a row. Features are hashed into
a fixed number of buckets, so memory does not grow with the vocabulary. The weight of a feature in a
prompt is its count x idf, with ``idf = ln((1 + n) / (1 + d)) + 1`` for a feature in d of the n
prompts that the stream has had so far. Nothing is known of later prompts.

The idf of all features is brought up to date when the stream has grown by a tenth, for the vectors
in the indices too. So equal prompts have a cosine of 1, however long ago one was cached.
"""

from __future__ import annotations

import math
import re
from array import array
from itertools import pairwise
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from pats_opt.caching.embedding import NearestPrompt

#: Buckets of features.
BUCKETS = 2**18

#: Share of the slots, and number, above which the list of a feature is kept by slot too.
DENSE, LONG = 1 / 8, 64

#: Cosines that differ by less are equal: sums of floats depend on their order.
EQUAL = 1e-9

_WORD = re.compile(r"\w\w+")


class WordVector(NamedTuple):
    """Counts of a prompt's features, by bucket, rising."""

    buckets: NDArray[np.int64]
    counts: NDArray[np.float64]


class WordEmbedder:
    """Embedder ``words``. Indices that it makes share its idf."""

    def __init__(self, buckets: int = BUCKETS) -> None:
        self._in_prompts = np.zeros(buckets, dtype=np.int64)
        self._prompts = 0
        self.idf = np.ones(buckets)
        self.updated = 0  # prompts at the last update of idf

    def embed(self, prompt: str) -> WordVector | None:
        """Count the features of a prompt; None where it has none."""
        words = _WORD.findall(prompt.lower())
        features = [*words, *(f"{a} {b}" for a, b in pairwise(words))]
        if not features:
            return None
        size = len(self.idf)
        hashed = [crc32(text.encode("utf-8", "surrogatepass")) % size for text in features]
        buckets, counts = np.unique(np.array(hashed, dtype=np.int64), return_counts=True)
        self._in_prompts[buckets] += 1
        self._prompts += 1
        if 10 * self._prompts >= 11 * self.updated:
            self._update()
        return WordVector(buckets, counts.astype(np.float64))

    def index(self) -> WordIndex:
        """Return an empty index."""
        return WordIndex(self)

    def _update(self) -> None:
        # Rounded, because the last bit of a logarithm differs between machines.
        idf = np.log((1.0 + self._prompts) / (1.0 + self._in_prompts)) + 1.0
        self.idf = np.round(idf, 9)
        self.updated = self._prompts


class DenseCounts:
    """Counts of one feature by slot, 0 where a prompt lacks it.

    Attributes:
        counts: The counts; more slots than there are yet.
        seen: How many of the feature's list are in it.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(0)
        self.seen = 0


class WordIndex:
    """Exact search among word vectors: only prompts that share a feature are looked at.

    Removed entries are left in the lists of the features until they are as many as the others.
    """

    def __init__(self, words: WordEmbedder) -> None:
        self._words = words
        self._entries: list[int] = []  # by slot
        self._vectors: list[WordVector | None] = []  # by slot; None where it was removed
        self._slot: dict[int, int] = {}
        self._lists: dict[int, tuple[array[int], array[float]]] = {}  # slots and counts of a bucket
        self._dense: dict[int, DenseCounts] = {}  # by bucket, of the longest lists
        self._norms = np.zeros(0)  # by slot; infinite where it was removed
        self._updated = -1

    def __len__(self) -> int:
        return len(self._slot)

    def add(self, entry: int, vector: WordVector) -> None:
        """Add an entry."""
        if len(self._entries) > 64 + 2 * len(self._slot):
            self._compact()
        self._append(entry, vector)

    def remove(self, entry: int) -> None:
        """Remove an entry."""
        slot = self._slot.pop(entry)
        self._vectors[slot] = None
        self._norms[slot] = math.inf

    def nearest(self, vector: WordVector) -> NearestPrompt | None:
        """Return the nearest entry, the oldest of equals; None if none shares a feature."""
        if not self._slot:
            return None
        if self._updated != self._words.updated:
            self._update_norms()
        idf = self._words.idf[vector.buckets]
        weights = vector.counts * idf * idf  # idf of this prompt's weight, and of the others'
        scores = np.zeros(len(self._entries))
        for bucket, weight in zip(vector.buckets.tolist(), weights.tolist(), strict=True):
            found = self._lists.get(bucket)
            if found is not None:
                if len(found[0]) > max(LONG, DENSE * len(scores)):
                    scores += weight * self._by_slot(bucket, len(scores))
                else:
                    slots = np.frombuffer(found[0], dtype=np.int64)
                    scores[slots] += weight * np.frombuffer(found[1])
        scores /= self._norms[: len(scores)]
        best = float(scores.max())
        own = math.sqrt(float(np.square(vector.counts * idf).sum()))
        if best <= 0.0:
            return None
        slot = int(np.flatnonzero(scores >= best - EQUAL * own)[0])
        return NearestPrompt(self._entries[slot], min(1.0, round(best / own, 6)))

    def _by_slot(self, bucket: int, size: int) -> NDArray[np.float64]:
        """Counts of a frequent feature by slot: to add them is quicker than to pick them."""
        known = self._dense.setdefault(bucket, DenseCounts())
        if size > len(known.counts):
            known.counts = np.concatenate((known.counts, np.zeros(64 + size)))
        slots, counts = self._lists[bucket]
        known.counts[slots[known.seen :]] = counts[known.seen :]
        known.seen = len(slots)
        return known.counts[:size]

    def _append(self, entry: int, vector: WordVector) -> None:
        slot = len(self._entries)
        self._slot[entry] = slot
        self._entries.append(entry)
        self._vectors.append(vector)
        for bucket, count in zip(vector.buckets.tolist(), vector.counts.tolist(), strict=True):
            slots, counts = self._lists.setdefault(bucket, (array("q"), array("d")))
            slots.append(slot)
            counts.append(count)
        if slot >= len(self._norms):
            self._norms = np.concatenate((self._norms, np.zeros(64 + slot)))
        self._norms[slot] = np.sqrt(
            np.square(vector.counts * self._words.idf[vector.buckets]).sum()
        )

    def _compact(self) -> None:
        """Drop the removed entries."""
        kept = [
            (entry, vector)
            for entry, vector in zip(self._entries, self._vectors, strict=True)
            if vector is not None
        ]
        self._entries, self._vectors, self._slot, self._lists = [], [], {}, {}
        self._dense.clear()
        self._norms = np.zeros(0)
        for entry, vector in kept:
            self._append(entry, vector)
        self._updated = self._words.updated

    def _update_norms(self) -> None:
        idf = self._words.idf
        for slot, vector in enumerate(self._vectors):
            if vector is not None:
                weights = vector.counts * idf[vector.buckets]
                self._norms[slot] = math.sqrt(float(weights @ weights))
        self._updated = self._words.updated
