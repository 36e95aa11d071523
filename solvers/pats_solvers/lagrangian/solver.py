"""The ``lagrangian`` solver: a certified bound, prices, and a schedule to go with them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.solver import Capabilities, Kind, Outcome, Run
from pats_opt.model.problem import Problem
from pats_solvers import compiling


class Lagrangian(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lower bound by pricing GPU time, with a schedule found by local search at these prices.

    The price of a tick makes adapters leave the GPU to those that need it more; then each
    adapter is a problem of its own, solved exactly by a compiled dynamic program. The sum of their
    values is a bound at any prices; an ascent finds prices that make it high. Several GPUs,
    residency above one, and unequal memory have prices of their own.

    Where the bound is weaker than the method could be: jobs of one adapter that differ in so much
    that backlogs could not be told apart are taken for the easiest of their kind (many priced
    deadlines, individual qualities or demands); adapters of a mixed batch each pay for their part
    of it only; memory is looked at adapter by adapter, residents of others left out; a step-time
    table that falls with the batch's size is taken at its lowest.

    Args:
        memory_gib: Memory for the dynamic programs, in GiB. Where they would take more,
            ticks are taken together, which weakens the bound; where that does not help,
            the problem is refused with the estimate.
        schedule: Whether to look for schedules; else all the time goes to the bound.
    """

    name: ClassVar[str] = "lagrangian"
    kind: ClassVar[Kind] = Kind.BOUND
    capabilities: ClassVar[Capabilities] = Capabilities(
        bound=True, warm_start=True, packages=("numba",)
    )

    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 2.0
    schedule: bool = True

    def prepare(self, _: Problem | None = None) -> None:
        """Compile the kernels."""
        compiling.compile_relaxation()
        if self.schedule:
            compiling.compile_local_search()

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Raise the bound and lower the loss in turn, until they meet or neither moves."""
        from pats_solvers.lagrangian.closing import Closing
        from pats_solvers.lagrangian.trivial import trivial

        settled = trivial(problem)
        if settled is not None:
            return settled
        closing = Closing(problem, run, self.memory_gib)
        while not closing.over() and not closing.hopeless:
            closing.raise_bound()
            if self.schedule:
                closing.improve_schedule()
            elif closing.bounding.ascent.converged and not closing.bounding.refine():
                break
        return closing.outcome(closing.bounding.details())
