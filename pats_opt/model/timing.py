"""Time on the tick grid: PROBLEM.md section 2, and rules 4 and 5 of section 5."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType

from pats_opt.model.instance import Instance, Overhead, SlotService
from pats_opt.wording import number

#: Counts of members by step count, rising (``((20, 3), (60, 1))`` is three at 20 steps, one at 60).
Shape = tuple[tuple[int, int], ...]


def to_ticks(seconds: float, tick_s: float) -> int:
    """Whole ticks that cover ``seconds``; the slack forgives rounding such as 0.3 / 0.1."""
    return math.ceil(seconds / tick_s - 1e-9)


def late_after(deadline_s: float, tick_s: float) -> int:
    """The last latency, in ticks, that still meets a deadline, with the grid's slack.

    ``latency * tick_s > deadline_s`` alone would call 3 ticks of 0.1 s later than 0.3 s.
    """
    return math.floor(deadline_s / tick_s + 1e-9)


def tick_distortion(instance: Instance) -> str | None:
    """Say in one line what the ticks distort; None where they distort nothing.

    They distort where a tick is longer than the shortest step, load or activation above 0
    (PROBLEM.md section 2). A load or an activation then takes a whole tick; steps are rounded once
    for each batch. An activation counts only where it can be paid: with several resident adapters,
    or with loads beside serving. The slotted model has ticks instead of durations.
    """
    clock, switching = BatchClock(instance), instance.switching
    if clock.slotted:
        return None
    loads = [a.load_s for a in instance.adapters] + [p.load_s for p in switching.pairs]
    activated = switching.max_resident > 1 or switching.overlap
    steps = [clock.step_s(n) for n in range(1, (clock.largest or 1) + 1)]
    tick = f"{number(instance.tick_s)} s"
    parts = [
        f"{name} takes {number(shortest)} s and {effect}"
        for name, seconds, effect in (
            ("the shortest load", loads, f"becomes {tick}"),
            ("an activation", [switching.activate_s] if activated else [], f"becomes {tick}"),
            ("a step", steps, f"a batch becomes up to {tick} longer"),
        )
        if instance.tick_s
        > (1 + 1e-9) * (shortest := min((s for s in seconds if s > 0), default=math.inf))
    ]
    return f"a tick of {tick} distorts: {'; '.join(parts)}" if parts else None


def shape_of(steps: Iterable[int]) -> Shape:
    """The shape of a batch whose members run these step counts."""
    counts: dict[int, int] = {}
    for s in steps:
        counts[s] = counts.get(s, 0) + 1
    return tuple(sorted(counts.items()))


class BatchClock:
    """Durations of batches (rule 5), cached.

    Attributes:
        slotted: Whether the model is slotted: one tick per batch, completion at its start.
        largest: Largest batch of the step-time table, or None where there is no limit.
    """

    def __init__(self, instance: Instance) -> None:
        self._tick_s = instance.tick_s
        service = instance.service
        self.slotted = isinstance(service, SlotService)
        self._step = service.step_s
        self._overhead = service.overhead_s
        table = self._step.table if self._step is not None else None
        self.largest: int | None = len(table) if isinstance(table, tuple) else None
        self.completions = lru_cache(maxsize=65536)(self._completions)
        self.ends = lru_cache(maxsize=65536)(self._ends)
        self.quickest = lru_cache(maxsize=4096)(self._quickest)

    def step_s(self, n: int) -> float:
        """Seconds a step with ``n`` members (the whole tick where the model is slotted)."""
        return self._tick_s if self.slotted or self._step is None else self._step(n)

    def overhead_s(self, n: int) -> float:
        """Seconds of encode, decode and save for a batch of ``n``."""
        if self.slotted:
            return 0.0
        if isinstance(self._overhead, Overhead):
            return self._overhead.base + self._overhead.per_sample * n
        return self._overhead

    def completions_s(self, shape: Shape) -> tuple[float, ...]:
        """Seconds from the batch's start to the completion of each step count, before rounding.

        A member that finishes leaves, and the rest go on with the smaller batch's step time. Not
        for the slotted model.
        """
        active = sum(count for _, count in shape)
        elapsed, done, ends = self.overhead_s(active), 0, []
        for steps, count in shape:
            elapsed += (steps - done) * self.step_s(active)
            ends.append(elapsed)
            done, active = steps, active - count
        return tuple(ends)

    def _completions(self, shape: Shape) -> tuple[int, ...]:
        """Ticks from the batch's start to the completion of each step count of ``shape``."""
        if self.slotted:
            return (0,) * len(shape)
        return tuple([to_ticks(s, self._tick_s) for s in self.completions_s(shape)])

    def duration(self, shape: Shape) -> int:
        """Ticks from a batch's start to its last member's end."""
        return 1 if self.slotted else self.completions(shape)[-1]

    def _ends(self, steps: tuple[int, ...]) -> tuple[Mapping[int, int], int]:
        """The completion of each step count of the members, and of the batch, from its start."""
        shape = shape_of(steps)
        ends = dict(zip([s for s, _ in shape], self.completions(shape), strict=True))
        return MappingProxyType(ends), self.duration(shape)

    def _quickest(self, steps: int) -> int:
        """Lower bound on the ticks of any batch with a member of ``steps``.

        In a table, larger batches may have shorter steps.
        """
        if self.slotted:
            return 1
        step_s = min(self.step_s(n) for n in range(1, (self.largest or 1) + 1))
        return to_ticks(self.overhead_s(1) + steps * step_s, self._tick_s)
