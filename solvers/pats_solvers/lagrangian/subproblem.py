"""One adapter on one kind of GPU: the data of its dynamic program.

Jobs fall into classes as in :mod:`pats_solvers.common.classes`, or merged ones
(:mod:`pats_solvers.lagrangian.merging`), whose options have prices. Where ticks are too many they
are taken ``grain`` at a time: starts, arrivals and durations are rounded down, which
keeps every plan a plan and makes none dearer. Either way the value stays a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.model.instance import StepsService, StepTime
from pats_opt.model.loss import switching_loss
from pats_opt.model.problem import Problem, Site
from pats_solvers.common.arrays import (
    LATE,
    MOVES,
    SWITCHES,
    Floats,
    Ints,
    late_members,
    single_switches,
)
from pats_solvers.common.classes import JobClass
from pats_solvers.lagrangian import costs, kernels
from pats_solvers.lagrangian.aggregation import ChainClasses
from pats_solvers.lagrangian.merging import MergedClass, MergedPrices, SlotPrices
from pats_solvers.lagrangian.trace import follow


class AdapterPlan(NamedTuple):
    """An optimal plan of a subproblem at some prices.

    Attributes:
        value: Its loss with the prices paid, or infinity where there is none.
        rows: What is done, from which tick, until which, and the move or class
            (see :func:`.follow`).
    """

    value: float
    rows: Ints


class AdapterSubproblem:
    """The jobs of one adapter on a GPU of one kind.

    Args:
        problem: The problem.
        listed: Classes of the adapter's jobs and its batches, of :func:`.listed_moves`.
        gpu: A GPU of the kind.
        ticks: The last tick of the grid, in grains.
        grain: Ticks taken as one.
        skippable: Whether other GPUs may serve a job in this one's stead, at a price given later.

    Attributes:
        kinds: The classes, in the order of the arrays.
        moves: Its batches by duration, without those that another one of the same jobs beats.
        constant: What every plan adds to the value: arrivals.
        caps: Backlog above which the oldest jobs are cut, by class.
        merged: Whether there are merged classes.
        size: Length of the flattened backlog.
        arrays: What the kernels work on.
    """

    def __init__(
        self,
        problem: Problem,
        listed: ChainClasses,
        gpu: int,
        ticks: int,
        *,
        grain: int = 1,
        skippable: bool = False,
    ) -> None:
        site = problem.site
        self.kinds, self.caps, self.lanes = listed.kinds, listed.caps, listed.lanes
        self.adapter, self.gpu, self.ticks, self.grain = self.kinds[0].adapter, gpu, ticks, grain
        self.merged = not self.lanes and any(kind.demands is not None for kind in self.kinds)
        self.constant = -math.fsum(kind.price * float(kind.before[-1]) for kind in self.kinds)
        # Batches that take the same jobs as long are looked at one after another.
        self.moves = tuple(
            sorted(listed.moves, key=lambda move: (move.duration // grain, sorted(move.takes)))
        )
        takes = np.zeros((len(self.moves), len(self.kinds)), dtype=np.int64)
        for m, move in enumerate(self.moves):
            for q, n in move.takes:
                takes[m, q] = n
        padded = self.caps + 1 if self.lanes else _padded(self.caps, takes)
        self.size = int(np.prod(padded))
        classes = np.zeros(len(self.kinds), dtype=costs.CLASSES)
        classes["dim"] = self.caps + 1
        classes["stride"] = [int(np.prod(padded[q + 1 :])) for q in range(len(padded))]
        classes["price"] = [kind.price * grain for kind in self.kinds]
        classes["job_at"] = np.cumsum([0, *(len(kind.jobs) for kind in self.kinds)])[:-1]
        classes["least"] = np.inf
        digits = (np.arange(self.size)[:, None] // classes["stride"]) % padded
        digits[(digits >= classes["dim"]).any(axis=1)] = -1
        moves, late = self._moves(takes, classes)
        part_at, parts = self._parts()
        ways = sum(len(kind.ways) for kind in self.kinds if kind.demands is not None)
        grid = np.arange(ticks + 1)
        arrived = _arrived(self.kinds, ticks, grain)
        self.arrays = costs.SubproblemArrays(
            classes=classes,
            digits=np.ascontiguousarray(digits),
            arrived=arrived,
            skip=_skips(self.kinds, classes, skippable),
            moves=moves,
            groups=_groups(moves),
            takes=takes,
            late=late,
            part_at=part_at,
            parts=parts,
            taken=_own(self.lanes, arrived) if self.lanes else np.zeros((ways, ticks + 1)),
            done=np.zeros((len(self.kinds), ticks + 1)),
            dated=False,
            served=classes["price"][:, None] * grid + classes["least"][:, None],
            lanes=bool(self.lanes),
            uneven=any(lane.dated for lane in self.lanes),
            jobs=_jobs(self.lanes, grain),
            grain=grain,
            switches=_switching(problem, self.adapter, grain),
            caching=site.max_resident > 1 or site.channels is not None,
            overlap=site.channels is not None,
            hard=site.horizon is not None and site.horizon // grain <= ticks,
        )

    @property
    def work(self) -> int:
        """Steps of the dynamic program: ticks x groups of batches x backlogs."""
        groups = self.arrays.groups[:-1]
        taken = self.arrays.takes[groups].sum(axis=1) if self.lanes else np.zeros_like(groups)
        return int(self.ticks * (self.size / 2.0**taken).sum())

    def bytes(self) -> int:
        """Return the memory that one run of the dynamic program takes, in bytes."""
        return 3 * (self.ticks + 1) * self.size * 8

    def priced(
        self,
        skip: Floats | None = None,
        slots: Sequence[tuple[MergedPrices, SlotPrices] | None] = (),
    ) -> costs.SubproblemArrays:
        """Return what the kernels work on at some prices.

        Args:
            skip: Cost of leaving each job to others, in the order of ``arrays.skip``; None: that of
                rejecting it.
            slots: What slots of merged classes pay, by class.
        """
        arrays = self.arrays if skip is None else self.arrays._replace(skip=skip)
        found = [(q, *each) for q, each in enumerate(slots) if each is not None]
        if not found:
            return arrays
        done, served = arrays.done.copy(), arrays.served.copy()
        for q, merged, prices in found:
            done[q], served[q] = prices.done, merged.served(prices)
        taken = np.concatenate([prices.taken for _, _, prices in found])
        dated = any(merged.merged.dated for _, merged, _ in found)
        return arrays._replace(taken=taken, done=done, dated=dated, served=served)

    def values(self, paid: Floats, arrays: costs.SubproblemArrays | None = None) -> Floats:
        """Return costs to go by state, tick and backlog at these prices.

        Args:
            paid: Prices summed up, of :func:`paid`.
            arrays: Those at other prices than time's, of :meth:`priced`.
        """
        values = np.empty((3, self.ticks + 1, self.size))
        kernels.backward(arrays or self.arrays, paid, values)
        return values

    def plan(
        self,
        values: Floats,
        paid: Floats,
        state: int,
        arrays: costs.SubproblemArrays | None = None,
    ) -> AdapterPlan:
        """Return the best plan from tick 0, where the adapter is in ``state`` then."""
        arrays, jobs = arrays or self.arrays, sum(len(kind.jobs) for kind in self.kinds)
        rows = np.empty((3 * self.ticks + 3 * jobs + 16, 4), dtype=np.int64)
        count = follow(arrays, paid, values, state, rows)
        value = kernels.at_first(arrays, paid, values, state) + self.constant
        return AdapterPlan(value, rows[: max(count, 0)].copy())

    def _parts(self) -> tuple[Ints, NDArray[np.void]]:
        """Return the members with priced options by move, and where each move's begin."""
        first, ways = list[int](), 0
        for kind in self.kinds:
            first.append(ways)
            ways += len(kind.ways) if kind.demands is not None else 0
        at, rows = [0], list[tuple[int, ...]]()
        for move in self.moves:
            rows += [
                (first[q] + o, q, n, ticks // self.grain)
                for q, o, n, ticks in move.parts
                if self.kinds[q].demands is not None
            ]
            at.append(len(rows))
        return np.array(at, dtype=np.int64), np.array(rows, dtype=costs.PARTS)

    def _moves(self, takes: Ints, classes: NDArray[np.void]) -> tuple[NDArray[np.void], ...]:
        """Return the batches and their members with priced deadlines; fill in the least losses."""
        moves, late = np.zeros(len(takes) + 1, dtype=MOVES), list[tuple[int, float]]()
        moves["duration"][:-1] = [move.duration // self.grain for move in self.moves]
        moves["offset"][:-1] = takes @ classes["stride"]
        if len(takes) and moves["duration"][0] < 1:
            raise InputError(
                f"{self.grain} ticks at a time are more than the shortest batch takes",
                hint="allow more memory",
            )
        for m, move in enumerate(self.moves):
            for q, o, n, ticks in move.parts:
                kind = self.kinds[q]
                each = kind.jobs[0].options[o].quality_loss + kind.price * ticks
                classes["least"][q] = min(classes["least"][q], each)
                moves["fixed"][m] += n * each
                moves["slope"][m] += n * classes["price"][q]
            late += [(-(-t // self.grain), loss) for t, loss in late_members(move, self.kinds)]
            moves["late_at"][m + 1] = len(late)
        return moves, np.array(late, dtype=LATE)


def _arrived(kinds: Sequence[JobClass], ticks: int, grain: int) -> Ints:
    """Return the jobs arrived by class and tick, those after the last tick included there."""
    grid = np.arange(ticks + 1)
    return np.array(
        [
            np.searchsorted(np.minimum(kind.arrivals // grain, ticks), grid, side="right")
            for kind in kinds
        ],
        dtype=np.int64,
    )


def _groups(moves: NDArray[np.void]) -> Ints:
    """Return the first of the moves that take the same jobs as long, and where they end."""
    same = moves[["duration", "offset"]]
    apart = np.flatnonzero(same[1:-1] != same[:-2]) + 1
    return np.array([0, *apart, len(moves) - 1], dtype=np.int64)


def _own(lanes: Sequence[MergedClass], arrived: Ints) -> Floats:
    """Return what the latest job of a lane loses beyond the lane's least, by way and tick."""
    rows = [lane.own[np.maximum(jobs - 1, 0)].T for lane, jobs in zip(lanes, arrived, strict=True)]
    return np.ascontiguousarray(np.concatenate(rows))


def _jobs(lanes: Sequence[MergedClass], grain: int) -> NDArray[np.void]:
    """Return the jobs of lanes, one lane after another."""
    rows = list[NDArray[np.void]]()
    for lane in lanes:
        kind, quality = lane.kind, [option.quality_loss for option in lane.kind.jobs[0].options]
        made = np.zeros(len(lane.jobs), dtype=costs.JOBS)
        price = kind.price + lane.extra
        made["due"], made["late"], made["extra"] = lane.due, lane.late, lane.extra
        made["arrival"], made["price"] = kind.arrivals, price * grain
        alone = lane.own + quality + price[:, None] * lane.quickest
        made["least"] = alone.min(axis=1) - lane.extra * kind.arrivals
        rows.append(made)
    return np.concatenate(rows) if rows else np.zeros(0, dtype=costs.JOBS)


def _skips(kinds: Sequence[JobClass], classes: NDArray[np.void], skippable: bool) -> Floats:
    """Return what rejecting each job costs; fill in where a class's jobs begin there."""
    costs: list[float] = []
    for row, kind in zip(classes, kinds, strict=True):
        row["skip_at"] = -1
        if kind.reject_loss is not None or skippable:
            row["skip_at"] = len(costs)
            costs.extend(
                (math.inf if job.reject_loss is None else job.reject_loss)
                + kind.price * float(job.arrival)
                for job in kind.jobs
            )
    return np.array(costs, dtype=np.float64)


def _switching(problem: Problem, adapter: int, grain: int) -> NDArray[np.void]:
    """Return the least that an adapter's coming and going takes, in grains and in loss.

    With one resident it is the cheapest way in, from wherever.

    With loads beside serving, a load and an activation are what they are.

    Else, with more residents, an adapter that the batch before used stays active through the
    switch, in which others may be loaded ahead of time. These hold the GPU then, so here it is
    activated again. So that they take no more together than such a load, it is taken for less, by
    the activation of as many adapters as a batch may use, and an activation for no more than
    another one's load shared out among these.
    """
    site = problem.site
    made = np.zeros(3, dtype=SWITCHES)
    load_s, activate_s = site.load_s[adapter], site.activate_s
    if site.channels is not None:
        for kind, s in ((costs.TO_PREFETCH, load_s), (costs.TO_ACTIVATE, activate_s)):
            made[kind] = site.switching_ticks(s) // grain, switching_loss(site, s)
        return made
    if site.max_resident == 1:
        ways = np.delete(single_switches(problem)[:, adapter], adapter)
        made[costs.TO_LOAD] = ways["ticks"].min() // grain, ways["loss"].min()
        return made
    active = site.max_per_batch
    others_s = [s for a, s in enumerate(site.load_s) if a != adapter]
    ticks = [site.switching_ticks(s) for s in (load_s, activate_s)]
    least = min([ticks[1], *(site.switching_ticks(s) // active for s in others_s)])
    made["ticks"] = [t // grain for t in (ticks[0], least, max(0, ticks[0] - active * ticks[1]))]
    least_s = min([activate_s, *(s / active for s in others_s)])
    seconds = load_s, least_s, max(0.0, load_s - active * activate_s)
    made["loss"] = [switching_loss(site, s) for s in seconds]
    if loading_room(site) > 1:  # only ahead: the others of the batch may have to be loaded next
        made["loss"][costs.TO_LOAD] = math.inf
    return made


def loading_room(site: Site) -> int:
    """Return how many of the adapters that a GPU serves at a time a load takes the place of.

    Nobody is served while an adapter is loaded, so where batches mix it is all of them. But where
    activation takes time an adapter may have to stay active through the load of another one, and
    then it is one, as both hold the GPU here.
    """
    alone = site.channels is None and site.activate_s <= 0.0
    return site.max_per_batch if alone else 1


def paid(hold: Floats, keep: Floats, load: Floats | None = None) -> Floats:
    """Return what a subproblem pays from tick 0 on: the rows of the kernels, ``(3, ticks + 1)``.

    Args:
        hold: Price of holding the GPU, by tick.
        keep: That of being resident.
        load: That of being loaded; None where it is that of holding the GPU.
    """
    resident = _sums(keep)
    active = _sums(hold) + resident
    return np.stack((active, resident, active if load is None else _sums(load) + resident))


def _sums(prices: Floats) -> Floats:
    return np.concatenate(([0.0], np.cumsum(prices)))


def monotone(problem: Problem) -> Problem:
    """The problem, with a step-time table that never falls.

    A member more must not make a batch quicker: a subproblem that leaves one out (to another
    adapter's part of a mixed batch, or beyond the backlog cap) would not be a lower bound then.
    """
    service = problem.instance.service
    if not isinstance(service, StepsService) or not isinstance(service.step_s.table, tuple):
        return problem
    table = service.step_s.table
    rising = tuple(min(table[n:]) for n in range(len(table)))
    if rising == table:
        return problem
    eased = msgspec.structs.replace(service, step_s=StepTime(table=rising))
    return Problem(msgspec.structs.replace(problem.instance, service=eased))


def _padded(caps: Ints, takes: Ints) -> Ints:
    """Backlogs of each class with the guards: as many as a move may take, but for the first."""
    guards = takes.max(axis=0, initial=0)
    guards[0] = 0
    padded: Ints = caps + 1 + guards
    return padded
