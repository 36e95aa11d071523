"""One adapter on one kind of GPU: the data of its dynamic program.

Jobs fall into classes as in :mod:`pats_solvers.common.classes`. Where those are too many for the
states to be told apart they are merged (:mod:`pats_solvers.lagrangian.merging`); where ticks are
too many they are taken ``grain`` at a time: starts, arrivals and durations are rounded down, which
keeps every plan a plan and makes none dearer. Either way the value stays a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.model.loss import switching_loss
from pats_opt.model.problem import Problem
from pats_solvers.common.classes import MOST_MOVES as LISTED
from pats_solvers.common.classes import JobClass, Move, moves, undominated
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
        merged: Whether classes had to be merged.
        tables: What the kernels work on.
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
        self.skippable = skippable
        self.kinds, self.moves, self.caps, left_out = _told_apart(problem, kinds, gpu, states)
        self.merged = len(self.kinds) < len(kinds)
        self.dims = self.caps + 1
        self.jobs = np.array([len(kind.jobs) for kind in self.kinds])
        self.price = np.array([kind.price * grain for kind in self.kinds])
        # What merging left out is owed by jobs that are served here only.
        self.constant = (0.0 if skippable else left_out) - math.fsum(
            kind.price * float(kind.before[-1]) for kind in self.kinds
        )
        # Whoever comes after the last tick is there at the last: it cannot start before, either
        # way.
        grid = np.arange(ticks + 1)
        self.arrived = np.array(
            [
                np.searchsorted(np.minimum(kind.arrivals // grain, ticks), grid, side="right")
                for kind in self.kinds
            ],
            dtype=np.int64,
        )
        self.takes = np.zeros((len(self.moves), len(self.kinds)), dtype=np.int64)
        for m, move in enumerate(self.moves):
            for q, n in move.takes:
                self.takes[m, q] = n
        padded = _padded(self.caps, self.takes)
        self.size = int(np.prod(padded))
        self.strides = np.array(
            [int(np.prod(padded[q + 1 :])) for q in range(len(padded))], dtype=np.int64
        )
        digits = (np.arange(self.size)[:, None] // self.strides) % padded
        digits[(digits >= self.dims).any(axis=1)] = -1
        self.skip, self.skip_at = self._skips()
        lengths, self._switch_costs = _switching(problem, self.adapter)
        hard = site.horizon is not None and site.horizon // grain <= ticks
        self._switch_ticks = np.append(lengths // grain, (site.max_resident > 1, hard))
        self.tables = self._batches(
            classes=np.column_stack((self.dims, self.strides, self.skip_at)),
            digits=np.ascontiguousarray(digits),
        )
        self.least = self.tables.rates[:, kernels.LEAST]

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
        kernels.backward(_paid(hold, keep), *self._tables_at(skip), values)
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
        tables = self._tables_at(skip)
        rows = np.empty((3 * self.ticks + 3 * int(self.jobs.sum()) + 16, 4), dtype=np.int64)
        count = kernels.follow(
            _paid(hold, keep), tables.classes, tables.rates, *tables[3:], values, state, rows
        )
        value = kernels.at_first(
            tables.classes, tables.rates, tables.arrived, tables.skip, values, state
        )
        return Path(value + self.constant, rows[: max(count, 0)].copy())

    def solve(
        self, hold: Floats, keep: Floats, state: int, skip: Floats | None = None
    ) -> tuple[float, Ints, Floats]:
        """Value and rows of the best plan, and the costs to go."""
        values = self.values(hold, keep, skip)
        return *self.path(values, hold, keep, state, skip), values

    def _tables_at(self, skip: Floats | None) -> kernels.Tables:
        return self.tables if skip is None else self.tables._replace(skip=skip)

    def _batches(self, classes: Ints, digits: Ints) -> kernels.Tables:
        """The kernels' tables."""
        lengths = np.array([move.duration // self.grain for move in self.moves], dtype=np.int64)
        if len(lengths) and lengths[0] < 1:
            raise InputError(
                f"{self.grain} ticks at a time are more than the shortest batch takes",
                hint="allow more memory",
            )
        durations, first = np.unique(lengths, return_index=True)
        costs = np.zeros((len(self.moves), 2))
        least = np.full(len(self.kinds), np.inf)
        late_at, late = [0], []
        for m, move in enumerate(self.moves):
            for q, o, n, ticks in move.parts:
                kind = self.kinds[q]
                each = kind.jobs[0].options[o].quality_loss + kind.price * ticks
                least[q] = min(least[q], each)
                costs[m] += n * each, n * self.price[q]
                if kind.late_loss > 0.0:
                    deadline = kind.jobs[0].deadline
                    assert deadline is not None
                    first_late = int(kind.arrivals[0]) + deadline - ticks + 1
                    late.append((-(-first_late // self.grain), n * kind.late_loss))
            late_at.append(len(late))
        ended = np.vstack((self.takes, np.zeros_like(self.takes, shape=(1, len(self.kinds)))))
        return kernels.Tables(
            classes=classes,
            rates=np.column_stack((self.price, least)),
            digits=digits,
            arrived=self.arrived,
            skip=self.skip,
            spans=np.column_stack((np.append(durations, 0), np.append(first, len(lengths)))).astype(
                np.int64
            ),
            takes=np.column_stack((ended, late_at)),
            costs=costs,
            late=np.array(late, dtype=np.float64).reshape(-1, 2),
            switch_ticks=self._switch_ticks,
            switch_costs=self._switch_costs,
        )

    def _skips(self) -> tuple[Floats, Ints]:
        """What rejecting each job costs, and where a class's jobs begin there (-1: nowhere)."""
        at: list[int] = []
        costs: list[float] = []
        for kind in self.kinds:
            rejectable = kind.reject_loss is not None
            at.append(len(costs) if rejectable or self.skippable else -1)
            if at[-1] >= 0:
                reject = math.inf if kind.reject_loss is None else kind.reject_loss
                costs.extend(reject + kind.price * float(a) for a in kind.arrivals)
        return np.array(costs, dtype=np.float64), np.array(at, dtype=np.int64)


def _switching(problem: Problem, adapter: int) -> tuple[Ints, Floats]:
    """The least that an adapter's coming and going takes, in ticks and in loss.

    With one resident it is the cheapest way in, from wherever.

    With more, the adapters that are loaded in one switch share its last tick: what each takes for
    itself is rounded down. They also spare it the activation of whichever one serves. So an
    activation is charged at no more than the load of any other adapter, and a load ahead of time
    leaves that much
    out: together they are at most what the switch costs.
    """
    site = problem.site
    caching = site.max_resident > 1
    if not caching:
        into = frozenset((adapter,))
        others = range(len(site.adapter_ids)) if site.pairs else ()
        held = [frozenset[int](), *(frozenset((a,)) for a in others if a != adapter)]
        ways = [site.switch(before, into, into, None) for before in held]
        ticks: tuple[int, ...] = min(way.ticks for way in ways), 0, 0
        seconds = min(way.seconds for way in ways), 0.0, 0.0
    else:
        load = site.load_s[adapter]
        others_s = (s for a, s in enumerate(site.load_s) if a != adapter)
        spared = site.activate_s if site.max_per_batch == 1 else 0.0
        seconds = load, min((spared, *others_s)), max(0.0, load - spared)
        per_tick = math.inf if site.clock.slotted else site.tick_s
        ticks = tuple(math.floor(s / per_tick + 1e-12) for s in seconds)
    return np.array(ticks, dtype=np.int64), np.array([switching_loss(site, s) for s in seconds])


def _paid(hold: Floats, keep: Floats) -> Floats:
    """Summed-up prices by the rows of the kernels."""
    return np.stack((hold + keep, keep))


def _told_apart(
    problem: Problem, kinds: Sequence[JobClass], gpu: int, states: int
) -> tuple[tuple[JobClass, ...], tuple[Move, ...], Ints, float]:
    """Classes few enough to be told apart, their batches, the caps, and what merging left out.

    A backlog of one in each class is told apart at least. Batches that take more than a cap are
    left out: whoever is beyond the cap has been cut before. Where there are still too many, fewer
    classes are told apart, and of a single one fewer backlogs.
    """
    most = min(len(kinds), max(1, int(math.log2(max(2, states)))))
    while True:
        merged = merge(problem, kinds, most)
        # The longest runs of backlogs are innermost in the arrays.
        ordered = sorted(merged.kinds, key=lambda kind: len(kind.jobs))
        jobs = np.array([len(kind.jobs) for kind in ordered])
        if most == 1:
            jobs = np.minimum(jobs, _listable(problem, ordered[0], gpu))
        caps = _caps(jobs, states)
        capped = [
            replace(kind, jobs=kind.jobs[:cap]) for kind, cap in zip(ordered, caps, strict=True)
        ]
        try:
            found = undominated(capped, moves(problem, capped, kinds[0].adapter, gpu))
        except InputError:  # more than can be listed; of one class they never are
            found = None
        if found is not None and (len(found) <= MOST_MOVES or most == 1):
            return tuple(ordered), tuple(found), caps, merged.left_out
        most -= 1


def _listable(problem: Problem, kind: JobClass, gpu: int) -> int:
    """The backlog up to which the batches of one class can all be listed."""
    site, ways = problem.site, len(kind.ways)
    room = site.room(gpu, frozenset((kind.adapter,)))
    largest = [len(kind.jobs), *([] if site.clock.largest is None else [site.clock.largest])]
    for free, need in zip(room, kind.jobs[0].demand, strict=True):
        if free is not None and need > 0:
            largest.append(max(0, free // need))
    members = min(largest)
    if math.comb(members + ways, ways) <= LISTED:
        return len(kind.jobs)
    while math.comb(members + ways, ways) > LISTED:
        members -= 1
    return members


def _padded(caps: Ints, takes: Ints) -> Ints:
    """Backlogs of each class with the guards: as many as a move may take, but for the first."""
    guards = takes.max(axis=0, initial=0)
    guards[0] = 0
    padded: Ints = caps + 1 + guards
    return padded


def _caps(jobs: Ints, states: int) -> Ints:
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
    return caps.astype(np.int64)
