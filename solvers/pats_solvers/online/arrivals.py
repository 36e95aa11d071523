"""The last arrivals of a run: how far apart they came, and for which adapters."""

from __future__ import annotations

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
        self._gaps: deque[int] = deque(maxlen=memory)
        self._count = Counter[int]()
        self._next: dict[int, tuple[float, int] | None] = {}  # by tick, since the last arrival
        self._steps = 0

    def add(self, tick: int, steps: int, adapter: int) -> None:
        """Count an arrival of a request with so many steps at least."""
        if self._arrivals:
            self._gaps.append(tick - self._arrivals[-1][0])
        self._arrivals.append((tick, steps, adapter))
        self._count[adapter] += 1
        self._next.clear()
        self._steps += steps
        if len(self._arrivals) > self._memory:
            _, steps, adapter = self._arrivals.popleft()
            self._count[adapter] -= 1
            self._steps -= steps

    def gap_ticks(self, now: int) -> float:
        """Mean ticks between arrivals; the first ones have a request's own service added."""
        known, site = len(self._arrivals), self._site
        service_s = site.clock.overhead_s(1) + self._steps / known * site.clock.step_s(1)
        service = max(1.0, service_s / site.tick_s) / len(site.gpus)
        return max(1e-9, (now - self._arrivals[0][0] + service) / known)

    def share(self, adapter: int) -> float:
        """Share of an adapter among the arrivals, one of its own left out.

        It is asked for after the adapter has had an arrival. That one says nothing about more.
        """
        return max(0, self._count[adapter] - 1) / len(self._arrivals)

    def next_arrival(self, now: int) -> tuple[float, int] | None:
        """Return the ticks to the next arrival, and the tick until which to reckon with them.

        That is the mean of what was left of those gaps that lasted longer than this one has so far.
        None where none did, as at the end of a burst or of all requests.
        """
        if now not in self._next:
            last = self._arrivals[-1][0]
            longer = [gap for gap in self._gaps if gap > now - last]
            left = sum(longer) / len(longer) + last - now if longer else 0.0
            self._next[now] = (left, last + min(longer)) if longer else None
        return self._next[now]
