"""Dual ascent: prices that raise the bound.

Deflected subgradients with Polyak's step towards the best known loss: the step is shortened
whenever the bound has not risen for a while, and the search goes on from the best prices. It was
compared with the volume algorithm (Barahona, Anbil 2000) and with smoothed column generation
(Wentges 1997) on the same relaxation; ``benchmarks/results/ascent.md`` has the figures.
Sources: Polyak (1969) for the step, Camerini, Fratta and Maffioli (1975) for deflection.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pats_solvers.common.arrays import Floats
from pats_solvers.lagrangian.relaxation import Evaluation, Relaxation

#: Weight of the former direction in the next one.
DEFLECTION = 0.7

#: First step, as a share of Polyak's.
FIRST_STEP = 0.6

#: Evaluations without a better bound before the step is shortened, and by how much.
PATIENCE, SHORTER = 8, 0.6

#: The step at which the ascent has converged.
LAST_STEP = 2e-3


@dataclass
class Ascent:
    """An ascent on one relaxation; it can be resumed.

    Attributes:
        prices: The best prices found, flat.
        bound: The bound there; minus infinity before the first evaluation.
        best: The evaluation there.
        evaluations: Evaluations so far.
        step: The present step, as a share of Polyak's.
    """

    relaxation: Relaxation
    prices: Floats
    bound: float = -math.inf
    best: Evaluation | None = None
    evaluations: int = 0
    step: float = FIRST_STEP
    _direction: Floats = field(init=False)
    _at: Floats = field(init=False)
    _least: Floats = field(init=False)
    _stalled: int = 0

    def __post_init__(self) -> None:
        self._direction = np.zeros_like(self.prices)
        self._at = self.prices
        self._least = np.where(self.relaxation.signed, -np.inf, 0.0)

    @property
    def converged(self) -> bool:
        """Whether steps have become too short to matter."""
        return self.step < LAST_STEP

    def restart(self, step: float = FIRST_STEP) -> None:
        """Go on from the best prices with longer steps again."""
        self.step, self._stalled = step, 0
        self._at, self._direction = self.prices, np.zeros_like(self.prices)

    def climb(
        self, target: float, evaluations: int, stop: Callable[[], bool] = lambda: False
    ) -> None:
        """Raise the bound towards ``target``, a loss that it cannot exceed.

        Args:
            target: The best known loss; infinity where there is none.
            evaluations: At most so many more.
            stop: Asked before each evaluation whether to break off.
        """
        for _ in range(evaluations):
            if stop() or self.converged or self.bound >= target:
                return
            self._once(target)

    def _once(self, target: float) -> None:
        found = self.relaxation.evaluate(self._at)
        self.evaluations += 1
        if not math.isfinite(found.bound):  # a subproblem has no plan: the relaxation is infeasible
            self.bound, self.best, self.prices = found.bound, found, self._at
            return
        if found.bound > self.bound + 1e-10 * abs(self.bound) or self.best is None:
            self.bound, self.best, self.prices = found.bound, found, self._at
            self._stalled = 0
        else:
            self._stalled += 1
            if self._stalled >= PATIENCE:
                self.restart(self.step * SHORTER)
                found = self.best
        low = self._at <= self._least
        direction = found.slope + DEFLECTION * self._direction
        self._direction = direction = np.where(low & (direction < 0.0), 0.0, direction)
        length = float(direction @ direction)
        if length <= 1e-12:  # no price to change: these prices are the best
            self.step = 0.0
            return
        # Without a known loss, or where it is met but for rounding, aim a little above the bound.
        goal = max(target, self.bound + 1e-3 * abs(self.bound) + 1e-9)
        if not math.isfinite(goal):
            goal = self.bound + 0.5 * abs(self.bound) + 1.0
        stride = self.step * (goal - found.bound) / length
        self._at = np.maximum(self._least, self._at + stride * direction)
