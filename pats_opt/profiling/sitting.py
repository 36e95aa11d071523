"""Measuring part by part, as long as time allows; what is done already is not done again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, Protocol

import msgspec

from pats_opt import __version__
from pats_opt.errors import PatsError
from pats_opt.execute.record import Tier
from pats_opt.execute.work import Engine, Settings, Setup
from pats_opt.profiling.adapters import drop_from_cache
from pats_opt.profiling.bench import Bench
from pats_opt.profiling.cliff import largest_batch
from pats_opt.profiling.plan import Plan, Prompt, Timed, repeat_of, rounds
from pats_opt.profiling.record import Batch, Found, Image, Raw
from pats_opt.profiling.store import Store

_log = logging.getLogger(__name__)

Open = Callable[[Settings, Callable[[], float]], Engine]


class Viewer(Protocol):
    """Makes the images of one prompt and seed and compares them."""

    def __call__(self, engine: Engine, prompt: Prompt, seed: int) -> list[Image]:
        """Every step count's distance to the full one.

        Raises:
            ImageError: One could not be made.
        """
        ...


class IncompleteError(PatsError):
    """Measuring ended before a profile could be written."""

    exit_code = 4


class ImageError(PatsError):
    """An image of the quality measurement could not be made."""


class _OutOfTimeError(Exception):
    pass


class Sitting:
    """One run of the command over a plan.

    Args:
        plan: What to measure.
        store: Where it is kept.
        settings: Of the engine; its ``tier`` is set here.
        opener: Opens an engine.
        clock: Seconds since the sitting began.
        time_limit: Seconds after which no other part is begun.
        viewer: Of the quality measurement, where there is one.
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        settings: Settings,
        opener: Open,
        clock: Callable[[], float],
        *,
        time_limit: float | None = None,
        viewer: Viewer | None = None,
    ) -> None:
        self._plan, self._store, self._settings = plan, store, settings
        self._open, self._clock, self._limit = opener, clock, time_limit
        self._viewer = viewer
        self._told: Callable[[str], None] = lambda _: None
        self._adapters = tuple(settings.adapter_files)

    def left(self) -> list[str]:
        """Keys of the parts that are not measured yet."""
        return left(self._plan, self._store.raw, self._adapters)

    def run(self, told: Callable[[str], None] = lambda _: None) -> list[str]:
        """Measure what is missing.

        Args:
            told: Called with the key of every part that is done.

        Returns:
            What is still missing, in words; empty when all is done.

        Raises:
            InputError: The engine cannot be opened.
        """
        self._told = told
        try:
            self._host()
            self._disk()
        except _OutOfTimeError:
            _log.warning("the time limit ended the measuring")
        except KeyboardInterrupt:
            _log.warning("measuring was interrupted")
        return missing(self.left())

    def _host(self) -> None:
        """Step times, overheads, switching from host memory, and memory."""
        timed = [p for p in self._timed(("resident", "host")) if not self._store.has(p.key)]
        sizes = [size for size in self._plan.sizes if not self._store.has(_memory_key(size))]
        if not timed and not sizes:
            return
        with self._bench("host") as bench:
            for i, part in enumerate(timed):
                self._time(bench, part, timed[i + 1 :])
            for size in sizes:
                self._memory(bench, size)

    def _disk(self) -> None:
        """Switching from disk; then images, for which the tier does not matter."""
        timed = [p for p in self._timed(("disk",)) if not self._store.has(p.key)]
        quality = self._plan.quality
        views = [v for v in quality.views() if not self._store.has(v[0])] if quality else []
        if not timed and not views:
            return
        with self._bench("disk") as bench:
            for i, part in enumerate(timed):
                self._time(bench, part, timed[i + 1 :])
            for i, (key, prompt, seed) in enumerate(views, 1):
                self._in_time()
                began = self._clock()
                try:
                    self._store.keep(key, *self._view(bench.engine, prompt, seed))
                except ImageError as error:
                    _log.warning("%s: %s", key, error)
                self._told(key)
                seconds = self._clock() - began
                ahead = (len(views) - i) * seconds
                _log.info("%s: %.1f s, about %.0f s left for images", key, seconds, ahead)

    def _view(self, engine: Engine, prompt: Prompt, seed: int) -> list[Image]:
        assert self._viewer is not None  # given with every plan that has images
        return self._viewer(engine, prompt, seed)

    def _timed(self, places: tuple[str, ...]) -> Iterator[Timed]:
        """Parts to time on one engine; the batches belong to the first."""
        for part in rounds(self._plan, places, self._adapters):
            if part.n == 0 or "host" in places:
                yield part

    @contextmanager
    def _bench(self, place: Literal["host", "disk"]) -> Iterator[Bench]:
        """An open, warm engine; closed in any case."""
        self._in_time()
        bench = self._opened(place)
        try:
            yield bench
        finally:
            bench.close()

    def _opened(self, place: Literal["host", "disk"]) -> Bench:
        began = self._clock()
        resident = self._adapters[: self._settings.slots]
        settings = msgspec.structs.replace(self._settings, tier=Tier(place), resident=resident)
        engine = self._open(settings, self._clock)
        bench = Bench(engine, resident, place, self._plan, self._clock)
        try:
            self._store.opened(found_by(engine.setup))
            bench.warm_up(self._adapters[-1])
        except BaseException:
            bench.close()
            raise
        seconds = self._clock() - began
        _log.info("model opened and warm, adapters from %s: %.1f s", place, seconds)
        return bench

    def _again(self, bench: Bench) -> None:
        """Open the engine anew: one that ran out of memory has become careful for good."""
        bench.close()
        bench.become(self._opened("host"))

    def _in_time(self) -> None:
        if self._limit is not None and self._clock() >= self._limit:
            raise _OutOfTimeError

    def _time(self, bench: Bench, part: Timed, rest: Sequence[Timed]) -> None:
        """Measure one part of a round and keep it."""
        self._in_time()
        began, repeat = self._clock(), repeat_of(part.key)
        if part.n:
            size = self._plan.reference
            smaller = [b.n for b in _batches(self._store.raw, size) if not b.fits]
            if smaller and min(smaller) <= part.n:
                self._store.keep(part.key)  # too large, as an earlier round has shown
                self._told(part.key)
                return
            batch = bench.batch("steps", part.n, size, repeat)
            self._store.keep(part.key, batch)
            if not batch.fits:
                _log.warning("a batch of %d does not fit: %s", part.n, batch.error or "split")
                self._again(bench)
        elif part.place == "resident":
            self._store.keep(part.key, *bench.activate(repeat))
        else:
            if part.place == "disk":
                drop_from_cache(self._settings.adapter_files[part.adapter])
            self._store.keep(part.key, *bench.load(part.adapter, repeat))
        self._told(part.key)
        seconds = self._clock() - began
        ahead = seconds * sum(p.n for p in rest) / part.n if part.n else None
        told = "" if ahead is None else f", about {ahead:.0f} s left for step times"
        _log.info("%s: %.2f s%s", part.key, seconds, told)

    def _memory(self, bench: Bench, size: tuple[int, int]) -> None:
        """Memory at a size, up to the cliff or the largest batch to try."""
        batches = sorted(_batches(self._store.raw, size), key=lambda batch: not batch.fits)
        known = {batch.n: batch for batch in batches}  # one that did not fit counts

        def fits(n: int) -> bool:
            if n not in known:
                self._in_time()
                began = self._clock()
                known[n] = bench.batch("memory", n, size)
                self._store.keep(f"{_memory_key(size)}/{n}", known[n])
                told = "does not fit" if not known[n].fits else f"{known[n].peak_gib} GiB"
                _log.info("%s/%d: %s, %.1f s", _memory_key(size), n, told, self._clock() - began)
                if not known[n].fits:
                    self._again(bench)
            return known[n].fits

        tells = any(batch.peak_gib is not None for batch in self._store.raw.batches)
        if tells:
            largest_batch(fits, self._plan.max_batch)
        self._store.keep(_memory_key(size))
        self._told(_memory_key(size))


