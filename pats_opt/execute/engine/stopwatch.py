"""Times phases on a device: with events on a GPU, whose host runs ahead, else by the host's clock.

Spans are written down as they begin and end, and become seconds on the run's clock when they are
read, after the one synchronisation that a batch needs anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from pats_opt.execute.record import Phase, Span


class Stopwatch:
    """Spans of one switch or one batch.

    Args:
        device: A ``torch.device``.
        clock: Seconds since the run's start.
    """

    def __init__(self, device: Any, clock: Callable[[], float]) -> None:
        import torch

        self._clock = clock
        self._cuda = torch.cuda if device.type == "cuda" else None
        self._device = device
        self._spans: list[tuple[Phase, Any, Any, list[Any], dict[str, Any]]] = []
        self.synchronize()
        self._began = clock()
        self._origin = self._now()

    def synchronize(self) -> None:
        """Wait until the device has done all work of this thread's stream, loads beside it not."""
        if self._cuda is not None:
            self._cuda.current_stream(self._device).synchronize()

    def _now(self) -> Any:
        if self._cuda is None:
            return self._clock()
        event = self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self._device))
        return event

    @contextmanager
    def span(self, phase: Phase, **about: Any) -> Iterator[CallTimes]:
        """Time a phase; nothing is kept of one that raises.

        Args:
            phase: What the time is spent on.
            about: Further fields of the :class:`Span`.

        Yields:
            Times the UNet's calls inside a step.
        """
        begin, laps = self._now(), CallTimes(self._now)
        yield laps
        self._spans.append((phase, begin, self._now(), laps.marks, about))

    def read(self) -> tuple[Span, ...]:
        """The spans up to now; waits for the device."""
        self.synchronize()
        return tuple(
            Span(
                phase=phase,
                start_s=max(0.0, self._at(begin)),
                seconds=self._between(begin, end),
                unet_s=sum(map(self._between, laps[::2], laps[1::2])) if laps else None,
                **about,
            )
            for phase, begin, end, laps, about in self._spans
        )

    def steps(self) -> Counter[str]:
        """Return the steps that the device has done, by request; any thread may ask."""
        done: Counter[str] = Counter()
        # Another thread's current device is the first one, which need not be this one.
        with nullcontext() if self._cuda is None else self._cuda.device(self._device):
            for phase, _, end, _, about in tuple(self._spans):
                if phase is Phase.STEP and (self._cuda is None or end.query()):
                    done.update(about["ids"])
        return done

    def _between(self, begin: Any, end: Any) -> float:
        return max(0.0, self._at(end) - self._at(begin))

    def _at(self, mark: Any) -> float:
        if self._cuda is None:
            return float(mark)
        return self._began + float(self._origin.elapsed_time(mark)) / 1e3


class CallTimes:
    """Pairs of marks around the UNet's calls of one step; one that raises leaves none."""

    def __init__(self, now: Callable[[], Any]) -> None:
        self._now = now
        self.marks: list[Any] = []

    @contextmanager
    def unet(self) -> Iterator[None]:
        """Around one call of the UNet."""
        begin = self._now()
        yield
        self.marks += [begin, self._now()]
