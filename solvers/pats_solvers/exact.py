"""The ``exact`` solver: prices close the gap from below, a search over schedules from above.

For one GPU with one resident adapter this is :mod:`pats_solvers.dp`: a search over batch
sequences whose bound is the Lagrangian one. Otherwise the Lagrangian bound and a local search at
its prices come first, and CP-SAT and the MILP go on from their schedule.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.solver import Capabilities, Kind, Outcome, Run, Solver, features
from pats_opt.model.problem import Problem
from pats_solvers import compiling
from pats_solvers.relay import Relay
from pats_solvers.windows import latest_completions

#: Seconds that turns are shares of where there is no time limit.
UNLIMITED_S = 100.0

#: Possible starts (request, option, tick) beyond which the MILP's size is not even worked out.
MOST_STARTS = 3_000_000


class Exact(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lagrangian bound and search combined, until bound meets loss.

    Args:
        memory_gib: Memory in GiB; a model that would take more is left out.
        bounding: Share of the time limit for prices and local search, where the search over
            sequences does not apply.
        opening: Share of the time limit for CP-SAT's first turn after that.
    """

    name: ClassVar[str] = "exact"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        bound=True, warm_start=True, packages=("numba",)
    )

    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 8.0
    bounding: Annotated[float, Meta(ge=0, le=1)] = 0.5
    opening: Annotated[float, Meta(ge=0, le=1)] = 0.2

    def prepare(self, problem: Problem | None = None) -> None:
        """Compile the kernels."""
        from pats_solvers.dp import Dp

        compiling.compile_search()
        if problem is None or not features(problem) <= Dp.capabilities.features:
            compiling.compile_local_search()

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Solve within ``run``'s limits."""
        relay = Relay(problem, run)
        self.take_turns(relay)
        return relay.outcome()

    def take_turns(self, relay: Relay) -> None:
        """The turns, in an ongoing relay."""
        from pats_solvers.cpsat import CpSat
        from pats_solvers.dp import Dp
        from pats_solvers.lagrangian import Lagrangian
        from pats_solvers.milp import Milp

        whole = relay.limits.time_limit or UNLIMITED_S
        half, all_ = self.memory_gib / 2, self.memory_gib
        turns: list[tuple[Solver, float | None]] = []
        if features(relay.problem) <= Dp.capabilities.features:
            turns.append((Dp(memory_gib=half), None))
        else:
            turns.append((Lagrangian(memory_gib=half), self.bounding * whole))
        cpsat, milp = CpSat(memory_gib=all_), Milp(memory_gib=all_)
        turns += [(cpsat, self.opening * whole), (milp, None), (cpsat, None)]
        for solver, seconds in turns:
            if relay.over():
                break
            if solver.name in relay.left_out or seconds == 0:
                continue
            if solver is milp and _starts(relay) > MOST_STARTS:
                relay.refused(solver, f"more than {MOST_STARTS:,} possible starts")
            else:
                relay.run(solver, seconds)


def _starts(relay: Relay) -> int:
    """Possible starts given the best loss: what a time-indexed model grows with."""
    latest = latest_completions(relay.problem, relay.best[1] if relay.best else None)
    return sum(
        max(0, tick - job.arrival)
        for job in relay.problem.jobs
        for tick in latest[job.index]
        if tick is not None
    )