def found_by(setup: Setup) -> Found:
    """What an engine says of itself, as it is kept."""
    return Found(
        device_name=setup.device,
        memory_gib=setup.memory_gib,
        scheduler=setup.scheduler,
        rank=setup.rank,
        versions={**setup.versions, "pats-opt": __version__},
    )


def left(plan: Plan, raw: Raw, adapters: Sequence[str]) -> list[str]:
    """Keys of the parts of a plan that are not measured yet."""
    keys = [part.key for part in rounds(plan, ("resident", "host", "disk"), tuple(adapters))]
    keys += [_memory_key(size) for size in plan.sizes]
    keys += [key for key, _, _ in plan.quality.views()] if plan.quality else []
    done = set(raw.done)
    return [key for key in keys if key not in done]


def missing(keys: Sequence[str]) -> list[str]:
    """Parts in words, those of a kind together."""
    words = {
        "steps": "steps of a batch of {}",
        "memory": "memory at {}",
        "images": "images",
    }
    kinds = Counter(
        words.get(kind, f"switching ({kind})").format(which)
        for kind, which, *_ in (key.split("/") for key in keys)
    )
    return [f"{kind}, {count} times" if count > 1 else kind for kind, count in kinds.items()]


def _memory_key(size: tuple[int, int]) -> str:
    return f"memory/{size[0]}x{size[1]}"


def _batches(raw: Raw, size: tuple[int, int]) -> Iterator[Batch]:
    return (batch for batch in raw.batches if (batch.width, batch.height) == size)
