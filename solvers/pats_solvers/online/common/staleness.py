"""The hard bound on waiting that overrides a policy, so that no request starves.

Once a request has waited as long as its bound it leads the next batch on an idle GPU that can hold
it, whatever the policy says; of several the one that is furthest past its bound. Under overload
requests wait longer all the same: an overdue request only goes before what is not.

``static``: the bound is ``max_wait_s`` for every request. ``adaptive`` (after the llmux scheduling
problem's notes): ``max_wait_s x cost x burstiness / imbalance``, kept within a quarter and four
times ``max_wait_s``, where

* cost is the switch that the request's adapter needs now, over the mean load of all adapters:
  dearer switches may wait for more company (resident adapters: 1/4 of the bound at once);
* burstiness is the coefficient of variation of recent inter-arrival times: in bursts, longer
  coalescing makes sense;
* imbalance is the longest queue over the mean queue: the more one adapter crowds out the others,
  the sooner they are served.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_opt.model.timing import to_ticks
from pats_solvers.online.common.batch import switching_seconds
from pats_solvers.online.common.queue import WaitingJobs

#: The adaptive bound stays within these multiples of ``max_wait_s``.
LEAST, MOST = 0.25, 4.0

#: Weight of the newest inter-arrival time in the moving moments.
NEWEST = 0.05


class Staleness:
    """The bound on waiting in one run."""

    def __init__(self, site: Site, waiting: WaitingJobs, max_wait_s: float, adaptive: bool) -> None:
        self._site, self._waiting = site, waiting
        self._static = to_ticks(max_wait_s, site.tick_s)
        self._adaptive = adaptive
        self._mean_load_s = math.fsum(site.load_s) / len(site.load_s) if site.load_s else 0.0
        self._last = 0
        self._mean, self._square, self._seen = 0.0, 0.0, 0

    def arrived(self, job: Job) -> None:
        """Note an arrival in the moving moments of inter-arrival times."""
        if job.arrival < self._last:  # moved here from another GPU
            return
        if self._seen:
            gap = float(job.arrival - self._last)
            share = max(NEWEST, 1.0 / self._seen)
            self._mean += share * (gap - self._mean)
            self._square += share * (gap * gap - self._square)
        self._last = job.arrival
        self._seen += 1

    def overdue(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:
        """Return the request that must go now, and the idle GPU where it pays least switching."""
        stress = self._stress()
        best: tuple[float, int, float] | None = None
        found = None
        for gpu in idle:
            for job in self._eldest(gpu.index):
                seconds = switching_seconds(self._site, job.adapter, gpu)
                key = job.arrival + self._bound(seconds, stress) - tick, job.index, seconds
                if key[0] <= 0 and (best is None or key < best):
                    best, found = key, (gpu, job)
        return found

    def wake(self, idle: Sequence[GpuState], tick: int) -> int | None:
        """Return the next tick at which a waiting request becomes overdue on an idle GPU."""
        stress = self._stress()
        due = [
            job.arrival
            + math.ceil(self._bound(switching_seconds(self._site, job.adapter, gpu), stress))
            for gpu in idle
            for job in self._eldest(gpu.index)
        ]
        return min((d for d in due if d > tick), default=None)

    def _eldest(self, gpu: int) -> list[Job]:
        """The jobs that can be the most overdue: the earliest, or that of each adapter."""
        if self._adaptive:
            return list(self._waiting.heads(gpu).values())
        first = next(self._waiting.in_order(gpu), None)
        return [] if first is None else [first]

    def _stress(self) -> float:
        """Burstiness of arrivals over imbalance of queues; 1 where the bound is static."""
        counts = [self._waiting.count(adapter) for adapter in self._waiting.adapters()]
        if not self._adaptive or not counts:
            return 1.0
        variance = max(0.0, self._square - self._mean * self._mean)
        burstiness = math.sqrt(variance) / self._mean if self._mean > 0 else 1.0
        return burstiness * sum(counts) / (max(counts) * len(counts))

    def _bound(self, switching_s: float, stress: float) -> float:
        """Ticks that a request may wait whose adapter needs a switch of that many seconds."""
        if not self._adaptive:
            return self._static
        cost = switching_s / self._mean_load_s if self._mean_load_s > 0 else 1.0
        return self._static * min(MOST, max(LEAST, cost * stress))
