"""The allocation of GPUs to levels: how many serve at each, and how much of the load there.

It is the documents' Model Cache Assigner with its Query Fraction Solver::

    max  sum of y_v A_v    subject to    sum of y_v = load,  0 <= y_v <= n_v T_v,  sum of n_v = n

with T_v requests per second of one GPU at level v, A_v the quality there, and n_v whole. Where the
fleet cannot serve the load it serves as much as it can. The published solver is a continuous one on
rounded integers and misses the optimum at most loads; here all allocations of a small fleet are
enumerated, and larger fleets are an integer program (:mod:`.program`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

#: Most allocations that are enumerated, in some 5 ms; above, an integer program is solved. 8 GPUs
#: at 6 levels have 1,287, and 16 have 20,349.
MOST_ENUMERATED = 25_000

#: Relative difference below which loads and qualities are taken for equal.
ROUNDING = 1e-9


class Allocation(Struct, frozen=True):
    """GPUs and load of each level, in the order of the levels.

    Attributes:
        counts: GPUs at each level.
        load: Requests per second served at each level.
    """

    counts: tuple[int, ...]
    load: tuple[float, ...]

    def quality(self, qualities: Sequence[float]) -> float:
        """Return the mean quality of what is served; 1 where nothing is."""
        served = sum(self.load)
        if not served:
            return 1.0
        return sum(y * a for y, a in zip(self.load, qualities, strict=True)) / served


def allocate(
    load: float, capacities: Sequence[float], qualities: Sequence[float], gpus: int
) -> Allocation:
    """Return the allocation that serves most, of these with the best quality.

    Of several such, the one with the fewest GPUs at deep levels, weighed by depth: what would be
    idle is at the shallowest level.

    Args:
        load: Requests per second that arrive.
        capacities: Requests per second of one GPU at each level, all above 0; shallow levels first.
        qualities: Quality at each level.
        gpus: GPUs of the fleet, at least 1.
    """
    levels = len(capacities)
    if comb(gpus + levels - 1, levels - 1) <= MOST_ENUMERATED:
        counts = _best_listed(load, np.array(capacities), np.array(qualities), gpus)
    else:
        from pats_solvers.online.levels.program import best_counts

        counts = best_counts(load, capacities, qualities, gpus)
    return Allocation(counts, fill(load, counts, capacities, qualities))


def fill(
    load: float, counts: Sequence[int], capacities: Sequence[float], qualities: Sequence[float]
) -> tuple[float, ...]:
    """Return the load of each level where the best levels take as much as they can, in turn."""
    given, left = [0.0] * len(counts), load
    for v in sorted(range(len(counts)), key=lambda v: (-qualities[v], v)):
        given[v] = min(left, counts[v] * capacities[v])
        left -= given[v]
    return tuple(given)


def _best_listed(
    load: float, capacities: NDArray[np.float64], qualities: NDArray[np.float64], gpus: int
) -> tuple[int, ...]:
    """Return the best counts of all."""
    counts = compositions(gpus, len(capacities))
    order = np.argsort(-qualities, kind="stable")
    offered = (counts * capacities)[:, order].cumsum(axis=1)
    given = np.diff(np.minimum(offered, load), axis=1, prepend=0.0)
    served = given.sum(axis=1)
    best = served >= served.max() - ROUNDING * max(load, 1.0)
    worth = np.where(best, given @ qualities[order], -np.inf)
    best &= worth >= worth.max() - ROUNDING * max(abs(float(worth.max())), 1.0)
    depth = np.where(best, counts @ np.arange(len(capacities)), np.iinfo(np.int64).max)
    return tuple(counts[int(depth.argmin())].tolist())


@lru_cache(maxsize=64)
def compositions(total: int, parts: int) -> NDArray[np.int64]:
    """Return every way to write ``total`` as a sum of ``parts`` whole numbers, one in a row."""
    if parts == 1:
        return np.array([[total]])
    rows = []
    for first in range(total, -1, -1):
        rest = compositions(total - first, parts - 1)
        rows.append(np.hstack([np.full((len(rest), 1), first), rest]))
    return np.vstack(rows)


def assign(current: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Return the level of each GPU, as positions in ``counts``, with the fewest changes.

    A GPU keeps its level while that has room; the others take what is left, shallow levels first.

    Args:
        current: Level of each GPU so far; one that is no position counts as none.
        counts: GPUs that each level is to have; their sum is the number of GPUs.
    """
    left, kept = list(counts), []
    for level in current:
        stays = 0 <= level < len(left) and left[level] > 0
        if stays:
            left[level] -= 1
        kept.append(stays)
    rest = iter([level for level, count in enumerate(left) for _ in range(count)])
    return [level if stays else next(rest) for level, stays in zip(current, kept, strict=True)]
