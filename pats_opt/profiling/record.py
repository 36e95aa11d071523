"""What was measured, as it was measured: the document beside a profile."""

from __future__ import annotations

from typing import Literal

import msgspec

from pats_opt.execute.record import Seconds
from pats_opt.model.instance import Document

#: Where an adapter was before a batch used it: in a slot already, or in one of the engine's tiers.
Place = Literal["resident", "host", "disk"]


class AdapterFile(Document, frozen=True, kw_only=True):
    """An adapter that was switched to: the rank and the size of its file."""

    id: str
    rank: int
    mib: float


class Asked(Document, frozen=True, kw_only=True):
    """What was to be measured with; all parts of one document were.

    Attributes:
        device: The torch device.
        memory_gib: The bound that was set on its memory, if one was.
        threads: CPU threads of torch; None for its default.
        width: Of the images that are timed.
        shrink: Widths and heights were divided by this; sizes are noted as they were asked for.
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


class Found(Document, frozen=True, kw_only=True):
    """What the engine was found to run on.

    Attributes:
        device_name: The device in words.
        memory_gib: Its memory that may be used; None where it does not tell.
        rank: Rank that the slots are padded to.
        versions: Of Python and the packages that matter.
    """

    device_name: str
    memory_gib: float | None
    scheduler: str
    rank: int
    versions: dict[str, str]


class Batch(Document, frozen=True, kw_only=True):
    """One batch that was run to be measured.

    Attributes:
        purpose: ``steps`` for its times, ``memory`` for its peak.
        width: As asked for, before shrinking.
        n: Its members, all alike.
        step_s: Each step of all members, the first ones too.
        encode_s: All its encoding.
        decode_s: All its decoding.
        save_s: One of its images as a PNG file, made afterwards.
        rest_s: Its time outside all spans.
        peak_gib: Most device memory allocated; None where the device does not tell.
        splits: How often memory ran out.
        error: Why a member had no image.
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


class Switch(Document, frozen=True, kw_only=True):
    """One switch to an adapter.

    Attributes:
        place: Where it came from.
        mib: What was copied to the device; None where nothing was.
    """

    place: Place
    adapter: str
    repeat: int
    seconds: Seconds
    mib: float | None = None


class Image(Document, frozen=True, kw_only=True):
    """One image's distance to that of the full step count, with the same prompt and seed.

    Attributes:
        full: The full step count.
        scores: By metric, as each is defined (some are distances, some similarities).
        seconds: Its share of its batch's steps, and its decoding.
        file: Where it was kept, relative to the document.
    """

    prompt: str
    complexity: float
    seed: int
    steps: int
    full: int
    scores: dict[str, float]
    seconds: Seconds
    file: str


class Raw(Document, frozen=True, kw_only=True):
    """All parts measured so far.

    Attributes:
        begun: When the first part was, as ISO 8601 with a time zone.
        sittings: How often measuring was begun or taken up again.
        seconds: Time it took, over all sittings.
        done: Keys of the parts that are done.
        found: Known once an engine was open.
    """

    format: Literal["pats-opt/measurements"] = "pats-opt/measurements"
    version: Literal[1] = 1
    asked: Asked
    found: Found | None = None
    begun: str
    sittings: int = 0
    seconds: Seconds = 0.0
    done: tuple[str, ...] = ()
    batches: tuple[Batch, ...] = ()
    switches: tuple[Switch, ...] = ()
    images: tuple[Image, ...] = ()


def read_raw(data: bytes) -> Raw:
    """A document of measurements.

    Raises:
        InputError: saying what is wrong with it.
    """
    from pats_opt.model.files import convert, parse_json

    return convert(parse_json(data), Raw)


Part = Batch | Switch | Image


def with_parts(raw: Raw, key: str, parts: tuple[Part, ...]) -> Raw:
    """The document with one more part that is done."""
    return msgspec.structs.replace(
        raw,
        done=(*raw.done, key),
        batches=raw.batches + tuple(p for p in parts if isinstance(p, Batch)),
        switches=raw.switches + tuple(p for p in parts if isinstance(p, Switch)),
        images=raw.images + tuple(p for p in parts if isinstance(p, Image)),
    )
