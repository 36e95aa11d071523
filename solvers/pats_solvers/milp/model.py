"""A mixed-integer linear program as plain arrays: built once, handed to any backend.

``minimise cost . x`` subject to ``row_lower <= A x <= row_upper`` and ``lower <= x <= upper``, with
``x[i]`` a whole number where ``integer[i]``. ``A`` is a list of (row, column, value) entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
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


class Sheet:
    """Counts columns, rows and entries and keeps none: a model's size before it is built.

    A formulation is written once, against this interface; :class:`Builder` keeps what is written.
    """

    def __init__(self) -> None:
        self.column_count = 0
        self.row_count = 0
        self.entry_count = 0

    def columns(
        self,
        count: int,
        *,
        cost: Callable[[], ArrayLike] | float = 0.0,
        lower: float = 0.0,
        upper: float = 1.0,
        integer: bool = True,
    ) -> Ints:
        """Add ``count`` columns from ``lower`` to ``upper``; returns their numbers."""
        del cost, lower, upper, integer
        self.column_count += count
        return _numberless(count)

    def rows(self, count: int, lower: ArrayLike, upper: ArrayLike) -> Ints:
        """Add ``count`` empty rows; returns their numbers."""
        del lower, upper
        self.row_count += count
        return _numberless(count)

    def add(self, rows: ArrayLike, columns: ArrayLike, values: ArrayLike = 1.0) -> None:
        """Add ``values`` at (rows, columns), element by element; repeated places add up."""
        shape = np.broadcast_shapes(np.shape(rows), np.shape(columns), np.shape(values))
        self.entry_count += math.prod(shape)


class Builder(Sheet):
    """Keeps what is written, and makes the model of it."""

    def __init__(self) -> None:
        super().__init__()
        self._columns: list[tuple[Any, ...]] = []
        self._rows: list[tuple[Any, ...]] = []
        self._entries: list[tuple[Any, ...]] = []

    def columns(
        self,
        count: int,
        *,
        cost: Callable[[], ArrayLike] | float = 0.0,
        lower: float = 0.0,
        upper: float = 1.0,
        integer: bool = True,
    ) -> Ints:
        """See :meth:`Sheet.columns`."""
        first = self.column_count
        super().columns(count)
        price = cost() if callable(cost) else cost
        self._columns.append(
            (
                _full(count, lower),
                _full(count, upper),
                _full(count, price),
                np.full(count, integer),
            )
        )
        return np.arange(first, first + count, dtype=np.int64)

    def rows(self, count: int, lower: ArrayLike, upper: ArrayLike) -> Ints:
        """See :meth:`Sheet.rows`."""
        first = self.row_count
        super().rows(count, lower, upper)
        self._rows.append((_full(count, lower), _full(count, upper)))
        return np.arange(first, first + count, dtype=np.int64)

    def add(self, rows: ArrayLike, columns: ArrayLike, values: ArrayLike = 1.0) -> None:
        """See :meth:`Sheet.add`."""
        super().add(rows, columns, values)
        row, column, value = np.broadcast_arrays(rows, columns, np.asarray(values, np.float64))
        self._entries.append((row.ravel(), column.ravel(), value.ravel()))

    def build(self) -> Model:
        """The model, with repeated entries summed and zeros dropped."""
        kinds = (np.float64, np.float64, np.float64, np.bool_)
        lower, upper, cost, integer = _joined(self._columns, kinds)
        row_lower, row_upper = _joined(self._rows, (np.float64, np.float64))
        rows, columns, values = _joined(self._entries, (np.int64, np.int64, np.float64))
        key, place = np.unique(rows * max(1, self.column_count) + columns, return_inverse=True)
        summed = np.bincount(place, weights=values, minlength=len(key))
        kept = summed != 0.0
        key, summed = key[kept], summed[kept]
        return Model(
            lower=lower,
            upper=upper,
            cost=cost,
            integer=integer,
            row_lower=row_lower,
            row_upper=row_upper,
            rows=key // max(1, self.column_count),
            columns=key % max(1, self.column_count),
            values=summed,
        )


def _numberless(count: int) -> Ints:
    """An array of the right shape that takes no memory."""
    return np.broadcast_to(np.int64(0), (count,))


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
