"""Optima of tiny classic problems by exhaustive search, and random ones to try them on."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from functools import cache

Matrix = Sequence[Sequence[float]]


def fewest_bins(sizes: Sequence[int], capacity: int) -> int:
    """The least number of bins: every first bin of what is left, in turn."""

    @cache
    def least(left: int) -> int:
        if not left:
            return 0
        first = left & -left
        rest, best, subset = left ^ first, len(sizes), left ^ first
        while True:  # every subset of the rest beside the first item
            chosen = subset | first
            if sum(s for i, s in enumerate(sizes) if chosen >> i & 1) <= capacity:
                best = min(best, 1 + least(left ^ chosen))
            if not subset:
                return best
            subset = (subset - 1) & rest

    return least((1 << len(sizes)) - 1)


def shortest_tour(distance: Matrix) -> float:
    """The least length of a closed tour."""
    rest = range(1, len(distance))
    return min(length(distance, (0, *order, 0)) for order in itertools.permutations(rest))


def shortest_path(distance: Matrix, start: int | None = None) -> float:
    """The least length of a path through all nodes, from ``start`` or from anywhere."""
    return min(
        length(distance, order)
        for order in itertools.permutations(range(len(distance)))
        if start is None or order[0] == start
    )


def length(distance: Matrix, order: Sequence[int]) -> float:
    """The sum of the distances along an order of nodes."""
    return sum(distance[a][b] for a, b in itertools.pairwise(order))


def cheapest_plan(
    demand: Sequence[Sequence[int]], stocking: float, changeover: Matrix
) -> float | None:
    """The least cost of a lot-sizing plan (CSPLib 058), None where demand cannot be met.

    Items made in the order of their due dates; every item or none in every period.
    """
    items, periods = len(demand), len(demand[0])
    due = [[d for d in range(periods) for _ in range(row[d])] for row in demand]
    best = math.inf
    for plan in itertools.product(range(-1, items), repeat=periods):
        made = [[p for p in range(periods) if plan[p] == i] for i in range(items)]
        if any(len(m) != len(d) for m, d in zip(made, due, strict=True)):
            continue
        waits = [d - p for m, ds in zip(made, due, strict=True) for p, d in zip(m, ds, strict=True)]
        if any(wait < 0 for wait in waits):
            continue
        order = [i for i in plan if i >= 0]
        changes = sum(changeover[a][b] for a, b in itertools.pairwise(order) if a != b)
        best = min(best, stocking * sum(waits) + changes)
    return None if best == math.inf else best


def random_matrix(rng: random.Random, size: int, symmetric: bool = False) -> list[list[float]]:
    """Random distances, whole numbers; no triangle inequality."""
    matrix = [[0.0] * size for _ in range(size)]
    for i, j in itertools.permutations(range(size), 2):
        matrix[i][j] = matrix[j][i] if symmetric and j < i else float(rng.randint(0, 30))
    return matrix
