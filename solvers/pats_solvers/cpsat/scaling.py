"""Durations and losses as integers for CP-SAT, with bounds on the error of rounding.

Durations: the clock's ``ceil(seconds / tick_s - 1e-9)`` becomes ``unit * ticks >= parts - slack``
over integers. Where the parts are decimal fractions with a small common denominator this is the
same ceil; elsewhere it never asks for more ticks than the clock does. Losses: coefficients are
rounded to ``1 / scale``; :attr:`IntegerLosses.excess` is the most that rounding adds to the loss of
a schedule. So in every case CP-SAT's bound, unscaled, less the excess, is below the true optimum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

#: Denominators up to this are kept as they are: they leave CP-SAT small coefficients.
LARGEST_DENOMINATOR = 1_000_000

#: Products of coefficients and variables stay below this: exact as doubles, far from overflow.
LARGEST_TOTAL = 2**52

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
        total = math.fsum(c * most for c, most in zip(coefficients, largest, strict=True))
        scale = common_denominator(coefficients, 1e-12)
        if scale is not None and total * scale < LARGEST_TOTAL:
            whole = tuple(round(c * scale) for c in coefficients)
        else:
            scale = max(1, int(min(1e12, LARGEST_TOTAL / max(1e-300, total))))
            whole = tuple(math.floor(c * scale) for c in coefficients)
        excess = math.fsum(
            max(0.0, float(i - Fraction(c) * scale)) * most
            for i, c, most in zip(whole, coefficients, largest, strict=True)
        )
        return cls(whole, scale, excess / scale)

    def bound(self, objective: float) -> float:
        """Lower bound on the loss, from one on the integer objective."""
        return max(0.0, objective / self.scale - self.excess)
