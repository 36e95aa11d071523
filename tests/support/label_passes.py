"""Passes of the label search at random prices, against an optimum by exhaustive search."""

from __future__ import annotations

import math
import random

import numpy as np

from pats_opt.model.checker import valid_loss
from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import Floats
from pats_solvers.common.windows import safe_horizon
from pats_solvers.dp.fleet.search import FleetSearch
from pats_solvers.dp.search import PricedSearch
from pats_solvers.lagrangian.relaxation import Relaxation


def random_prices(problem: Problem, rng: random.Random) -> tuple[Relaxation, Floats]:
    """A relaxation on a grid of random end, grain and resolution, and random prices of it."""
    end = safe = safe_horizon(problem)
    if problem.site.horizon is None:
        end = max(problem.jobs[-1].arrival + 1, int(safe * rng.uniform(0.3, 1)))
    fewest = min(option.steps for job in problem.jobs for option in job.options)
    grain = min(rng.choice((1, 1, 2, 3)), problem.site.clock.quickest(fewest))
    states = rng.choice((1, 2, 4, 50))
    lanes = rng.random() < 0.5
    relaxation = Relaxation(problem, max(1, end), states=states, grain=grain, lanes=lanes)
    size = rng.choice((0.0, 0.01, 0.1, 1.0))
    return relaxation, np.array([rng.random() * size for _ in range(relaxation.dimension)])


def assert_proven(
    search: PricedSearch | FleetSearch, optimum: float | None, rng: random.Random
) -> None:
    """The bound is valid, a full pass finds the optimum, a cut one is honest."""
    found = search.run(math.inf, lambda: None)
    assert found.complete
    if optimum is None:
        assert found.plan is None
        assert math.isinf(found.bound)
        return
    slack = 1e-7 * max(1.0, optimum)
    assert search.bound() <= optimum + slack
    assert abs(found.loss - optimum) <= slack
    assert found.plan is not None
    loss = valid_loss(search.problem, found.plan)
    assert loss is not None
    assert abs(loss - optimum) <= slack
    again = search.run(optimum + 2 * slack, lambda: None)
    assert again.complete
    assert abs(again.loss - optimum) <= slack
    cut = search.run(math.inf, lambda: None, beam=rng.choice((1, 2)), few=rng.choice((0, 1)))
    assert cut.bound <= optimum + slack
    assert cut.loss >= optimum - slack
