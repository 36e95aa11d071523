"""Improve a plan by local search: one annealing, from hot to cold."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.model.checker import valid_loss
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_solvers.local.arrays import data_of
from pats_solvers.local.moves import restart, small_moves
from pats_solvers.local.plans import one_by_one, plan_of_state, state_of
from pats_solvers.local.ruin import ruin_and_recreate
from pats_solvers.local.state import empty_state
from pats_solvers.local.timing import OVERRUN


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """Parameters of the annealing, chosen by comparison on instances of 80 and 160 requests.

    Attributes:
        hot: First temperature, as a share of the loss of an average job.
        cold: Last one.
        small: Small moves for each ruin.
        reach: Most batches in a window that is ruined.
        adapters: Most adapters taken out at a time.
        scale: Most that prices are scaled by.
        round: Ruins between two looks at the clock.
    """

    hot: float = 0.5
    cold: float = 0.005
    small: int = 10
    reach: int = 12
    adapters: int = 4
    scale: float = 1.5
    round: int = 20


DEFAULT = SearchSettings()


def improve(
    problem: Problem,
    plan: Plan | None,
    rng: np.random.Generator,
    progress: Callable[[], float | None],
    *,
    prices: NDArray[np.float64] | None = None,
    settings: SearchSettings = DEFAULT,
    better: Callable[[float], None] = lambda _: None,
) -> Plan | None:
    """Anneal a plan: adapters out of a window of time and back in at prices, and small moves.

    Args:
        problem: The problem.
        plan: A valid plan to start from; None starts from jobs served one by one.
        rng: Source of every random choice.
        progress: Asked before each round for the share of the search that is over, from 0 to 1,
            which sets the temperature; None ends the search.
        prices: What each tick of GPU time is worth, as dual prices say; they help a lot.
        settings: How the search goes.
        better: Called with each better loss.

    Returns:
        A valid plan that is no worse than ``plan``, or None where none was found.
    """
    if not problem.jobs or not problem.site.gpus:
        empty = Plan(tuple(() for _ in problem.site.gpus))
        return empty if valid_loss(problem, empty) is not None else None
    data = data_of(problem)
    best = one_by_one(data) if plan is None else state_of(data, plan)
    current, trial = empty_state(data), empty_state(data)
    losses = np.zeros(2)
    restart(data, current, best, trial, losses)
    summed = np.zeros(2) if prices is None else np.concatenate(([0.0], np.cumsum(prices)))
    known = min(float(losses[1]), OVERRUN)
    while (done := progress()) is not None:
        typical = min(float(losses[1]), OVERRUN) / len(problem.jobs)
        heat = typical * settings.hot * (settings.cold / settings.hot) ** done
        for _ in range(settings.round):
            small_moves(data, current, best, trial, losses, rng, heat, settings.small)
            ruin_and_recreate(
                data, current, best, trial, losses, rng, summed, heat,
                settings.reach, settings.adapters, settings.scale,
            )  # fmt: skip
        if losses[1] < known:
            known = float(losses[1])
            better(known)
    restart(data, current, best, trial, losses)
    found = plan_of_state(problem, best) if losses[1] < OVERRUN else None
    return _better(problem, plan, found)


def _better(problem: Problem, start: Plan | None, found: Plan | None) -> Plan | None:
    """Return the better of two plans.

    A state keeps a plan's order, not its residents, so that with several of these it may be worse.
    """
    if found is None:
        return start
    if start is not None and problem.site.max_resident == 1 and problem.site.channels is None:
        return found
    loss = valid_loss(problem, found)
    known = math.inf if start is None else valid_loss(problem, start)
    if loss is None or (known is not None and known < loss):
        return start
    return found
