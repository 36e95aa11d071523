"""The last arrivals of a run: how far apart they came, and for which adapters."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque

from pats_opt.model.problem import Site


class ArrivalMemory:
    """The last arrivals.

    Args:
        site: Where the requests are served.
        memory: Number of arrivals that are remembered.
    """

    def __init__(self, site: Site, memory: int) -> None:
        self._site, self._memory = site, memory
        self._arrivals: deque[tuple[int, int, int]] = deque()  # tick, fewest steps and adapter
        self._gaps: deque[int] = deque()
        self._rising: list[int] = []  # the same, sorted
        self._count = Counter[int]()
        self._steps = 0
        self._service: float | None = None  # ticks of a request by itself, once asked for

    def add(self, tick: int, steps: int, adapter: int) -> None:
        """Count an arrival of a request with so many steps at least."""
        if self._arrivals:
            self._add_gap(tick - self._arrivals[-1][0])
        self._arrivals.append((tick, steps, adapter))
        self._count[adapter] += 1
        self._steps += steps
        self._service = None
        if len(self._arrivals) > self._memory:
            _, steps, adapter = self._arrivals.popleft()
            self._count[adapter] -= 1
            self._steps -= steps

    def _add_gap(self, gap: int) -> None:
        self._gaps.append(gap)
        insort(self._rising, gap)
        if len(self._gaps) > self._memory:
            del self._rising[bisect_left(self._rising, self._gaps.popleft())]

    def gap_ticks(self, now: int) -> float:
        """Mean ticks between arrivals; the first ones have a request's own service added."""
        known, site = len(self._arrivals), self._site
        if self._service is None:
            service_s = site.clock.overhead_s(1) + self._steps / known * site.clock.step_s(1)
            self._service = max(1.0, service_s / site.tick_s) / len(site.gpus)
        return max(1e-9, (now - self._arrivals[0][0] + self._service) / known)

    def share(self, adapter: int) -> float:
        """Share of an adapter among the arrivals, one of its own left out.

        It is asked for after the adapter has had an arrival. That one says nothing about more.
        """
        return max(0, self._count[adapter] - 1) / len(self._arrivals)

    def next_arrival(self, now: int) -> float | None:
        """Return the ticks to the next arrival.

        That is the mean of what was left of those gaps that lasted longer than this one has so far.
        None where none did, as at the end of a burst or of all requests.
        """
        last = self._arrivals[-1][0]
        longer = self._rising[bisect_right(self._rising, now - last) :]
        return sum(longer) / len(longer) + last - now if longer else None

    def next_beyond(self, now: int, ticks: float) -> int:
        """Return the first later tick at which the next arrival is ``ticks`` away or more.

        That is one at which a gap of the past had ended, as what is expected only falls between
        them; the last one at the latest. ``now`` must be before it.
        """
        last = self._arrivals[-1][0]
        longer = self._rising[bisect_right(self._rising, now - last) :]
        left, count = sum(longer), len(longer)
        for gap in longer[:-1]:
            left, count = left - gap, count - 1
            if left / count + last - (last + gap) >= ticks:
                return last + gap
        return last + longer[-1]
