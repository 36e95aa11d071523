"""The deadlines of requests that wait, in the order in which they become impossible to meet."""

from __future__ import annotations

import heapq
from collections.abc import Container

from pats_opt.model.instance import Request
from pats_opt.model.problem import Site


class DeadlineQueue:
    """Requests by the tick from which they can no longer end by their deadline."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []

    def add(self, request: Request, site: Site) -> None:
        """Note when a request expires, if it does."""
        if request.deadline_s is not None:
            quickest = min(site.clock.quickest(o.steps) for o in request.options)
            last_s = request.arrival_s + request.deadline_s
            expiry = int(last_s / site.tick_s + 1e-9) - quickest + 1
            heapq.heappush(self._heap, (expiry, request.id))

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()

    def take(self, tick: int, waiting: Container[str]) -> str | None:
        """Take out a request that waits and has expired by a tick; None where there is none."""
        heap = self._heap
        while heap and (heap[0][0] <= tick or heap[0][1] not in waiting):
            _, name = heapq.heappop(heap)
            if name in waiting:
                return name
        return None

    @property
    def next(self) -> int | None:
        """The tick at which the next one expires."""
        return self._heap[0][0] if self._heap else None
