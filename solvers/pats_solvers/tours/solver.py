"""Branch and cut on tours, started from an iterated local search; a part of ``exact``."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from msgspec import Struct

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Kind, Outcome, Run
from pats_opt.errors import CapabilityError
from pats_opt.model.checker import TOLERANCE
from pats_opt.model.problem import Problem
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.common.kernel_sets import KernelSet, kernel_set
from pats_solvers.tours.moves import iterate, near_nodes
from pats_solvers.tours.relaxation import NO_BOUND, RelaxationSolution, TourRelaxation, whole
from pats_solvers.tours.tour import Tour, is_tour

#: Near nodes to which the local search tries arcs.
NEAR = 10

#: Perturbations between looks at the limits, and per node of the tour those without gain after
#: which the bound comes first; then those per node of the search.
SLICE, IDLE, BESIDE = 500, 50, 2

#: Largest share of the time limit for the local search before there is a bound.
OPENING = 0.25


@kernel_set("tours")
def tour_moves() -> None:
    """Compile the local search on tours."""
    cost = np.ones((4, 4), dtype=np.int64)
    iterate(cost, near_nodes(cost, NEAR), True, np.arange(4), 0, 0)


class TourSearch(Struct, frozen=True, kw_only=True):
    """Local search and branch and cut for travelling salesman problems."""

    name: ClassVar[str] = "tours"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES, bound=True, warm_start=True, packages=("numba", "ortools")
    )

    def kernels(self, _: Problem | None = None) -> tuple[KernelSet, ...]:
        """Return the kernels that it needs."""
        return (tour_moves,)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Search until a tour is proven the shortest, or a limit is reached.

        Raises:
            CapabilityError: The problem is no travelling salesman problem.
        """
        if not is_tour(problem):
            raise CapabilityError("not only the order of the adapters costs", hint="use 'exact'")
        incumbent = Incumbent(problem, run)
        try:
            tour = Tour(problem, run.stop)
        except InterruptedError:
            return incumbent.outcome()
        search = TourBranching(incumbent, tour)
        search.run()
        return incumbent.outcome(**search.details())


class TourNode(NamedTuple):
    """An open node of the search: the tours that have, and lack, some columns.

    Attributes:
        bound: Lower bound on their length, in fractions of a unit.
        number: When it was opened; the older of two alike goes first.
        fixed: 1 or 0 by column.
    """

    bound: int
    number: int
    fixed: Mapping[int, int]


