"""Solver ``exact``: prices close the gap from below, a search over schedules from above.

Prices, a search over batch sequences (:mod:`pats_solvers.dp`) and a local search take turns
(:mod:`pats_solvers.guided`), on several GPUs also on parts of the fleet
(:mod:`pats_solvers.fleet_parts`). CP-SAT and the MILP go on from their schedule; with few requests
on a fleet or with a cache CP-SAT comes first. A travelling salesman problem has a branch and cut of
its own (:mod:`pats_solvers.tours`), which needs no other.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.solver import (
    Capabilities,
    Kind,
    Outcome,
    Run,
    Solver,
)
from pats_opt.model.problem import Problem
from pats_solvers.common.kernel_sets import KernelSet
from pats_solvers.common.windows import latest_completions
from pats_solvers.dp import alone
from pats_solvers.guided import GuidedSearch, searchable
from pats_solvers.portfolio import Portfolio
from pats_solvers.tours import TourSearch, is_tour

#: Seconds that stages are shares of where there is no time limit.
UNLIMITED_S = 100.0

#: Share of the time limit for label search and local search at prices, where they apply and there
#: are not many requests.
GUIDED = 0.8

#: Share of the time for CP-SAT before the MILP where both only bridge the time of compiling.
SHORT = 0.03

#: Requests beyond which no model with all of them is worth any time.
MANY_REQUESTS = 60

#: Requests up to which CP-SAT nearly always proves the optimum at once, sooner than prices do.
FEW_REQUESTS = 5

#: Possible starts (request, option, tick) beyond which the MILP's size is not even worked out.
MOST_STARTS = 3_000_000

#: The same for each second left: a larger model is hardly set up by then, and stops too late.
STARTS_PER_S = 3_000


class Exact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lagrangian bound and search combined, until bound meets loss.

    Args:
        memory_gib: Memory in GiB; a model that would take more is left out.
        bounding: Share of the time limit for prices and local search, where the search over
            sequences does not apply and there are not many requests.
        opening: Share of the time limit for CP-SAT's first stage: after that, or before it where
            there are few requests.
        compiled: Whether the searches that need compiled kernels have a stage; else CP-SAT and the
            MILP are alone.
    """

    name: ClassVar[str] = "exact"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = GuidedSearch.capabilities

    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 8.0
    bounding: Annotated[float, Meta(ge=0, le=1)] = 0.5
    opening: Annotated[float, Meta(ge=0, le=1)] = 0.2
    compiled: bool = True

    def kernels(self, problem: Problem | None = None) -> tuple[KernelSet, ...]:
        """Return the kernels of the stages that are likely to run."""
        if not self.compiled:
            return ()
        if problem is None:
            return TourSearch().kernels() + GuidedSearch().kernels()
        if is_tour(problem):
            return TourSearch().kernels(problem)
        return () if self._cpsat_first(problem) else GuidedSearch().kernels(problem)

    def meanwhile(self, problem: Problem) -> Solver | None:
        """Return what may solve a small problem while kernels are compiled, without any."""
        if len(problem.jobs) > MANY_REQUESTS or is_tour(problem):
            return None
        return Exact(memory_gib=self.memory_gib, opening=SHORT, compiled=False)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Solve within ``run``'s limits."""
        portfolio = Portfolio(problem, run)
        self.run_stages(portfolio)
        return portfolio.outcome()

    def run_stages(self, portfolio: Portfolio) -> None:
        """Run the stages until one of them proves the optimum or time is up."""
        from pats_solvers.cpsat import CpSat
        from pats_solvers.milp import Milp

        problem, whole = portfolio.problem, portfolio.run.time_limit or UNLIMITED_S
        if self.compiled and is_tour(problem):
            portfolio.run_stage(TourSearch())
        half, all_ = self.memory_gib / 2, self.memory_gib
        cpsat, milp = CpSat(memory_gib=all_), Milp(memory_gib=all_)
        guided: tuple[Solver, float | None] = GuidedSearch(memory_gib=half), None
        if not alone(problem) and len(problem.jobs) <= MANY_REQUESTS:
            share = max(GUIDED, self.bounding) if searchable(problem) else self.bounding
            guided = guided[0], share * whole
        opening: tuple[Solver, float | None] = cpsat, self.opening * whole
        stages = [opening, guided] if self._cpsat_first(problem) else [guided, opening]
        stages = [*(stages if self.compiled else [opening]), (milp, None), (cpsat, None)]
        for solver, seconds in stages:
            if portfolio.over():
                break
            if solver.name in portfolio.left_out or seconds == 0:
                continue
            if solver is cpsat and _too_many_positions(problem):
                portfolio.leave_out(solver, f"more than {MANY_REQUESTS:,} requests")
            elif solver is milp and _possible_starts(portfolio) > (most := _most_starts(portfolio)):
                portfolio.leave_out(solver, f"more than {most:,} possible starts")
            else:
                portfolio.run_stage(solver, seconds)

    def _cpsat_first(self, problem: Problem) -> bool:
        few = len(problem.jobs) <= FEW_REQUESTS and not alone(problem)
        return few and self.opening > 0


def _too_many_positions(problem: Problem) -> bool:
    """Return whether CP-SAT has only its general model, and that would be too large."""
    from pats_solvers.cpsat.solver import select

    return len(problem.jobs) > MANY_REQUESTS and select(problem, "auto").name == "positions"


def _most_starts(portfolio: Portfolio) -> int:
    """Return the possible starts of the largest model that is worth the time left."""
    left = portfolio.run.remaining()
    return MOST_STARTS if left is None else min(MOST_STARTS, int(STARTS_PER_S * left))


def _possible_starts(portfolio: Portfolio) -> int:
    """Return the starts that the best loss leaves; a time-indexed model grows with them."""
    latest = latest_completions(portfolio.problem, portfolio.incumbent.known_loss)
    return sum(
        max(0, tick - job.arrival)
        for job in portfolio.problem.jobs
        for tick in latest[job.index]
        if tick is not None
    )
