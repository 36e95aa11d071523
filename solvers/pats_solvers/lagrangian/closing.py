"""Closing the gap from both sides: prices raise the bound, and guide the search for schedules."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pats_opt.core.solver import Outcome, Run
from pats_opt.model.checker import TOLERANCE
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.lagrangian.bounding import Bounding
from pats_solvers.lagrangian.chain import Floats

#: Evaluations of the relaxation in a round.
EVALUATIONS = 40

#: Length of the first annealing: at least so many rounds, and this share of the jobs. One that
#: finds nothing better is followed by one twice as long.
ROUNDS, ROUNDS_SHARE = 5, 0.25

#: Share of the time left that one side may take in a round.
SHARE = 0.35

#: Rounds without a better schedule, the bound having converged, after which there is no hope.
HOPELESS = 4


class Closing:
    """Best schedule and best bound of a problem, and what improves either.

    Attributes:
        plan: The best plan, or None.
        loss: Its loss; infinity without one.
        bound: The best proven bound, at least 0.
        bounding: The relaxation at work.
    """

    def __init__(self, problem: Problem, run: Run, memory_gib: float) -> None:
        self.problem, self.run = problem, run
        self.plan: Plan | None = None
        self.loss, self.bound = math.inf, 0.0
        if run.start is not None:
            self.plan, self.loss = run.start
        self._rng = np.random.default_rng(run.seed)
        self.bounding = Bounding(problem, self._end(), memory_gib, max(1, run.jobs))
        self._idle = 0
        self._rounds = max(ROUNDS, int(ROUNDS_SHARE * len(problem.jobs)))

    @property
    def met(self) -> bool:
        """Whether bound and loss are one number: the schedule is optimal."""
        return self.plan is not None and self.loss - self.bound <= TOLERANCE * self.loss

    @property
    def infeasible(self) -> bool:
        """Whether the bound proves that there is no schedule."""
        return math.isinf(self.bound)

    @property
    def hopeless(self) -> bool:
        """Whether neither side has got any better for long."""
        return self._idle >= HOPELESS and self.bounding.ascent.converged

    def over(self) -> bool:
        """Whether there is nothing more to do, or no time to do it."""
        return self.met or self.infeasible or self.run.stop() is not None

    def raise_bound(self, evaluations: int = EVALUATIONS) -> None:
        """So many evaluations of the relaxation, finer where prices have settled."""
        until = self._until()
        self.bounding.refine()
        self.bounding.climb(self.loss, evaluations, lambda: until() or self.over())
        self.found_bound(self.bounding.bound)

    def improve_schedule(self) -> None:
        """One annealing at the present prices."""
        from pats_solvers.local.improve import improve

        until, count = self._until(), 0

        def progress() -> float | None:
            nonlocal count
            if count >= self._rounds or until() or self.over():
                return None
            count += 1
            return (count - 1) / self._rounds

        plan = improve(self.problem, self.plan, self._rng, progress, prices=self.prices())
        before = self.loss
        if plan is not None:
            self.found_plan(plan)
        if self.loss < before:
            self._idle = 0
        else:
            self._idle += 1
            self._rounds *= 2

    def found_bound(self, bound: float) -> None:
        """Take note of a proven bound."""
        self.bound = max(self.bound, bound)
        self._tell()

    def found_plan(self, plan: Plan) -> None:
        """Take note of a plan, where it keeps the rules and is better."""
        from pats_opt.model.checker import valid_loss

        loss = valid_loss(self.problem, plan)
        if loss is not None and loss < self.loss:
            self.plan, self.loss = plan, loss
            self._tell()

    def prices(self) -> Floats:
        """Price of holding a GPU of the first kind, by tick."""
        ascent = self.bounding.ascent
        relaxation = ascent.relaxation
        prices = relaxation.prices(ascent.prices)
        by_grain = prices.hold[0] + prices.keep[0] if relaxation.caching else prices.hold[0]
        spread: Floats = np.repeat(by_grain / relaxation.grain, relaxation.grain)
        return spread

    def outcome(self, details: dict[str, Any]) -> Outcome:
        """What was found."""
        if self.infeasible and self.plan is None:
            return Outcome(StopReason.INFEASIBLE, None, None, details)
        if self.plan is not None and self.met:
            return Outcome(StopReason.OPTIMAL, self.plan, min(self.bound, self.loss), details)
        return Outcome(self.run.stop() or StopReason.COMPLETE, self.plan, self.bound, details)

    def _until(self) -> Callable[[], bool]:
        """Whether one side has had its share of the time left."""
        left = self.run.remaining()
        if left is None:
            return lambda: False
        end = time.monotonic() + SHARE * left
        return lambda: time.monotonic() >= end

    def _tell(self) -> None:
        self.run.progress(
            self.bound if math.isfinite(self.bound) else None,
            self.loss if self.plan is not None else None,
        )

    def _end(self) -> int:
        """Some time after a good schedule has ended, in ticks; the bound holds whatever it is."""
        from pats_solvers.common.bounds import largest_batch, longest_batch, longest_switch
        from pats_solvers.common.windows import safe_horizon

        problem = self.problem
        if self.plan is None:
            return safe_horizon(problem)
        members = max(largest_batch(problem, gpu.index) for gpu in problem.site.gpus)
        spare = longest_batch(problem, members) + longest_switch(problem)
        starts = [batch.start for gpu in self.plan.gpus for batch in gpu]
        return max(starts, default=0) + 2 * spare
