"""Mixed-integer linear programs as plain arrays, which any backend can read.

``minimise cost . x`` subject to ``row_lower <= A x <= row_upper`` and ``lower <= x <= upper``, with
``x[i]`` a whole number where ``integer[i]``. ``A`` is a list of (row, column, value) entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from pats_opt.errors import InputError
from pats_opt.model.schedule import StopReason

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INF = float("inf")

#: Bytes a model takes per column, row and entry while it is built, handed over and solved: somewhat
#: above the peaks that benchmarks/milp_growth.py measures.
BYTES_PER_COLUMN = 2_000
BYTES_PER_ROW = 1_000
BYTES_PER_ENTRY = 500


@dataclass(frozen=True, slots=True)
class LinearModel:
    """A program; entries are sorted by row, then column, and none is given twice."""

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
        """Numbers of columns, rows and non-zeros."""
        return len(self.cost), len(self.row_lower), len(self.values)

    def objective(self, x: Floats) -> float:
        """Return the cost of a point."""
        return float(self.cost @ x)

    def below(self, cost: float) -> LinearModel:
        """Return the model of the points that cost no more: columns that alone do are fixed at 0.

        Backends have absolute tolerances, so that a cost far above all others could hide these.
        """
        if (self.cost < 0.0).any() or (self.lower < 0.0).any():
            return self
        dear = self.integer & (self.lower == 0.0) & (self.cost > cost)
        return replace(
            self, upper=np.where(dear, 0.0, self.upper), cost=np.where(dear, 0.0, self.cost)
        )

    def violation(self, x: Floats) -> float:
        """Return the largest violation of a row or bound at a point, 0 where it is feasible."""
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


class BuildStoppedError(Exception):
    """A limit was reached while a model was built."""


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Limits on building a model.

    Attributes:
        gib: Memory beyond which the model is refused, without counting on.
        stop: Returns the reason to stop now, or None.
    """

    gib: float = INF
    stop: Callable[[], StopReason | None] = lambda: None


UNLIMITED = ModelLimits()


class ModelSize:
    """Size of a model that is not built: counts columns, rows and entries, and keeps none.

    Formulations are stated once, against this interface; :class:`ModelBuilder` keeps what is added.

    Args:
        limits: Where counting ends.

    Attributes:
        columns, rows, entries: Of the matrix; entries before repeated ones are summed.
    """

    def __init__(self, limits: ModelLimits = UNLIMITED) -> None:
        self.columns = self.rows = self.entries = 0
        self._limits = limits

    @property
    def gib(self) -> float:
        """Estimate of the memory, in GiB, that building and solving the model takes."""
        total = (
            self.columns * BYTES_PER_COLUMN
            + self.rows * BYTES_PER_ROW
            + self.entries * BYTES_PER_ENTRY
        )
        return total / 2**30

    def _check_limits(self) -> None:
        """Refuse a model that has grown too large; stop where it is time to.

        Raises:
            InputError: It would take more than the memory allowed.
            BuildStoppedError: It is time to stop.
        """
        if self.gib > self._limits.gib:
            raise InputError(
                f"the MILP would have more than {self.columns:,} columns, {self.rows:,} rows and "
                f"{self.entries:,} non-zeros, too much for the {self._limits.gib:g} GiB allowed",
                hint="take a coarser tick_s, a shorter span, --solver cpsat, or raise memory_gib",
            )
        if self._limits.stop() is not None:
            raise BuildStoppedError

    def add_columns(
        self,
        count: int,
        *,
        cost: Callable[[], ArrayLike] | float = 0.0,
        lower: float = 0.0,
        upper: float = 1.0,
        integer: bool = True,
    ) -> Ints:
        """Add ``count`` columns from ``lower`` to ``upper``, and return their numbers."""
        del cost, lower, upper, integer
        self.columns += count
        self._check_limits()
        return _numberless(count)

    def add_rows(self, count: int, lower: ArrayLike, upper: ArrayLike) -> Ints:
        """Add ``count`` empty rows, and return their numbers."""
        del lower, upper
        self.rows += count
        self._check_limits()
        return _numberless(count)

    def add(self, rows: ArrayLike, columns: ArrayLike, values: ArrayLike = 1.0) -> None:
        """Add ``values`` at (rows, columns), element by element; repeated places add up."""
        shape = np.broadcast_shapes(np.shape(rows), np.shape(columns), np.shape(values))
        self.entries += math.prod(shape)
        self._check_limits()


class ModelBuilder(ModelSize):
    """Builder of a model: keeps columns, rows and entries."""

    @override
    def __init__(self, limits: ModelLimits = UNLIMITED) -> None:
        super().__init__(limits)
        self._column_blocks: list[tuple[Any, ...]] = []
        self._row_blocks: list[tuple[Any, ...]] = []
        self._entry_blocks: list[tuple[Any, ...]] = []

    @override
    def add_columns(
        self,
        count: int,
        *,
        cost: Callable[[], ArrayLike] | float = 0.0,
        lower: float = 0.0,
        upper: float = 1.0,
        integer: bool = True,
    ) -> Ints:
        first = self.columns
        super().add_columns(count)
        price = cost() if callable(cost) else cost
        block = _full(count, lower), _full(count, upper), _full(count, price)
        self._column_blocks.append((*block, np.full(count, integer)))
        return np.arange(first, first + count, dtype=np.int64)

    @override
    def add_rows(self, count: int, lower: ArrayLike, upper: ArrayLike) -> Ints:
        first = self.rows
        super().add_rows(count, lower, upper)
        self._row_blocks.append((_full(count, lower), _full(count, upper)))
        return np.arange(first, first + count, dtype=np.int64)

    @override
    def add(self, rows: ArrayLike, columns: ArrayLike, values: ArrayLike = 1.0) -> None:
        super().add(rows, columns, values)
        row, column, value = np.broadcast_arrays(rows, columns, np.asarray(values, np.float64))
        self._entry_blocks.append((row.ravel(), column.ravel(), value.ravel()))

    def build(self) -> LinearModel:
        """Return the model, with repeated entries summed and zeros dropped."""
        kinds = (np.float64, np.float64, np.float64, np.bool_)
        lower, upper, cost, integer = _concatenated(self._column_blocks, kinds)
        row_lower, row_upper = _concatenated(self._row_blocks, (np.float64, np.float64))
        rows, columns, values = _concatenated(self._entry_blocks, (np.int64, np.int64, np.float64))
        key, place = np.unique(rows * max(1, self.columns) + columns, return_inverse=True)
        summed = np.bincount(place, weights=values, minlength=len(key))
        kept = summed != 0.0
        key, summed = key[kept], summed[kept]
        return LinearModel(
            lower=lower,
            upper=upper,
            cost=cost,
            integer=integer,
            row_lower=row_lower,
            row_upper=row_upper,
            rows=key // max(1, self.columns),
            columns=key % max(1, self.columns),
            values=summed,
        )


def _numberless(count: int) -> Ints:
    """Return an array of the right shape that takes no memory."""
    return np.broadcast_to(np.int64(0), (count,))


def _full(count: int, value: ArrayLike) -> Floats:
    return np.broadcast_to(np.asarray(value, dtype=np.float64), (count,))


def _concatenated(blocks: list[tuple[Any, ...]], kinds: tuple[Any, ...]) -> list[NDArray[Any]]:
    """Concatenate blocks of parallel arrays."""
    if not blocks:
        return [np.empty(0, dtype=kind) for kind in kinds]
    return [
        np.concatenate(part).astype(kind)
        for part, kind in zip(zip(*blocks, strict=True), kinds, strict=True)
    ]
