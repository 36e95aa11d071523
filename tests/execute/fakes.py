"""An engine without a model: its pictures say what they were made of, and it takes hardly any time.

It keeps to :class:`pats_opt.execute.work.Engine`, and fails where it is used in a way that the real
one must not be: an adapter loaded twice or not resident, more residents than slots.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from PIL import Image

from pats_opt.errors import InputError
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.record import Phase, Span, Tier
from pats_opt.execute.work import EngineSettings, Finished, MeasuredRun, Member, Setup


class FakeEngine:
    """Makes a small picture of each member's digest; a step takes ``step_s``."""

    def __init__(
        self,
        settings: EngineSettings,
        clock: Callable[[], float],
        step_s: float = 0.0,
        load_s: float = 0.0,
    ) -> None:
        self._settings, self._clock = settings, clock
        self._step_s, self._load_s = step_s, load_s
        self.resident = list(settings.resident)
        self._filling: set[str] = set()
        self._using: set[str | None] = set()
        self._check()
        self.primed = {(m.id, m.option) for m in settings.prime}
        primed = [
            Span(phase=Phase.PRIME, start_s=0.0, seconds=0.0, ids=(m.id,)) for m in settings.prime
        ]
        self.setup = Setup(
            device=f"fake {settings.device}",
            memory_gib=None,
            scheduler="FakeScheduler",
            rank=4,
            versions={"fake": "1"},
            primed=tuple(primed),
        )
        self.closed = False

    def _check(self) -> None:
        assert len(self.resident) == len(set(self.resident)) <= self._settings.slots
        assert set(self.resident) <= set(self._settings.adapter_files)

    def switch(self, load: Sequence[str], evict: Sequence[str]) -> MeasuredRun:
        """Change the residents."""
        began = self._clock()
        for name in evict:
            self.resident.remove(name)
        self.resident += load
        self._check()
        return MeasuredRun(
            spans=tuple(
                Span(phase=Phase.LOAD, start_s=began, seconds=0.0, ids=(name,), tier=Tier.HOST)
                for name in load
            )
        )

    def change_adapters(self, added: AdapterSet, removed: Collection[str]) -> None:
        """Nothing is read."""

    def reserve(self, adapter: str | None, evict: Sequence[str]) -> None:
        """Take a slot; nothing that a batch uses or a load fills may leave."""
        for name in evict:
            assert name not in self._filling
            assert name not in self._using
            self.resident.remove(name)
        if adapter is not None:
            self.resident.append(adapter)
            self._filling.add(adapter)
        self._check()

    def fill(self, adapter: str) -> Span:
        """Fill it, which takes ``load_s``."""
        began = self._clock()
        if self._load_s:
            time.sleep(self._load_s)
        self._filling.remove(adapter)
        seconds = self._clock() - began
        return Span(
            phase=Phase.LOAD,
            start_s=began,
            seconds=seconds,
            ids=(adapter,),
            tier=Tier.HOST,
            mib=1.0,
        )

    def progress(self) -> Mapping[str, int]:
        """Nothing is told of a batch."""
        return {}

    def run(self, members: Sequence[Member], finished: Callable[[Finished], None]) -> MeasuredRun:
        """Step all members, those with fewest steps leave first."""
        assert members
        assert not self.closed
        spans: list[Span] = []
        active = list(members)
        for member in members:
            assert member.adapter is None or member.adapter in self.resident
            assert member.adapter not in self._filling
            assert not member.skip or (member.id, member.option) in self.primed
        self._using = {member.adapter for member in members}
        step = 0
        while active:
            began = self._clock()
            if self._step_s:
                time.sleep(self._step_s)
            step += 1
            spans.append(
                Span(
                    phase=Phase.STEP,
                    start_s=max(0.0, began),
                    seconds=self._clock() - began,
                    n=len(active),
                )
            )
            for member in [m for m in active if m.steps <= step]:
                active.remove(member)
                finished(self.finish(member))
        self._using = set()
        return MeasuredRun(spans=tuple(spans), peak_gib=1.0)

    def finish(self, member: Member) -> Finished:
        """A member's picture; a prompt that begins with ``fail`` gives an error."""
        if member.prompt.startswith("fail"):
            return Finished(member=member, error="the prompt says so")
        return Finished(member=member, picture=picture(member))

    def close(self) -> None:
        """Refuse to run from now on."""
        self.closed = True


def picture(member: Member) -> Image.Image:
    """Pixels that are those of the member and nobody else."""
    digest = hashlib.sha256(repr(member).encode()).digest()
    return Image.frombytes("RGB", (2, 5), digest[:30])


def open_fake(settings: EngineSettings, clock: Callable[[], float]) -> FakeEngine:
    """A quick one."""
    return FakeEngine(settings, clock)


def open_slow(settings: EngineSettings, clock: Callable[[], float]) -> FakeEngine:
    """One whose steps take 20 ms."""
    return FakeEngine(settings, clock, 0.02)


def open_loading(settings: EngineSettings, clock: Callable[[], float]) -> FakeEngine:
    """One whose steps take 2 ms and whose loads beside them take 5 ms."""
    return FakeEngine(settings, clock, 0.002, 0.005)


def open_stuck(settings: EngineSettings, clock: Callable[[], float]) -> FakeEngine:
    """One whose second step takes for ever."""

    class Stuck(FakeEngine):
        def finish(self, member: Member) -> Finished:
            if member.id != "r0":
                time.sleep(1e6)
            return super().finish(member)

    return Stuck(settings, clock)


def open_refusing(settings: EngineSettings, clock: Callable[[], float]) -> FakeEngine:
    """One whose adapters are not fit."""
    raise InputError("adapter 'a' has no weights for this model", file="a.safetensors")


def open_failing(settings: EngineSettings, clock: Callable[[], float]) -> FakeEngine:
    """One whose device fails."""
    raise RuntimeError("the device is gone\nand so is its driver")
