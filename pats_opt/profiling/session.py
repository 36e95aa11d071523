"""A session of measuring, part by part; parts that are done are skipped."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import msgspec

from pats_opt import __version__
from pats_opt.execute.record import Tier
from pats_opt.execute.work import Engine, EngineSettings
from pats_opt.profiling.adapters import drop_from_cache
from pats_opt.profiling.bench import Bench
from pats_opt.profiling.images import ImageComparer, ImageError
from pats_opt.profiling.measurements import EngineInfo, MeasurementFile
from pats_opt.profiling.plan import ProfilingPlan, TimedPart, rounds

_log = logging.getLogger(__name__)

EngineOpener = Callable[[EngineSettings, Callable[[], float]], Engine]

#: Names of the kinds of parts, for messages.
_KINDS = {
    "steps": "steps of a batch of {}",
    "memory": "memory at {}",
    "beside": "loads beside a batch ({})",
    "images": "images",
}


class _OutOfTimeError(Exception):
    pass


class ProfilingSession:
    """Measures what a plan lacks.

    Args:
        plan: The measurements to make.
        file: The measurements made so far.
        settings: Settings of the engine, except its ``tier``.
        opener: Opens an engine.
        clock: Seconds since the session began.
        time_limit: Seconds after which no further part is begun.
        comparer: Makes and compares the images of the plan, where it has any.
    """

    def __init__(
        self,
        plan: ProfilingPlan,
        file: MeasurementFile,
        settings: EngineSettings,
        opener: EngineOpener,
        clock: Callable[[], float],
        *,
        time_limit: float | None = None,
        comparer: ImageComparer | None = None,
    ) -> None:
        self._plan, self._file, self._settings = plan, file, settings
        self._opener, self._clock, self._limit = opener, clock, time_limit
        self._comparer = comparer
        self._progress: Callable[[str], None] = lambda _: None
        self.interrupted = False  #: whether Ctrl-C ended the measuring
        self._adapters = tuple(settings.adapter_files)
        self._views = list(plan.quality.views()) if plan.quality else []

    def left(self) -> list[str]:
        """Keys of the parts that are not measured yet."""
        keys = [
            part.key for part in rounds(self._plan, ("resident", "host", "disk"), self._adapters)
        ]
        keys += [
            _beside_key(place, i) for place in ("host", "disk") for i in range(self._plan.repeats)
        ]
        keys += map(_memory_key, self._plan.sizes)
        keys += [key for key, *_ in self._views]
        return [key for key in keys if not self._done(key)]

    def _done(self, key: str) -> bool:
        return key in self._file.data.done

    def run(self, progress: Callable[[str], None] = lambda _: None) -> list[str]:
        """Measure what is missing.

        Args:
            progress: Called with the key of every part that is done.

        Returns:
            Names of what is still missing; empty when all is done.

        Raises:
            InputError: The engine cannot be opened.
        """
        self._progress = progress
        try:
            self._measure_host()
            self._measure_disk()
        except _OutOfTimeError:
            _log.warning("the time limit ended the measuring")
        except KeyboardInterrupt:
            self.interrupted = True
        kinds = Counter(
            _KINDS.get(kind, f"switching ({kind})").format(which)
            for kind, which, *_ in (key.split("/") for key in self.left())
        )
        return [f"{kind}, {count} times" if count > 1 else kind for kind, count in kinds.items()]

    def _measure_host(self) -> None:
        """Measure step times, overheads, switching from host memory, and memory."""
        timed = list(self._timed(("resident", "host")))
        sizes = [size for size in self._plan.sizes if not self._done(_memory_key(size))]
        beside = self._beside_left("host")
        if timed or sizes or beside:
            with self._bench("host") as bench:
                self._time_all(bench, timed)
                self._beside(bench, "host", beside)
                for size in sizes:
                    self._memory(bench, size)

    def _measure_disk(self) -> None:
        """Measure switching from disk; then images, for which the tier does not matter."""
        timed = [part for part in self._timed(("disk",)) if not part.n]  # batches ran on the host
        views = [view for view in self._views if not self._done(view[0])]
        beside = self._beside_left("disk")
        if timed or views or beside:
            with self._bench("disk") as bench:
                self._time_all(bench, timed)
                self._beside(bench, "disk", beside)
                for i, (key, prompt, seed) in enumerate(views, 1):
                    self._refuse_late()
                    began = self._clock()
                    assert self._comparer is not None, "a plan with images comes with a comparer"
                    try:
                        self._file.add(key, *self._comparer(bench.engine, prompt, seed))
                    except ImageError as error:
                        _log.warning("%s: %s", key, error)
                    self._progress(key)
                    seconds = self._clock() - began
                    ahead = (len(views) - i) * seconds
                    _log.info("%s: %.1f s, about %.0f s left for images", key, seconds, ahead)

    def _timed(self, places: tuple[str, ...]) -> Iterator[TimedPart]:
        parts = rounds(self._plan, places, self._adapters)
        return (part for part in parts if not self._done(part.key))

    @contextmanager
    def _bench(self, place: Literal["host", "disk"]) -> Iterator[Bench]:
        """Open an engine; it is closed in any case."""
        self._refuse_late()
        settings = msgspec.structs.replace(
            self._settings, tier=Tier(place), resident=self._adapters[: self._settings.slots]
        )

        def opener() -> Engine:
            engine = self._opener(settings, self._clock)
            setup = engine.setup
            info = EngineInfo(
                device_name=setup.device,
                memory_gib=setup.memory_gib,
                scheduler=setup.scheduler,
                rank=setup.rank,
                versions={**setup.versions, "pats-opt": __version__},
            )
            try:
                self._file.set_engine(info)
            except BaseException:
                engine.close()
                raise
            return engine

        slots = self._settings.slots
        bench = Bench(opener, self._adapters, place, self._plan, self._clock, slots=slots)
        try:
            self._open(bench, place)
            yield bench
        finally:
            bench.close()

    def _open(self, bench: Bench, place: str) -> None:
        began = self._clock()
        bench.open()
        seconds = self._clock() - began
        _log.info("model opened and warm, adapters from %s: %.1f s", place, seconds)

    def _refuse_late(self) -> None:
        if self._limit is not None and self._clock() >= self._limit:
            raise _OutOfTimeError

    def _time_all(self, bench: Bench, parts: Sequence[TimedPart]) -> None:
        for i, part in enumerate(parts):
            self._refuse_late()
            began = self._clock()
            self._time(bench, part)
            self._progress(part.key)
            seconds = self._clock() - began
            ahead = ""
            if part.n:  # batches take most of the time, in proportion to their size
                rest_s = seconds * sum(p.n for p in parts[i + 1 :]) / part.n
                ahead = f", about {rest_s:.0f} s left for step times"
            _log.info("%s: %.2f s%s", part.key, seconds, ahead)

    def _time(self, bench: Bench, part: TimedPart) -> None:
        """Measure one part of a round."""
        if part.place == "resident":
            self._file.add(part.key, *bench.activate(part.repeat))
        elif part.place:
            if part.place == "disk":
                drop_from_cache(self._settings.adapter_files[part.adapter])
            self._file.add(part.key, *bench.load(part.adapter, part.repeat))
        else:
            size = self._plan.reference
            if any(b.n <= part.n for b in self._file.data.batches_of(size) if not b.fits):
                self._file.add(part.key)  # too large, as an earlier round has shown
                return
            batch = bench.batch("steps", part.n, size, part.repeat)
            self._file.add(part.key, batch)
            if not batch.fits:
                _log.warning("a batch of %d does not fit: %s", part.n, batch.error or "split")
                self._open(bench, "host")

    def _beside_left(self, place: str) -> list[int]:
        """Rounds whose loads beside a batch are not measured yet."""
        return [i for i in range(self._plan.repeats) if not self._done(_beside_key(place, i))]

    def _beside(self, bench: Bench, place: str, repeats: Sequence[int]) -> None:
        """Measure loads beside batches of one image, if such a batch fits."""

        def prepare(adapter: str) -> None:
            if place == "disk":
                drop_from_cache(self._settings.adapter_files[adapter])

        data = self._file.data
        fits = any(b.purpose == "steps" and b.n == 1 and b.fits for b in data.batches)
        for repeat in repeats:
            self._refuse_late()
            key = _beside_key(place, repeat)
            self._file.add(key, *([bench.beside(repeat, prepare)] if fits else []))
            self._progress(key)

    def _memory(self, bench: Bench, size: tuple[int, int]) -> None:
        """Measure memory at a size, up to the largest batch that fits or is to be tried."""
        batches = self._file.data.batches_of(size)
        known = {b.n: b for b in sorted(batches, key=lambda b: not b.fits)}  # a misfit counts

        def fits(n: int) -> bool:
            if n not in known:
                self._refuse_late()
                began = self._clock()
                known[n] = batch = bench.batch("memory", n, size)
                key = f"{_memory_key(size)}/{n}"
                self._file.add(key, batch)
                peak = f"{batch.peak_gib} GiB" if batch.fits else "does not fit"
                _log.info("%s: %s, %.1f s", key, peak, self._clock() - began)
                if not batch.fits:
                    self._open(bench, "host")
            return known[n].fits

        if any(batch.peak_gib is not None for batch in self._file.data.batches):
            largest_batch(fits, self._plan.max_batch)
        self._file.add(_memory_key(size))
        self._progress(_memory_key(size))


def largest_batch(fits: Callable[[int], bool], most: int) -> tuple[int, int | None]:
    """Find the end of memory with few large batches: double until it runs out, then bisect.

    Args:
        fits: Tries a batch size; sizes above one that does not fit are not tried.
        most: Largest size to try.

    Returns:
        The largest size that fits (0 where not even 1 does), and the smallest that does not (None
        where ``most`` does). They are neighbours where the second is given.
    """
    good, bad = 0, None
    while good < most and (bad is None or bad - good > 1):
        n = min(max(1, 2 * good), most) if bad is None else (good + bad) // 2
        if fits(n):
            good = n
        else:
            bad = n
    return good, bad


def _beside_key(place: str, repeat: int) -> str:
    return f"beside/{place}/{repeat}"


def _memory_key(size: tuple[int, int]) -> str:
    return f"memory/{size[0]}x{size[1]}"
