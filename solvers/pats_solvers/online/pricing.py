"""A batch at a price of GPU time: which requests of one adapter join it, and with which options.

A second of a GPU's time delays all that wait. So a batch costs what its members lose by being
served in it, and the price of the ticks that it takes for everything else that waits.
"""

from __future__ import annotations

import math
from bisect import insort_right
from collections.abc import Mapping, Sequence
from operator import attrgetter

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from pats_opt.model.problem import Job, Site
from pats_solvers.online.common.options import fewest_steps, service_s
from pats_solvers.online.common.queue import Follower

Floats = NDArray[np.float64]

#: Members above which no batch is made.
MOST_MEMBERS = 64

#: Waiting jobs, in largest batches, up to which a queue's length matters to the size of a batch.
FAR = 4

#: Jobs up to which a plain loop is faster than columns.
FEW = 16

#: A deadline that is never missed, and a horizon that never comes.
NEVER = 2**60

#: Loss of a rejection that must not be, as a number to reckon with.
MOST_LOSS = 1e300

#: Share of the price up to which a job is worth serving that is sure to be below it.
WORTH = 1.0 - 1e-12

BY_STEPS = attrgetter("steps")


class Choice(Struct, frozen=True, gc=False):
    """A job with one of its options.

    Attributes:
        ticks: Ticks that the job takes with it, alone.
        arrival: Tick at which the job arrived.
        deadline: Largest latency in ticks that is not late.
        price: Loss per tick of the job's latency.
        late: Loss where it is late.
        reject: Loss where it is rejected; infinite where it must be served.
    """

    job: Job
    option: int
    steps: int
    ticks: int
    quality_loss: float
    arrival: int
    deadline: int
    price: float
    late: float
    reject: float


class PricedJob(Struct, frozen=True, gc=False):
    """A job with each of its options.

    Attributes:
        choices: Its options.
        price: Loss per tick of its latency.
        steps: The fewest steps among its options.
        service_s: Seconds that it takes alone with the fewest steps.
    """

    job: Job
    choices: tuple[Choice, ...]
    adapter: int
    price: float
    steps: int
    service_s: float


def priced_job(site: Site, job: Job) -> PricedJob:
    """Return the job with each of its options."""
    price = site.latency_price_per_s * job.weight * site.tick_s
    choices = [
        Choice(
            job,
            o,
            option.steps,
            site.clock.duration(((option.steps, 1),)),
            option.quality_loss,
            job.arrival,
            NEVER if job.deadline is None else job.deadline,
            price,
            0.0 if job.deadline is None else site.late_price * job.weight,
            math.inf if job.reject_loss is None else job.reject_loss,
        )
        for o, option in enumerate(job.options)
    ]
    fewest = fewest_steps(job)
    return PricedJob(
        job,
        tuple(choices),
        job.adapter,
        price,
        job.options[fewest].steps,
        service_s(site, job, fewest),
    )


