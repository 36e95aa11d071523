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
        from pats_solvers.cpsat import CpSat
        from pats_solvers.dp import Dp, alone
        from pats_solvers.milp import Milp
        from pats_solvers.primal_dual import Lagrangian

        problem, whole = portfolio.problem, portfolio.run.time_limit or UNLIMITED_S
        half, all_ = self.memory_gib / 2, self.memory_gib
        cpsat, milp = CpSat(memory_gib=all_), Milp(memory_gib=all_)
        opening = cpsat, self.opening * whole
        bounding = Lagrangian(memory_gib=half), self.bounding * whole
        stages: list[tuple[Solver, float | None]] = [bounding, opening]
        search = Dp(memory_gib=half)
        if alone(problem) and _can(search, problem):
            stages = [(search, None), bounding, opening]
        elif self._cpsat_first(problem):
            stages = [opening, bounding]
        elif _can(search, problem):
            first, later, last = (share * self.bounding * whole for share in TURNS)
            stages = [(search, first), (bounding[0], later), (search, last), opening]
        stages += [(milp, None), (cpsat, None)]
        for solver, seconds in stages:
            if portfolio.over():
                break
            if solver is search and search.name in portfolio.left_out:
                solver = bounding[0]  # noqa: PLW2901 - it has the time instead
            if solver.name in portfolio.left_out or seconds == 0:
                continue
            if solver is milp and _possible_starts(portfolio) > MOST_STARTS:
                portfolio.leave_out(solver, f"more than {MOST_STARTS:,} possible starts")
            else:
                portfolio.run_stage(solver, seconds)

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
