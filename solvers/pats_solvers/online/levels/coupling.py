"""The K-to-K' planner: who goes where, so that routing to the levels costs least quality.

A request whose optimal level is K loses D(K', K) = max(0, A_K - A_K') at level K'. With h_K the
share of requests of optimal level K and f_K' the share of capacity at level K', the least expected
loss is a transportation problem. As D is a Monge cost, the monotone coupling solves it: sort both
by depth, and the deepest optimal level gets the deepest level.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from itertools import accumulate


def couple(optimal: Sequence[float], capacity: Sequence[float]) -> list[list[float]]:
    """Return the monotone coupling: the share of requests that goes from each level to each.

    Args:
        optimal: Share of requests of each optimal level; they sum to 1.
        capacity: Share of capacity at each level; they sum to 1.
    """
    flow = [[0.0] * len(capacity) for _ in optimal]
    supply, room, k, to = list(optimal), list(capacity), 0, 0
    while k < len(supply) and to < len(room):
        moved = min(supply[k], room[to])
        flow[k][to] += moved
        supply[k] -= moved
        room[to] -= moved
        if supply[k] <= room[to]:
            k += 1
        else:
            to += 1
    return flow


def expected_loss(flow: Sequence[Sequence[float]], qualities: Sequence[float]) -> float:
    """Return the expected loss of quality of a coupling, in the unit of ``qualities``."""
    return sum(
        share * max(0.0, qualities[k] - qualities[to])
        for k, row in enumerate(flow)
        for to, share in enumerate(row)
    )


def level_at(rank: float, capacity: Sequence[float]) -> int:
    """Return the level of a request of this rank: where the cumulative capacity passes it.

    This is the coupling online: ranks are uniform, so each level gets its share of requests.

    Args:
        rank: Share of requests whose optimal level is shallower, in [0, 1).
        capacity: Share of capacity at each level; at least one is above 0.
    """
    ends = list(accumulate(capacity))
    level = bisect_right(ends, rank * ends[-1])
    last = max(v for v, share in enumerate(capacity) if share > 0)
    return min(level, last)


class RankWindow:
    """The last values of a stream, and the rank of the newest among them.

    Args:
        size: How many values it holds.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._recent = deque[float]()
        self._sorted: list[float] = []

    def rank(self, value: float, rng: random.Random) -> float:
        """Add a value; return its rank among those held, in [0, 1), ties at random.

        Where values are alike in distribution, the rank is uniform.
        """
        if len(self._recent) == self._size:
            oldest = self._recent.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        self._recent.append(value)
        insort(self._sorted, value)
        low, high = bisect_left(self._sorted, value), bisect_right(self._sorted, value)
        return (low + (high - low) * rng.random()) / len(self._sorted)

    def quantile(self, rank: float) -> float:
        """Return the value at a rank in [0, 1]."""
        return self._sorted[min(int(rank * len(self._sorted)), len(self._sorted) - 1)]
