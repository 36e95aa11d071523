"""Runs one measurement on an open engine and reads its spans."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

from pats_opt.execute.images import describe, encode
from pats_opt.execute.record import Phase, Span
from pats_opt.execute.work import Engine, Finished, Member, Ran
from pats_opt.profiling.plan import FEW_STEPS, Plan
from pats_opt.profiling.record import Batch, Place, Switch

#: What is drawn while times and memory are measured; they do not depend on it.
PROMPT = "a watercolour of a lighthouse above a rough sea, seen from a small boat at dusk"


class Bench:
    """Measurements on one engine.

    Args:
        engine: The engine, with ``resident`` in its slots.
        resident: Adapters in the slots, the least recently loaded first.
        place: Where the engine loads adapters from.
        plan: What is measured.
        clock: Seconds, the engine's clock.
    """

    def __init__(
        self,
        engine: Engine,
        resident: Iterable[str],
        place: Literal["host", "disk"],
        plan: Plan,
        clock: Callable[[], float],
    ) -> None:
        self.engine = engine
        self._closed = False
        self.resident = list(resident)
        self._place: Literal["host", "disk"] = place
        self._plan = plan
        self._clock = clock

    def close(self) -> None:
        """Close the engine, once."""
        if not self._closed:
            self._closed = True
            self.engine.close()

    def become(self, other: Bench) -> None:
        """Go on with another's engine."""
        self.engine, self.resident, self._closed = other.engine, other.resident, False

    def warm_up(self, other: str) -> None:
        """Run at the smallest size and at that of the times, and switch, once and unmeasured."""
        for size in dict.fromkeys((min(self._plan.sizes), self._plan.reference)):
            self.run(self._members(1, size, FEW_STEPS, self.resident[-1]))
        self.load(other, 0)

    def batch(
        self,
        purpose: Literal["steps", "memory"],
        n: int,
        size: tuple[int, int],
        repeat: int = 0,
    ) -> Batch:
        """A batch of ``n`` equal members, with an adapter that is resident."""
        steps = self._plan.steps if purpose == "steps" else FEW_STEPS
        members = self._members(n, size, steps, self.resident[-1])
        began = self._clock()
        ran, finished = self.run(members)
        wall = self._clock() - began
        errors = [done.error for done in finished if done.error is not None]
        pictures = [done.picture for done in finished if done.picture is not None]
        return Batch(
            purpose=purpose,
            width=size[0],
            height=size[1],
            n=n,
            repeat=repeat,
            step_s=tuple(s.seconds for s in _of(ran, Phase.STEP) if s.n == n),
            encode_s=_sum(ran, Phase.ENCODE),
            decode_s=_sum(ran, Phase.DECODE),
            save_s=self._save_s(pictures[0], members[0])
            if pictures and purpose == "steps"
            else None,
            rest_s=max(0.0, wall - sum(span.seconds for span in ran.spans)),
            peak_gib=ran.peak_gib,
            splits=ran.splits,
            error=errors[0] if errors else None,
        )

    def activate(self, repeat: int) -> list[Switch]:
        """Go from one resident adapter to another by running a small batch with each in turn."""
        small = min(self._plan.sizes)
        found = []
        self.run(self._members(1, small, FEW_STEPS, self.resident[-1]))  # not the first one's
        for adapter in self.resident:
            ran, _ = self.run(self._members(1, small, FEW_STEPS, adapter))
            found += [
                Switch(place="resident", adapter=adapter, repeat=repeat, seconds=span.seconds)
                for span in _of(ran, Phase.ACTIVATE)
            ]
        return found

    def load(self, adapter: str, repeat: int) -> list[Switch]:
        """Make an adapter resident in place of the one that was loaded first.

        An adapter that is resident already is evicted for it, so that it is loaded again.
        """
        out = adapter if adapter in self.resident else self.resident[0]
        ran = self.engine.switch([adapter], [out])
        self.resident.remove(out)
        self.resident.append(adapter)
        place: Place = self._place
        return [
            Switch(place=place, adapter=adapter, repeat=repeat, seconds=span.seconds, mib=span.mib)
            for span in _of(ran, Phase.LOAD)
        ]

    def run(self, members: list[Member]) -> tuple[Ran, list[Finished]]:
        """Run members as a batch; what was measured, and each as it left."""
        finished: list[Finished] = []
        ran = self.engine.run(members, finished.append)
        return ran, finished

    def _members(
        self, n: int, size: tuple[int, int], steps: int, adapter: str | None
    ) -> list[Member]:
        width, height = self._plan.shrunk(size)
        return [
            Member(
                id=f"profile-{i}",
                option=0,
                adapter=adapter,
                prompt=PROMPT,
                negative_prompt="",
                seed=i,
                width=width,
                height=height,
                steps=steps,
            )
            for i in range(n)
        ]

    def _save_s(self, picture: Any, member: Member) -> float:
        """Seconds to make a picture's file, in memory."""
        began = self._clock()
        encode(picture, describe(member, {}))
        return self._clock() - began


def _of(ran: Ran, phase: Phase) -> list[Span]:
    return [span for span in ran.spans if span.phase is phase]


def _sum(ran: Ran, phase: Phase) -> float:
    return sum(span.seconds for span in _of(ran, phase))
