"""Which states are gone on with: simulated annealing."""

# ruff: noqa: PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

import math
from typing import Any

from pats_solvers.common.compiled import compiled, entry
from pats_solvers.local.timing import copy, time_all, total


@compiled
def decide(
    data: Any,
    current: Any,
    best: Any,
    trial: Any,
    losses: Any,
    rng: Any,
    temperature: float,
    made: bool,
) -> bool:
    """Go on with a trial state, or put it back to the current one.

    Args:
        data: The problem.
        current: The state the trial was made from; replaced where the trial is accepted.
        best: The best state so far; replaced where the trial is better.
        trial: The changed state, timed.
        losses: Loss of the current and of the best state.
        rng: Source of random numbers.
        temperature: A loss greater by this is accepted with probability 1 / e.
        made: Whether the trial is a state at all.

    Returns:
        Whether it was accepted.
    """
    loss = total(data, trial) if made else math.inf
    allowed = losses[0] - temperature * math.log(1.0 - rng.random())
    if loss == math.inf or loss > allowed:
        copy(trial, current)
        return False
    losses[0] = loss
    copy(current, trial)
    if loss < losses[1] - 1e-9:
        losses[1] = loss
        copy(best, trial)
    return True


@entry
def restart(data: Any, current: Any, best: Any, trial: Any, losses: Any) -> None:
    """Go back to the best state, with its loss summed up afresh."""
    losses[0] = losses[1] = time_all(data, best)
    copy(current, best)
    copy(trial, best)
