"""The measurements of one profile: a document that is written after every part."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.execute.record import Seconds
from pats_opt.model.files import encode, read_document, write_bytes
from pats_opt.model.instance import Document

#: Place of an adapter before a batch uses it: a slot of the device, or a tier of the engine.
Place = Literal["resident", "host", "disk"]


class AdapterFile(Document, frozen=True, kw_only=True):
    """An adapter that was switched to: the size of its file, and its shape.

    Attributes:
        rank: The largest of its layers.
        mib: Of the file.
        layers: Number of adapted matrices; 0 in older documents, as the next two.
        hidden: Their most common width.
        weights: Number of its weights.
    """

    id: str
    rank: int
    mib: float
    layers: int = 0
    hidden: int = 0
    weights: int = 0


class MeasurementSettings(Document, frozen=True, kw_only=True):
    """Settings that all parts of a document were measured with.

    Attributes:
        device: The torch device.
        memory_gib: The bound on its memory, if one was set.
        threads: CPU threads of torch; None for its default.
        width: Width of the timed images.
        shrink: Divisor of widths and heights; sizes are noted before the division.
        slots: Adapters resident at a time.
    """

    model: str
    device: str
    dtype: str
    guidance: float
    memory_gib: float | None = None
    threads: int | None = None
    width: int
    height: int
    shrink: int = 1
    slots: int
    adapters: tuple[AdapterFile, ...]


class EngineInfo(Document, frozen=True, kw_only=True):
    """Hardware and software that the engine ran on.

    Attributes:
        memory_gib: Its usable memory; None where the device does not report it.
        rank: Rank that the slots are padded to.
        versions: Versions of Python and of the packages that matter.
    """

    device_name: str
    memory_gib: float | None
    scheduler: str
    rank: int
    versions: dict[str, str]


class MeasuredBatch(Document, frozen=True, kw_only=True):
    """One measured batch.

    Attributes:
        purpose: ``steps`` for its times, ``memory`` for its peak.
        width: Before shrinking.
        n: Its members, all alike.
        step_s: Each step of all members, the first ones included.
        encode_s: Encoding of all members, and so is ``decode_s`` for decoding.
        save_s: One of its images as a PNG file, made afterwards.
        rest_s: Its time outside all spans.
        peak_gib: Peak of allocated device memory; None where the device does not report it.
        splits: How often memory ran out.
        error: The error of a member without an image.
    """

    purpose: Literal["steps", "memory"]
    width: int
    height: int
    n: int
    repeat: int = 0
    step_s: tuple[Seconds, ...] = ()
    encode_s: Seconds = 0.0
    decode_s: Seconds = 0.0
    save_s: Seconds | None = None
    rest_s: Seconds = 0.0
    peak_gib: float | None = None
    splits: int = 0
    error: str | None = None

    @property
    def fits(self) -> bool:
        """Whether it ran as one batch, within the device's memory."""
        return self.splits == 0 and self.error is None


class MeasuredSwitch(Document, frozen=True, kw_only=True):
    """One switch to an adapter.

    Attributes:
        place: Place of the adapter before the switch.
        mib: MiB copied to the device; None where nothing was.
    """

    place: Place
    adapter: str
    repeat: int
    seconds: Seconds
    mib: float | None = None


class MeasuredOverlap(Document, frozen=True, kw_only=True):
    """One batch of a single image, and the loads beside it, which followed one another.

    Attributes:
        place: Place that the adapters were loaded from.
        step_s: Each step beside a load, the first ones of the batch left out.
        loads: How many of them started before the batch's end.
        load_s: Median of those.
        hidden: Share of their seconds in which the batch ran.
    """

    place: Place
    repeat: int
    step_s: tuple[Seconds, ...]
    loads: int
    load_s: Seconds
    hidden: float


class ComparedImage(Document, frozen=True, kw_only=True):
    """One image compared with that of the full step count, of the same prompt and seed.

    Attributes:
        full: The full step count.
        scores: By metric, as each is defined (some are distances, some similarities).
        seconds: Its share of its batch's steps, and its decoding.
        file: Path of the image, relative to the document.
    """

    prompt: str
    complexity: float
    seed: int
    steps: int
    full: int
    scores: dict[str, float]
    seconds: Seconds
    file: str


class Measurements(Document, frozen=True, kw_only=True):
    """All parts measured so far.

    Attributes:
        begun: Start of the first part, as ISO 8601 with a time zone.
        sittings: Number of sessions.
        seconds: Time of all sessions together.
        done: Keys of the parts that are done.
        found: The engine; None before one was opened.
    """

    format: Literal["pats-opt/measurements"] = "pats-opt/measurements"
    version: Literal[1] = 1
    asked: MeasurementSettings
    found: EngineInfo | None = None
    begun: str
    sittings: int = 0
    seconds: Seconds = 0.0
    done: tuple[str, ...] = ()
    batches: tuple[MeasuredBatch, ...] = ()
    switches: tuple[MeasuredSwitch, ...] = ()
    beside: tuple[MeasuredOverlap, ...] = ()
    images: tuple[ComparedImage, ...] = ()

    def batches_of(self, size: tuple[int, int]) -> list[MeasuredBatch]:
        """Return the batches of a size."""
        return [batch for batch in self.batches if (batch.width, batch.height) == size]


Part = MeasuredBatch | MeasuredSwitch | MeasuredOverlap | ComparedImage


class MeasurementFile:
    """The measurements on disk: every part is written as soon as it is done.

    Args:
        path: Their file; one that exists is continued.
        settings: Settings of this session.
        clock: Seconds, from any origin.

    Raises:
        InputError: The file holds no measurements, or was measured with other settings.
    """

    def __init__(
        self, path: Path, settings: MeasurementSettings, clock: Callable[[], float]
    ) -> None:
        self.path = path
        self._clock = clock
        if path.exists():
            data = read_document(path, Measurements)
            self._refuse_other("asked", data.asked, settings)
        else:
            begun = datetime.now(UTC).isoformat(timespec="seconds")
            data = Measurements(asked=settings, begun=begun)
        self._before_s, self._began = data.seconds, clock()
        self.data = replace(data, sittings=data.sittings + 1)

    def set_engine(self, info: EngineInfo) -> None:
        """Note the engine.

        Raises:
            InputError: Earlier parts were measured on another one.
        """
        if self.data.found is not None:
            self._refuse_other("found", self.data.found, info)
        self.data = replace(self.data, found=info)

    def add(self, key: str, *parts: Part) -> None:
        """Add a part that is done, and write the document."""
        data = self.data
        self.data = replace(
            data,
            done=(*data.done, key),
            batches=(*data.batches, *(p for p in parts if isinstance(p, MeasuredBatch))),
            switches=(*data.switches, *(p for p in parts if isinstance(p, MeasuredSwitch))),
            beside=(*data.beside, *(p for p in parts if isinstance(p, MeasuredOverlap))),
            images=(*data.images, *(p for p in parts if isinstance(p, ComparedImage))),
            seconds=self._before_s + self._clock() - self._began,
        )
        write_bytes(self.path, encode(self.data))

    def _refuse_other(self, name: str, before: Document, now: Document) -> None:
        for field in now.__struct_fields__:
            was, is_now = getattr(before, field), getattr(now, field)
            if was != is_now:
                raise InputError(
                    f"it was measured with something else ({was} is now {is_now})",
                    file=str(self.path),
                    place=f"{name}.{field}",
                    hint="name another -o, or remove it to measure anew",
                )
