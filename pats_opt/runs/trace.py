"""What a run knew when: the improvements of its bound and its loss, as its solver reported them."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence

from msgspec import Struct

#: Points that a record keeps; of more, every so many'th. The first and the last always stay.
MOST_POINTS = 200


class Moment(Struct, frozen=True, array_like=True):
    """What a run knew from some moment on.

    Attributes:
        seconds: Since the solver's clock began.
        bound: The best bound so far, or None.
        loss: The lowest loss so far, or None.
    """

    seconds: float
    bound: float | None
    loss: float | None


class Recorder:
    """Listens to a solver's progress: each call that improves the bound or the loss is a point.

    Its clock begins when it is made. Solvers may call it from any thread.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._points: list[Moment] = []

    def __call__(self, bound: float | None, loss: float | None) -> None:
        """Take note of what a solver reports."""
        self._add(time.monotonic() - self._began, bound, loss)

    def finish(self, seconds: float, bound: float | None, loss: float | None) -> tuple[Moment, ...]:
        """All points, thinned, with what the run ended with as the last.

        Args:
            seconds: What the run took; no point is later.
            bound: Its bound, or None.
            loss: The checker's loss of its schedule, or None.
        """
        self._add(seconds, bound, loss)
        with self._lock:
            points = [
                Moment(round(min(p.seconds, seconds), 6), p.bound, p.loss) for p in self._points
            ]
        return tuple(thinned(points))

    def _add(self, seconds: float, bound: float | None, loss: float | None) -> None:
        with self._lock:
            last = self._points[-1] if self._points else Moment(0.0, None, None)
            best = Moment(
                seconds,
                max(_known(last.bound, bound), default=None),
                min(_known(last.loss, loss), default=None),
            )
            if (best.bound, best.loss) != (last.bound, last.loss):
                self._points.append(best)


def _known(*values: float | None) -> list[float]:
    """The values that say something: an infinite bound is none."""
    return [value for value in values if value is not None and math.isfinite(value)]


def thinned(points: Sequence[Moment]) -> list[Moment]:
    """At most :data:`MOST_POINTS` of the points, evenly spread over them, both ends included.

    Leaving a point out shows an improvement later than it was made, never earlier.
    """
    if len(points) <= MOST_POINTS:
        return list(points)
    last = len(points) - 1
    return [points[k * last // (MOST_POINTS - 1)] for k in range(MOST_POINTS)]
