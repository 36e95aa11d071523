"""Solvers of the benchmarks that the package lacks."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from pats_opt.core.registry import BUILT_IN
from pats_opt.core.solver import Capabilities, Feature, Kind, Outcome, Run
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.runs.record import Task
from pats_opt.runs.task import perform

#: The solvers by name, as the registry has its own.
RIVALS = {
    "best-online": "benchmarks.rivals:BestOnline",
    "pyjobshop": "benchmarks.pyjobshop_solver:PyJobShop",
}


class BestOnline(Struct, frozen=True, kw_only=True):
    """The online policies' schedule that other solvers start from.

    It is the best of all policies where there are more than a few requests
    (:data:`pats_opt.solving.solve.FEW_REQUESTS`), as in all benchmarks.
    """

    name: ClassVar[str] = "best-online"
    kind: ClassVar[Kind] = Kind.HEURISTIC
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=frozenset(Feature), warm_start=True
    )

    def solve(self, problem: Problem, run: Run) -> Outcome:  # noqa: ARG002 (it is in the run)
        """The start that the run was given."""
        return Outcome(StopReason.COMPLETE, run.start[0] if run.start else None)


def register() -> None:
    """Let this process find the solvers by name."""
    BUILT_IN.update(RIVALS)


def perform_any(task: Task) -> None:
    """Do a run of a solver of the package or of these."""
    register()
    perform(task)
