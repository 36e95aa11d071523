"""Several solvers in stages, each starting from the best schedule so far."""

from __future__ import annotations

import math
import time
from typing import Any

from pats_opt.core.prices import KEY
from pats_opt.core.solver import Outcome, Run, Solver, require
from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.incumbent import Incumbent


class Portfolio:
    """Solvers run one after another on one problem, with one incumbent.

    Attributes:
        run: Limits of all stages together.
        incumbent: The best plan and bound of all stages.
        left_out: Names of the solvers that refused the problem.
    """

    def __init__(self, problem: Problem, run: Run) -> None:
        self.problem, self.run = problem, run
        self.incumbent = Incumbent(problem, run)
        self.left_out: set[str] = set()
        self._stop = StopReason.MEMORY_LIMIT  # until a solver has accepted the problem
        self._stages: list[dict[str, Any]] = []
        self._prices: dict[str, Any] = {}  # of the last stage that had any

    def over(self) -> bool:
        """Return whether there is nothing left to improve, or no time to do it."""
        self._stop = self.run.stop() or self._stop
        return self.incumbent.over()

    def run_stage(self, solver: Solver, seconds: float | None = None) -> None:
        """Run a solver for ``seconds``, or all the time that is left; note why where it refuses."""
        run, began = self.run, time.monotonic()
        left = run.remaining()
        if seconds is not None:
            left = seconds if left is None else min(seconds, left)
        stage = Run(
            time_limit=left,
            seed=run.seed,
            jobs=run.jobs,
            start=self.incumbent.start,
            progress=self.incumbent.report,
            phase=run.phase,
            interrupted=run.interrupted,
        )
        try:
            require(solver, self.problem)
            run.phase(solver.name, None)
            outcome = solver.solve(self.problem, stage)
        except InputError as refusal:
            self.leave_out(solver, refusal.problem)
            return
        details = dict(outcome.details)
        if KEY in details:
            self._prices = {KEY: details.pop(KEY)}
        self._stages.append(
            {
                "solver": solver.name,
                "stop": outcome.stop.value,
                "seconds": round(time.monotonic() - began, 3),
                **details,
            }
        )
        self._stop = outcome.stop
        if outcome.plan is not None:
            self.incumbent.offer(outcome.plan)
        proven_none = outcome.stop is StopReason.INFEASIBLE
        self.incumbent.raise_bound(math.inf if proven_none else outcome.bound or 0.0)

    def leave_out(self, solver: Solver, why: str) -> None:
        """Note why a solver has no stage."""
        self.left_out.add(solver.name)
        self._stages.append({"solver": solver.name, "refused": why})

    def outcome(self) -> Outcome:
        """Return the best of all stages."""
        return self.incumbent.outcome(self._stop, turns=self._stages, **self._prices)
