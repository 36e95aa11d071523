"""Arrivals of a shape: rates restated plainly, mean rate kept, gaps exponential."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pats_opt.generate import Recipe, draw, generate
from pats_opt.generate.recipe import Arrivals
from pats_opt.generate.shapes import DayShape, DayWave, SquareWave, warped

MANY = 200_000


def drawn(spec: Arrivals, mean_s: float, count: int = MANY) -> np.ndarray:
    """Arrival times of a process."""
    return np.array(draw.arrivals(spec, mean_s, count, draw.stream(3, "arrivals")))


def plain_day_rate(hour: float, shape: DayShape) -> float:
    """Rate at an hour of the day."""
    rate = shape.base + (shape.spike if hour % 1 * 60 < shape.spike_minutes else 0)
    for hump in shape.humps:
        for day in (-24, 0, 24):
            phase = (hour - hump.hour + day) / hump.hours
            if abs(phase) < 0.5:
                rate += hump.height * math.cos(math.pi * phase) ** 2
    return rate


@pytest.mark.parametrize(
    "shape",
    [
        DayShape(),
        DayShape(period_s=290.0),
        DayShape(base=0.0, spike=0.0, humps=(DayWave(hour=23.5, height=1.0, hours=4.0),)),
        DayShape(humps=(), spike=2.0, spike_minutes=30),
    ],
)
def test_a_day_has_its_rates(shape: DayShape) -> None:
    """Arrivals by quarter of an hour, over three whole days, against the integral of the rate."""
    mean_s = shape.period_s / 50_000
    times = drawn(Arrivals(process="day", day=shape), mean_s)
    times = times[times < 3 * shape.period_s]
    quarter = np.floor(times % shape.period_s / shape.period_s * 96).astype(int) % 96
    seen = np.bincount(quarter, minlength=96) / len(times)
    rates = [plain_day_rate(i / 60 + 1 / 120, shape) for i in range(24 * 60)]
    expected = np.array(rates).reshape(96, 15).sum(axis=1) / sum(rates)
    assert np.all(np.abs(seen - expected) <= 5 * np.sqrt(expected / len(times)))


def test_the_default_day_is_that_of_the_source() -> None:
    """Base, tops and spike, in multiples of the mean, which is 1 to within a percent."""
    rates = DayShape().rates()
    assert rates.mean() == pytest.approx(1.0, abs=0.01)
    assert rates[0] == 0.39 + 0.56
    assert rates[7 * 60 + 24] == pytest.approx(0.39 + 2.22, abs=0.01)
    assert rates[20 * 60 + 6] == pytest.approx(0.39 + 0.68, abs=0.01)


def test_a_square_wave_is_low_then_high() -> None:
    wave = SquareWave(low=50, high=390, half_period_s=300)
    times = drawn(Arrivals(process="square", square=wave), 60 / 220, 22_000)
    half = np.floor(times / 300).astype(int)
    counts = np.bincount(half)[:-1]
    assert counts[0::2] == pytest.approx(250, abs=5 * 250**0.5)
    assert counts[1::2] == pytest.approx(1950, abs=5 * 1950**0.5)


def test_a_rate_of_0_has_no_arrivals() -> None:
    wave = SquareWave(low=0, high=1, half_period_s=10)
    times = drawn(Arrivals(process="square", square=wave), 0.5, 1000)
    assert np.all(times % 20 >= 10)


@given(
    st.lists(st.floats(0, 1e4), min_size=1, max_size=50).map(sorted),
    st.floats(0, 3),
    st.floats(0.1, 3),
    st.floats(1, 500),
)
def test_warped_times_restated_for_a_square_wave(
    even: list[float], low: float, high: float, half: float
) -> None:
    """The integral of the relative rate up to a warped time is the even time."""
    shape = SquareWave(low=low, high=high, half_period_s=half)
    mean = (low + high) / 2
    times = warped(shape, np.array(even)).tolist()
    assert times == sorted(times)
    for time, before in zip(times, even, strict=True):
        period, rest = divmod(time, 2 * half)
        integral = period * 2 * half * mean + low * min(rest, half) + high * max(0, rest - half)
        assert integral / mean == pytest.approx(before, abs=1e-6 * (1 + before))


def test_gaps_are_exponential_on_the_scale_of_the_shape() -> None:
    """A constant shape leaves the process as it is, but for its first arrival at 0."""
    flat = SquareWave(low=1, high=1, half_period_s=7)
    shaped = drawn(Arrivals(process="square", square=flat), 2.0, 1000)
    plain = drawn(Arrivals(), 2.0, 1000)
    assert shaped - shaped[0] == pytest.approx(plain, abs=2e-3)
    assert shaped[0] > 0


def test_shapes_in_instances() -> None:
    """Only the arrivals differ."""
    poisson, day = (
        generate(msgspec.convert({"requests": 50, "arrivals": {"process": process}}, Recipe))
        for process in ("poisson", "day")
    )
    for one, other in zip(poisson.requests, day.requests, strict=True):
        assert one.arrival_s != other.arrival_s
        assert msgspec.structs.replace(one, arrival_s=0) == msgspec.structs.replace(
            other, arrival_s=0
        )


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"square": {"low": 0, "high": 0}}, "a square wave needs a rate above 0"),
        ({"square": {"low": -1}}, "Expected `float` >= 0"),
        ({"day": {"base": 0, "humps": [], "spike": 0}}, "a day needs a rate above 0"),
        ({"day": {"humps": [{"hour": 25, "height": 1, "hours": 2}]}}, "Expected `float` <= 24"),
        ({"process": "dayly"}, "Invalid enum value 'dayly'"),
    ],
)
def test_faults(table: dict[str, object], problem: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        msgspec.convert(table, Arrivals)
