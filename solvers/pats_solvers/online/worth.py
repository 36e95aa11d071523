"""Requests that are worth serving: those that ever can be, and those that are at a price."""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heappop, heappush

from pats_opt.model.problem import Job, Site
from pats_solvers.online.common.queue import ArrivalOrder, Follower, WaitingJobs
from pats_solvers.online.pricing import NEVER


class LiveJobs(Follower):
    """The waiting jobs that may yet lose less by service than by rejection.

    The others are passed over, however many they are: they wait to the end and are rejected.

    Args:
        site: Where jobs are served.
        waiting: All waiting jobs; what is hidden there is hidden here.
        follower: Figures of the live jobs.
    """

    def __init__(self, site: Site, waiting: WaitingJobs, follower: Follower) -> None:
        self._site, self._waiting = site, waiting
        self._order, self._follower = ArrivalOrder(), follower
        self._live: dict[int, Job] = {}
        self._ends: list[tuple[int, int]] = []  # a heap of the last ticks and the jobs' indices
        waiting.followers.append(self)

    def add(self, job: Job) -> None:
        """Count a job that waits from now on."""
        self._live[job.index] = job
        self._order.add(job, self._waiting.hosts(job))
        self._follower.add(job)
        last = last_start(self._site, job)
        if last < NEVER:
            heappush(self._ends, (last, job.index))

    def remove(self, job: Job) -> None:
        """Leave out a job that waits no longer, or is not worth serving any more."""
        if self._live.pop(job.index, None) is not None:
            self._order.remove(job, self._waiting.hosts(job))
            self._follower.remove(job)

    def pass_over(self, tick: int) -> None:
        """Leave out the jobs that are not worth serving from ``tick`` on."""
        while self._ends and self._ends[0][0] < tick:
            _, index = heappop(self._ends)
            if index in self._live:
                self.remove(self._live[index])

    def in_order(self, gpu: int) -> Iterator[Job]:
        """Every live job that ``gpu`` can serve and that is not hidden, in order of arrival."""
        return self._waiting.shown(gpu, self._order.on(gpu))


def last_start(site: Site, job: Job) -> int:
    """Return the last tick at which a job, started at once, may lose less than its rejection.

    No batch ends sooner than the quickest. The result may be a tick too late, never too early.
    """
    if job.reject_loss is None:
        return NEVER
    price = site.latency_price_per_s * job.weight * site.tick_s
    late = 0.0 if job.deadline is None else site.late_price * job.weight
    deadline = NEVER if job.deadline is None else job.deadline
    last = -1.0
    for option in job.options:
        left = job.reject_loss - option.quality_loss
        in_time, tardy = ticks_for(left, price), ticks_for(left - late, price)
        latency = max(min(deadline, in_time), tardy)
        took = 0 if site.clock.slotted else site.clock.quickest(option.steps)
        last = max(last, job.arrival + latency - took)
    return NEVER if last >= NEVER else math.ceil(last)


def ticks_for(loss: float, price: float) -> float:
    """Return the latency that loses ``loss`` at a price per tick; negative where there is none."""
    if loss < 0.0:
        return -math.inf
    return loss / price if price > 0.0 else math.inf
