"""Durations and losses as integers for CP-SAT, with bounds on the error of rounding.

Durations: the clock's ``ceil(seconds / tick_s - 1e-9)`` becomes ``unit * ticks >= parts - slack``
over integers. Where the parts are decimal fractions with a small common denominator this is the
same ceil; elsewhere it never asks for more ticks than the clock does. A *level* is a step count
that some request offers. A batch with N_i members at level i or above spends ``h(N_1)`` and then,
level after level, ``(steps_i - steps_{i-1}) * w(N_i)`` seconds; a member at level i is done after
the parts up to i (PROBLEM.md section 5, rule 5). Parts of levels that no member reaches are 0.

Losses: coefficients are rounded to ``1 / scale``; :attr:`IntegerLosses.excess` is the most that
rounding adds to the loss of a schedule. So in every case CP-SAT's bound, unscaled, less the excess,
is below the true optimum.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from pats_opt.model.problem import Problem
from pats_solvers.common.bounds import largest_batch

#: Denominators up to this are kept as they are: they leave CP-SAT small coefficients.
LARGEST_DENOMINATOR = 1_000_000

#: Products of coefficients and variables stay below this: exact as doubles, far from overflow.
LARGEST_TOTAL = 2**52

#: Losses are rounded to this, or to this share of the least of them: the optimum may be no larger.
LOSS_UNIT, LOSS_SHARE = 1e-12, 1e-9

#: The clock's slack on a tick boundary (see :func:`pats_opt.model.timing.to_ticks`).
CLOCK_SLACK = 1e-9


def common_denominator(values: Iterable[float], error: float) -> int | None:
    """Return the least common denominator of fractions to within ``error``, None if large."""
    denominator = 1
    for value in values:
        near = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
        if abs(near - Fraction(value)) > error:
            return None
        denominator = math.lcm(denominator, near.denominator)
        if denominator > LARGEST_DENOMINATOR:
            return None
    return denominator


@dataclass(frozen=True, slots=True)
class IntegerTicks:
    """Durations as integers: ``unit * ticks >= sum(parts) - slack``, parts by :meth:`part`.

    Attributes:
        unit: Parts per tick.
        slack: What a sum of parts may exceed a whole tick by; 0 where the parts are exact.
    """

    unit: int
    slack: int

    @classmethod
    def over(cls, parts: Iterable[float], terms: int, longest: float) -> IntegerTicks:
        """Return the unit for sums of at most ``terms`` parts, in ticks, up to ``longest`` ticks.

        A sum of exact parts is a whole number of units, and a unit is far above the clock's slack,
        so rounding up in units and the clock's ceil agree.
        """
        values = set(parts)
        unit = common_denominator(values, 0.1 * CLOCK_SLACK / max(1, terms))
        if unit is not None and unit * longest < LARGEST_TOTAL:
            return cls(unit, 0)
        unit = max(1, int(min(1e10, LARGEST_TOTAL / max(1.0, longest))))
        return cls(unit, math.ceil(CLOCK_SLACK * unit) + terms + 1)

    def up(self, units: int) -> int:
        """Return the whole ticks that cover so many units (0 for none or fewer)."""
        return max(0, -(-units // self.unit))

    def part(self, ticks: float) -> int:
        """Return one part of a duration in units: exact, or rounded down."""
        units = ticks * self.unit
        return round(units) if self.slack == 0 else math.floor(units)


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


@dataclass(frozen=True, slots=True)
class IntegerLosses:
    """Loss coefficients as integers.

    Attributes:
        coefficients: One per term, the loss times ``scale``, rounded.
        scale: Integer loss per unit of loss.
        excess: The most by which the rounded loss, unscaled, can exceed the true one.
    """

    coefficients: tuple[int, ...]
    scale: int
    excess: float

    @classmethod
    def of(cls, coefficients: Sequence[float], largest: Sequence[int]) -> IntegerLosses:
        """Scale coefficients of variables that run from 0 to ``largest``."""
        # What is always 0 costs nothing, and its coefficient could be too large.
        coefficients = [c if most else 0.0 for c, most in zip(coefficients, largest, strict=True)]
        total = math.fsum(c * most for c, most in zip(coefficients, largest, strict=True))
        least = min((abs(c) for c in coefficients if c), default=1.0)
        unit = max(min(LOSS_UNIT, LOSS_SHARE * least), total / LARGEST_TOTAL)
        scale = common_denominator(coefficients, unit)
        if scale is not None and total * scale < LARGEST_TOTAL:
            whole = tuple(round(c * scale) for c in coefficients)
        else:
            scale = max(1, int(1.0 / max(1e-300, unit)))
            whole = tuple(math.floor(c * scale) for c in coefficients)
        excess = math.fsum(
            max(0.0, float(i - Fraction(c) * scale)) * most
            for i, c, most in zip(whole, coefficients, largest, strict=True)
        )
        return cls(whole, scale, excess / scale)

    def bound(self, objective: float) -> float:
        """Lower bound on the loss, from one on the integer objective."""
        return max(0.0, objective / self.scale - self.excess)
