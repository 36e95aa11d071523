"""Batch durations and switches as integers, by step level: PROBLEM.md section 5, rules 4 and 5.

A *level* is a step count that some request offers. A batch with N_i members at level i or above
spends ``h(N_1)`` and then, level after level, ``(steps_i - steps_{i-1}) * w(N_i)`` seconds; a
member at level i is done after the parts up to i. Parts of levels that no member reaches are 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pats_opt.model.problem import Problem
from pats_solvers.common.bounds import largest_batch
from pats_solvers.cpsat.scaling import IntegerTicks


@dataclass(frozen=True, slots=True)
class AffinePart:
    """A part that grows evenly with the members: ``base`` once, ``each`` per member, in units."""

    base: int
    each: int


class Durations:
    """Durations of batches, by level.

    Attributes:
        levels: Step counts in rising order.
        fixed: Completion offset in ticks per level where all batches have the same, or None.
        parts: ``parts[i][n]`` is level i's part, in units, where n members reach it (0 for n = 0).
        units: The units of ``parts``.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        clock, tick_s = problem.site.clock, problem.site.tick_s
        self.levels: tuple[int, ...] = tuple(
            sorted({o.steps for job in problem.jobs for o in job.options})
        )
        self.rank = {steps: i for i, steps in enumerate(self.levels)}
        self.most = max((largest_batch(problem, g.index) for g in problem.site.gpus), default=0)
        gaps = [s - before for s, before in zip(self.levels, (0, *self.levels), strict=False)]
        sizes = range(1, self.most + 1)
        even = clock.slotted or len({(clock.step_s(n), clock.overhead_s(n)) for n in sizes}) <= 1
        self.fixed: tuple[int, ...] | None = None
        if even:
            self.fixed = tuple(clock.completions(((s, 1),))[0] for s in self.levels)
            return
        seconds = [
            [gap * clock.step_s(n) + (clock.overhead_s(n) if i == 0 else 0.0) for n in sizes]
            for i, gap in enumerate(gaps)
        ]
        self.units = IntegerTicks.over(
            (s / tick_s for row in seconds for s in row),
            len(self.levels),
            sum(max(row) for row in seconds) / tick_s,
        )
        self.parts = [[0, *(self.units.part(s / tick_s) for s in row)] for row in seconds]

    @property
    def exact(self) -> bool:
        """Whether the integers give the clock's ticks; else they never give more."""
        return self.fixed is not None or self.units.slack == 0

    def affine(self, level: int) -> AffinePart | None:
        """Return the level's part as a straight line over 1, 2, ... members, where it is one."""
        row = self.parts[level]
        each = row[2] - row[1] if len(row) > 2 else 0
        straight = all(b - a == each for a, b in itertools.pairwise(row[1:]))
        return AffinePart(row[1] - each, each) if straight else None

    def longest(self, level: int) -> int:
        """Upper bound on the ticks by which a batch has finished this level."""
        if self.fixed is not None:
            return self.fixed[level]
        units = sum(max(row) for row in self.parts[: level + 1])
        return self.units.up(units)

    @cached_property
    def shortest(self) -> tuple[int, ...]:
        """Lower bounds on the ticks that a member at each level is in its batch."""
        if self.fixed is not None:
            return self.fixed
        total, least = 0, []
        for row in self.parts:
            total += min(row[1:])
            least.append(max(1, self.units.up(total - self.units.slack)))
        return tuple(least)


def load_units(problem: Problem, seconds: Sequence[float]) -> IntegerTicks:
    """Return units in which sums of these loading times round up as the clock rounds them."""
    site = problem.site
    each = [s / site.tick_s for s in seconds]
    most = min(len(each), site.max_resident)
    return IntegerTicks.over(each, most, sum(sorted(each)[-most:]) if most else 0.0)
