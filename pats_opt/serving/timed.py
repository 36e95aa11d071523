"""An engine without a model that takes the times of a profile: for tests and measuring loads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import groupby

from msgspec import Struct
from typing_extensions import override

from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.record import Phase, Span, Tier
from pats_opt.execute.work import Engine, EngineSettings, Finished, MeasuredRun, Member, Setup
from pats_opt.generate.profile import Profile
from pats_opt.model.instance import Overhead, StepTime


class EngineTimes(Struct, frozen=True, kw_only=True):
    """Seconds that the engine takes: of a step, of a batch besides its steps, of a file's load."""

    step_s: StepTime
    overhead_s: float | Overhead = 0.0
    load_s: float = 0.0

    @classmethod
    def of(cls, profile: Profile, tier: str | None) -> EngineTimes:
        """Return those of a profile."""
        return cls(
            step_s=profile.step_s,
            overhead_s=profile.overhead_s,
            load_s=profile.load_time(tier).median,
        )

    def overhead(self, n: int) -> float:
        """Seconds of a batch of ``n`` besides its steps."""
        given = self.overhead_s
        return given.base + given.per_sample * n if isinstance(given, Overhead) else given


def open_timed(times: EngineTimes) -> Callable[[EngineSettings, Callable[[], float]], Engine]:
    """Return a function that opens an engine of these times, which other processes can find."""
    return partial(TimedEngine, times)


class TimedEngine(Engine):
    """Waits as long as the times say; a picture is one colour, which prompt and seed decide.

    A request whose prompt begins with ``fail:`` fails, so that clients can try that.
    """

    def __init__(
        self, times: EngineTimes, settings: EngineSettings, clock: Callable[[], float]
    ) -> None:
        self._times, self._clock = times, clock
        self._adapters = settings.adapters
        self._stage: _Stage | None = None
        self.setup = Setup(
            device=f"fake ({settings.device})",
            memory_gib=None,
            scheduler="none",
            rank=0,
            versions={},
        )

    @override
    def switch(self, load: Sequence[str], evict: Sequence[str]) -> MeasuredRun:
        return MeasuredRun(spans=tuple([self.fill(adapter) for adapter in load]))

    @override
    def change_adapters(self, added: AdapterSet, removed: Collection[str]) -> None:
        self._adapters = self._adapters.without(removed).joined(added)

    @override
    def reserve(self, adapter: str | None, evict: Sequence[str]) -> None:
        """Nothing is to be done: memory is not modelled."""

    @override
    def fill(self, adapter: str) -> Span:
        began = self._clock()
        time.sleep(len(self._adapters.parts(adapter)) * self._times.load_s)
        return Span(
            phase=Phase.LOAD,
            start_s=max(0.0, began),
            seconds=max(0.0, self._clock() - began),
            ids=(adapter,),
            tier=Tier.HOST,
        )

    @override
    def run(self, members: Sequence[Member], finished: Callable[[Finished], None]) -> MeasuredRun:
        end, done, active = self._clock() + self._times.overhead(len(members)), 0, len(members)
        ordered = sorted(members, key=_steps)
        for steps, leaving in groupby(ordered, _steps):
            step_s = self._times.step_s(active)
            self._stage = _Stage(end, step_s, done, tuple(ordered[-active:]))
            end += (steps - done) * step_s
            done = steps
            time.sleep(max(0.0, end - self._clock()))
            for member in leaving:
                finished(_finish(member))
                active -= 1
        return MeasuredRun(spans=())

    @override
    def progress(self) -> Mapping[str, int]:
        return {} if self._stage is None else self._stage.steps(self._clock())

    @override
    def close(self) -> None:
        """Nothing is held."""


class _Stage(Struct, frozen=True):
    """Members that step together, since a second, after so many steps."""

    begin: float
    step_s: float
    done: int
    members: tuple[Member, ...]

    def steps(self, now: float) -> dict[str, int]:
        passed = int(max(0.0, now - self.begin) / self.step_s) if self.step_s else 0
        return {member.id: min(member.steps, self.done + passed) for member in self.members}


def _steps(member: Member) -> int:
    return member.steps


def _finish(member: Member) -> Finished:
    from PIL import Image

    if member.prompt.startswith("fail:"):
        return Finished(member=member, error="the prompt says so")
    digest = hashlib.sha256(f"{member.prompt}\0{member.seed}\0{member.adapter}".encode()).digest()
    color = (digest[0], digest[1], digest[2])
    return Finished(member=member, picture=Image.new("RGB", (member.width, member.height), color))
