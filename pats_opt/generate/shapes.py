"""Shapes of arrivals over time: the rate of a Poisson process that repeats after a period.

Rates are relative: the recipe's ``load`` or ``rate_per_s`` is the mean over a period.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from pats_opt.generate.config import ConfigTable, NotNegative, Positive

Floats = NDArray[np.float64]

#: Cells of a day in which the rate is constant, of a minute each.
CELLS = 24 * 60


class DayWave(ConfigTable, frozen=True, kw_only=True):
    """One hump of a day's rate: half a cosine wave up, half a one down.

    Attributes:
        hour: Hour of its top.
        height: Rate at its top, above the base.
        hours: Hours from its beginning to its end.
    """

    hour: Annotated[float, Meta(ge=0, le=24)]
    height: NotNegative
    hours: Annotated[float, Meta(gt=0, le=24)]


class DayShape(ConfigTable, frozen=True, kw_only=True):
    """A day: a base, humps, and a spike at the top of each hour, which all add up.

    The defaults fit the counts of one day of Twitter posts, in bins of five minutes, as the
    repository of Proteus carries it (290 bins, R2 0.94).

    Attributes:
        base: Rate without humps and spikes.
        humps: The humps.
        spike: Rate added in the first minutes of an hour.
        spike_minutes: Number of these minutes.
        period_s: Seconds that the day takes; a shorter one is a day in quick motion.
    """

    base: NotNegative = 0.39
    humps: tuple[DayWave, ...] = (
        DayWave(hour=7.4, height=2.22, hours=10.5),
        DayWave(hour=20.0, height=0.68, hours=6.0),
    )
    spike: NotNegative = 0.56
    spike_minutes: Annotated[int, Meta(ge=0, le=60)] = 5
    period_s: Positive = 86_400.0

    def __post_init__(self) -> None:
        if not self.rates().any():
            raise ValueError("a day needs a rate above 0: 'base', 'humps' or 'spike'")

    def rates(self) -> Floats:
        """Return the rate in each minute of the day."""
        minute = np.arange(CELLS)
        rates: Floats = np.full(CELLS, self.base) + self.spike * (minute % 60 < self.spike_minutes)
        for hump in self.humps:
            off = np.abs((minute + 0.5) / 60.0 - hump.hour)
            off = np.minimum(off, 24.0 - off)  # a hump may go on past midnight
            wave = (1.0 + np.cos(2.0 * np.pi * off / hump.hours)) / 2.0
            rates += hump.height * np.where(off < hump.hours / 2.0, wave, 0.0)
        return rates


class SquareWave(ConfigTable, frozen=True, kw_only=True):
    """A low and a high rate in turn, the low one first.

    The defaults are those of the bursty trace in the repository of Proteus.

    Attributes:
        half_period_s: Seconds of each.
    """

    low: NotNegative = 0.25
    high: NotNegative = 1.8
    half_period_s: Positive = 47.0

    def __post_init__(self) -> None:
        if self.low + self.high == 0:
            raise ValueError("a square wave needs a rate above 0: 'low' or 'high'")

    @property
    def period_s(self) -> float:
        """Seconds after which it repeats."""
        return 2.0 * self.half_period_s

    def rates(self) -> Floats:
        """Return the rate in each half."""
        return np.array([self.low, self.high])


def warped(shape: DayShape | SquareWave, even_s: Floats) -> Floats:
    """Move times of a process of constant rate to those of a process of this shape.

    A unit of the integral of the rate lasts as long on the mean, so the mean rate is kept.

    Args:
        shape: The shape, from its beginning on.
        even_s: Rising times, in seconds.
    """
    rates = shape.rates()
    ends = np.concatenate(([0.0], np.cumsum(rates)))
    ends *= shape.period_s / ends[-1]
    times = np.linspace(0.0, shape.period_s, len(ends))
    period = np.floor(even_s / shape.period_s)
    inside = np.interp(even_s - period * shape.period_s, ends, times)
    return np.asarray(period * shape.period_s + inside, dtype=np.float64)
