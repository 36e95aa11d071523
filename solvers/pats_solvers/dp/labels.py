"""The labels of a pass: a pool that grows up to a limit, and layers that are cut to a beam."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pats_solvers.common.arrays import Ints
from pats_solvers.dp import label_pool
from pats_solvers.dp.bound import NONE
from pats_solvers.dp.label_pool import LabelPool

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
        state: The pool's state: batches looked at, best loss, where the best sequence ends.
        rank: The number by which the best labels of a layer are chosen.
    """

    rank: ClassVar[str] = "promise"

    def __init__(self, layers: int, words: int, most: int, known: float) -> None:
        self._most = most
        self.pool = self._made(min(ROWS, max(1, most)), words, layers + 1)
        self.pool.layers["first"], self.pool.layers["worst"] = NONE, np.inf
        self.state = self.pool.state[0]
        self.state["spare"] = self.state["final"] = NONE
        self.state["best"], self.state["cut"] = known, np.inf

    def _made(self, rows: int, words: int, layers: int) -> LabelPool:
        """Return a pool without labels."""
        return LabelPool(
            key=np.zeros((rows, words), dtype=np.int64),
            labels=np.zeros(rows, dtype=label_pool.LABELS),
            bucket=buckets(rows),
            layers=np.zeros(layers, dtype=label_pool.LAYERS),
            state=np.zeros(1, dtype=label_pool.STATE),
        )

    def least(self, rows: Ints) -> float:
        """Return the least promise of these, what waits and what was cut, or a lesser best loss."""
        least = label_pool.least_promise(self.pool)
        least = min(least, self.pool.labels["promise"][rows].min(initial=np.inf))
        return float(min(least, self.state["cut"], self.state["best"]))

    def share(self, layers: int) -> int:
        """Return how many labels each of the layers to come may keep, all of them as many."""
        left = self._most - self._live() + int(self.pool.layers["count"].sum())
        return max(1, left // (2 * layers + 2))

    def collect(self, layer: int, width: int) -> Ints:
        """Return a layer's best labels, the best first; they leave their list and buckets."""
        rows = self._sweep(layer, width)
        label_pool.unchain(self.pool, rows)
        label_pool.relist(self.pool, layer, rows[:0])
        return rows

    def overfull(self, width: int) -> int:
        """Return the labels with which a layer has to be cut to ``width``."""
        return 2 * width + SPARE

    def trim(self, width: int) -> None:
        """Cut layers that are overfull."""
        if self.state["overfull"]:
            self._trim(self.overfull(width), width)
            self.state["overfull"] = 0

    def make_room(self, rows: int, width: int) -> None:
        """Make room for so many labels: grow, or past the limit cut the layers."""
        while len(self.pool.key) - self._live() < rows:
            if len(self.pool.key) < self._most:
                self._grow(min(len(self.pool.key), self._most - len(self.pool.key)))
            elif width > 1:
                width = min(width, int(self.pool.layers["count"].max())) // 2
                self._trim(width + 1, max(1, width))
            else:
                self._grow(rows)

    def _live(self) -> int:
        return int(self.state["used"] - self.state["spares"])

    def _trim(self, count: int, width: int) -> None:
        for layer in np.flatnonzero(self.pool.layers["count"] >= count).tolist():
            label_pool.relist(self.pool, layer, self._sweep(layer, width))

    def _sweep(self, layer: int, width: int) -> Ints:
        """Return a layer's best labels, the best first; the others are freed."""
        pool = self.pool
        there: Ints = label_pool.listed(pool, layer)
        labels = pool.labels[there]
        promise, rank = labels["promise"], labels[self.rank]
        use = (labels["held"] >= 0) & (promise < label_pool.below(float(self.state["best"])))
        dropped = there[~use]
        rows: Ints = there[use][np.argsort(rank[use], kind="stable")]
        if len(rows) > width:
            pool.layers["worst"][layer] = pool.labels[self.rank][rows[width]]
            cut = pool.labels["promise"][rows[width:]].min()
            self.state["cut"] = min(self.state["cut"], cut)
            dropped = np.concatenate((dropped, rows[width:]))
            rows = rows[:width]
        label_pool.unchain(pool, dropped)
        label_pool.release(pool, dropped)
        return rows

    def _grow(self, rows: int) -> None:
        self.pool = self._longer(rows)
        label_pool.rehash(self.pool)

    def _longer(self, rows: int) -> LabelPool:
        """Return the pool with room for so many more labels, its buckets empty."""
        old = self.pool
        return old._replace(
            key=longer(old.key, rows),
            labels=longer(old.labels, rows),
            bucket=buckets(len(old.key) + rows),
        )


def buckets(rows: int) -> Ints:
    """Empty buckets, a power of two of them."""
    return np.full(1 << max(1, (rows - 1).bit_length()), NONE, dtype=np.int64)


def longer(table: NDArray[Any], rows: int) -> NDArray[Any]:
    """Return a table with so many more rows."""
    return np.concatenate((table, np.zeros((rows, *table.shape[1:]), dtype=table.dtype)))
