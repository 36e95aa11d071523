"""The estimate of demand: arrivals by window, newer windows weighing more.

Source: Proteus (Ahmad et al., ASPLOS 2024), whose published code counts the requests of each second
and takes the exponentially weighted mean of the last 20 seconds, with pandas' ``ewm(com=1.6)``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

#: Windows that count, the newest ones.
WINDOWS = 20

#: Centre of mass of the weights, in windows; the newest weighs 1 / (1 + this) in the long run.
CENTRE = 1.6


def weighted_mean(counts: Iterable[float], centre: float = CENTRE) -> float:
    """Return the exponentially weighted mean of ``counts``, the newest last; 0 of none.

    Each weighs ``centre / (1 + centre)`` times what the next newer one does.
    """
    keep, total, weight = centre / (1.0 + centre), 0.0, 0.0
    for count in counts:
        total, weight = total * keep + count, weight * keep + 1.0
    return total / weight if weight else 0.0


class ArrivalCount:
    """Arrivals in windows of equal length, and the rate that they show as each window ends.

    Args:
        window_s: Length of a window in seconds.
        tick_s: Seconds a tick.
        centre: Centre of mass of the weights, in windows.
        windows: How many windows count.
    """

    def __init__(
        self,
        window_s: float,
        tick_s: float,
        *,
        centre: float = CENTRE,
        windows: int = WINDOWS,
    ) -> None:
        self._window_s, self._tick_s, self._centre = window_s, tick_s, centre
        self._counts = deque[int](maxlen=windows)
        self._window = 0  # the window that is not over yet
        self._open = 0

    def arrived(self) -> None:
        """Count an arrival in the window that is not over yet."""
        self._open += 1

    def ended(self, tick: int, keep: int = 1) -> Iterator[tuple[int, float]]:
        """Yield the number of each window that has ended by ``tick``, and the rate at its end.

        Ticks must not fall. The rate is in arrivals per second. After a long silence, in which
        every rate is 0, windows are skipped, but not the last ``keep``.
        """
        window = int(tick * self._tick_s / self._window_s + 1e-9)
        while self._window < window:
            self._counts.append(self._open)
            self._window, self._open = self._window + 1, 0
            yield self._window, weighted_mean(self._counts, self._centre) / self._window_s
            silent = len(self._counts) == self._counts.maxlen and not any(self._counts)
            if silent and window - self._window > keep:
                self._window = window - keep
