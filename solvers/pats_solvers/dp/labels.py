"""The labels of a pass: a pool that grows up to a limit, and layers that are cut to a beam."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pats_solvers.dp import label_pool
from pats_solvers.dp.bound import NONE

Ints = NDArray[np.int64]

#: Labels that the pool holds at first.
ROWS = 1 << 14

#: Labels that a layer may hold beyond twice the beam before it is cut to the beam.
SPARE = 100


class Labels:
    """A pool of labels.

    Args:
        layers: The last layer.
        words: Words of a key.
        most: Labels it may hold.
        known: Loss to beat.

    Attributes:
        pool: The arrays.
    """

    def __init__(self, layers: int, words: int, most: int, known: float) -> None:
        self._most = most
        rows = min(ROWS, max(1, most))
        self.pool = label_pool.Pool(
            key=np.zeros((rows, words), dtype=np.int64),
            whole=np.zeros((rows, label_pool.COLUMNS), dtype=np.int64),
            real=np.zeros((rows, 2)),
            bucket=_buckets(rows),
            layers=np.zeros((layers + 1, 2), dtype=np.int64),
            worst=np.full(layers + 1, np.inf),
            registers=np.zeros(label_pool.REGISTERS, dtype=np.int64),
            bests=np.array([known, np.inf]),
        )
        self.pool.layers[:, label_pool.FIRST] = NONE
        for register in (label_pool.SPARE, label_pool.FINAL):
            self.pool.registers[register] = NONE

    @property
    def best(self) -> float:
        """The least loss found, or the one to beat."""
        return float(self.pool.bests[label_pool.BEST])

    @property
    def cut(self) -> float:
        """The least promise among the labels that were cut."""
        return float(self.pool.bests[label_pool.CUT])

    @property
    def found(self) -> bool:
        """Whether a sequence beats the loss to beat."""
        return bool(self.pool.registers[label_pool.FINAL] >= 0)

    @property
    def looks(self) -> int:
        """Batches looked at."""
        return int(self.pool.registers[label_pool.LOOKS])

    def least(self, rows: Ints) -> float:
        """The least promise among these, what waits and what was cut; the best loss, where less."""
        pool = self.pool
        least = label_pool.least_promise(pool.whole, pool.real, pool.layers)
        least = min(least, pool.real[rows, label_pool.PROMISE].min(initial=np.inf))
        return float(min(least, self.cut, self.best))

    def share(self, layers: int) -> int:
        """Labels that each of so many layers to come may keep for all to have as many."""
        left = self._most - self._live() + int(self.pool.layers[:, label_pool.COUNT].sum())
        return max(1, left // (2 * layers + 2))

    def collect(self, layer: int, width: int) -> Ints:
        """A layer's best labels, the best first; they leave their list and buckets."""
        rows = self._sweep(layer, width)
        self._unchain(rows)
        label_pool.relist(self.pool.whole, self.pool.layers, layer, rows[:0])
        return rows

    def overfull(self, width: int) -> int:
        """Labels with which a layer has to be cut to ``width``."""
        return 2 * width + SPARE

    def trim(self, width: int) -> None:
        """Cut layers that are overfull."""
        if self.pool.registers[label_pool.OVERFULL]:
            self._trim(self.overfull(width), width)
            self.pool.registers[label_pool.OVERFULL] = 0

    def make_room(self, rows: int, width: int) -> None:
        """See to it that so many labels can be made: grow, or past the limit cut the layers."""
        while len(self.pool.key) - self._live() < rows:
            if len(self.pool.key) < self._most:
                self._grow(min(len(self.pool.key), self._most - len(self.pool.key)))
            elif width > 1:
                width = min(width, int(self.pool.layers[:, label_pool.COUNT].max())) // 2
                self._trim(width + 1, max(1, width))
            else:
                self._grow(rows)

    def _live(self) -> int:
        registers = self.pool.registers
        return int(registers[label_pool.USED] - registers[label_pool.SPARES])

    def _trim(self, count: int, width: int) -> None:
        for layer in np.flatnonzero(self.pool.layers[:, label_pool.COUNT] >= count).tolist():
            rows = self._sweep(layer, width)
            label_pool.relist(self.pool.whole, self.pool.layers, layer, rows)

    def _sweep(self, layer: int, width: int) -> Ints:
        """A layer's best labels, the best first; the others are freed."""
        pool = self.pool
        there: Ints = label_pool.listed(pool.whole, pool.layers, layer)
        promise = pool.real[there, label_pool.PROMISE]
        use = (pool.whole[there, label_pool.HELD] >= 0) & (promise < label_pool.below(self.best))
        dropped = there[~use]
        rows: Ints = there[use][np.argsort(promise[use], kind="stable")]
        if len(rows) > width:
            pool.worst[layer] = pool.real[rows[width], label_pool.PROMISE]
            pool.bests[label_pool.CUT] = min(self.cut, float(pool.worst[layer]))
            dropped = np.concatenate((dropped, rows[width:]))
            rows = rows[:width]
        self._unchain(dropped)
        label_pool.release(pool.whole, pool.registers, dropped)
        return rows

    def _unchain(self, rows: Ints) -> None:
        label_pool.unchain(self.pool.key, self.pool.whole, self.pool.bucket, rows)

    def _grow(self, rows: int) -> None:
        old = self.pool
        self.pool = old._replace(
            key=_longer(old.key, rows),
            whole=_longer(old.whole, rows),
            real=_longer(old.real, rows),
            bucket=_buckets(len(old.key) + rows),
        )
        label_pool.rehash(self.pool.key, self.pool.whole, self.pool.bucket, self.pool.layers)


def _buckets(rows: int) -> Ints:
    """Empty buckets, a power of two of them."""
    return np.full(1 << max(1, (rows - 1).bit_length()), NONE, dtype=np.int64)


def _longer(columns: NDArray[np.generic], rows: int) -> NDArray[np.generic]:
    more = np.zeros((rows, columns.shape[1]), dtype=columns.dtype)
    return np.concatenate((columns, more))
