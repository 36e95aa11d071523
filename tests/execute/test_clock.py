"""The run's clock: before the start, at it, and resumed."""

from __future__ import annotations

import time

import pytest

from pats_opt.execute.work import ClockStart, RunClock


def test_it_is_negative_until_the_start() -> None:
    """Before the start is agreed on, and until it comes, also where it begins at a later second."""
    clock = RunClock()
    assert clock() < 0
    clock.set(ClockStart(time.time() + 1000, 50.0))
    assert -1000 <= clock() < 0


def test_it_goes_on_at_the_agreed_second() -> None:
    """Whoever sets it, and whenever, it counts from the same moment."""
    start = ClockStart(time.time() - 10, 50.0)
    clocks = [RunClock(), RunClock()]
    for clock in clocks:
        clock.set(start)
    seconds = [clock() for clock in clocks]
    assert seconds[0] == pytest.approx(seconds[1], abs=0.01)
    assert all(second >= 59.9 for second in seconds)
    assert clocks[0]() >= seconds[0]


def test_a_start_is_a_moment_ahead() -> None:
    """So that all hear of it in time."""
    clock = RunClock()
    clock.set(ClockStart.soon(7.0, 500.0))
    assert -500 <= clock() < 0
