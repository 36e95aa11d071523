"""One adapter on one kind of GPU: the data of its dynamic program.

Jobs fall into classes as in :mod:`pats_solvers.dp.classes`. Where those are too many for the states
to be told apart they are merged (:mod:`pats_solvers.lagrangian.merging`); where ticks are too many they
are taken ``grain`` at a time: starts, arrivals and durations are rounded down, which keeps every
plan a plan and makes none dearer. Either way the value stays a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.loss import switching_loss
from pats_opt.problem import Problem
from pats_solvers.dp.classes import JobClass, Move, moves
from pats_solvers.lagrangian import kernels
from pats_solvers.lagrangian.merging import merge

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Batches of one adapter beyond which its classes are merged further.
MOST_MOVES = 4000


class Path(NamedTuple):
    """An optimal plan of a chain at some prices.

    Attributes:
        value: Its loss with the prices paid, or infinity where there is none.
        rows: What is done, from which tick, until which, and the move or class
            (see :func:`kernels.follow`).
    """

    value: float
    rows: Ints


class Chain:
    """The data that the kernels need; :func:`kernels.backward` tells the shapes.

    Args:
        problem: The problem.
        kinds: Classes of the adapter's jobs; those that do not fit the GPU may be among them.
        gpu: A GPU of the kind.
        ticks: The last tick of the grid, in grains.
        states: Backlogs told apart, at most; the caps of the classes follow from it.
        grain: Ticks taken as one.
        skippable: Whether other GPUs may serve a job in this one's stead, at a price given later.

    Attributes:
        kinds: The classes, merged where they had to be, in the order of the arrays.
        moves: Its batches by duration, without those that another one of the same jobs beats.
        constant: What every plan adds to the value: arrivals, and what merging left out.
        price: Loss by class for each grain that a start is later.
        caps: Backlog above which the oldest jobs are cut, by class.
    """

    def __init__(
        self,
        problem: Problem,
        kinds: Sequence[JobClass],
        gpu: int,
        ticks: int,
        *,
        states: int = 400,
        grain: int = 1,
        skippable: bool = False,
    ) -> None:
        site = problem.site
        self.adapter, self.gpu, self.ticks, self.grain = kinds[0].adapter, gpu, ticks, grain
        self.caching = site.max_resident > 1
        self.hard = site.horizon is not None and site.horizon // grain <= ticks
        self.skippable = skippable
        self.kinds, self.moves, left_out = _told_apart(problem, kinds, gpu, states)
        self.jobs = np.array([len(kind.jobs) for kind in self.kinds])
        self.price = np.array([kind.price * grain for kind in self.kinds])
        # What merging left out is owed by jobs that are served here only.
        self.constant = (0.0 if skippable else left_out) - math.fsum(
            kind.price * float(kind.before[-1]) for kind in self.kinds
        )
        grid = np.arange(ticks + 1)
        self.arrived = np.array(
            [np.searchsorted(kind.arrivals // grain, grid, side="right") for kind in self.kinds],
            dtype=np.int64,
        )
        self.takes = np.zeros((len(self.moves), len(self.kinds)), dtype=np.int64)
        for m, move in enumerate(self.moves):
            for q, n in move.takes:
                self.takes[m, q] = n
        self._moves()
        self._skips()
        self._switches(problem)
        self.limit(_caps(self.jobs, self.takes, states))

    def limit(self, caps: Ints) -> None:
        """Tell backlogs apart up to ``caps``, by class."""
        self.caps = caps
        self.dims = (caps + 1).astype(np.int64)
        padded = _padded(caps, self.takes)
        self.size = int(np.prod(padded))
        self.strides = np.array(
            [int(np.prod(padded[q + 1 :])) for q in range(len(padded))], dtype=np.int64
        )
        digits = (np.arange(self.size)[:, None] // self.strides) % padded
        digits[(digits >= self.dims).any(axis=1)] = -1
        self.digits = np.ascontiguousarray(digits)
        self.offsets = self.takes @ self.strides

    def bytes(self) -> int:
        """Memory that one run of the dynamic program takes, in bytes."""
        return 3 * (self.ticks + 1) * self.size * 8

    def values(self, hold: Floats, keep: Floats, skip: Floats | None = None) -> Floats:
        """Costs to go by state, tick and backlog at these prices.

        Args:
            hold: Price of holding the GPU, summed up from tick 0: ``(ticks + 1,)``.
            keep: The same for being resident.
            skip: Cost of leaving each job to others, in the order of :attr:`skip`.
        """
        values = np.empty((3, self.ticks + 1, self.size))
        kernels.backward(
            *self._prices(hold, keep), *self._backlogs(), *self._skipping(skip), *self._batches(),
            self.offsets, *self._costs(), *self._switching(), values,
        )  # fmt: skip
        return values

    def path(
        self,
        values: Floats,
        hold: Floats,
        keep: Floats,
        state: int,
        skip: Floats | None = None,
    ) -> Path:
        """The best plan from tick 0 and its value, where the adapter is in ``state`` then."""
        rows = np.empty((3 * self.ticks + 3 * int(self.jobs.sum()) + 16, 4), dtype=np.int64)
        count = kernels.follow(
            *self._prices(hold, keep), *self._backlogs(), *self._skipping(skip), *self._batches(),
            self.takes, *self._costs(), *self._switching(), values, state, rows,
        )  # fmt: skip
        value = kernels.at_first(
            values, state, self.dims, self.strides, self.arrived, self.price, self.least,
            *self._skipping(skip),
        )  # fmt: skip
        return Path(value + self.constant, rows[: max(count, 0)].copy())

    def solve(
        self, hold: Floats, keep: Floats, state: int, skip: Floats | None = None
    ) -> tuple[float, Ints, Floats]:
        """Value and rows of the best plan, and the costs to go."""
        values = self.values(hold, keep, skip)
        return *self.path(values, hold, keep, state, skip), values

    # -- the kernels' arguments ------------------------------------------------------------------

    def _prices(self, hold: Floats, keep: Floats) -> tuple[Floats, Floats]:
        return hold, keep

    def _backlogs(self) -> tuple[Ints, Ints, Ints, Ints, Floats, Floats]:
        return self.dims, self.strides, self.digits, self.arrived, self.price, self.least

    def _skipping(self, skip: Floats | None) -> tuple[Floats, Ints]:
        return self.skip if skip is None else skip, self.skip_at

    def _batches(self) -> tuple[Ints, Ints]:
        return self.durations, self.duration_at

    def _costs(self) -> tuple[Floats, Ints, Ints, Floats]:
        return self.costs, self.late_at, self.late_from, self.late_cost

    def _switching(self) -> tuple[Ints, Floats, bool, bool]:
        return self.switches, self.switch_costs, self.caching, self.hard

    def _moves(self) -> None:
        lengths = np.array([move.duration // self.grain for move in self.moves], dtype=np.int64)
        if len(lengths) and lengths[0] < 1:
            raise InputError(
                f"{self.grain} ticks at a time are more than the shortest batch takes",
                mend="allow more memory",
            )
        self.durations, first = np.unique(lengths, return_index=True)
        self.duration_at = np.append(first, len(lengths)).astype(np.int64)
        self.costs = np.zeros((len(self.moves), 2))
        self.least = np.full(len(self.kinds), np.inf)
        late_at, late_from, late_cost = [0], [], []
        for m, move in enumerate(self.moves):
            for q, o, n, ticks in move.parts:
                kind = self.kinds[q]
                each = kind.jobs[0].options[o].quality_loss + kind.price * ticks
                self.least[q] = min(self.least[q], each)
                self.costs[m] += n * each, n * self.price[q]
                if kind.late_loss > 0.0:
                    deadline = kind.jobs[0].deadline
                    assert deadline is not None
                    first_late = int(kind.arrivals[0]) + deadline - ticks + 1
                    late_from.append(-(-first_late // self.grain))
                    late_cost.append(n * kind.late_loss)
            late_at.append(len(late_from))
        self.late_at = np.array(late_at, dtype=np.int64)
        self.late_from = np.array(late_from, dtype=np.int64)
        self.late_cost = np.array(late_cost, dtype=np.float64)

    def _skips(self) -> None:
        """Where a class's jobs are in ``skip``, and what rejecting each costs there."""
        at: list[int] = []
        costs: list[float] = []
        for kind in self.kinds:
            rejectable = kind.reject_loss is not None
            at.append(len(costs) if rejectable or self.skippable else -1)
            if at[-1] >= 0:
                reject = math.inf if kind.reject_loss is None else kind.reject_loss
                costs.extend(reject + kind.price * float(a) for a in kind.arrivals)
        self.skip_at = np.array(at, dtype=np.int64)
        self.skip = np.array(costs, dtype=np.float64)

    def _switches(self, problem: Problem) -> None:
        site = problem.site
        if not self.caching:  # the cheapest way in, from wherever
            into = frozenset((self.adapter,))
            others = range(len(site.adapter_ids)) if site.pairs else ()
            held = [frozenset[int](), *(frozenset((a,)) for a in others if a != self.adapter)]
            ways = [site.switch(before, into, into, None) for before in held]
            ticks = min(way.ticks for way in ways), 0, 0
            seconds = min(way.seconds for way in ways), 0.0, 0.0
        else:
            # Adapters that are loaded in one switch share its last tick, and spare it the
            # activation; so what each takes for itself is rounded down.
            load = site.load_s[self.adapter]
            activate = site.activate_s if site.max_per_batch == 1 else 0.0
            seconds = load, activate, max(0.0, load - activate)
            per_tick = math.inf if site.clock.slotted else site.tick_s
            ticks = tuple(math.floor(s / per_tick + 1e-12) for s in seconds)  # type: ignore[assignment]
        self.switches = np.array(ticks, dtype=np.int64) // self.grain
        self.switch_costs = np.array([switching_loss(site, s) for s in seconds])


