"""The default solver: the exact methods in turn, or the schedule at hand where none fits.

The dynamic program goes first, where it applies (one GPU, one resident adapter): it is the quickest
by far to prove an optimum, and its beams find good schedules. CP-SAT is next, briefly, for what the
first one does not do: it soon finds good schedules, and settles a few requests for good. It goes
before the program where one of its models is made for the problem: packings, and sequences that
only switching makes dear. The MILP follows with the best schedule known, whose loss narrows its
windows and so its model; where its model fits, its bound is the stronger one. CP-SAT has what is
left of the time.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from pats_opt.checker import TOLERANCE
from pats_opt.errors import InputError
from pats_opt.plan import Plan
from pats_opt.problem import Problem
from pats_opt.schedule import Stop
from pats_opt.solver import Capabilities, Kind, Outcome, Run, Solver, require
from pats_opt.solving import valid_loss
from pats_solvers.windows import latest_completions, least_loss, least_switching

#: Seconds that the first turns are shares of where there is no time limit.
UNLIMITED_S = 100.0

#: Possible starts (request, option, tick) beyond which the MILP's size is not even worked out.
MOST_STARTS = 3_000_000


class Auto(Struct, frozen=True, kw_only=True):
    """The dynamic program, CP-SAT and the MILP in turn.

    Attributes:
        memory_gib: A model that would take more GiB than this is left out.
        first: Share of the time limit for the dynamic program; 0 leaves it out.
        opening: Share of the time limit for CP-SAT's first turn; 0 leaves that turn out.
    """

    name: ClassVar[str] = "auto"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(bound=True, warm_start=True)

    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 8.0
    first: Annotated[float, Meta(ge=0, le=1)] = 0.7
    opening: Annotated[float, Meta(ge=0, le=1)] = 0.2

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Solve within ``run``'s limits; where no model fits, return the schedule to start from."""
        from pats_solvers.cpsat import CpSat, leads
        from pats_solvers.dp import Dp
        from pats_solvers.milp import Milp

        whole = run.time_limit or UNLIMITED_S
        first, opening = self.first * whole, self.opening * whole
        relay = _Relay(problem, run)
        dp, cpsat = Dp(memory_gib=self.memory_gib / 2), CpSat(memory_gib=self.memory_gib)
        milp = Milp(memory_gib=self.memory_gib)
        turns: list[tuple[Solver, float | None]]
        turns = [(dp, first), (cpsat, opening), (milp, None), (cpsat, None)]
        if leads(problem):
            turns.insert(0, (cpsat, first))
        for solver, seconds in turns:
            if relay.over():
                break
            if solver.name in relay.left_out or seconds == 0:
                continue
            if solver is milp and relay.starts() > MOST_STARTS:
                relay.refused(solver, f"more than {MOST_STARTS:,} possible starts")
            else:
                relay.run(solver, seconds)
        return relay.outcome()


@dataclass
class _Relay:
    """Turns of several solvers, each starting from the best so far."""

    problem: Problem
    limits: Run
    best: tuple[Plan, float] | None = field(init=False)
    bound: float = field(init=False)
    stop: Stop = Stop.MEMORY_LIMIT  # until a solver has had a turn
    turns: list[dict[str, Any]] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        problem = self.problem
        self.best = self.limits.start
        self.bound = math.fsum(least_loss(problem, job) for job in problem.jobs)
        self.bound += least_switching(problem)

    def over(self) -> bool:
        """Whether there is nothing to do or no time to do it."""
        why = self.limits.stop()
        if why is not None and self.stop is not Stop.OPTIMAL:
            self.stop = why
        return why is not None or self.stop in (Stop.OPTIMAL, Stop.INFEASIBLE)

    def starts(self) -> int:
        """Possible starts given the best loss: what a time-indexed model grows with."""
        latest = latest_completions(self.problem, self.best[1] if self.best else None)
        return sum(
            max(0, tick - job.arrival)
            for job in self.problem.jobs
            for tick in latest[job.index]
            if tick is not None
        )

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
            interrupted=limits.interrupted,
        )
        try:
            require(solver, self.problem)
            outcome = solver.solve(self.problem, turn)
        except InputError as refusal:
            self.refused(solver, refusal.problem)
            return
        self.turns.append(
            {
                "solver": solver.name,
                "stop": outcome.stop.value,
                "seconds": round(time.monotonic() - began, 3),
                **outcome.details,
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
        details = {"turns": self.turns}
        if self.stop is Stop.INFEASIBLE:
            return Outcome(Stop.INFEASIBLE, details=details)
        if self.best is None:
            return Outcome(self.stop, None, self.bound, details)
        plan, loss = self.best
        bound = min(self.bound, loss)
        met = loss - bound <= TOLERANCE * loss
        return Outcome(Stop.OPTIMAL if met else self.stop, plan, bound, details)

    def _better(self, loss: float) -> bool:
        return self.best is None or loss < self.best[1]

    def _progress(self, bound: float | None, loss: float | None) -> None:
        self.bound = max(self.bound, bound or 0.0)
        self.limits.progress(self.bound, loss)
