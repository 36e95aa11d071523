"""Solver ``auto``, the default: CP-SAT where it states the problem best, and ``exact``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run, Solver
from pats_opt.model.problem import Problem
from pats_solvers.common.kernel_sets import KernelSet
from pats_solvers.exact import UNLIMITED_S, Exact
from pats_solvers.portfolio import Portfolio
from pats_solvers.tours import is_tour


class Auto(Struct, frozen=True, kw_only=True):
    """Choice of the method: CP-SAT first for bins and sequences, ``exact`` for everything else.

    A sequence is a problem of batches of one in which waiting costs nothing; a tour, with one
    request per adapter, is left to ``exact``.

    Attributes:
        memory_gib: A model that would take more GiB than this is left out.
        leading: Share of the time limit for CP-SAT where it goes first.
    """

    name: ClassVar[str] = "auto"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES | {Feature.OVERLAP}, bound=True, warm_start=True
    )

    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 8.0
    leading: Annotated[float, Meta(ge=0, le=1)] = 0.7

    def kernels(self, problem: Problem | None = None) -> tuple[KernelSet, ...]:
        """Return the kernels that it needs."""
        return Exact().kernels(problem)

    def meanwhile(self, problem: Problem) -> Solver | None:
        """Return what may solve a small problem while kernels are compiled, without any."""
        return Exact(memory_gib=self.memory_gib).meanwhile(problem)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Solve within ``run``'s limits; where no model fits, return the schedule to start from."""
        from pats_solvers.cpsat import CpSat, leads

        portfolio = Portfolio(problem, run)
        if leads(problem) and not is_tour(problem):
            cpsat = CpSat(memory_gib=self.memory_gib)
            portfolio.run_stage(cpsat, self.leading * (run.time_limit or UNLIMITED_S))
        Exact(memory_gib=self.memory_gib).run_stages(portfolio)
        return portfolio.outcome()
