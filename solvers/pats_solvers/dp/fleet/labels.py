"""The labels of a pass over GPUs and caches: layers by time; what leads nowhere is freed."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from pats_solvers.common.arrays import Ints
from pats_solvers.dp import label_pool
from pats_solvers.dp.fleet import pool
from pats_solvers.dp.fleet.bound import GPUS
from pats_solvers.dp.labels import Labels, buckets, longer


class FleetLabels(Labels):
    """A pool of labels with GPUs; see :class:`.Labels`.

    Args:
        layers: The last layer.
        words: Words of a key.
        most: Labels it may hold.
        known: Loss to beat.
        gpus: GPUs of a label.
    """

    rank: ClassVar[str] = "rank"
    pool: Any

    def __init__(self, layers: int, words: int, most: int, known: float, gpus: int) -> None:
        self._gpus = gpus
        super().__init__(layers, words, most, known)

    def _made(self, rows: int, words: int, layers: int) -> Any:
        return pool.FleetPool(
            key=np.zeros((rows, words), dtype=np.int64),
            labels=np.zeros(rows, dtype=pool.LABELS),
            gpus=np.zeros((rows, self._gpus), dtype=GPUS),
            bucket=buckets(rows),
            layers=np.zeros(layers, dtype=label_pool.LAYERS),
            state=np.zeros(1, dtype=label_pool.STATE),
        )

    def waiting(self, layer: int) -> bool:
        """Return whether a layer has labels to collect."""
        return bool(self.pool.layers["count"][layer] > 0)

    def make_room_for(self, rows: int, width: int, open_: Ints) -> None:
        """Make room for so many labels: free what leads to none, grow, or cut the layers.

        Args:
            rows: Labels to make room for.
            width: Labels that a layer may keep.
            open_: Labels collected that are still to be looked at.
        """
        if len(self.pool.key) - self._live() < rows:
            label_pool.release(self.pool, pool.needless(self.pool, open_))
            # Where little was freed, it would soon be looked for again.
            self.make_room(max(rows, min(self._live(), self._most // 4)), width)

    def _longer(self, rows: int) -> Any:
        old = self.pool
        return old._replace(
            key=longer(old.key, rows),
            labels=longer(old.labels, rows),
            gpus=longer(old.gpus, rows),
            bucket=buckets(len(old.key) + rows),
        )
