"""Site and jobs as arrays for the compiled parts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_opt.model.problem import Job, Site

#: Stands for "no limit" in capacities, deadlines and horizons.
UNLIMITED = 2**60

#: Members above which no batch is made.
MOST_MEMBERS = 64


class Fleet(NamedTuple):
    """What never changes in a run.

    Attributes:
        capacity: Quanta by GPU and resource.
        base_vram: Memory of the base model.
        vram: Memory of each adapter.
        load_s: Seconds to load each adapter.
        pairs: Seconds of a switch by adapter before (0 is none) and after; no rows without pairs.
        step_s: Seconds a step by members.
        overhead_s: Seconds of overhead by members.
        tick_s: Seconds a tick.
        activate_s: Seconds to activate.
        switch_price: Loss for a second of switching.
        max_resident: Most residents of a GPU.
        max_per_batch: Most adapters in a batch.
        horizon: Last tick at which anything may end.
        slotted: Whether batches take a tick and complete at their start.
        kind: For each GPU, the first one of equal capacity.
    """

    capacity: Any
    base_vram: int
    vram: Any
    load_s: Any
    pairs: Any
    step_s: Any
    overhead_s: Any
    tick_s: float
    activate_s: float
    switch_price: float
    max_resident: int
    max_per_batch: int
    horizon: int
    slotted: bool
    kind: Any


JOBS = np.dtype(
    [(name, np.int64) for name in ("arrival", "adapter", "deadline", "options")]
    + [(name, np.float64) for name in ("price", "late", "reject")]
)
MODES = np.dtype([("steps", np.int64), ("quality", np.float64)])


class Rows(NamedTuple):
    """Jobs that have arrived, a row each.

    Attributes:
        jobs: Arrival tick, adapter, largest latency that is not late, number of options; loss of a
            tick of latency, of being late, and of rejection (infinite where it must be served).
        modes: By option: steps, loss of quality.
        demand: By resource.
    """

    jobs: Any
    modes: Any
    demand: Any


def fleet_of(site: Site) -> Fleet:
    """The site as arrays."""
    capacity = np.full((len(site.gpus), len(site.resources)), UNLIMITED, np.int64)
    for gpu in site.gpus:
        for r, most in enumerate(gpu.capacity):
            capacity[gpu.index, r] = UNLIMITED if most is None else most
    count = len(site.adapter_ids)
    pairs = np.zeros((0, count))
    if site.pairs:
        befores = [frozenset[int](), *(frozenset((a,)) for a in range(count))]
        pairs = np.array([[site.load_seconds(a, b) for a in range(count)] for b in befores])
    clock = site.clock
    most = MOST_MEMBERS if clock.largest is None else min(MOST_MEMBERS, clock.largest)
    sizes = range(1, most + 1)
    return Fleet(
        capacity=capacity,
        base_vram=site.base_vram,
        vram=np.array(site.adapter_vram, np.int64),
        load_s=np.array(site.load_s, np.float64),
        pairs=pairs,
        step_s=np.array([0.0, *(clock.step_s(n) for n in sizes)]),
        overhead_s=np.array([0.0, *(clock.overhead_s(n) for n in sizes)]),
        tick_s=float(site.tick_s),
        activate_s=float(site.activate_s),
        switch_price=float(site.switch_price_per_s),
        max_resident=max(1, min(site.max_resident, count)),
        max_per_batch=max(1, min(site.max_per_batch, count)),
        horizon=UNLIMITED if site.horizon is None else site.horizon,
        slotted=bool(clock.slotted),
        kind=np.array([capacity.tolist().index(line) for line in capacity.tolist()], np.int64),
    )


class JobTable:
    """All jobs seen so far, in rows by index of arrival."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.count = 0
        self._price = 0.0
        self._least: tuple[int, ...] | None = None
        self._row: dict[int, int] = {}
        self._size, self._most = 64, 2
        self._rows = self._empty()

    @property
    def rows(self) -> Rows:
        """The columns; rows from :attr:`count` on are unused."""
        return self._rows

    @property
    def mean_price(self) -> float:
        """Loss for a tick of one job's latency, the mean of all so far."""
        return self._price / max(1, self.count)

    def largest(self, fleet: Fleet) -> int:
        """Members that a batch of the jobs so far can have at the most."""
        most = len(fleet.step_s) - 1
        room = 0
        for line in fleet.capacity.tolist():
            fits = [most]
            for r, need in enumerate(self._least or ()):
                if need > 0:
                    fits.append((line[r] - (fleet.base_vram if r == 0 else 0)) // need)
            room = max(room, min(fits))
        return max(1, room)

    def row(self, index: int) -> int:
        """The row of a job."""
        return self._row[index]

    def forget(self, index: int) -> None:
        """A job waits no longer; its row stays."""
        del self._row[index]

    def add(self, job: Job) -> None:
        """A job arrives."""
        if self.count == self._size or len(job.options) > self._most:
            self._grow(len(job.options))
        site, i = self._site, self.count
        self._row[job.index] = i
        self._rows.jobs[i] = (
            job.arrival,
            job.adapter,
            UNLIMITED if job.deadline is None else job.deadline,
            len(job.options),
            site.latency_price_per_s * job.weight * site.tick_s,
            0.0 if job.deadline is None else site.late_price * job.weight,
            np.inf if job.reject_loss is None else job.reject_loss,
        )
        for o, option in enumerate(job.options):
            self._rows.modes[i, o] = option.steps, option.quality_loss
        self._rows.demand[i] = job.demand
        least = job.demand if self._least is None else self._least
        self._least = tuple(map(min, least, job.demand))
        self._price += float(self._rows.jobs[i]["price"])
        self.count += 1

    def _empty(self) -> Rows:
        n = self._size
        return Rows(
            np.zeros(n, JOBS),
            np.zeros((n, self._most), MODES),
            np.zeros((n, len(self._site.resources)), np.int64),
        )

    def _grow(self, options: int) -> None:
        old, n = self._rows, self.count
        self._size, self._most = max(self._size, 2 * n), max(self._most, options)
        self._rows = self._empty()
        for column, before in zip(self._rows, old, strict=True):
            if before.ndim == 1:
                column[:n] = before[:n]
            else:
                column[:n, : before.shape[1]] = before[:n]
