"""Solver ``exact``: prices close the gap from below, a search over schedules from above.

For one GPU with one resident adapter this is :mod:`pats_solvers.dp`: a search over batch
sequences whose bound is the Lagrangian one; where it refuses, as there are too many different
batches, what is said next comes first. With several GPUs or residents that search has a short
turn first and a longer one after the Lagrangian bound and a local search at its prices. Where it
does not apply these come first, and CP-SAT and the MILP go on from their schedule; with few
requests CP-SAT comes before all others.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.solver import (
    ALL_FEATURES,
    Capabilities,
    Feature,
    Kind,
    Outcome,
    Run,
    Solver,
    features,
)
from pats_opt.model.problem import Problem
from pats_solvers.common.windows import latest_completions
from pats_solvers.portfolio import Portfolio

#: Seconds that stages are shares of where there is no time limit.
UNLIMITED_S = 100.0

#: Turns of the search over sequences, of prices with local search, and of the former again, as
#: shares of the time for the latter where the search does not apply.
TURNS = (0.2, 0.5, 0.8)

#: Requests up to which CP-SAT nearly always proves the optimum at once, sooner than prices do.
FEW_REQUESTS = 5

#: Requests beyond which the second turn of the search, and prices after it, have all the time left:
#: models find nothing.
MANY_REQUESTS = 60

#: Possible starts (request, option, tick) beyond which the MILP's size is not even worked out.
MOST_STARTS = 3_000_000


class Exact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lagrangian bound and search combined, until bound meets loss.

    Args:
        memory_gib: Memory in GiB; a model that would take more is left out.
        bounding: Share of the time limit for prices and local search, where the search over
            sequences does not apply; where it has two turns, the second one's is as long about.
        opening: Share of the time limit for CP-SAT's first stage: after that, or before it where
            there are few requests.
    """

    name: ClassVar[str] = "exact"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES | {Feature.OVERLAP},
        bound=True,
        warm_start=True,
        packages=("numba",),
    )

    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 8.0
    bounding: Annotated[float, Meta(ge=0, le=1)] = 0.5
    opening: Annotated[float, Meta(ge=0, le=1)] = 0.2

    def prepare(self, problem: Problem | None = None) -> None:
        """Compile the kernels of the stages that are likely to run."""
        from pats_solvers.dp import Dp, alone
        from pats_solvers.primal_dual import Lagrangian

        if problem is None:
            Dp().prepare()
            Lagrangian().prepare()
        elif alone(problem) and len(problem.jobs) <= FEW_REQUESTS and _can(Dp(), problem):
            Dp().prepare(problem)
        elif not self._cpsat_first(problem):
            for solver in (Dp(), Lagrangian()):
                if _can(solver, problem):
                    solver.prepare(problem)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Solve within ``run``'s limits."""
        portfolio = Portfolio(problem, run)
        self.run_stages(portfolio)
        return portfolio.outcome()

    def run_stages(self, portfolio: Portfolio) -> None:
        """Run the stages until one of them proves the optimum or time is up."""
        whole = portfolio.run.time_limit or UNLIMITED_S
        for solver, seconds, other in self._stages(portfolio.problem, whole):
            if portfolio.over():
                break
            chosen = other if other and solver.name in portfolio.left_out else solver
            if chosen.name in portfolio.left_out or seconds == 0:
                continue
            if chosen.name == "milp" and _possible_starts(portfolio) > MOST_STARTS:
                portfolio.leave_out(chosen, f"more than {MOST_STARTS:,} possible starts")
            else:
                portfolio.run_stage(chosen, seconds)

    def _stages(
        self, problem: Problem, whole: float
    ) -> list[tuple[Solver, float | None, Solver | None]]:
        """Return the stages.

        Args:
            problem: The problem.
            whole: Seconds that shares are of.

        Returns:
            Of each the solver, its seconds (None: all that are left), and the solver that has them
            where this one has refused the problem before.
        """
        from pats_solvers.cpsat import CpSat
        from pats_solvers.dp import Dp, alone
        from pats_solvers.milp import Milp
        from pats_solvers.primal_dual import Lagrangian

        half, all_ = self.memory_gib / 2, self.memory_gib
        cpsat, milp = CpSat(memory_gib=all_), Milp(memory_gib=all_)
        search, prices = Dp(memory_gib=half), Lagrangian(memory_gib=half)
        opening = cpsat, self.opening * whole, None
        bounding = prices, self.bounding * whole, None
        models: list[tuple[Solver, float | None, Solver | None]] = [
            (milp, None, None),
            (cpsat, None, None),
        ]
        if alone(problem) and _can(search, problem):
            return [(search, None, None), bounding, opening, *models]
        if self._cpsat_first(problem):
            return [opening, bounding, *models]
        if not _can(search, problem):
            return [bounding, opening, *models]
        first, later, last = (share * self.bounding * whole for share in TURNS)
        many = len(problem.jobs) > MANY_REQUESTS
        return [
            (search, first, None),
            (prices, later, None),
            (search, None if many else last, prices),
            (prices, None, None) if many else opening,
            *models,
        ]

    def _cpsat_first(self, problem: Problem) -> bool:
        return self.opening > 0 and len(problem.jobs) <= FEW_REQUESTS


def _can(solver: Solver, problem: Problem) -> bool:
    return features(problem) <= solver.capabilities.features


def _possible_starts(portfolio: Portfolio) -> int:
    """Return the starts that the best loss leaves; a time-indexed model grows with them."""
    latest = latest_completions(portfolio.problem, portfolio.incumbent.known_loss)
    return sum(
        max(0, tick - job.arrival)
        for job in portfolio.problem.jobs
        for tick in latest[job.index]
        if tick is not None
    )
