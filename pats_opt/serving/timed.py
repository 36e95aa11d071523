"""An engine without a model that takes the times of a profile: for tests and measuring loads."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Sequence
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
    """Seconds that the engine takes: of a step, of a batch besides its steps, of a load."""

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
        """Nothing is read."""

    @override
    def reserve(self, adapter: str | None, evict: Sequence[str]) -> None:
        """Nothing is to be done: memory is not modelled."""

    @override
    def fill(self, adapter: str) -> Span:
        began = self._clock()
        time.sleep(self._times.load_s)
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
        for steps, leaving in groupby(sorted(members, key=_steps), _steps):
            end += (steps - done) * self._times.step_s(active)
            done = steps
            time.sleep(max(0.0, end - self._clock()))
            for member in leaving:
                finished(_finish(member))
                active -= 1
        return MeasuredRun(spans=())

    @override
    def close(self) -> None:
        """Nothing is held."""


def _steps(member: Member) -> int:
    return member.steps


def _finish(member: Member) -> Finished:
    from PIL import Image

    if member.prompt.startswith("fail:"):
        return Finished(member=member, error="the prompt says so")
    digest = hashlib.sha256(f"{member.prompt}\0{member.seed}\0{member.adapter}".encode()).digest()
    color = (digest[0], digest[1], digest[2])
    return Finished(member=member, picture=Image.new("RGB", (member.width, member.height), color))
