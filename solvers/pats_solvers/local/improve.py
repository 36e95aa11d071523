"""Improve a plan by local search, in rounds that end when they should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.plan import Plan
from pats_opt.problem import Problem
from pats_solvers.local.accept import restart
from pats_solvers.local.arrays import data_of, empty_state, plan_of_state
from pats_solvers.local.moves import small_moves
from pats_solvers.local.ruin import ruin_and_recreate
from pats_solvers.local.start import one_by_one, state_of
from pats_solvers.local.timing import copy


@dataclass(frozen=True, slots=True)
class Settings:
    """How the search goes.

    Attributes:
        hot: First temperature, as a share of the loss of an average job.
        cold: Last one.
        small: Small moves for each ruin and recreate.
        reach: Most batches in a window that is ruined.
        adapters: Most adapters taken out at a time.
        scale: Most that prices are scaled by.
        round: Ruins between two looks at the clock.
    """

    hot: float = 0.3
    cold: float = 0.005
    small: int = 10
    reach: int = 12
    adapters: int = 4
    scale: float = 1.5
    round: int = 20


def improve(
    problem: Problem,
    plan: Plan | None,
    rng: np.random.Generator,
    progress: Callable[[], float | None],
    *,
    prices: NDArray[np.float64] | None = None,
    settings: Settings = Settings(),
    better: Callable[[float], None] = lambda _: None,
) -> Plan | None:
    data = data_of(problem)
    best = one_by_one(data) if plan is None else state_of(data, plan)
    current, trial = empty_state(data), empty_state(data)
    losses = np.zeros(2)
    restart(data, current, best, trial, losses)
    summed = np.zeros(2) if prices is None else np.concatenate(([0.0], np.cumsum(prices)))
    n = max(1, len(problem.jobs))
    known = losses[1]
    while (done := progress()) is not None:
        heat = settings.hot * (settings.cold / settings.hot) ** done * losses[1] / n
        for _ in range(settings.round):
            small_moves(data, current, best, trial, losses, rng, heat, settings.small)
            ruin_and_recreate(
                data, current, best, trial, losses, rng, summed, heat,
                settings.reach, settings.adapters, settings.scale,
            )
        if losses[1] < known:
            known = float(losses[1])
            better(known)
    restart(data, current, best, trial, losses)
    return plan_of_state(problem, best)
