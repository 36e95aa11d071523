"""A device with known constants: an engine that takes no real time and draws plain pictures."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct
from PIL import Image

from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.record import Phase, Span, Tier
from pats_opt.execute.work import EngineSettings, Finished, MeasuredRun, Member, Setup


def write_adapters(folder: Path, ranks: Sequence[int]) -> Path:
    """A folder of LoRA files ``a``, ``b``, ... of these ranks, with one small layer each."""
    folder.mkdir(parents=True)
    for name, rank in zip("abcdef", ranks, strict=False):
        key, size = "unet.block.attn1.to_q", 2 * rank * 4
        header = {
            f"{key}.lora_A.weight": {"dtype": "F16", "shape": [rank, 4], "data_offsets": [0, size]},
            f"{key}.lora_B.weight": {
                "dtype": "F16",
                "shape": [4, rank],
                "data_offsets": [size, 2 * size],
            },
        }
        text = json.dumps(header).encode()
        data = struct.pack("<Q", len(text)) + text + bytes(2 * size)
        (folder / f"{name}.safetensors").write_bytes(data)
    return folder


#: Memory that a pixel of one image takes, GiB.
PIXEL_GIB = 2.0 / 2**20


class Constants(Struct, kw_only=True):
    """Times and memory of the device; seconds and GiB.

    Attributes:
        step_s: A step of n images: base, a sample, and a sample squared (0 for a line).
        noise: Every step takes up to this share longer, in turn.
        warm: Steps of a batch that take ten times as long.
        memory_gib: Its memory; None for a device that does not tell.
        fails: Every member fails with this.
        slowed: Steps of a batch that begins while a slot is filled take so many times as long.
        stops_after: A keyboard interrupt comes with this batch.
    """

    step_s: tuple[float, float, float] = (0.05, 0.1, 0.0)
    noise: float = 0.0
    warm: int = 2
    encode_s: float = 0.02
    decode_s: float = 0.06
    load_s: dict[Tier, float] = msgspec.field(
        default_factory=lambda: {Tier.HOST: 0.02, Tier.DISK: 0.9}
    )
    activate_s: float = 0.001
    slot_mib: float = 51.2
    base_gib: float = 7.0
    memory_gib: float | None = 24.0
    fails: str | None = None
    slowed: float = 1.0
    stops_after: int | None = None


class Device:
    """The device: its own time, and what was done with it.

    Attributes:
        now: Its seconds.
        opened: EngineSettings of every engine opened.
        closed: How many were closed.
        batches: Sizes of the batches run.
    """

    def __init__(self, constants: Constants | None = None) -> None:
        self.constants = constants or Constants()
        self.now = 100.0
        self.opened: list[EngineSettings] = []
        self.closed = 0
        self.batches: list[int] = []

    def clock(self) -> float:
        """Seconds."""
        return self.now

    def open(self, settings: EngineSettings, clock: Callable[[], float]) -> FakeEngine:
        """An engine on it."""
        self.now += 5.0
        self.opened.append(settings)
        return FakeEngine(self, settings, clock)


class FakeEngine:
    """Keeps to :class:`pats_opt.execute.work.Engine`; careful once it ran out, as the real one."""

    def __init__(
        self, device: Device, settings: EngineSettings, clock: Callable[[], float]
    ) -> None:
        self._device, self._settings, self._clock = device, settings, clock
        self.setup = Setup(
            device="Fake 24",
            memory_gib=device.constants.memory_gib,
            scheduler="EulerDiscreteScheduler",
            rank=8,
            versions={"torch": "0"},
        )
        self.resident = list(settings.resident)
        self._active: str | None = None
        self._moved = threading.Condition()  # of the time, and of the loads beside a batch
        self._beside = False  # whether loads are, from before the batch to its end
        self._due = 0.0  # when the load in progress ends
        self._largest: dict[tuple[int, int], int] = {}
        self._closed = False
        assert len(self.resident) == settings.slots

    def change_adapters(self, added: AdapterSet, removed: Collection[str]) -> None:
        """Nothing is read."""

    def progress(self) -> Mapping[str, int]:
        """Nothing is told of a batch."""
        return {}

    def switch(self, load: Sequence[str], evict: Sequence[str]) -> MeasuredRun:
        """Evict, then load."""
        for adapter in evict:
            self.resident.remove(adapter)
        spans = []
        for adapter in load:
            self.resident.append(adapter)
            tier = self._settings.tier
            seconds = self._device.constants.load_s[tier]
            mib = self._device.constants.slot_mib
            spans.append(self._span(Phase.LOAD, seconds, ids=(adapter,), tier=tier, mib=mib))
        assert len(self.resident) == self._settings.slots
        return MeasuredRun(spans=tuple(spans))

    def reserve(self, adapter: str | None, evict: Sequence[str]) -> None:
        """Evict, then take a slot."""
        for name in evict:
            self.resident.remove(name)
        if adapter is not None:
            self.resident.append(adapter)
        assert len(self.resident) == self._settings.slots
        if threading.current_thread() is threading.main_thread():
            self._beside, self._due = True, self._clock()

    def fill(self, adapter: str) -> Span:
        """Fill it, after the load before, in the time of the batch beside it."""
        tier, mib = self._settings.tier, self._device.constants.slot_mib
        seconds = self._device.constants.load_s[tier]
        with self._moved:
            start, self._due = self._due, self._due + seconds
            self._moved.notify_all()
            self._moved.wait_for(lambda: self._clock() >= self._due or not self._beside)
        return Span(
            phase=Phase.LOAD, start_s=start, seconds=seconds, ids=(adapter,), tier=tier, mib=mib
        )

    def run(self, members: Sequence[Member], finished: Callable[[Finished], None]) -> MeasuredRun:
        """Run a batch; members leave as they are done."""
        try:
            return self._run(members, finished)
        finally:
            with self._moved:
                self._beside = False
                self._moved.notify_all()

    def _run(self, members: Sequence[Member], finished: Callable[[Finished], None]) -> MeasuredRun:
        assert not self._closed
        known, n = self._device.constants, len(members)
        self._device.batches.append(n)
        if known.stops_after is not None and len(self._device.batches) > known.stops_after:
            raise KeyboardInterrupt
        assert all(m.adapter is None or m.adapter in self.resident for m in members)
        size = (members[0].width, members[0].height)
        splits, peak, limit = 0, self._peak(n, size), known.memory_gib
        none_fits = limit is not None and self._peak(1, size) > limit
        if known.fails is not None or none_fits:
            for member in members:
                finished(Finished(member=member, error=known.fails or "out of memory"))
            return MeasuredRun(spans=(), splits=len(members) if none_fits else 0)
        if limit is not None and peak > limit:
            while self._peak(min(n, self._largest.get(size, n)), size) > limit:
                self._largest[size] = min(n, self._largest.get(size, n)) // 2
                splits += 1
        chunk = min(n, self._largest.get(size, n))
        spans = [self._span(Phase.ENCODE, known.encode_s * n, n=n)]
        if self._active != members[0].adapter:
            spans.append(self._span(Phase.ACTIVATE, known.activate_s, n=n))
            self._active = members[0].adapter
        live = list(members)
        slowed = known.slowed if self._beside else 1.0
        for step in range(max(m.steps for m in members)):
            base, sample, square = known.step_s
            seconds = base + sample * len(live) + square * len(live) ** 2
            seconds *= 10.0 if step < known.warm else 1.0 + known.noise * (step % 3) / 2
            seconds *= slowed
            self._await_load()
            ids = tuple(m.id for m in live)
            spans.append(self._span(Phase.STEP, seconds, n=len(live), ids=ids))
            for member in [m for m in live if m.steps == step + 1]:
                spans.append(self._span(Phase.DECODE, known.decode_s, ids=(member.id,)))
                finished(Finished(member=member, picture=_picture(member)))
            live = [m for m in live if m.steps > step + 1]
        self._await_load()
        peak_gib = None if limit is None else self._peak(chunk, size)
        return MeasuredRun(spans=tuple(spans), peak_gib=peak_gib, splits=splits)

    def _await_load(self) -> None:
        """Let the loads beside a batch come as far as its time."""
        with self._moved:
            self._moved.notify_all()
            self._moved.wait_for(lambda: self._due > self._clock() or not self._beside)

    def _peak(self, n: int, size: tuple[int, int]) -> float:
        known = self._device.constants
        slots = self._settings.slots * known.slot_mib / 1024
        return known.base_gib + slots + n * size[0] * size[1] * PIXEL_GIB

    def _span(self, phase: Phase, seconds: float, **about: object) -> Span:
        start = self._clock()
        self._device.now += seconds
        return Span(phase=phase, start_s=max(0.0, start), seconds=seconds, **about)  # type: ignore[arg-type]

    def close(self) -> None:
        """Once only, as the real one."""
        assert not self._closed
        self._closed = True
        self._device.closed += 1


def _picture(member: Member) -> Image.Image:
    """Noise of the seed that fades with the steps, over a gradient; a sixteenth of the size."""
    width, height = member.width // 16, member.height // 16
    rng = np.random.default_rng(member.seed)
    gradient = np.linspace(0, 1, width)[None, :, None] * np.ones((height, 1, 3))
    noise = rng.random((height, width, 3))
    share = float(np.exp(-member.steps / (5.0 + len(member.prompt))))
    return Image.fromarray(((1 - share) * 255 * gradient + share * 255 * noise).astype("uint8"))
