"""The allocation of GPUs to levels: how many serve at each, and how much of the load there.

It is the documents' Model Cache Assigner with its Query Fraction Solver::

    max  sum of y_v A_v    subject to    sum of y_v = load,  0 <= y_v <= n_v T_v,  sum of n_v = n

with T_v requests per second of one GPU at level v, A_v the quality there, and n_v whole. Where the
fleet cannot serve the load it serves as much as it can. The published solver is a continuous one on
rounded integers and misses the optimum at most loads; here all allocations of a small fleet are
enumerated. Of a larger one those are enumerated that prices of load and GPUs do not rule out, and
where these are still too many, an integer program is solved (:mod:`.program`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from math import comb

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

#: Most allocations that are enumerated, in some 5 ms. 8 GPUs at 6 levels have 1,287.
MOST_ENUMERATED = 25_000

#: Most allocations of a small fleet, all of which are enumerated.
SMALL = 2_000

#: What a GPU is worth less at a level that no best allocation uses.
RULED_OUT = 1e300

Floats = NDArray[np.float64]

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
    rates, worth = np.array(capacities), np.array(qualities)
    if comb(gpus + len(rates) - 1, len(rates) - 1) <= SMALL:
        listed: NDArray[np.int64] | None = compositions(gpus, len(rates))
    else:
        listed = promising(load, rates, worth, gpus)
    if listed is not None:
        counts = best_listed(load, rates, worth, listed)
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


def best_listed(
    load: float, capacities: Floats, qualities: Floats, counts: NDArray[np.int64]
) -> tuple[int, ...]:
    """Return the best of some counts, one in a row; of equal ones the first."""
    served, worth = _served(load, capacities, qualities, counts)
    best = served >= served.max() - ROUNDING * max(load, 1.0)
    worth = np.where(best, worth, -np.inf)
    best &= worth >= worth.max() - ROUNDING * max(abs(float(worth.max())), 1.0)
    depth = np.where(best, counts @ np.arange(len(capacities)), np.iinfo(np.int64).max)
    return tuple(counts[int(depth.argmin())].tolist())


def _served(
    load: float, capacities: Floats, qualities: Floats, counts: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the load that each row of counts serves, and its quality times load."""
    order = np.argsort(-qualities, kind="stable")
    offered = (counts * capacities)[:, order].cumsum(axis=1)
    given = np.diff(np.minimum(offered, load), axis=1, prepend=0.0)
    return given.sum(axis=1), given @ qualities[order]


def promising(
    load: float, capacities: Floats, qualities: Floats, gpus: int
) -> NDArray[np.int64] | None:
    """Return all counts that may be best, in falling order; None where they are too many.

    At a price p of a request per second, a GPU at level v is worth at most T_v max(0, A_v - p), so
    no allocation is worth more than what the load costs and the best worth of every GPU. What a
    level's GPUs are worth less than the best must not exceed the gap between that bound and an
    allocation that a local search has found.
    """
    load = min(load, gpus * float(capacities.max()))
    price, worth = _load_price(load, capacities, qualities, gpus)
    bound = price * load + gpus * float(worth.max())
    known = _found(load, capacities, qualities, gpus)
    rounding = ROUNDING * max(abs(price) * load, abs(bound), known, 1.0)
    short = worth.max() - worth
    if not worth.any():  # the best quality serves all, and idle GPUs are shallow
        short[1:][qualities[1:] < qualities.max()] = RULED_OUT
    elif load == gpus * capacities.max():
        short[capacities < capacities.max()] = RULED_OUT
    order = np.argsort(-short, kind="stable")  # the level that is worth most takes the rest
    rows = np.zeros((1, len(capacities)), np.int64)
    left = np.full(1, bound - known + 4.0 * rounding)
    for v in order[:-1].tolist():
        room = (gpus - rows.sum(axis=1)).astype(np.float64)
        most = np.minimum(room, left // short[v]) if short[v] > 0.0 else room
        repeats = most.astype(np.int64) + 1
        if repeats.sum() > MOST_ENUMERATED:
            return None
        ends = repeats.cumsum()
        count = np.arange(ends[-1]) - np.repeat(ends - repeats, repeats)
        rows, left = np.repeat(rows, repeats, axis=0), np.repeat(left, repeats) - count * short[v]
        rows[:, v] = count
    rows[:, order[-1]] = gpus - rows.sum(axis=1)
    return rows[np.lexsort(-rows.T[::-1])]


def _load_price(
    load: float, capacities: Floats, qualities: Floats, gpus: int
) -> tuple[float, Floats]:
    """Return the price of load of the least bound, and the worth of a GPU at each level there.

    The bound is convex in the price and has its corners where a level is worth nothing, or two are
    worth the same.
    """
    v, w = np.triu_indices(len(capacities), 1)
    apart = capacities[v] != capacities[w]
    v, w = v[apart], w[apart]
    value = capacities * qualities
    prices = np.append(qualities, (value[v] - value[w]) / (capacities[v] - capacities[w]))
    worth = capacities * np.maximum(0.0, qualities - prices[:, None])
    best = int((prices * load + gpus * worth.max(axis=1)).argmin())
    return float(prices[best]), worth[best]


def _found(load: float, capacities: Floats, qualities: Floats, gpus: int) -> float:
    """Return the quality times load of a good allocation: the best of two levels, improved."""
    rows, best = _of_two_levels(gpus, len(capacities)), -math.inf
    swaps = compositions(2, len(capacities))
    while True:
        served, worth = _served(load, capacities, qualities, rows)
        worth = np.where(served >= load - ROUNDING * max(load, 1.0), worth, -np.inf)
        place = int(worth.argmax())
        if worth[place] <= best:
            return best
        best = float(worth[place])
        rows = (rows[place] + swaps[:, None] - swaps[None]).reshape(-1, len(capacities))
        rows = rows[(rows >= 0).all(axis=1)]


@lru_cache(maxsize=8)
def _of_two_levels(gpus: int, levels: int) -> NDArray[np.int64]:
    """Return all counts with GPUs at two levels at most, one in a row."""
    v, w = np.triu_indices(levels, 1)
    rows = np.zeros((len(v), gpus + 1, levels), np.int64)
    at, count = np.arange(len(v))[:, None], np.arange(gpus + 1)
    rows[at, count, v[:, None]] = gpus - count
    rows[at, count, w[:, None]] = count
    return rows.reshape(-1, levels)


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
