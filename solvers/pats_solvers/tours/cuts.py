"""Cuts of the tour polytope, and the search for those that a fractional solution violates.

The weight of two nodes is the sum of the arcs between them, in both directions. A tour crosses the
border of every set of nodes at least twice (subtour elimination: Dantzig, Fulkerson, Johnson 1954).
For a set, the handle, and an odd number k of disjoint pairs, the teeth, each with one node in the
handle, it crosses the k + 1 borders at least 3 k + 1 times (blossom: Edmonds 1965; a comb with
teeth of two: Grötschel and Padberg 1979). Both hold whatever the direction of the arcs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import networkx as nx
import numpy as np

#: Weight of each pair of nodes, the smaller one first; pairs without weight are left out.
Weights = Mapping[tuple[int, int], float]

#: Violations below this are not worth a cut, and weights this close to 0 or 1 are 0 or 1.
SMALL = 1e-5

#: Weights up to which, and from 1 less that on, pairs count as 0 and 1 in the search for blossoms.
ROUNDED = (SMALL, 0.3)

#: Whole units of capacity per unit of weight, for maximum flows.
CAPACITY = 1_000_000


class TourCut:
    """The borders of some sets of nodes are crossed at least so often in total.

    Attributes:
        sides: Set by node, whether it is in it.
        least: Least number of crossings.
        key: The same for the same cut.
    """

    def __init__(self, nodes: int, sets: Iterable[Collection[int]], least: int) -> None:
        sides = [np.isin(np.arange(nodes), list(members)) for members in sets]
        self.sides: Any = np.array([~side if side[0] else side for side in sides])
        self.least = least
        self.key = least, *sorted(side.tobytes() for side in self.sides)

    def crossings(self, tails: Any, heads: Any) -> Any:
        """Return how many of the borders each arc crosses."""
        return (self.sides[:, tails] != self.sides[:, heads]).sum(axis=0)


def violated(nodes: int, weights: Weights) -> list[TourCut]:
    """Return violated subtour cuts; where there are none, violated blossoms."""
    return _subtours(nodes, weights) or _blossoms(nodes, weights)


def _subtours(nodes: int, weights: Weights) -> list[TourCut]:
    """Return sets that are crossed less than twice; none only if there is none.

    A pair of weight 1 is contracted: the border of a set that splits it can be moved past one of
    its two nodes without more crossings. Then a minimum cut from one node to each other is found.
    """
    graph = nx.Graph(list(weights))
    graph.add_nodes_from(range(nodes))
    parts = list(nx.connected_components(graph))
    if len(parts) > 1:
        return [TourCut(nodes, [part], 2) for part in parts]
    joined = nx.utils.UnionFind(range(nodes))
    for pair, weight in weights.items():
        if weight >= 1.0 - SMALL:
            joined.union(*pair)
    members = list(map(list, joined.to_sets()))
    index = {node: k for k, part in enumerate(members) for node in part}
    capacity: Counter[tuple[int, int]] = Counter()
    for (i, j), weight in weights.items():
        if index[i] != index[j]:
            capacity[index[i], index[j]] += round(weight * CAPACITY)
    sides = dict.fromkeys(_minimum_cuts(len(members), capacity))
    return [TourCut(nodes, [[v for k in side for v in members[k]]], 2) for side in sides]


def _minimum_cuts(nodes: int, capacity: Mapping[tuple[int, int], int]) -> list[frozenset[int]]:
    """Return for each node the set that separates it from node 0, if that is crossed too little."""
    from ortools.graph.python.max_flow import SimpleMaxFlow

    if nodes < 2:
        return []
    ends = np.array(list(capacity), dtype=np.int32)
    amounts = np.array(list(capacity.values()), dtype=np.int64)
    flow = SimpleMaxFlow()
    for tails, heads in ((ends[:, 0], ends[:, 1]), (ends[:, 1], ends[:, 0])):
        flow.add_arcs_with_capacity(tails, heads, amounts)
    found = []
    for node in range(1, nodes):
        flow.solve(0, node)
        if flow.optimal_flow() < (2.0 - 10 * SMALL) * CAPACITY:
            found.append(frozenset(flow.get_source_side_min_cut()))
    return found


def _blossoms(nodes: int, weights: Weights) -> list[TourCut]:
    """Return violated blossoms whose handle is a component of the fractional pairs.

    The teeth are the pairs of weight 1 that leave it (Padberg and Hong 1980).
    """
    found = []
    for rounded in ROUNDED:
        fractional = [pair for pair, w in weights.items() if rounded < w < 1.0 - rounded]
        whole = [pair for pair, w in weights.items() if w >= 1.0 - rounded]
        for part in nx.connected_components(nx.Graph(fractional)):
            handle, teeth = _handle(set(part), whole)
            if len(teeth) < 3 or len(teeth) % 2 == 0:
                continue
            if len({inner for inner, _ in teeth}) < len(teeth):
                continue
            cut = TourCut(nodes, [handle, *teeth], 3 * len(teeth) + 1)
            tails, heads = np.array(list(weights)).T
            crossed = cut.crossings(tails, heads) @ np.array(list(weights.values()))
            if crossed < cut.least - 0.01:
                found.append(cut)
        if found:
            break
    return found


def _handle(
    handle: set[int], whole: Collection[tuple[int, int]]
) -> tuple[set[int], list[tuple[int, int]]]:
    """Return the handle, with nodes in it that two teeth would share, and its teeth."""
    while True:
        teeth = [
            (i, j) if i in handle else (j, i) for i, j in whole if (i in handle) != (j in handle)
        ]
        outer = Counter(j for _, j in teeth)
        shared = {j for j, count in outer.items() if count > 1}
        if not shared:
            return handle, teeth
        handle |= shared
