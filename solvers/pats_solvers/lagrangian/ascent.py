"""Dual ascent: prices that raise the bound, by a proximal bundle.

The next prices are best in a model made of all evaluations so far, less a term for their distance
to the best ones (the centre). Each subproblem is a part with cuts of its own. Where the bound rises
by a fair share of what the model predicted, the centre moves there; else the model learns.
``benchmarks/ascents.py`` compares it with a subgradient method and with one cut for all parts.
Sources: Kiwiel (1990) for the weight of the distance; Frangioni (2002) for many parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pats_solvers.common.arrays import Floats
from pats_solvers.common.stopping import StopError, never
from pats_solvers.lagrangian.bundle import Bundle, BundleStep
from pats_solvers.lagrangian.exchange import PartEvaluation
from pats_solvers.lagrangian.relaxation import Evaluation, Relaxation

#: Share of the predicted gain that a step must reach for the centre to move.
FAIR = 0.1

#: Share of the predicted gain from which steps get longer, and by how much at most.
GOOD, LONGER = 0.5, 3.0

#: Evaluations in a row that did not move the centre after which steps get shorter, and by how much.
PATIENCE, SHORTER = 4, 0.6

#: How often in a row steps get shorter where the model's best step was not found.
TRIALS = 10

#: The predicted gain at which the ascent has converged, relative to the bound, also of steps so
#: many times as long.
CONVERGED, MUCH_LONGER = 1e-6, 10.0

#: First step, as a share of the way to the best known loss along the slope.
FIRST_STEP = 1.0

#: Steps of the subproblems' dynamic programs that take as long as one of the model's.
STEPS = 2


@dataclass
class Ascent:
    """An ascent on one relaxation; it can be resumed.

    Attributes:
        relaxation: The relaxation.
        prices: The best prices found, flat.
        memory: Bytes for the model.
        tau: Length of a step for a unit of slope; where one is given, the first is at most that.
        bound: The bound at the best prices; minus infinity before the first evaluation.
        best: The evaluation there.
        evaluations: Evaluations so far.
        gain: Predicted gain of the next step, relative to the bound: infinity before the first one
            is worked out, 0 where there is none that could be found.
        bundle: The model, in the units of the prices (:attr:`.Relaxation.unit`).
    """

    relaxation: Relaxation
    prices: Floats
    memory: float = math.inf
    tau: float = 0.0
    bound: float = -math.inf
    best: Evaluation | None = None
    evaluations: int = 0
    gain: float = math.inf
    bundle: Bundle = field(init=False)
    _work: int = field(init=False)
    _floor: Floats = field(init=False)
    _centre: float = -math.inf  # the bound at the bundle's centre
    _stalled: int = 0

    def __post_init__(self) -> None:
        self._floor = np.where(self.relaxation.signed, -np.inf, 0.0)
        self._work = sum(part.work for part in self.relaxation.subproblems) // STEPS
        unit = self.relaxation.unit
        self.bundle = Bundle(
            self.prices / unit,
            self._floor,
            self.relaxation.linear * unit,
            self.relaxation.parts,
            self.memory,
        )

    @property
    def converged(self) -> bool:
        """Whether no gain that matters is predicted any more."""
        return self.gain < CONVERGED

    def climb(self, target: float, evaluations: int, stop: Callable[[], bool] = never) -> None:
        """Raise the bound towards ``target``, a loss that it cannot exceed.

        Args:
            target: The best known loss; infinity where there is none.
            evaluations: At most so many more.
            stop: Asked before each subproblem whether to break off.
        """
        try:
            for _ in range(evaluations):
                if stop() or self.converged or self.bound >= target:
                    return
                if self.best is None:
                    self._first(target, stop)
                else:
                    self._next(stop)
        except StopError:
            return

    def _evaluate(self, prices: Floats, stop: Callable[[], bool]) -> Evaluation:
        found = self.relaxation.evaluate(prices, stop)
        self.evaluations += 1
        if found.bound > self.bound or self.best is None:
            self.bound, self.best, self.prices = found.bound, found, prices
        return found

    def _in_units(self, parts: Sequence[PartEvaluation]) -> list[PartEvaluation]:
        """The parts as functions of prices in their units, as the model has them."""
        unit = self.relaxation.unit
        return [part._replace(slope=part.slope * unit[part.places]) for part in parts]

    def _first(self, target: float, stop: Callable[[], bool]) -> None:
        """Evaluate the first prices, and guess how long steps should be."""
        found = self._evaluate(self.prices, stop)
        if not math.isfinite(found.bound):  # a subproblem has no plan: the relaxation is infeasible
            self.gain = 0.0
            return
        self._centre = found.bound
        self.bundle.start(self._in_units(found.parts))
        free = (found.slope > 0.0) | (self.prices > 0.0) | self.relaxation.signed
        length = float(np.square(found.slope * self.relaxation.unit)[free].sum())
        goal = target if math.isfinite(target) else found.bound + 0.5 * abs(found.bound) + 1.0
        guess = FIRST_STEP * (goal - found.bound) / length if length > 0.0 else 1.0
        self.tau = min(guess, self.tau) if self.tau > 0.0 else guess

    def _next(self, stop: Callable[[], bool]) -> None:
        """Evaluate the model's best prices, or find that there are none."""
        found = self._model_step(stop)
        if found is None:
            self.gain = 0.0
            return
        # Rounding must not take a price below its least.
        prices = (self.bundle.centre + found.step) * self.relaxation.unit
        there = self._evaluate(np.maximum(self._floor, prices), stop)
        if not math.isfinite(there.bound):
            self.gain = 0.0
            return
        share = (there.bound - self._centre) / found.gain
        self.bundle.add(found.step, self._in_units(there.parts), move=share >= FAIR)
        if share >= FAIR:
            self._centre, self._stalled = there.bound, 0
            if share > GOOD:
                self.tau *= min(LONGER, 0.5 / max(1.0 - share, 1e-9))
        else:
            self._stalled += 1
            if self._stalled % PATIENCE == 0:
                self.tau *= SHORTER

    def _model_step(self, stop: Callable[[], bool]) -> BundleStep | None:
        """Return the model's best step, or None where it is not worth an evaluation."""
        size = max(abs(self._centre), 1e-9)
        found = self.bundle.solve(self.tau, self._work, stop)
        if found.gain + found.gap < CONVERGED * size:
            self.tau *= MUCH_LONGER
            found = self.bundle.solve(self.tau, self._work, stop)
        for _ in range(TRIALS):
            self.gain = (found.gain + found.gap) / size
            if self.converged:
                return None
            if found.gain > found.gap:
                return found
            self.tau *= SHORTER
            found = self.bundle.solve(self.tau, self._work, stop)
        return None
