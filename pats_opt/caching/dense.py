"""Vectors of a fixed number of dimensions, made by any function; exact search by one product."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from pats_opt.caching.embedding import NearestPrompt
from pats_opt.errors import InputError

#: Cosines that differ by less are equal.
EQUAL = 1e-9

#: A vector of length 1.
Direction = NDArray[np.float64]


class DenseEmbedder:
    """Embedder made of a function from a prompt to numbers."""

    def __init__(self, function: Callable[[str], Sequence[float]], name: str) -> None:
        self._function, self._name = function, name
        self._dimensions: int | None = None

    def embed(self, prompt: str) -> Direction | None:
        """Call the function; None where all numbers are 0.

        Raises:
            InputError: It gave no finite numbers, or more or fewer of them than before.
        """
        given = self._function(prompt)
        try:
            vector = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError):
            vector = np.zeros(0)
        if self._dimensions is None:
            self._dimensions = len(vector) if vector.ndim == 1 else 0
        if (
            vector.ndim != 1
            or not len(vector)
            or len(vector) != self._dimensions
            or not np.isfinite(vector).all()
        ):
            raise InputError(
                f"embedder {self._name!r} gave {type(given).__name__} of shape {vector.shape}",
                hint="it must give a list of finite numbers, always as many",
            )
        length = float(np.linalg.norm(vector))
        return vector / length if length > 0 else None

    def index(self) -> DenseIndex:
        """Return an empty index."""
        return DenseIndex()


class DenseIndex:
    """Exact search among directions."""

    def __init__(self) -> None:
        self._slot: dict[int, int] = {}
        self._free: list[int] = []
        self._entries = np.zeros(0, dtype=np.int64)  # by slot
        self._matrix = np.zeros((0, 0))  # by slot; zeros where it was removed

    def __len__(self) -> int:
        return len(self._slot)

    def add(self, entry: int, vector: Direction) -> None:
        """Add an entry."""
        if not self._free:
            used = len(self._entries)
            more = max(64, used)
            self._entries = np.concatenate((self._entries, np.zeros(more, dtype=np.int64)))
            self._matrix = np.concatenate(
                (self._matrix.reshape(used, len(vector)), np.zeros((more, len(vector))))
            )
            self._free = list(range(used + more - 1, used - 1, -1))
        slot = self._free.pop()
        self._slot[entry] = slot
        self._entries[slot] = entry
        self._matrix[slot] = vector

    def remove(self, entry: int) -> None:
        """Remove an entry."""
        slot = self._slot.pop(entry)
        self._matrix[slot] = 0.0
        self._free.append(slot)

    def nearest(self, vector: Direction) -> NearestPrompt | None:
        """Return the nearest entry, the oldest of equals; None if no cosine is above 0."""
        if not self._slot:
            return None
        cosines = self._matrix @ vector
        best = float(cosines.max())
        if best <= 0.0:
            return None
        equal = self._entries[np.flatnonzero(cosines >= best - EQUAL)]
        return NearestPrompt(int(equal.min()), min(1.0, round(best, 6)))