class TourBranching:
    """Branch and cut: the node with the least bound, and then its children down to a tour.

    Attributes:
        order: The shortest tour so far.
        length: Its length, in units.
    """

    def __init__(self, incumbent: Incumbent, tour: Tour) -> None:
        self._incumbent, self._tour, self._run = incumbent, tour, incumbent.run
        plan = incumbent.plan
        self.order: Any = np.arange(tour.nodes) if plan is None else tour.order(plan)
        self.length: int = tour.length(self.order)
        self._look_at(tour.cost)
        self._seeds = itertools.count(self._run.seed)
        self._open: list[TourNode] = []
        self._solved = 0
        self._root: RelaxationSolution | None = None
        self._relaxation: TourRelaxation | None = None

    def run(self) -> None:
        """Search until the shortest tour is proven, or a limit is reached."""
        self._start()
        if self._incumbent.over():
            return
        relaxation = self._relaxation = TourRelaxation(self._tour, self.order, self._run)
        node: TourNode | None = TourNode(NO_BOUND, 0, {})
        length = self.length
        while node is not None and not self._incumbent.over():
            self._raise_bound(min([node.bound, *(other.bound for other in self._open[:1])]))
            if self._root is not None and (self.length < length or self._solved == 1):
                relaxation.eliminate(self._root, self._cutoff())
                length = self.length
            relaxed = self._solve(relaxation, node)
            if relaxed.bound > self._cutoff():
                node = None
            elif relaxed.values is None:
                return  # time is up, or GLOP has failed
            else:
                node = self._branch(relaxation, node, relaxed)
            self._improve(BESIDE * self._tour.nodes)
            if node is None and self._open:
                node = heapq.heappop(self._open)
        if node is None:
            self._raise_bound(self._cutoff() + 1)

    def details(self) -> dict[str, Any]:
        """Return sizes, ready for JSON."""
        sizes = {} if self._relaxation is None else self._relaxation.sizes()
        return {"nodes": self._solved, "open": len(self._open), **sizes}

    def _cutoff(self) -> int:
        """Return the bound, in fractions of a unit, beyond which no tour is a real gain."""
        least_gain = max(1, math.floor(0.5 * TOLERANCE * self.length))
        return (self.length - least_gain) * self._tour.fine

    def _raise_bound(self, bound: int) -> None:
        """Keep a bound in fractions of a unit; lengths are whole, and one is known."""
        if bound > NO_BOUND:
            bound = min(bound, self._cutoff() + 1)
            self._incumbent.raise_bound(self._tour.bound(-(-bound // self._tour.fine)))

    # -- tours -----------------------------------------------------------------------------------

    def _start(self) -> None:
        """Search for a good tour until it lately gained nothing."""
        idle, limit = 0, self._run.time_limit
        least = 0.0 if limit is None else (1.0 - OPENING) * limit
        while idle < IDLE * self._tour.nodes and self._run.stop() is None:
            if limit is not None and (self._run.remaining() or 0.0) < least:
                break
            idle = 0 if self._iterate(SLICE) else idle + SLICE
        self._incumbent.offer(self._tour.plan(self.order))

    def _look_at(self, cost: Any) -> None:
        """Let the local search go by these costs, which rank tours as the lengths do."""
        self._cost, self._near = cost, near_nodes(cost, NEAR)

    def _keep(self, order: Any) -> bool:
        """Keep a tour where it is shorter, and return whether it is."""
        length = self._tour.length(order)
        shorter = length < self.length
        if shorter:
            self.order, self.length = order, length
        return shorter

    def _improve(self, kicks: int) -> None:
        """Perturb the tour some times, and offer it where that made it shorter."""
        if self._iterate(kicks):
            self._incumbent.offer(self._tour.plan(self.order))

    def _iterate(self, kicks: int) -> int:
        """Perturb the tour some times, and return by how much it is shorter."""
        tour, seed = self._tour, next(self._seeds) % 2**32
        order, before = self.order.copy(), self.length
        if iterate(self._cost, self._near, tour.symmetric, order, kicks, seed):
            self._keep(order)
        return before - self.length

    # -- nodes -----------------------------------------------------------------------------------

    def _solve(self, relaxation: TourRelaxation, node: TourNode) -> RelaxationSolution:
        """Solve a node, whose bound is its parent's at least; report bounds of the first one."""
        self._solved += 1
        first = not node.fixed
        report = self._raise_bound if first else lambda _: None
        relaxed = relaxation.solve(node.fixed, self._cutoff(), report)
        if first:
            self._root = relaxed
            if relaxed.reduced is not None:
                self._look_at(np.rint(relaxed.reduced).astype(np.int64))
        return relaxed._replace(bound=max(relaxed.bound, node.bound))

    def _branch(
        self, relaxation: TourRelaxation, node: TourNode, relaxed: RelaxationSolution
    ) -> TourNode | None:
        """Keep a solution that is a tour; open two nodes, unless its length is proven here.

        Returns:
            The node to go on with, or None.
        """
        found = relaxation.order(relaxed.values) if whole(relaxed.values) else None
        if found is not None:
            if self._keep(found):
                self._incumbent.offer(self._tour.plan(found))
            if relaxed.bound > self._cutoff():
                return None
        column = relaxation.branching(relaxed.values, node.fixed)
        without, having = (
            TourNode(relaxed.bound, 2 * self._solved + value, {**node.fixed, column: value})
            for value in (0, 1)
        )
        heapq.heappush(self._open, without)
        return having
