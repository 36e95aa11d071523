"""The ``lagrangian`` solver: prices raise the bound, and guide a local search for schedules."""

from __future__ import annotations

import itertools
from functools import cache
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.model.problem import Problem
from pats_solvers.common.incumbent import Incumbent, trivial_outcome

if TYPE_CHECKING:
    import numpy as np

    from pats_solvers.lagrangian.bounding import Bounding

#: Length of the first annealing: at least so many rounds, and this share of the jobs. One that
#: finds nothing better is followed by one twice as long.
ROUNDS, ROUNDS_SHARE = 5, 0.25

#: Annealings without a better schedule, the bound having converged, after which the search ends.
PATIENCE = 4


class Lagrangian(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lower bound by pricing GPU time, with a schedule found by local search at these prices.

    The price of a tick makes adapters leave the GPU to those that need it more; then each
    adapter is a problem of its own, solved exactly by a compiled dynamic program. The sum of their
    values is a bound at any prices; an ascent finds prices that make it high. Several GPUs,
    residency above one, and unequal memory have prices of their own.

    Where the bound is weaker than the method could be: jobs of one adapter that differ in so much
    that backlogs could not be told apart are counted together, and prices of their options tell
    them apart on average (many priced deadlines, individual weights, qualities or demands);
    adapters of a mixed batch each pay for their part of it only; memory is looked at adapter by
    adapter, residents of others left out; a step-time table that falls with the batch's size is
    taken at its lowest.

    Args:
        memory_gib: Memory for the dynamic programs, in GiB. Where they would take more,
            ticks are taken together, which weakens the bound; where that does not help,
            the problem is refused with the estimate.
        schedule: Whether to look for schedules; else all the time goes to the bound.
    """

    name: ClassVar[str] = "lagrangian"
    kind: ClassVar[Kind] = Kind.BOUND
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES | {Feature.OVERLAP},
        bound=True,
        warm_start=True,
        packages=("numba",),
    )

    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 2.0
    schedule: bool = True

    def prepare(self, _: Problem | None = None) -> None:
        """Compile the kernels."""
        _compile(self.schedule)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Raise the bound and lower the loss in turn, until they meet or neither moves."""
        from numpy.random import default_rng

        from pats_solvers.lagrangian.bounding import bounding_of
        from pats_solvers.lagrangian.exchange import StopError

        settled = trivial_outcome(problem)
        if settled is not None:
            return settled
        incumbent = Incumbent(problem, run)
        try:
            bounding = bounding_of(incumbent, self.memory_gib)
        except StopError:
            return incumbent.outcome()
        rng = default_rng(run.seed)
        rounds, idle = max(ROUNDS, int(ROUNDS_SHARE * len(problem.jobs))), 0
        while not incumbent.over() and not (idle >= PATIENCE and bounding.ascent.converged):
            bounding.advance(incumbent)
            if self.schedule:
                better = improve_schedule(incumbent, bounding, rng, rounds)
                idle, rounds = (0, rounds) if better else (idle + 1, 2 * rounds)
            elif bounding.ascent.converged and not bounding.refine():
                break
        return incumbent.outcome(**bounding.details())


@cache
def _compile(schedule: bool) -> None:
    from pats_solvers.common.small import small_problem

    Lagrangian(schedule=schedule).solve(small_problem(), Run())


def improve_schedule(
    incumbent: Incumbent, bounding: Bounding, rng: np.random.Generator, rounds: int
) -> bool:
    """Anneal the incumbent at the present prices, and return whether that improved it."""
    from pats_solvers.lagrangian.bounding import share_over
    from pats_solvers.local.improve import improve

    over, before = share_over(incumbent.run), incumbent.loss
    done = itertools.count()

    def progress() -> float | None:
        if over() or incumbent.over():
            return None
        share = next(done) / rounds
        return None if share >= 1.0 else share

    plan = improve(incumbent.problem, incumbent.plan, rng, progress, prices=bounding.hold_prices())
    if plan is not None:
        incumbent.offer(plan)
    return incumbent.loss < before
