"""One adapter on one kind of GPU: the data of its dynamic program.

Jobs fall into classes as in :mod:`pats_solvers.dp.classes`; where those are too many for the states
to be told apart, the most alike are merged into one that is at least as easy as each
(:mod:`pats_solvers.lagrangian.merging`), so that the value stays a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pats_opt.loss import switching_loss
from pats_opt.problem import Problem
from pats_opt.timing import to_ticks
from pats_solvers.dp.classes import JobClass, Move, moves
from pats_solvers.lagrangian import kernels

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Chain:
    """The data that the kernels need; :func:`kernels.backward` tells the shapes.

    Args:
        problem: The problem.
        kinds: Classes of the adapter's jobs.
        gpu: A GPU of the kind.
        ticks: The last tick of the grid.
        skippable: Whether another GPU may serve a job in this one's stead.

    Attributes:
        size: Backlogs told apart.
        constant: What every plan adds to the value: arrivals are priced there.
    """

    def __init__(
        self,
        problem: Problem,
        kinds: Sequence[JobClass],
        gpu: int,
        ticks: int,
        *,
        skippable: bool = False,
        most: int = 400,
    ) -> None:
        site = problem.site
        self.adapter, self.gpu, self.kinds, self.ticks = kinds[0].adapter, gpu, tuple(kinds), ticks
        self.caching = site.max_resident > 1
        self.hard = site.horizon is not None
        self.moves = _undominated(kinds, moves(problem, list(kinds), self.adapter, gpu))
        self.skippable = skippable
        self.price = np.array([kind.price for kind in kinds])
        self.constant = -math.fsum(kind.price * float(kind.before[-1]) for kind in kinds)
        self.arrived = np.array(
            [np.searchsorted(kind.arrivals, np.arange(ticks + 1), side="right") for kind in kinds]
        )
        self.least = np.array([self._least(q) for q in range(len(kinds))])
        self.takes = np.zeros((len(self.moves), len(kinds)), dtype=np.int64)
        for m, move in enumerate(self.moves):
            for q, n in move.takes:
                self.takes[m, q] = n
        self._skip()
        self._moves(problem)
        self._switches(problem)
        self.caps = np.array([len(kind.jobs) for kind in kinds])
        self.limit(np.minimum(self.caps, _caps(self.caps, self.takes, most)))

    def limit(self, caps: Ints) -> None:
        """Tell backlogs apart up to ``caps``."""
        self.dims = (caps + 1).astype(np.int64)
        self.size = int(np.prod(self.dims))
        self.strides = np.array(
            [int(np.prod(self.dims[q + 1 :])) for q in range(len(self.dims))], dtype=np.int64
        )
        index = np.arange(self.size)
        self.digits = np.ascontiguousarray((index[:, None] // self.strides) % self.dims)
        self.offsets = self.takes @ self.strides
        different, which = np.unique(self.takes, axis=0, return_inverse=True)
        at, rows = [0], []
        for take in different:
            fits = np.flatnonzero((self.digits >= take).all(axis=1))
            if len(fits):
                breaks = np.flatnonzero(np.diff(fits) > 1) + 1
                for run in np.split(fits, breaks):
                    rows.append((run[0], len(run)))
            at.append(len(rows))
        self.runs_at = np.array(at, dtype=np.int64)
        self.runs = np.array(rows, dtype=np.int64).reshape(-1, 2)
        self.table = np.column_stack([which.reshape(-1), self.offsets]).astype(np.int64)

    def _least(self, q: int) -> float:
        ways = [
            self.kinds[q].jobs[0].options[o].quality_loss + self.kinds[q].price * ticks
            for move in self.moves
            for part, o, _, ticks in move.parts
            if part == q
        ]
        return min(ways, default=math.inf)

    def _skip(self) -> None:
        at, costs = [], []
        self.reject: list[Floats] = []
        for kind in self.kinds:
            rejectable = kind.reject_loss is not None
            at.append(len(costs) if rejectable or self.skippable else -1)
            if at[-1] >= 0:
                costs.extend(
                    (kind.reject_loss if kind.reject_loss is not None else math.inf) + kind.price * float(a)
                    for a in kind.arrivals
                )
        self.skip_at = np.array(at, dtype=np.int64)
        self.skip = np.array(costs, dtype=np.float64)

    def _moves(self, problem: Problem) -> None:
        lengths = np.array([move.duration for move in self.moves], dtype=np.int64)
        self.durations, first = np.unique(lengths, return_index=True)
        self.duration_at = np.append(first, len(lengths)).astype(np.int64)
        self.costs = np.zeros((len(self.moves), 2))
        late_at, late_from, late_cost = [0], [], []
        for m, move in enumerate(self.moves):
            for q, o, n, ticks in move.parts:
                kind = self.kinds[q]
                self.costs[m, 0] += n * (kind.jobs[0].options[o].quality_loss + kind.price * ticks)
                self.costs[m, 1] += n * kind.price
                if kind.late_loss > 0.0:
                    deadline = kind.jobs[0].deadline
                    assert deadline is not None
                    late_from.append(int(kind.arrivals[0]) + deadline - ticks + 1)
                    late_cost.append(n * kind.late_loss)
            late_at.append(len(late_from))
        self.late_at = np.array(late_at, dtype=np.int64)
        self.late_from = np.array(late_from, dtype=np.int64)
        self.late_cost = np.array(late_cost, dtype=np.float64)

    def _switches(self, problem: Problem) -> None:
        site = problem.site
        into = frozenset((self.adapter,))
        if not self.caching:
            held = [frozenset(), *(frozenset((a,)) for a in range(len(site.adapter_ids)) if a != self.adapter)]
            if not site.pairs:
                held = held[:1]
            found = [site.switch(before, into, into, None) for before in held]
            self.switches = np.array([min(s.ticks for s in found), 0, 0], dtype=np.int64)
            cost = min(switching_loss(site, s.seconds) for s in found)
            self.switch_costs = np.array([cost, 0.0, 0.0])
            return
        load = site.load_s[self.adapter]
        # Loads of one switch share its last tick, and spare it the activation.
        exclusive = site.max_per_batch == 1
        activate = site.activate_s if exclusive else 0.0
        ahead = max(0.0, load - activate)
        whole = [0 if site.clock.slotted else math.floor(s / site.tick_s + 1e-9) for s in (load, activate, ahead)]
        self.switches = np.array(whole, dtype=np.int64)
        self.switch_costs = np.array([switching_loss(site, s) for s in (load, activate, ahead)])

    def bytes(self) -> int:
        """Memory of one run of the dynamic program."""
        return 3 * (self.ticks + 1) * self.size * 8

    def solve(self, hold: Floats, keep: Floats, state: int, skip: Floats | None = None):
        """Value of the best plan at these prices, and the plan's rows."""
        skip = self.skip if skip is None else skip
        values = np.empty((3, self.ticks + 1, self.size))
        kernels.backward(
            hold, keep, self.dims, self.strides, self.digits, self.arrived, self.price, self.least,
            skip, self.skip_at, self.durations, self.duration_at, self.table, self.costs,
            self.late_at, self.late_from, self.late_cost, self.runs_at, self.runs,
            self.switches, self.switch_costs, self.caching, self.hard, values,
        )
        rows = np.empty((4 * self.ticks + 4 * int(self.caps.sum()) + 16, 4), dtype=np.int64)
        count = kernels.follow(
            hold, keep, self.dims, self.strides, self.digits, self.arrived, self.price, self.least,
            skip, self.skip_at, self.durations, self.duration_at, self.table, self.costs,
            self.late_at, self.late_from, self.late_cost, self.takes,
            self.switches, self.switch_costs, self.caching, self.hard, values, state, rows,
        )
        index, cost = 0, 0.0
        for q in range(len(self.kinds)):
            backlog = int(self.arrived[q, 0])
            if backlog >= self.dims[q]:
                cost += kernels.cut_cost(q, 0, backlog, self.dims, self.arrived, self.price, self.least, skip, self.skip_at)
                backlog = int(self.dims[q]) - 1
            index += backlog * int(self.strides[q])
        return values[state, 0, index] + cost + self.constant, rows[:max(count, 0)], values