def _told_apart(
    problem: Problem, kinds: Sequence[JobClass], gpu: int, states: int
) -> tuple[tuple[JobClass, ...], tuple[Move, ...], float]:
    """Classes few enough that a backlog of one in each is told apart, and their batches."""
    most = min(len(kinds), max(1, int(math.log2(max(2, states)))))
    while True:
        merged = merge(problem, kinds, most)
        # The longest runs of backlogs are innermost in the arrays.
        ordered = sorted(merged.kinds, key=lambda kind: len(kind.jobs))
        try:
            found = moves(problem, ordered, kinds[0].adapter, gpu)
        except InputError:
            if most == 1:
                raise
        else:
            found = _undominated(ordered, found)
            if len(found) <= MOST_MOVES or most == 1:
                return tuple(ordered), tuple(found), merged.left_out
        most -= 1


def _undominated(kinds: Sequence[JobClass], found: list[Move]) -> list[Move]:
    """Batches by duration, without those that a shorter and cheaper one of the same jobs beats.

    The GPU may be held idle after the shorter one, at the same price.
    """
    by_takes: dict[tuple[tuple[int, int], ...], list[tuple[int, float, Move]]] = {}
    kept: list[Move] = []
    for move in found:
        if any(kinds[q].late_loss > 0.0 for q, _ in move.takes):
            kept.append(move)  # which is cheaper depends on when it starts
            continue
        fixed = math.fsum(
            n * (kinds[q].jobs[0].options[o].quality_loss + kinds[q].price * ticks)
            for q, o, n, ticks in move.parts
        )
        by_takes.setdefault(move.takes, []).append((move.duration, fixed, move))
    for group in by_takes.values():
        best = math.inf
        for _, fixed, move in sorted(group, key=lambda g: g[:2]):
            if fixed < best:
                best = fixed
                kept.append(move)
    return sorted(kept, key=lambda move: move.duration)


def _padded(caps: Ints, takes: Ints) -> Ints:
    """Backlogs of each class with the guards: as many as a move may take, but for the first."""
    guards = takes.max(axis=0, initial=0)
    guards[0] = 0
    padded: Ints = caps + 1 + guards
    return padded


def _caps(jobs: Ints, takes: Ints, states: int) -> Ints:
    """Backlog caps whose backlogs number at most ``states``, about equal in all classes."""
    caps = np.minimum(jobs, 1)
    growing = True
    while growing:
        growing = False
        for q in np.argsort(caps, kind="stable"):
            if caps[q] < jobs[q]:
                more = caps.copy()
                more[q] += 1
                if np.prod(more + 1) <= states:
                    caps, growing = more, True
                    break
    return caps
