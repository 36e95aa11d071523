"""A mixed-integer linear program as plain arrays: built once, handed to any backend.

``minimise cost . x`` subject to ``row_lower <= A x <= row_upper`` and ``lower <= x <= upper``, with
``x[i]`` a whole number where ``integer[i]``. ``A`` is a list of (row, column, value) entries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INF = float("inf")


@dataclass(frozen=True, slots=True)
class Model:
    """The program; entries are sorted by row, then column, and none is given twice."""

    lower: Floats
    upper: Floats
    cost: Floats
    integer: NDArray[np.bool_]
    row_lower: Floats
    row_upper: Floats
    rows: Ints
    columns: Ints
    values: Floats

    @property
    def size(self) -> tuple[int, int, int]:
        """Columns, rows and non-zeros."""
        return len(self.cost), len(self.row_lower), len(self.values)

    def objective(self, x: Floats) -> float:
        """Cost of a point."""
        return float(self.cost @ x)

    def violation(self, x: Floats) -> float:
        """Largest violation of any row or bound at a point (0 where it is feasible)."""
        activity = np.bincount(
            self.rows, weights=self.values * x[self.columns], minlength=len(self.row_lower)
        )
        worst = [
            np.max(gap, initial=0.0)
            for gap in (
                self.row_lower - activity,
                activity - self.row_upper,
                self.lower - x,
                x - self.upper,
            )
        ]
        return float(max(worst))


class Builder:
    """Collects columns, rows and entries in blocks."""

    def __init__(self) -> None:
        self._columns: list[tuple[Any, ...]] = []
        self._rows: list[tuple[Any, ...]] = []
        self._entries: list[tuple[Any, ...]] = []
        self.column_count = 0
        self.row_count = 0

    def columns(
        self, count: int, *, cost: ArrayLike = 0.0, upper: ArrayLike = 1.0, integer: bool = True
    ) -> Ints:
        """Add ``count`` columns from 0 to ``upper``; returns their numbers."""
        first = self.column_count
        self.column_count += count
        self._columns.append(
            (
                _full(count, upper),
                _full(count, cost),
                np.full(count, integer),
            )
        )
        return np.arange(first, first + count, dtype=np.int64)

    def rows(self, count: int, lower: ArrayLike, upper: ArrayLike) -> Ints:
        """Add ``count`` empty rows; returns their numbers."""
        first = self.row_count
        self.row_count += count
        self._rows.append((_full(count, lower), _full(count, upper)))
        return np.arange(first, first + count, dtype=np.int64)

    def add(self, rows: ArrayLike, columns: ArrayLike, values: ArrayLike = 1.0) -> None:
        """Add ``values`` at (rows, columns), element by element; repeated places add up."""
        row, column, value = np.broadcast_arrays(rows, columns, np.asarray(values, np.float64))
        self._entries.append((row.ravel(), column.ravel(), value.ravel()))

    def build(self) -> Model:
        """The model, with repeated entries summed and zeros dropped."""
        upper, cost, integer = _joined(self._columns, (np.float64, np.float64, np.bool_))
        row_lower, row_upper = _joined(self._rows, (np.float64, np.float64))
        rows, columns, values = _joined(self._entries, (np.int64, np.int64, np.float64))
        key, place = np.unique(rows * max(1, self.column_count) + columns, return_inverse=True)
        summed = np.bincount(place, weights=values, minlength=len(key))
        kept = summed != 0.0
        key, summed = key[kept], summed[kept]
        return Model(
            lower=np.zeros(self.column_count),
            upper=upper,
            cost=cost,
            integer=integer,
            row_lower=row_lower,
            row_upper=row_upper,
            rows=key // max(1, self.column_count),
            columns=key % max(1, self.column_count),
            values=summed,
        )


def _full(count: int, value: ArrayLike) -> Floats:
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (count,))


def _joined(blocks: list[tuple[Any, ...]], kinds: tuple[Any, ...]) -> list[NDArray[Any]]:
    """Blocks of parallel arrays, each put end to end."""
    if not blocks:
        return [np.empty(0, dtype=kind) for kind in kinds]
    return [
        np.concatenate(part).astype(kind)
        for part, kind in zip(zip(*blocks, strict=True), kinds, strict=True)
    ]
