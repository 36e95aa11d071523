"""Moves on tours, compiled: exchanges of two and three arcs, and iterated local search.

A tour is an array of nodes, and ``place`` is its inverse. Two moves make up all exchanges: two runs
of nodes that follow one another change places (three arcs, no run reversed), or a run is reversed,
where that costs nothing. New arcs are tried to near nodes only, and only nodes whose arcs have
changed are looked at again (Bentley 1992). The perturbation swaps two short runs at random
(Martin, Otto, Felten 1991, made local); what it does not improve is taken back.
"""

# ruff: noqa: C901, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import compiled, entry

#: Longest run that the perturbation moves.
LONGEST = 50


@compiled
def _swap(tour: Any, place: Any, first: int, left: int, right: int) -> None:
    """Swap the ``left`` nodes from ``first`` on with the ``right`` nodes after them."""
    nodes = tour.shape[0]
    held = np.empty(left, np.int64)
    for k in range(left):
        held[k] = tour[(first + k) % nodes]
    for k in range(right):
        at = (first + k) % nodes
        tour[at] = tour[(at + left) % nodes]
        place[tour[at]] = at
    for k in range(left):
        at = (first + right + k) % nodes
        tour[at] = held[k]
        place[held[k]] = at


@compiled
def _reverse(tour: Any, place: Any, first: int, count: int) -> None:
    """Reverse ``count`` nodes from ``first`` on, or all others, which makes the same circle."""
    nodes = tour.shape[0]
    if 2 * count > nodes:
        first, count = first + count, nodes - count
    for k in range(count // 2):
        i, j = (first + k) % nodes, (first + count - 1 - k) % nodes
        tour[i], tour[j] = tour[j], tour[i]
        place[tour[i]], place[tour[j]] = i, j


@compiled
def _improve_node(
    cost: Any, near: Any, symmetric: bool, tour: Any, place: Any, a: int, ends: Any
) -> Any:
    """Make the first move with a new arc at node ``a`` that gains.

    Returns:
        The gain, 0 where there is no such move; ``ends`` then has nodes whose arcs have changed.
    """
    nodes = tour.shape[0]
    i = place[a]
    b, z = tour[(i + 1) % nodes], tour[i - 1]
    for d in near[a]:
        j = place[d]
        c, e = tour[j - 1], tour[(j + 1) % nodes]
        if symmetric:
            gain = cost[a, b] - cost[a, d] + cost[d, e] - cost[b, e]
            if gain > 0 and b != d and e != a:
                _reverse(tour, place, (i + 1) % nodes, (j - i) % nodes)
                ends[0], ends[1], ends[2], ends[3] = b, d, e, a
                return gain
            gain = cost[z, a] - cost[a, d] + cost[c, d] - cost[z, c]
            if gain > 0 and z != d and c != a:
                _reverse(tour, place, j, (i - j) % nodes)
                ends[0], ends[1], ends[2], ends[3] = z, d, c, a
                return gain
        if cost[a, b] <= cost[a, d]:
            if symmetric and cost[a, d] < cost[z, a]:
                continue
            return 0
        if c == a:
            continue
        left = (j - i - 1) % nodes  # b to c
        opened = cost[a, b] - cost[a, d] + cost[c, d]
        for turned in range(2 if symmetric else 1):
            p, q = (b, c) if turned else (c, b)  # the run from b to c comes back as q to p
            for f in near[p]:
                right = (place[f] - j) % nodes  # d to e, the node before f
                if right == 0 or right + left >= nodes:
                    continue
                e = tour[place[f] - 1]
                gain = opened + cost[e, f] - cost[p, f] - cost[e, q]
                if gain > 0:
                    _swap(tour, place, (i + 1) % nodes, left, right)
                    if turned:
                        _reverse(tour, place, (i + 1 + right) % nodes, left)
                    ends[0], ends[1], ends[2], ends[3] = b, c, d, e
                    return gain
    return 0


@compiled
def _descend(
    cost: Any, near: Any, symmetric: bool, tour: Any, place: Any, queue: Any, waits: Any, size: int
) -> int:
    """Improve the nodes of the queue until none of them gains; return the total gain."""
    total, ends = 0, np.empty(4, np.int64)
    while size > 0:
        size -= 1
        a = queue[size]
        waits[a] = False
        while True:
            gain = _improve_node(cost, near, symmetric, tour, place, a, ends)
            if gain <= 0:
                break
            total += gain
            for end in ends:
                for node in (end, tour[place[end] - 1]):
                    if node != a and not waits[node]:
                        waits[node] = True
                        queue[size] = node
                        size += 1
    return total


@entry
def iterate(cost: Any, near: Any, symmetric: bool, tour: Any, kicks: int, seed: int) -> int:
    """Improve a tour in place: a descent, then perturbations that are kept where no longer.

    Args:
        cost: Whole numbers from node to node.
        near: Near nodes of each, by rising cost.
        symmetric: Whether runs may be reversed.
        tour: At least four nodes.
        kicks: Number of perturbations.
        seed: Seed of them.

    Returns:
        By how much the tour is shorter.
    """
    nodes = tour.shape[0]
    np.random.seed(seed)
    place, queue = np.empty(nodes, np.int64), tour.copy()
    for k in range(nodes):
        place[tour[k]] = k
    waits = np.ones(nodes, np.bool_)
    total = _descend(cost, near, symmetric, tour, place, queue, waits, nodes)
    best, longest, touched = tour.copy(), min(LONGEST, (nodes - 1) // 2), np.empty(6, np.int64)
    for _ in range(kicks):
        first = np.random.randint(nodes)
        left = 1 + np.random.randint(longest)
        right = 1 + np.random.randint(min(longest, nodes - 1 - left))
        for k, at in enumerate((-1, 0, left - 1, left, left + right - 1, left + right)):
            touched[k] = tour[(first + at) % nodes]
        a, b, c, d, e, f = touched
        gain = cost[a, b] + cost[c, d] + cost[e, f] - cost[a, d] - cost[e, b] - cost[c, f]
        _swap(tour, place, first, left, right)
        size = 0
        for node in touched:
            if not waits[node]:
                waits[node] = True
                queue[size] = node
                size += 1
        gain += _descend(cost, near, symmetric, tour, place, queue, waits, size)
        if gain >= 0:
            total += gain
            best[:] = tour
        else:
            tour[:] = best
            for k in range(nodes):
                place[tour[k]] = k
    return total


def near_nodes(cost: Any, most: int) -> Any:
    """Return the ``most`` nearest nodes of each node (fewer where there are no more)."""
    others = cost.astype(float)
    np.fill_diagonal(others, np.inf)
    return np.argsort(others, axis=1, kind="stable")[:, : min(most, len(cost) - 1)].copy()
