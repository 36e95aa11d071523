"""Several solvers in turn, each starting from the best schedule so far."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

from pats_opt.core.prices import KEY
from pats_opt.core.solver import Outcome, Run, Solver, require
from pats_opt.errors import InputError
from pats_opt.model.checker import TOLERANCE, valid_loss
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.windows import least_loss, least_switching


@dataclass
class Relay:
    """Turns of several solvers, each starting from the best so far.

    Attributes:
        problem: The problem.
        limits: What all turns together may take.
        best: The best plan so far and its loss, or None.
        bound: The best proven bound so far.
        stop: Why the last turn ended.
        turns: What each turn came to, ready for JSON.
        prices: GPU-time prices of the last turn that had any, ready for JSON.
        left_out: Names of solvers that cannot take the problem.
    """

    problem: Problem
    limits: Run
    best: tuple[Plan, float] | None = field(init=False)
    bound: float = field(init=False)
    stop: StopReason = StopReason.MEMORY_LIMIT  # until a solver has had a turn
    turns: list[dict[str, Any]] = field(default_factory=list)
    prices: dict[str, Any] | None = None
    left_out: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        problem = self.problem
        self.best = self.limits.start
        self.bound = math.fsum(least_loss(problem, job) for job in problem.jobs)
        self.bound += least_switching(problem)

    def over(self) -> bool:
        """Whether there is nothing to do or no time to do it."""
        why = self.limits.stop()
        if why is not None and self.stop is not StopReason.OPTIMAL:
            self.stop = why
        settled = self.stop in (StopReason.OPTIMAL, StopReason.INFEASIBLE)
        return why is not None or settled or self._met()

    def run(self, solver: Solver, seconds: float | None) -> None:
        """One solver's turn, for so many seconds or all that are left."""
        limits, began = self.limits, time.monotonic()
        left = limits.remaining()
        if seconds is not None:
            left = seconds if left is None else min(seconds, left)
        turn = Run(
            time_limit=left,
            seed=limits.seed,
            jobs=limits.jobs,
            start=self.best,
            progress=self._progress,
            phase=limits.phase,
            interrupted=limits.interrupted,
        )
        try:
            require(solver, self.problem)
            limits.phase(solver.name, None)
            outcome = solver.solve(self.problem, turn)
        except InputError as refusal:
            self.refused(solver, refusal.problem)
            return
        told = dict(outcome.details)
        self.prices = told.pop(KEY, self.prices)
        self.turns.append(
            {
                "solver": solver.name,
                "stop": outcome.stop.value,
                "seconds": round(time.monotonic() - began, 3),
                **told,
            }
        )
        self.stop = outcome.stop
        self.bound = max(self.bound, outcome.bound or 0.0)
        loss = None if outcome.plan is None else valid_loss(self.problem, outcome.plan)
        if outcome.plan is not None and loss is not None and self._better(loss):
            self.best = outcome.plan, loss

    def refused(self, solver: Solver, why: str) -> None:
        """Note why a solver had no turn."""
        self.left_out.add(solver.name)
        self.turns.append({"solver": solver.name, "refused": why})

    def outcome(self) -> Outcome:
        """The best of all turns."""
        details: dict[str, Any] = {"turns": self.turns}
        if self.prices is not None:
            details[KEY] = self.prices
        if self.stop is StopReason.INFEASIBLE:
            return Outcome(StopReason.INFEASIBLE, details=details)
        if self.best is None:
            return Outcome(self.stop, None, self.bound, details)
        plan, loss = self.best
        stop = StopReason.OPTIMAL if self._met() else self.stop
        return Outcome(stop, plan, min(self.bound, loss), details)

    def _met(self) -> bool:
        return self.best is not None and self.best[1] - self.bound <= TOLERANCE * self.best[1]

    def _better(self, loss: float) -> bool:
        return self.best is None or loss < self.best[1]

    def _progress(self, bound: float | None, loss: float | None) -> None:
        self.bound = max(self.bound, bound or 0.0)
        self.limits.progress(self.bound, loss)