def _undominated(kinds: Sequence[JobClass], found: list[Move]) -> tuple[Move, ...]:
    """Batches by duration, without those that a shorter and cheaper one of the same jobs beats."""
    by_takes: dict[tuple[tuple[int, int], ...], list[tuple[int, float, Move]]] = {}
    kept: list[tuple[int, Move]] = []
    for move in found:
        if any(kinds[q].late_loss > 0.0 for q, _ in move.takes):
            kept.append((move.duration, move))
            continue
        fixed = math.fsum(
            n * (kinds[q].jobs[0].options[o].quality_loss + kinds[q].price * ticks)
            for q, o, n, ticks in move.parts
        )
        by_takes.setdefault(move.takes, []).append((move.duration, fixed, move))
    for group in by_takes.values():
        best = math.inf
        for duration, fixed, move in sorted(group, key=lambda g: g[:2]):
            if fixed < best:
                best = fixed
                kept.append((duration, move))
    return tuple(move for _, move in sorted(kept, key=lambda pair: pair[0]))


def _caps(jobs: Ints, takes: Ints, most: int) -> Ints:
    """Backlog caps whose states number at most ``most``, about equal in all classes."""
    caps = np.minimum(jobs, 1)
    while True:
        order = np.argsort(np.where(caps < jobs, caps, np.iinfo(np.int64).max), kind="stable")
        for q in order:
            trial = caps.copy()
            trial[q] += 1
            if trial[q] <= jobs[q] and np.prod(trial + 1) <= most:
                caps = trial
                break
        else:
            return caps