class JobTable(Follower):
    """Waiting jobs, priced; in columns where many of them are ranked.

    Attributes:
        priced: The jobs with their options, by index.
        rejectable: Number of them that may be rejected.
        late: Number of them with a price of being late.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._row: dict[int, int] = {}  # by index of each waiting job that is in columns
        self._free: list[int] = []
        self._job: Floats = np.zeros((6, 64))  # arrival, deadline, price, late, reject, service_s
        self._quality_loss: Floats = np.full((64, 2), np.inf)  # by option
        self._ticks: Floats = np.ones((64, 2))
        self.priced: dict[int, PricedJob] = {}
        self.rejectable = self.late = 0

    def add(self, job: Job) -> None:
        """Add a job that has arrived."""
        priced = self.priced[job.index] = priced_job(self._site, job)
        self.rejectable += job.reject_loss is not None
        self.late += priced.choices[0].late > 0.0

    def remove(self, job: Job) -> None:
        """Remove a job that is served or withdrawn."""
        self.late -= self.priced.pop(job.index).choices[0].late > 0.0
        self.rejectable -= job.reject_loss is not None
        row = self._row.pop(job.index, None)
        if row is not None:
            self._free.append(row)

    def _rows(self, jobs: Sequence[Job]) -> list[int]:
        """Rows of jobs; those that have none yet get one."""
        row = self._row
        return [row[i] if (i := job.index) in row else self._new_row(i) for job in jobs]

    def _new_row(self, index: int) -> int:
        priced = self.priced[index]
        row = self._row[index] = self._free.pop() if self._free else len(self._row)
        while row >= len(self._ticks) or len(priced.choices) > self._ticks.shape[1]:
            self._grow(axis=0 if row >= len(self._ticks) else 1)
        c = priced.choices[0]
        reject = min(c.reject, MOST_LOSS)
        self._job[:, row] = c.arrival, c.deadline, c.price, c.late, reject, priced.service_s
        self._quality_loss[row] = np.inf
        for o, c in enumerate(priced.choices):
            self._quality_loss[row, o], self._ticks[row, o] = c.quality_loss, c.ticks
        return row

    def _grow(self, axis: int) -> None:
        self._quality_loss = np.concatenate((self._quality_loss,) * 2, axis)
        self._ticks = np.concatenate((self._ticks,) * 2, axis)
        if axis == 0:
            self._job = np.concatenate((self._job,) * 2, axis=1)
        else:
            self._quality_loss[:, self._quality_loss.shape[1] // 2 :] = np.inf

    def worthwhile(
        self, jobs: Sequence[Job], now: int, arriving: float, gpus: int
    ) -> tuple[list[Job], list[Job]]:
        """Part jobs into those worth serving at the price of GPU time, and the others.

        The price is the loss of a tick's delay of all that are worth serving, by GPUs. Jobs count
        in the order of the prices up to which each is worth its own service alone, as many as keep
        the price below that of the last one, but one at least. Both parts keep the order of
        ``jobs``.

        Args:
            jobs: The jobs, one at least.
            now: The tick at which they could start.
            arriving: Loss of a tick's delay of those that arrive meanwhile, per second of service.
            gpus: GPUs that share the delay.
        """
        rows = self._rows(jobs)
        _, _, slope, _, reject, service = self._job[:, rows]
        loss, late = self._losses(rows, now)
        worth = slope + ((reject[:, None] - loss - late) / self._ticks[rows]).max(axis=1)
        order = np.argsort(-worth, kind="stable")
        price = np.cumsum(slope[order] + arriving * service[order]) / gpus
        counted = np.zeros(len(rows), np.bool_)
        counted[order[: max(1, int((price <= WORTH * worth[order]).sum()))]] = True
        parts: tuple[list[Job], list[Job]] = [], []
        for job, counts in zip(jobs, counted.tolist(), strict=True):
            parts[not counts].append(job)
        return parts

    def by_urgency(self, jobs: Sequence[Job], now: int, price: float) -> list[PricedJob]:
        """Sort jobs by the loss per tick of waiting for each tick of service, the highest first.

        That is Smith's ratio of the option that costs least alone at ``price`` per tick. A deadline
        that can still be met counts as in apparent tardiness cost: the more, the nearer it is.
        """
        if len(jobs) <= FEW and not self.late:
            return self._by_price(jobs, now, price)
        rows = self._rows(jobs)
        arrival, deadline, slope, late, _, _ = self._job[:, rows]
        ticks = self._ticks[rows]
        loss, tardy = self._losses(rows, now)
        cost = loss + price * ticks + tardy
        took = ticks[np.arange(len(rows)), cost.argmin(axis=1)]
        if late.any():
            slack = arrival + deadline - now - took
            nearness = np.exp(-np.maximum(slack, 0.0) / (2.0 * took))
            slope = slope + np.where(slack >= 0.0, late / took * nearness, 0.0)
        order = np.argsort(-slope / np.maximum(1.0, took), kind="stable")
        return [self.priced[jobs[i].index] for i in order.tolist()]

    def _by_price(self, jobs: Sequence[Job], now: int, price: float) -> list[PricedJob]:
        """The same for a few jobs, none of which has a price of being late."""
        ranked = []
        for i, job in enumerate(jobs):
            each = self.priced[job.index]
            first = each.choices[0]
            took, slope, least = float(first.ticks), each.price, math.inf
            for c in each.choices if len(each.choices) > 1 else ():
                latency = now + (0.0 if self._site.clock.slotted else c.ticks) - c.arrival
                cost = c.quality_loss + slope * latency + price * c.ticks
                if cost < least:
                    took, least = float(c.ticks), cost
            ranked.append((-slope / max(1.0, took), i, each))
        ranked.sort()  # places differ
        return [each for _, _, each in ranked]

    def _losses(self, rows: Sequence[int], now: int) -> tuple[Floats, Floats | float]:
        """Loss of each job with each option, alone from ``now`` on, and apart that of lateness."""
        arrival, deadline, slope, late, _, _ = self._job[:, rows]
        latency = now + (0.0 if self._site.clock.slotted else self._ticks[rows]) - arrival[:, None]
        loss: Floats = self._quality_loss[rows] + slope[:, None] * latency
        if not late.any():
            return loss, 0.0
        return loss, np.where(latency > deadline[:, None], late[:, None], 0.0)


class BatchPricing:
    """Makes batches of one adapter's queue at a price of GPU time.

    Members are in order of rising steps.
    """

    def __init__(self, site: Site) -> None:
        self._ends = site.clock.ends
        self._slotted = site.clock.slotted
        self._horizon = NEVER if site.horizon is None else site.horizon

    def loss_and_ticks(self, members: Sequence[Choice], start: int) -> tuple[float, int]:
        """Return what the members lose in a batch that starts at ``start``, and its ticks."""
        ends, ticks = self._ends(tuple([c.steps for c in members]))
        loss = 0.0
        for c in members:
            latency = start + ends[c.steps] - c.arrival
            loss += c.quality_loss + c.price * latency
            if latency > c.deadline:
                loss += c.late
        return loss, ticks

    def loss_alone(self, c: Choice, start: int) -> float:
        """Return what a job loses that is served alone from ``start`` on."""
        latency = start + (0 if self._slotted else c.ticks) - c.arrival
        loss = c.quality_loss + c.price * latency
        return loss + c.late if latency > c.deadline else loss

    def select(
        self,
        queue: Sequence[PricedJob],
        room: Sequence[int | None],
        start: int,
        price: float,
        most: int,
    ) -> list[Choice]:
        """Return a batch of the first of ``queue`` that fit, of the best size.

        Each joins with the option that costs least: the loss of the members, and ``price`` for
        every tick that all others wait. One that would cost more than its rejection does not. The
        size is the one with which the whole queue, in batches of that size, loses least. Growing
        one by one would be no guide, as on the grid a second member may save nothing and a third a
        tick.

        Args:
            queue: Waiting jobs of one adapter, the most urgent first.
            room: Room for the batch in each resource; None where it is unlimited.
            start: The tick at which the batch starts.
            price: Loss of a tick's delay of all that wait, those of the batch included.
            most: Largest number of members.
        """
        members, joined, free = list[Choice](), list[Choice](), list(room)
        loss, ticks, rest, alone = 0.0, 0, price, 0.0
        losses, lasts = [0.0], [0]
        waiting, queued = 0, 0.0
        for each in queue:
            waiting += 1
            queued += each.price
            if len(joined) >= most:
                if waiting >= FAR * most:
                    break
                continue
            job, after = each.job, max(0.0, rest - each.price)
            if not fits(job, free):
                continue
            found = self._best_joining(members, each.choices, start, after)
            if found is None:
                continue
            cost, choice, with_loss, with_ticks = found
            if cost - loss - after * ticks > choice.reject:
                continue
            insort_right(members, choice, key=BY_STEPS)
            joined.append(choice)
            rest, loss, ticks = after, with_loss, with_ticks
            alone += min([self.loss_alone(c, start) for c in each.choices])
            losses.append(loss - alone)
            lasts.append(ticks)
            free = [
                None if there is None else there - need
                for need, there in zip(job.demand, free, strict=True)
            ]
        size = best_size(losses, lasts, waiting, queued / max(1, waiting), max(0.0, price - queued))
        return members if size == len(joined) else sorted(joined[:size], key=BY_STEPS)

    def _best_joining(
        self, members: Sequence[Choice], choices: Sequence[Choice], start: int, price: float
    ) -> tuple[float, Choice, float, int] | None:
        """Return the cost of the batch with the best of ``choices``, that, the loss and the ticks.

        None where none ends by the horizon.
        """
        best = None
        for choice in choices:
            joined = list(members)
            insort_right(joined, choice, key=BY_STEPS)
            loss, ticks = self.loss_and_ticks(joined, start)
            cost = loss + price * ticks
            if start + ticks <= self._horizon and (best is None or cost < best[0]):
                best = cost, choice, loss, ticks
        return best

    def improve(
        self, members: list[Choice], jobs: Mapping[int, PricedJob], start: int, price: float
    ) -> tuple[float, int]:
        """Choose each member's option anew, the others' given; return the loss and the ticks.

        Args:
            members: The batch; changed in place.
            jobs: The members' jobs, by index.
            start: The tick at which the batch starts.
            price: Loss of a tick's delay of all that wait, those of the batch included.
        """
        rest = price
        for c in members:
            rest -= c.price
        rest = max(0.0, rest)
        loss, ticks = self.loss_and_ticks(members, start)
        i = 0
        for _ in range(2 * len(members)):
            if i >= len(members):
                break
            before = members[i]
            choices = jobs[before.job.index].choices
            if len(choices) == 1:
                i += 1
                continue
            del members[i]
            others = tuple([c for c in choices if c is not before])
            found = self._best_joining(members, others, start, rest)
            if found is None or found[0] >= loss + rest * ticks - 1e-9:
                insort_right(members, before, key=BY_STEPS)
                i += 1
                continue
            _, choice, loss, ticks = found
            insort_right(members, choice, key=BY_STEPS)
            if choice.steps <= before.steps:  # else another member is at this place now
                i += 1
        return loss, ticks


def best_size(
    losses: Sequence[float], ticks: Sequence[int], waiting: int, each: float, others: float
) -> int:
    """Return the size with which a queue, in batches of that size, loses least.

    Args:
        losses: Loss of the members of a batch of each size that starts now, from 0 on; what does
            not depend on the size may be left out.
        ticks: Ticks of a batch of each size.
        waiting: Length of the queue.
        each: Loss per tick of one of the queue.
        others: Loss per tick of all that wait until the queue is served.
    """
    most = len(losses) - 1
    size, least = most, math.inf
    for k in range(most, 0, -1):
        full, left = divmod(waiting, k)
        took = full * ticks[k]
        total = full * losses[k] + each * k * ticks[k] * full * (full - 1) / 2.0
        total += losses[left] + each * left * took + others * (took + ticks[left])
        if total < least - 1e-12:
            size, least = k, total
    return size


def fits(job: Job, room: Sequence[int | None]) -> bool:
    """Whether there is room for the demand of ``job``."""
    for need, free in zip(job.demand, room, strict=True):  # a plain loop is the fastest
        if free is not None and need > free:
            return False
    return True
