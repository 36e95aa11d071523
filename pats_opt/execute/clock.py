"""The run's clock: seconds since its start, the same on all workers.

Second 0 is agreed on as a time of day, and each worker counts from there with its own monotonic
counter, so that a correction of the machine's clock in the middle of a run changes nothing. Workers
on several machines are as far apart as those machines' clocks.
"""

from __future__ import annotations

import time

from msgspec import Struct

#: What the clock shows before the start is agreed on: far before it.
NOT_YET_S = 1e6


class Start(Struct, frozen=True):
    """When a sitting begins.

    Attributes:
        at: The time of day (Unix seconds).
        second: What the run's clock shows then: 0, or where an interrupted run stopped.
    """

    at: float
    second: float = 0.0

    @classmethod
    def soon(cls, second: float, ahead_s: float) -> Start:
        """A start a moment from now, so that every worker hears of it before it comes."""
        return cls(time.time() + ahead_s, second)


class RunClock:
    """Seconds since the run's start; negative until the sitting has begun."""

    def __init__(self) -> None:
        self._zero = time.perf_counter() + NOT_YET_S
        self._begins: float | None = None

    def set(self, start: Start) -> None:
        """Agree on the start."""
        self._begins = time.perf_counter() + (start.at - time.time())
        self._zero = self._begins - start.second

    def __call__(self) -> float:
        """The second now."""
        now = time.perf_counter()
        if self._begins is not None and now < self._begins:
            return now - self._begins
        return now - self._zero
