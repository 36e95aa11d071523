"""The linear relaxation of a tour, with columns and cuts as they are needed, and its bound.

An arc is a column; where both directions cost the same, a pair of nodes is. Rows say that every
node is entered and left once, cuts come from :mod:`pats_solvers.tours.cuts`. GLOP's prices are
rounded to fractions of a unit, and the bound is computed from them in whole numbers over *all*
arcs, so it holds whatever the accuracy of GLOP and whichever columns it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from pats_opt.core.solver import Run
from pats_solvers.tours.cuts import TourCut, violated
from pats_solvers.tours.moves import near_nodes
from pats_solvers.tours.tour import Tour

#: GLOP's parameters: rows and bounds change, and the dual simplex goes on from there.
DUAL = "use_dual_simplex: true"

#: Near nodes that every node has a column to from the beginning.
NEAR = 10

#: New columns per node in a round of pricing.
PRICED = 2

#: Rounds of cuts that have to close this share of the gap, or the node is branched on.
ROUNDS, CLOSED = 6, 0.05

#: Values this close to one half are alike for branching.
BALANCED = 0.2

#: Columns that are tried before one is branched on, and the least gain that counts, in loss.
CANDIDATES, SMALLEST = 6, 1e-6

#: Values closer to 0 or 1 are whole.
WHOLE = 1e-5

#: Bound of a relaxation that has none.
NO_BOUND = -(2**62)

#: Sums of fractions of a unit up to this are exact as doubles; relative error of larger ones.
EXACT, ROUNDING = 2.0**52, 2.0**-26


class RelaxationSolution(NamedTuple):
    """The relaxation's solution under some fixed columns.

    Attributes:
        bound: Lower bound on the length of the tours that have them, in fractions of a unit.
        values: Value by column, or None where the bound exceeds the cutoff or time is up.
        reduced: Reduced costs from node to node that give the bound; None without a bound.
    """

    bound: int
    values: Any
    reduced: Any


class TourRelaxation:
    """The relaxation of the tours that are shorter than a known one.

    Args:
        tour: The problem.
        order: The known tour.
        run: Limits.

    Attributes:
        tails: Node that each column leaves.
        heads: Node that it enters; for a pair of nodes, the larger one.
    """

    def __init__(self, tour: Tour, order: Any, run: Run) -> None:
        from ortools.linear_solver import pywraplp

        self.tour, self._run, nodes = tour, run, tour.nodes
        self._native = pywraplp
        self._lp = pywraplp.Solver.CreateSolver("GLOP")
        self._lp.SetSolverSpecificParametersAsString(DUAL)
        self._anew = pywraplp.MPSolverParameters()
        self._anew.SetIntegerParam(self._anew.INCREMENTALITY, self._anew.INCREMENTALITY_OFF)
        self._objective = self._lp.Objective()
        # Every row may be met at the price of a whole tour, so there is always a solution.
        self._penalty = (tour.length(order) + 1) / tour.scale
        self._degree = 2 if tour.symmetric else 1
        self._out = [self._row(self._degree, self._degree) for _ in range(nodes)]
        self._in = self._out if tour.symmetric else [self._row(1, 1) for _ in range(nodes)]
        self._cuts: list[TourCut] = []
        self._rows: list[Any] = []
        self._keys: set[Any] = set()
        self._columns: list[Any] = []
        self.tails = self.heads = np.empty(0, dtype=np.int64)
        self._known = np.eye(nodes, dtype=bool)  # no column is missing for these arcs
        self._gone = np.empty(0, dtype=bool)  # columns that no shorter tour has
        self._fixed: dict[int, int] = {}
        near = near_nodes(tour.cost, NEAR), near_nodes(tour.cost.T, NEAR)
        arcs = np.zeros((nodes, nodes), dtype=bool)
        arcs[np.repeat(np.arange(nodes), near[0].shape[1]), near[0].ravel()] = True
        arcs[near[1].ravel(), np.repeat(np.arange(nodes), near[1].shape[1])] = True
        arcs[order, np.roll(order, -1)] = True
        self._add_columns(arcs)

    def _row(self, least: float, most: float) -> Any:
        row, excused = self._lp.Constraint(least, most), self._lp.NumVar(0.0, math.inf, "")
        row.SetCoefficient(excused, 1.0)
        self._objective.SetCoefficient(excused, self._penalty)
        return row

    def _add_columns(self, wanted: Any) -> None:
        """Add the columns of arcs that have none."""
        if self.tour.symmetric:
            wanted = np.triu(wanted | wanted.T)
        tails, heads = np.nonzero(wanted & ~self._known)
        costs = self.tour.cost[tails, heads] / self.tour.scale
        added = []
        for i, j, cost in zip(tails.tolist(), heads.tolist(), costs.tolist(), strict=True):
            column = self._lp.NumVar(0.0, 1.0, "")
            self._objective.SetCoefficient(column, cost)
            self._out[i].SetCoefficient(column, 1.0)
            self._in[j].SetCoefficient(column, 1.0)
            added.append(column)
        for cut, row in zip(self._cuts, self._rows, strict=True):
            self._cross(row, cut, added, tails, heads)
        self._columns += added
        self.tails, self.heads = np.append(self.tails, tails), np.append(self.heads, heads)
        self._gone = np.append(self._gone, np.zeros(len(added), dtype=bool))
        self._known[tails, heads] = True
        if self.tour.symmetric:
            self._known[heads, tails] = True

    def _add_cut(self, cut: TourCut) -> bool:
        """Add a cut, unless it is there."""
        if cut.key in self._keys:
            return False
        self._keys.add(cut.key)
        row = self._row(cut.least, math.inf)
        self._cross(row, cut, self._columns, self.tails, self.heads)
        self._cuts.append(cut)
        self._rows.append(row)
        return True

    def _cross(self, row: Any, cut: TourCut, columns: list[Any], tails: Any, heads: Any) -> None:
        crossings = cut.crossings(tails, heads)
        for k in np.flatnonzero(crossings).tolist():
            row.SetCoefficient(columns[k], float(crossings[k]))

    def solve(
        self, fixed: Mapping[int, int], cutoff: int, report: Callable[[int], None]
    ) -> RelaxationSolution:
        """Solve with some columns fixed to 0 or 1, adding columns and cuts.

        Args:
            fixed: Value by column.
            cutoff: Bound, in fractions of a unit, beyond which nothing more is asked for.
            report: Called with each higher bound.
        """
        self._fix(fixed)
        best, rounds, earlier = RelaxationSolution(NO_BOUND, None, None), 0, NO_BOUND
        while self._solved():
            values = np.array([column.solution_value() for column in self._columns])
            prices, value = self._prices(), self._objective.Value() * self.tour.scale
            cuts: list[TourCut] = []
            if value * self.tour.fine <= cutoff:
                cuts = violated(self.tour.nodes, self._weights(values))
            bound, reduced = self._bound(*prices)
            if bound > best.bound:
                best = RelaxationSolution(bound, None, reduced)
                report(bound)
            if best.bound > cutoff:
                return best
            priced = self._price(reduced)
            added = sum([self._add_cut(cut) for cut in cuts])
            if not priced and not added:
                return best._replace(values=values)
            rounds += 1
            if not priced and rounds % ROUNDS == 0 and not whole(values):
                if best.bound < earlier + CLOSED * (cutoff - earlier):
                    return best._replace(values=values)
                earlier = best.bound
        return best

    def eliminate(self, root: RelaxationSolution, cutoff: int) -> None:
        """Remove the arcs that the bound without fixed columns shows to be in no shorter tour."""
        gone = root.reduced > cutoff - root.bound
        self._known |= gone
        self._gone |= gone[self.tails, self.heads]
        for k in np.flatnonzero(self._gone).tolist():
            if k not in self._fixed:
                self._columns[k].SetBounds(0.0, 0.0)

    def order(self, values: Any) -> Any:
        """Return the tour that whole values make, or None where they make several circles."""
        following: dict[int, list[int]] = {}
        for k in np.flatnonzero(values > 0.5).tolist():
            i, j = int(self.tails[k]), int(self.heads[k])
            following.setdefault(i, []).append(j)
            if self.tour.symmetric:
                following.setdefault(j, []).append(i)
        order, node, after = list[int](), 0, list[int]()
        while node in following:
            order.append(node)
            after = following.pop(node)
            node = next((j for j in after if j in following), 0)
        closed = len(order) == self.tour.nodes and 0 in after
        return np.array(order) if closed else None

    def branching(self, values: Any, fixed: Mapping[int, int]) -> int:
        """Return the column to branch on, near one half, and then the most expensive.

        Of several such pairs of nodes, the one whose two values both cost most (strong branching:
        Applegate, Bixby, Chvátal, Cook 1995). For arcs that takes longer than it saves.
        """
        used = np.flatnonzero((values > WHOLE) & ~np.isin(np.arange(len(values)), list(fixed)))
        left = used.tolist() or [k for k in range(len(values)) if k not in fixed]
        costs = self.tour.cost[self.tails, self.heads]
        left.sort(key=lambda k: (abs(values[k] - 0.5) > BALANCED, -costs[k]))
        if not self.tour.symmetric:
            return left[0]
        tried = [k for k in left[:CANDIDATES] if WHOLE < values[k] < 1.0 - WHOLE]
        now = float(costs @ values) / self.tour.scale
        return max(
            tried, key=lambda k: self._gain(k, 0, now) * self._gain(k, 1, now), default=left[0]
        )

    def _gain(self, column: int, value: int, now: float) -> float:
        """Return by how much the relaxation rises from ``now`` with one more fixed column."""
        self._columns[column].SetBounds(value, value)
        gain = self._objective.Value() - now if self._solved() else 0.0
        self._columns[column].SetBounds(0.0, 1.0)
        return max(gain, SMALLEST)

    def sizes(self) -> dict[str, int]:
        """Return the numbers of columns and cuts."""
        return {"columns": len(self._columns), "cuts": len(self._cuts)}

    def _solved(self) -> bool:
        """Solve within the limits of the run, and return whether that succeeded."""
        if self._run.stop():
            return False
        if (left := self._run.remaining()) is not None:
            self._lp.SetTimeLimit(1 + int(1000 * left))
        optimal = self._native.Solver.OPTIMAL
        if self._lp.Solve() == optimal:
            return True
        # GLOP's dual simplex fails now and then, where its primal one from scratch does not.
        self._lp.SetSolverSpecificParametersAsString("use_dual_simplex: false")
        solved = not self._run.stop() and self._lp.Solve(self._anew) == optimal
        self._lp.SetSolverSpecificParametersAsString(DUAL)
        return bool(solved)

    def _fix(self, fixed: Mapping[int, int]) -> None:
        for k in self._fixed.keys() - fixed.keys():
            self._columns[k].SetBounds(0.0, 0.0 if self._gone[k] else 1.0)
        for k, value in fixed.items():
            self._columns[k].SetBounds(value, value)
        self._fixed = dict(fixed)

    def _weights(self, values: Any) -> dict[tuple[int, int], float]:
        weights: dict[tuple[int, int], float] = {}
        used = np.flatnonzero(values > 1e-9)
        for i, j, value in zip(
            self.tails[used].tolist(), self.heads[used].tolist(), values[used].tolist(), strict=True
        ):
            pair = (i, j) if i < j else (j, i)
            weights[pair] = weights.get(pair, 0.0) + value
        return weights

    def _prices(self) -> tuple[Any, Any, Any]:
        """Return the prices of leaving and of entering each node and of each cut, rounded."""
        unit = self.tour.scale * self.tour.fine
        out, into, cuts = (
            np.array([row.dual_value() for row in rows])
            for rows in (self._out, self._in, self._rows)
        )
        return np.rint(out * unit), np.rint(into * unit), np.rint(np.maximum(cuts, 0.0) * unit)

    def _bound(self, out: Any, into: Any, cuts: Any) -> tuple[int, Any]:
        """Return the bound at some prices, and the reduced cost from node to node.

        A tour pays the prices of all rows, and the reduced costs of its arcs. Those of columns are
        at least their negative ones; at each node, arcs without a column add at least the least.
        """
        active = np.flatnonzero(cuts)
        prices = [cuts[k] for k in active for _ in self._cuts[k].sides]
        reduced = self.tour.cost.astype(float) * self.tour.fine - out[:, None] - into
        if prices:
            sides = np.concatenate([self._cuts[k].sides for k in active]).astype(float)
            one_way = (sides * np.array(prices)[:, None]).T @ (1.0 - sides)
            reduced -= one_way + one_way.T
        base = self._degree * out.sum() + sum(cuts[k] * self._cuts[k].least for k in active)
        base += 0.0 if self.tour.symmetric else into.sum()
        columns = reduced[self.tails, self.heads]
        paid = np.where(self._gone, 0.0, np.minimum(columns, 0.0))
        for k, value in self._fixed.items():
            paid[k] = columns[k] * value
        missing = np.where(self._known, 0.0, np.minimum(reduced, 0.0)).min(axis=1)
        total = float(base + paid.sum() + missing.sum())
        terms = (
            2.0 * out,
            into,
            np.array([k.least for k in self._cuts]) * cuts,
            np.abs(reduced).max(axis=1),
            paid,
            missing,
        )
        largest = sum(float(np.abs(term).sum()) for term in terms)
        return math.floor(total - (0.0 if largest < EXACT else ROUNDING * largest)), reduced

    def _price(self, reduced: Any) -> bool:
        """Add the columns with the least reduced costs, if there are negative ones."""
        costs = np.where(self._known, 0.0, reduced)
        if self.tour.symmetric:
            costs = np.triu(costs)
        negative = np.flatnonzero(costs < -1.0)
        if not len(negative):
            return False
        order = np.argsort(costs.ravel()[negative], kind="stable")
        wanted = np.zeros(self._known.shape, dtype=bool)
        wanted.ravel()[negative[order[: PRICED * self.tour.nodes]]] = True
        self._add_columns(wanted)
        return True


def whole(values: Any) -> bool:
    """Return whether all values are 0 or 1."""
    return bool((np.abs(values - np.rint(values)) < WHOLE).all())
