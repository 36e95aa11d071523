"""Status of a server: what waits, what each GPU does, and the last minutes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType

from msgspec import Struct

from pats_opt.execute.record import BatchRun
from pats_opt.serving.events import GpuWork
from pats_opt.serving.served import ServedImage

#: Seconds of an interval of the history, and number of intervals.
INTERVAL_S, INTERVALS = 5.0, 60


class AdapterQueue(Struct, frozen=True, kw_only=True):
    """Images of one adapter that wait and run."""

    adapter: str
    waiting: int
    running: int


class GpuFigures(Struct, frozen=True, kw_only=True):
    """A GPU now and in the last minutes.

    Attributes:
        id: Its id.
        device: Name of its device; None where it has no worker.
        resident: Adapters that it held after its last batch or load.
        adapters: Adapters of the images that it makes.
        images: Number of the images that it makes.
        busy_s: Seconds since it was given those; None where it is idle.
        switching: Share of each interval in which it switched, the oldest first.
        serving: The same for batches.
    """

    id: str
    device: str | None
    resident: tuple[str, ...]
    adapters: tuple[str, ...]
    images: int
    busy_s: float | None
    switching: tuple[float, ...]
    serving: tuple[float, ...]


class ServerStatus(Struct, frozen=True, kw_only=True):
    """Status of a server.

    Attributes:
        ready: Whether it takes requests.
        waiting: Images that wait.
        running: Images that GPUs make.
        queue: The same by adapter; adapters without any are left out.
        gpus: Its GPUs.
        interval_s: Seconds of an interval of the history.
        made: Images made in each interval, the oldest first; the last one goes on.
        wait_s: Mean seconds from arrival to batch of these; None where there are none.
    """

    ready: bool
    waiting: int
    running: int
    queue: tuple[AdapterQueue, ...]
    gpus: tuple[GpuFigures, ...]
    interval_s: float
    made: tuple[int, ...]
    wait_s: tuple[float | None, ...]


class StatusRecorder:
    """The last minutes of a server, in intervals. Seconds are on the server's clock.

    Args:
        residents: Adapters that each GPU holds at its start.
    """

    def __init__(self, residents: Sequence[Collection[str]]) -> None:
        self._first = [frozenset(held) for held in residents]
        self._resident = list(self._first)
        self._made, self._waited_s = _Intervals(), _Intervals()
        self._switching = [_Intervals() for _ in residents]
        self._serving = [_Intervals() for _ in residents]

    def made(self, second: float, wait_s: float) -> None:
        """Count an image that was made."""
        self._made.add(_place(second), 1.0)
        self._waited_s.add(_place(second), wait_s)

    def worked(self, work: GpuWork) -> None:
        """Count a batch, or a load beside the batches."""
        g = work.gpu
        if work.batch is not None:
            self._worked(g, work.batch)
        if work.load is not None:
            self._resident[g] = self._resident[g] - {*work.load.evict} | {work.load.adapter}

    def _worked(self, g: int, batch: BatchRun) -> None:
        self._resident[g] = self._resident[g] - {*batch.evict} | {*batch.load}
        self._switching[g].spread(batch.switch_start_s, batch.start_s)
        self._serving[g].spread(batch.start_s, batch.end_s)

    def lost(self, gpu: int) -> None:
        """Note that a GPU's worker is dead: the next one holds what it holds at the start."""
        self._resident[gpu] = self._first[gpu]

    def status(
        self,
        second: float,
        images: Iterable[ServedImage],
        gpus: Sequence[tuple[str, str | None]],
        *,
        unix_s: float,
        ready: bool,
    ) -> ServerStatus:
        """Return the status of the server.

        Args:
            second: Now.
            images: Images that wait or run.
            gpus: Id and device of each GPU; None where it has no worker.
            unix_s: Now, as the times of the images.
            ready: Whether it takes requests.
        """
        waiting: Counter[str] = Counter()
        running: list[list[ServedImage]] = [[] for _ in gpus]
        for image in images:
            if image.gpu is None:
                waiting[image.request.adapter] += 1
            else:
                running[image.gpu].append(image)
        at_work = Counter([image.request.adapter for made in running for image in made])
        made, waited_s = self._made.until(second), self._waited_s.until(second)
        return ServerStatus(
            ready=ready,
            waiting=waiting.total(),
            running=at_work.total(),
            queue=tuple(
                [
                    AdapterQueue(adapter=name, waiting=waiting[name], running=at_work[name])
                    for name in sorted({*waiting, *at_work})
                ]
            ),
            gpus=tuple(
                [self._figures(g, gpu, running[g], second, unix_s) for g, gpu in enumerate(gpus)]
            ),
            interval_s=INTERVAL_S,
            made=tuple([round(count) for count in made]),
            wait_s=tuple(
                [
                    round(wait_s / count, 3) if count else None
                    for wait_s, count in zip(waited_s, made, strict=True)
                ]
            ),
        )

    def _figures(
        self,
        g: int,
        gpu: tuple[str, str | None],
        running: Sequence[ServedImage],
        second: float,
        unix_s: float,
    ) -> GpuFigures:
        starts = [image.started for image in running if image.started is not None]
        busy_s = max(0.0, unix_s - min(starts)) if starts else None
        serving = self._serving[g].copy()
        if busy_s is not None:  # it is measured only at its end
            serving.spread(second - busy_s, second)
        return GpuFigures(
            id=gpu[0],
            device=gpu[1],
            resident=tuple(sorted(self._resident[g])),
            adapters=tuple(sorted({image.request.adapter for image in running})),
            images=len(running),
            busy_s=None if busy_s is None else round(busy_s, 3),
            switching=_shares(self._switching[g].until(second)),
            serving=_shares(serving.until(second)),
        )


class _Intervals:
    """An amount for each interval of the history."""

    def __init__(self, amounts: Mapping[int, float] = MappingProxyType({})) -> None:
        self._amounts = dict(amounts)

    def copy(self) -> _Intervals:
        return _Intervals(self._amounts)

    def add(self, place: int, amount: float) -> None:
        """Add to an interval, and forget those that are older than the history."""
        if place not in self._amounts:
            for old in [old for old in self._amounts if old <= place - INTERVALS]:
                del self._amounts[old]
        self._amounts[place] = self._amounts.get(place, 0.0) + amount

    def spread(self, start_s: float, end_s: float) -> None:
        """Add the seconds of a span to the intervals that it touches."""
        last = _place(end_s)
        for place in range(max(_place(start_s), last - INTERVALS + 1), last + 1):
            from_s, to_s = place * INTERVAL_S, (place + 1) * INTERVAL_S
            self.add(place, max(0.0, min(end_s, to_s) - max(start_s, from_s)))

    def until(self, second: float) -> list[float]:
        """The amounts of the last minutes before a second, the oldest first."""
        last = _place(second)
        return [self._amounts.get(p, 0.0) for p in range(last - INTERVALS + 1, last + 1)]


def _place(second: float) -> int:
    """The interval of a second."""
    return math.floor(second / INTERVAL_S)


def _shares(seconds: Iterable[float]) -> tuple[float, ...]:
    return tuple([round(min(1.0, spent / INTERVAL_S), 3) for spent in seconds])
