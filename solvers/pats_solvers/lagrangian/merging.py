"""Merged classes: jobs that differ, counted together, and the prices that tell them apart.

A chain counts the jobs of a merged class as *slots*: each takes a step count (and a level of
demand) at a tick, whoever it is for. A slot asks for the least demand of its level and costs the
least quality and weight of any job. What a job loses beyond that is looked at job by job: each
chooses its option for itself, and prices make slots and choices agree.

- ``taken[w, t]``: a slot of way ``w`` that starts at tick ``t`` pays it. A job may take a slot that
  starts after its arrival, so it is best if this never rises with time, and then a job that
  chooses ``w`` receives ``taken[w, arrival]``. It is made of a free level and of increments of at
  least 0 at the arrivals: the prices of "slots of ``w`` started by then are at most the jobs that
  arrived by then and chose ``w``".
- ``done[t]``, where weights or deadlines differ: a slot that completes at tick ``t`` pays it. Each
  job chooses its completion too, where its own weight and deadline count, and receives this.

A chain may leave out any slot, if a job may be rejected or another GPU may serve it: whose it
would be it cannot know. Whether a job is rejected, and at what loss, is one of its own choices.

Any schedule's slots and choices do agree, so at any prices the chain's value and the jobs' least
losses are together a lower bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from pats_opt.model.problem import Amounts, Job, JobOption, Problem
from pats_solvers.common.arrays import UNLIMITED, Floats, Ints
from pats_solvers.common.classes import JobClass
from pats_solvers.lagrangian.choices import choose

#: Ticks of completion with a price of their own, at most.
COMPLETIONS = 100


class SlotPrices(NamedTuple):
    """Prices of slots: ``taken`` by way and start, ``done`` by tick of completion."""

    taken: Floats
    done: Floats


class JobChoices(NamedTuple):
    """The best choice of each job, on its own.

    Attributes:
        least: Its least loss: of its rejection, or beyond a slot's of being served.
        way: Its way, where it is served.
        done: Its completion, where it is served.
        served: Whether it is.
    """

    least: Floats
    way: Ints
    done: Ints
    served: NDArray[np.bool_]


@dataclass(frozen=True)
class MergedClass:
    """Jobs of one adapter that a chain counts together.

    Attributes:
        kind: The class of their slots, as a chain sees it; its options are the ways.
        ways: Level of demand and step count of each way.
        jobs: The jobs themselves, by arrival.
        own: Loss by job and way beyond the slot's, at its weight; infinity where it has no such
            option.
        quickest: Ticks from a start to the completion by way, at least.
        extra: Loss by job and tick of latency beyond the slot's.
        late: Loss by job of being late.
        due: Last tick by job that is not late.
        dated: Whether completion has prices: weights or priced deadlines differ.
    """

    kind: JobClass
    ways: tuple[tuple[int, int], ...]
    jobs: tuple[Job, ...]
    own: Floats
    quickest: Ints
    extra: Floats
    late: Floats
    due: Ints
    dated: bool


class MergedPrices:
    """The prices of a merged class on a grid of ``ticks`` grains.

    Attributes:
        merged: The class.
        jobs: Indices of its jobs, by arrival.
        quality: Quality loss of a slot by way.
        dimension: Length of a flat price vector: by way the increments and the level, then those
            of completion.
        signed: Prices there that may be negative.
    """

    def __init__(self, merged: MergedClass, ticks: int, grain: int) -> None:
        self.merged, self.ticks, self.grain = merged, ticks, grain
        self.jobs = np.array([job.index for job in merged.jobs], dtype=np.int64)
        rejects = [math.inf if j.reject_loss is None else j.reject_loss for j in merged.jobs]
        self._reject = np.array(rejects)
        self.quality = np.array([option.quality_loss for option in merged.kind.jobs[0].options])
        self._arrivals = np.minimum(merged.kind.arrivals // grain, ticks)
        self._steps = np.unique(self._arrivals)
        ways, each = len(merged.quickest), len(self._steps) + 1
        self._taken = ways, each
        #: By tick, the number of the first increment that counts there.
        self._first = np.searchsorted(self._steps, np.arange(ticks + 1), side="left")
        self._quickest = merged.quickest // grain
        self._bucket = self._buckets()
        self._buckets_at = ways * each
        self.dimension = self._buckets_at + (int(self._bucket[-1]) + 1 if merged.dated else 0)
        self.signed = np.ones(self.dimension, dtype=bool)
        self.signed[: self._buckets_at] = np.arange(self._buckets_at) % each == each - 1

    def _buckets(self) -> Ints:
        """Return the number of the completion price by tick."""
        first = int(self._arrivals[0])
        many = min(self.ticks + 1 - first, COMPLETIONS)
        share = np.maximum(0, np.arange(self.ticks + 1) - first) / (self.ticks + 1 - first)
        return np.floor(share * many).astype(np.int64)

    def slots(self, flat: Floats) -> SlotPrices:
        """Return what slots pay at a flat price vector."""
        by_way = flat[: self._buckets_at].reshape(self._taken)
        sums = np.cumsum(by_way[:, ::-1], axis=1)[:, ::-1]
        done = flat[self._buckets_at :]
        return SlotPrices(
            np.ascontiguousarray(sums[:, self._first]),
            done[self._bucket] if self.merged.dated else np.zeros(self.ticks + 1),
        )

    def flat(self, prices: SlotPrices) -> Floats:
        """Return the flat vector of prices, which are looked at where it can say them."""
        taken = prices.taken[:, np.append(self._steps, self.ticks)]
        steps = np.append(np.maximum(0.0, -np.diff(taken, axis=1)), taken[:, -1:], axis=1)
        if not self.merged.dated:
            return steps.ravel()
        first = np.searchsorted(self._bucket, np.arange(self._bucket[-1] + 1))
        return np.concatenate((steps.ravel(), prices.done[first]))

    def carried(self, others: Sequence[tuple[MergedPrices, SlotPrices]]) -> Floats:
        """Return the flat prices of the class that held these jobs on a coarser grid, or zeros."""
        for other, prices in others:
            if not set(self.jobs) <= set(other.jobs):
                continue
            at = np.minimum(np.arange(self.ticks + 1) * self.grain // other.grain, other.ticks)
            taken = prices.taken[:, at] + other.quality[:, None]
            steps = [steps for _, steps in other.merged.ways]
            way = [steps.index(s) for _, s in self.merged.ways]
            if self.merged.ways == other.merged.ways:
                way = list(range(len(steps)))
            return self.flat(SlotPrices(taken[way] - self.quality[:, None], prices.done[at]))
        return np.zeros(self.dimension)

    def choices(self, prices: SlotPrices) -> JobChoices:
        """Return what each job does best for itself."""
        merged, count = self.merged, len(self.merged.jobs)
        least, way, end = np.empty(count), *np.empty((2, count), dtype=np.int64)
        choose(
            np.ascontiguousarray(merged.own - prices.taken[:, self._arrivals].T),
            self._arrivals, self._quickest, merged.kind.arrivals, merged.extra, merged.late,
            merged.due, prices.done, self.grain, least, way, end,
        )  # fmt: skip
        return JobChoices(np.minimum(least, self._reject), way, end, least <= self._reject)

    def served(self, prices: SlotPrices) -> Floats:
        """Return the least that a slot pays and costs by tick from which it may start."""
        return np.minimum.accumulate(self._alone(prices).min(axis=0)[::-1])[::-1]

    def best(self, prices: SlotPrices, tick: int) -> tuple[int, int, int]:
        """Return the way, start and completion that :meth:`served` takes at a tick."""
        alone = self._alone(prices)[:, tick:]
        way, later = divmod(int(alone.argmin()), alone.shape[1])
        start = tick + later
        end = min(start + int(self._quickest[way]), self.ticks)
        latency = self.merged.kind.price * self.grain * np.arange(end, self.ticks + 1)
        return way, start, end + int((latency + prices.done[end:]).argmin())

    def _alone(self, prices: SlotPrices) -> Floats:
        """Return the least of a slot by way and tick of its start, in whatever batch."""
        kind, ticks = self.merged.kind, np.arange(self.ticks + 1)
        price = kind.price * self.grain
        if not self.merged.dated:
            rest = price * ticks + kind.price * self.merged.quickest[:, None]
        else:
            by_end = np.minimum.accumulate((price * ticks + prices.done)[::-1])[::-1]
            end = ticks + self._quickest[:, None]
            over = np.maximum(0, end - self.ticks)
            rest = by_end[end - over] + price * over
        return self.quality[:, None] + prices.taken + rest

    def choose(self, choices: JobChoices, taken: Floats, done: Floats) -> None:
        """Take the choices of the jobs that are served off what slots use."""
        which = choices.served
        np.subtract.at(taken, (choices.way[which], self._arrivals[which]), 1.0)
        np.subtract.at(done, choices.done[which], 1.0)

    def slope(self, taken: Floats, done: Floats) -> Floats:
        """Return the supergradient of slots less choices: by way and start, by completion."""
        sums = np.cumsum(taken, axis=1)[:, np.append(self._steps, self.ticks)]
        if not self.merged.dated:
            return sums.ravel()
        return np.concatenate((sums.ravel(), np.bincount(self._bucket, weights=done)))


def merged_class(
    problem: Problem, kinds: Sequence[JobClass], levels: int, price: float | None = None
) -> MergedClass:
    """Return classes of one adapter as one.

    Args:
        problem: The problem.
        kinds: The classes; jobs in them are interchangeable but for arrival.
        levels: Levels of demand told apart, at most.
        price: Loss of a slot's tick of latency, or None for the least of the classes'.
    """
    site = problem.site
    mine = sorted(
        ((job, kind) for kind in kinds for job in kind.jobs),
        key=lambda e: (e[0].arrival, e[0].index),
    )
    jobs = tuple(job for job, _ in mine)
    of_demand, level_demands = _levels([job.demand for job in jobs], levels)
    losses = [{(of_demand[j.demand], o.steps): math.inf for o in j.options} for j in jobs]
    for found, job in zip(losses, jobs, strict=True):
        for option in job.options:
            way = of_demand[job.demand], option.steps
            found[way] = min(found[way], option.quality_loss)
    ways = sorted({way for found in losses for way in found})
    own = np.array([[found.get(way, math.inf) for way in ways] for found in losses])
    least = own.min(axis=0)
    price = min(kind.price for kind in kinds) if price is None else price
    easiest = msgspec.structs.replace(
        jobs[0],
        demand=tuple(map(min, *level_demands)) if len(level_demands) > 1 else level_demands[0],
        options=tuple(
            JobOption(steps, 1.0, loss)
            for (_, steps), loss in zip(ways, least.tolist(), strict=True)
        ),
        weight=min(job.weight for job in jobs),
        deadline=None,
    )
    rejects = [job.reject_loss for job in jobs if job.reject_loss is not None]
    arrivals = np.array([job.arrival for job in jobs], dtype=np.int64)
    kind = JobClass(
        adapter=jobs[0].adapter,
        jobs=tuple(_as(easiest, job) for job in jobs),
        ways=tuple(range(len(ways))),
        price=price,
        reject_loss=min(rejects, default=None),
        late_loss=0.0,
        arrivals=arrivals,
        before=np.concatenate(([0], np.cumsum(arrivals))),
        demands=tuple(level_demands[level] for level, _ in ways),
    )
    quickest = [0 if site.clock.slotted else site.clock.quickest(steps) for _, steps in ways]
    due = [
        UNLIMITED if not one.late_loss or job.deadline is None else job.arrival + job.deadline
        for job, one in mine
    ]
    extra = np.array([one.price - price for _, one in mine])
    late = np.array([one.late_loss for _, one in mine])
    return MergedClass(
        kind=kind,
        ways=tuple(ways),
        jobs=jobs,
        own=own - least,
        quickest=np.array(quickest, dtype=np.int64),
        extra=extra,
        late=late,
        due=np.array(due, dtype=np.int64),
        dated=bool(extra.any() or late.any()),
    )


def restricted(kind: JobClass, jobs: set[int]) -> JobClass | None:
    """Return a class with the jobs of these indices only, or None where there is none."""
    kept = [i for i, job in enumerate(kind.jobs) if job.index in jobs]
    if len(kept) in {0, len(kind.jobs)}:
        return kind if kept else None
    arrivals = kind.arrivals[kept]
    return replace(
        kind,
        jobs=tuple(kind.jobs[i] for i in kept),
        arrivals=arrivals,
        before=np.concatenate(([0], np.cumsum(arrivals))),
    )


def _levels(demands: Sequence[Amounts], most: int) -> tuple[dict[Amounts, int], list[Amounts]]:
    """Return the level of each demand, and the demand of each level: the least of its own."""
    different = sorted(set(demands))
    if len(different) <= most:
        return {demand: i for i, demand in enumerate(different)}, different
    ordered = sorted(demands)
    edges = [ordered[i * len(ordered) // most] for i in range(1, most)]
    of_demand = {demand: sum(demand >= edge for edge in edges) for demand in different}
    numbers = {level: i for i, level in enumerate(sorted(set(of_demand.values())))}
    of_demand = {demand: numbers[level] for demand, level in of_demand.items()}
    groups = [[d for d in different if of_demand[d] == i] for i in range(len(numbers))]
    return of_demand, [tuple(map(min, zip(*group, strict=True))) for group in groups]


def _as(easiest: Job, job: Job) -> Job:
    return msgspec.structs.replace(
        easiest,
        index=job.index,
        id=job.id,
        position=job.position,
        arrival=job.arrival,
        reject_loss=job.reject_loss,
    )
