"""A lower bound on what the jobs still to come add to the loss, for many states at once.

Every job left completes no earlier than alone, right when the GPU is free (after a switch, where
its adapter is not the one held); every adapter left but the held one is loaded once more at least;
and adapters take turns: of those with jobs waiting, the i-th to be visited waits for i - 1 others.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pats_opt.loss import switching_loss
from pats_opt.problem import Problem
from pats_solvers.dp.classes import JobClass, Move

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Switches:
    """Ticks and price of switching by adapter held (row; the last one: none) and target."""

    def __init__(self, problem: Problem) -> None:
        site = problem.site
        count = len(site.adapter_ids)
        self.ticks = np.zeros((count + 1, count), dtype=np.int64)
        self.price = np.zeros((count + 1, count))
        for held in range(count + 1):
            before = frozenset() if held == count else frozenset((held,))
            for target in range(count):
                after = frozenset((target,))
                switch = site.switch(before, after, after, None)
                self.ticks[held, target] = switch.ticks
                self.price[held, target] = switching_loss(site, switch.seconds)
        away = ~np.eye(count + 1, count, dtype=bool)
        none = np.iinfo(np.int64).max
        self.least_ticks = np.where(away, self.ticks, none).min(axis=0, initial=none)
        self.least_price = np.where(away, self.price, np.inf).min(axis=0, initial=np.inf)
        # What holding one adapter can be worse than holding another, whatever comes next.
        self.worst_ticks = int((self.ticks.max(axis=0) - self.ticks.min(axis=0)).max(initial=0))
        self.worst_price = float((self.price.max(axis=0) - self.price.min(axis=0)).max(initial=0))


class Remaining:
    """The bound, over arrays of states."""

    def __init__(
        self, kinds: list[JobClass], moves: list[tuple[Move, ...]], switches: Switches
    ) -> None:
        self._kinds, self._switches = kinds, switches
        self._adapters = sorted({kind.adapter for kind in kinds})
        shortest = [min((m.duration for m in mine), default=0) for mine in moves]
        least = [shortest[a] + int(switches.least_ticks[a]) for a in self._adapters]
        self._turn = min(least, default=0)
        self._offsets = [self._quickest(moves[kind.adapter], q) for q, kind in enumerate(kinds)]

    @staticmethod
    def _quickest(moves: tuple[Move, ...], q: int) -> dict[int, int]:
        """The fewest ticks to completion of a class by option, in any batch."""
        quickest: dict[int, int] = {}
        for move in moves:
            for part, option, _, offset in move.parts:
                if part == q:
                    quickest[option] = min(offset, quickest.get(option, offset))
        return quickest

    def __call__(self, counts: Ints, held: Ints, free: Ints) -> Floats:
        """Lower bound on the loss still to be added.

        Args:
            counts: Jobs dealt with, one row a class.
            held: Adapter held (the number of adapters: none).
            free: Tick from which the GPU is free.
        """
        total = np.zeros(len(free))
        waits = np.zeros((len(self._adapters), len(free)))
        for place, a in enumerate(self._adapters):
            elsewhere = held != a
            ready = free + np.where(elsewhere, self._switches.least_ticks[a], 0)
            due = np.zeros(len(free), dtype=bool)
            for q, kind in enumerate(self._kinds):
                if kind.adapter == a:
                    total += self._class(q, kind, counts[q], ready)
                    if kind.reject_loss is None:
                        due |= counts[q] < len(kind.jobs)
                        if kind.late_loss == 0.0:
                            waiting = np.searchsorted(kind.arrivals, free, side="right")
                            waits[place] += kind.price * np.maximum(0, waiting - counts[q])
            waits[place][~elsewhere] = 0.0
            total += np.where(due & elsewhere, self._switches.least_price[a], 0.0)
        # The adapters in falling order of what a tick costs their waiting jobs: the cheapest order.
        waits = -np.sort(-waits, axis=0)
        turns = np.arange(len(self._adapters)) * float(self._turn)
        bound: Floats = total + turns @ waits
        return bound

    def _class(self, q: int, kind: JobClass, done: Ints, ready: Ints) -> Floats:
        """Sum over the class's jobs left of the least loss of each alone from tick ``ready``."""
        left = len(kind.jobs) - done
        options = kind.jobs[0].options
        ways = [(options[o].quality_loss, t) for o, t in self._offsets[q].items()]
        if kind.late_loss > 0.0:
            deadline = kind.jobs[0].deadline
            assert deadline is not None
            wait = np.maximum(0, ready - kind.arrivals[0])
            dearest = np.inf if kind.reject_loss is None else kind.reject_loss
            each: Floats = np.full(len(ready), dearest)
            for quality, offset in ways:
                latency = wait + offset
                late = np.where(latency > deadline, kind.late_loss, 0.0)
                each = np.asarray(np.minimum(each, quality + kind.price * latency + late))
            total: Floats = np.where(left > 0, left * each, 0.0)
            return total
        base = min((quality + kind.price * t for quality, t in ways), default=np.inf)
        if kind.reject_loss is not None:
            return self._rejectable(kind, done, ready, base)
        waiting = np.maximum(done, np.searchsorted(kind.arrivals, ready))
        ticks = (waiting - done) * ready - (kind.before[waiting] - kind.before[done])
        return np.where(left > 0, left * base, 0.0) + kind.price * ticks

    @staticmethod
    def _rejectable(kind: JobClass, done: Ints, ready: Ints, base: float) -> Floats:
        """The same where a job that has waited long is better rejected."""
        reject = kind.reject_loss
        assert reject is not None
        if base >= reject:
            return np.asarray((len(kind.jobs) - done) * reject, dtype=np.float64)
        spare = (reject - base) / kind.price if kind.price > 0 else np.inf
        longest = int(min(spare, 2**62))  # ticks of waiting that still cost less than rejection
        given_up = np.maximum(done, np.searchsorted(kind.arrivals, ready - longest))
        waiting = np.maximum(given_up, np.searchsorted(kind.arrivals, ready))
        ticks = (waiting - given_up) * ready - (kind.before[waiting] - kind.before[given_up])
        served = len(kind.jobs) - given_up
        still: Floats = (given_up - done) * reject + served * base + kind.price * ticks
        return still
