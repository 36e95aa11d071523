"""Runs one measurement on an open engine and reads its spans."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from statistics import median
from typing import Literal

from pats_opt.execute.loading import hidden_share
from pats_opt.execute.record import Phase, Span
from pats_opt.execute.saver import describe, encode
from pats_opt.execute.work import Engine, Finished, MeasuredRun, Member
from pats_opt.profiling.measurements import MeasuredBatch, MeasuredOverlap, MeasuredSwitch
from pats_opt.profiling.plan import FEW_STEPS, WARM_STEPS, ProfilingPlan

#: Prompt of all timed images; times and memory do not depend on it.
PROMPT = "a watercolour of a lighthouse above a rough sea, seen from a small boat at dusk"


class Bench:
    """Measurements on one engine, which can be opened anew.

    Args:
        opener: Opens an engine with the first ``slots`` adapters resident.
        adapters: All adapters.
        place: Place that the engine loads adapters from.
        plan: The measurements.
        clock: The engine's clock, in seconds.
        slots: Number of resident adapters.
    """

    def __init__(
        self,
        opener: Callable[[], Engine],
        adapters: Sequence[str],
        place: Literal["host", "disk"],
        plan: ProfilingPlan,
        clock: Callable[[], float],
        *,
        slots: int,
    ) -> None:
        self._opener, self._adapters, self._slots = opener, adapters, slots
        self._place: Literal["host", "disk"] = place
        self._plan, self._clock = plan, clock
        self._engine: Engine | None = None
        self.resident: list[str] = []  # the least recently loaded first

    @property
    def engine(self) -> Engine:
        """The open engine."""
        assert self._engine is not None, "open() comes first"
        return self._engine

    def open(self) -> None:
        """Open an engine and warm it up: run both kinds of batches and a switch, unmeasured.

        An engine that is open is closed first: one that ran out of memory stays careful.
        """
        self.close()
        self._engine = self._opener()
        self.resident = list(self._adapters[: self._slots])
        for size in dict.fromkeys((min(self._plan.sizes), self._plan.reference)):
            self._run(self._members(1, size, FEW_STEPS, self.resident[-1]))
        self.load(self._adapters[-1], 0)

    def close(self) -> None:
        """Close the engine, if one is open."""
        if self._engine is not None:
            engine, self._engine = self._engine, None
            engine.close()

    def batch(
        self, purpose: Literal["steps", "memory"], n: int, size: tuple[int, int], repeat: int = 0
    ) -> MeasuredBatch:
        """Run a batch of ``n`` equal members, with an adapter that is resident."""
        steps = self._plan.steps if purpose == "steps" else FEW_STEPS
        members = self._members(n, size, steps, self.resident[-1])
        began = self._clock()
        ran, finished = self._run(members)
        wall_s = self._clock() - began
        errors = [done.error for done in finished if done.error is not None]
        pictures = [done.picture for done in finished if done.picture is not None]
        save_s = None
        if pictures and purpose == "steps":
            began = self._clock()
            encode(pictures[0], describe(members[0], {}))
            save_s = self._clock() - began
        return MeasuredBatch(
            purpose=purpose,
            width=size[0],
            height=size[1],
            n=n,
            repeat=repeat,
            step_s=tuple(s.seconds for s in _spans(ran, Phase.STEP) if s.n == n),
            encode_s=sum(s.seconds for s in _spans(ran, Phase.ENCODE)),
            decode_s=sum(s.seconds for s in _spans(ran, Phase.DECODE)),
            save_s=save_s,
            rest_s=max(0.0, wall_s - sum(span.seconds for span in ran.spans)),
            peak_gib=ran.peak_gib,
            splits=ran.splits,
            error=errors[0] if errors else None,
        )

    def activate(self, repeat: int) -> list[MeasuredSwitch]:
        """Switch between resident adapters by running a small batch with each in turn."""
        small = min(self._plan.sizes)
        self._run(self._members(1, small, FEW_STEPS, self.resident[-1]))  # the first one's switch
        return [
            MeasuredSwitch(place="resident", adapter=adapter, repeat=repeat, seconds=span.seconds)
            for adapter in self.resident
            for span in _spans(
                self._run(self._members(1, small, FEW_STEPS, adapter))[0], Phase.ACTIVATE
            )
        ]

    def load(self, adapter: str, repeat: int) -> list[MeasuredSwitch]:
        """Load an adapter in place of the one that was loaded first.

        An adapter that is resident already is evicted for it, so that it is loaded again.
        """
        out = adapter if adapter in self.resident else self.resident[0]
        ran = self.engine.switch([adapter], [out])
        self.resident.remove(out)
        self.resident.append(adapter)
        return [
            MeasuredSwitch(
                place=self._place, adapter=adapter, repeat=repeat, seconds=s.seconds, mib=s.mib
            )
            for s in _spans(ran, Phase.LOAD)
        ]

    def beside(self, repeat: int, prepare: Callable[[str], None]) -> MeasuredOverlap:
        """Run a single image while a thread loads adapters into the other slot, until it ends.

        Args:
            repeat: Number of the round.
            prepare: Called with each adapter before its load, beside the batch as well.

        Raises:
            Exception: A load failed.
        """
        out, used = self.resident[0], self.resident[-1]
        others = cycle([adapter for adapter in self._adapters if adapter != used])
        ended, spans = threading.Event(), list[Span]()

        def load_all(adapter: str) -> None:
            nonlocal out
            while True:
                prepare(adapter)
                spans.append(self.engine.fill(adapter))
                out = adapter
                if ended.is_set():
                    return
                adapter = next(others)
                self.engine.reserve(adapter, [out])

        # Its adapter is active then, so that batches of all rounds are alike.
        self._run(self._members(1, min(self._plan.sizes), FEW_STEPS, used))
        first = next(others)
        self.engine.reserve(first, [out])  # the batch begins beside a load
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(load_all, first)
            began = self._clock()
            try:
                ran, _ = self._run(self._members(1, self._plan.reference, self._plan.steps, used))
            finally:
                end = self._clock()
                ended.set()
            loading.result()
        self.resident = [out, used]
        during = [span for span in spans if span.start_s < end] or spans[:1]
        batch = Span(phase=Phase.STEP, start_s=began, seconds=end - began)
        seconds = sum(span.seconds for span in during)
        hidden = sum(span.seconds * hidden_share(span, [batch]) for span in during)
        return MeasuredOverlap(
            place=self._place,
            repeat=repeat,
            step_s=tuple(
                step.seconds
                for step in _spans(ran, Phase.STEP)[WARM_STEPS:]
                if hidden_share(step, during) > 0
            ),
            loads=len(during),
            load_s=median(span.seconds for span in during),
            hidden=min(1.0, hidden / seconds) if seconds else 1.0,
        )

    def _run(self, members: list[Member]) -> tuple[MeasuredRun, list[Finished]]:
        finished: list[Finished] = []
        ran = self.engine.run(members, finished.append)
        return ran, finished

    def _members(self, n: int, size: tuple[int, int], steps: int, adapter: str) -> list[Member]:
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


def _spans(ran: MeasuredRun, phase: Phase) -> list[Span]:
    return [span for span in ran.spans if span.phase is phase]
