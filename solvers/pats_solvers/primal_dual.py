"""The ``lagrangian`` solver: prices raise the bound, and guide a local search for schedules."""

from __future__ import annotations

import itertools
import math
import time
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.model.problem import Problem
from pats_solvers.common.incumbent import Incumbent, trivial_outcome
from pats_solvers.common.kernel_sets import KernelSet
from pats_solvers.common.stopping import StopError

if TYPE_CHECKING:
    import numpy as np

    from pats_solvers.lagrangian.bounding import Bounding
    from pats_solvers.turns import Rounds

#: Length of the first annealing: at least so many rounds, and this share of the jobs. One that
#: finds nothing better is followed by one twice as long.
ROUNDS, ROUNDS_SHARE = 5, 0.25

#: Evaluations of the relaxation in a round, and the share of the time left that they, or an
#: annealing, may take.
EVALUATIONS, SHARE = 40, 0.35

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

    def kernels(self, _: Problem | None = None) -> tuple[KernelSet, ...]:
        """Return the kernels that it needs."""
        from pats_solvers.lagrangian.prepared import bound_kernels
        from pats_solvers.local.solver import annealing

        return (bound_kernels, annealing) if self.schedule else (bound_kernels,)

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Raise the bound and lower the loss in turn, until they meet or neither moves."""
        from pats_solvers.lagrangian.bounding import bounding_of

        settled = trivial_outcome(problem)
        if settled is not None:
            return settled
        incumbent = Incumbent(problem, run)
        try:
            bounding = bounding_of(incumbent, self.memory_gib)
        except StopError:
            return incumbent.outcome()
        searches: list[Rounds] = [Ascents(incumbent, bounding, EVALUATIONS, SHARE)]
        if self.schedule:
            searches.append(Annealings(incumbent, bounding))
        while not (incumbent.over() or all(search.ended for search in searches)):
            for search in searches:
                search.advance()
        return incumbent.outcome(**bounding.details())


class Ascents:
    """Rounds that raise the bound, on finer and finer relaxations.

    Args:
        incumbent: Best plan and bound.
        bounding: The prices.
        evaluations: Evaluations in a round.
        share: Share of the time left that they may take.

    Attributes:
        ended: Whether the prices have settled on the finest relaxation.
    """

    def __init__(
        self, incumbent: Incumbent, bounding: Bounding, evaluations: int, share: float
    ) -> None:
        self.ended = False
        self._incumbent, self._bounding = incumbent, bounding
        self._evaluations, self._share = evaluations, share

    def advance(self) -> None:
        """Do a round."""
        ascent = self._bounding.ascent
        settled = ascent.converged
        self._bounding.advance(self._incumbent, self._evaluations, self._share)
        self.ended = settled and self._bounding.ascent is ascent


class Annealings:
    """Rounds of a local search at the present prices, each twice as long as the last one.

    Attributes:
        ended: Whether several rounds in a row were in vain, at prices that have settled.
    """

    def __init__(self, incumbent: Incumbent, bounding: Bounding) -> None:
        from numpy.random import default_rng

        self.ended = False
        self._incumbent, self._bounding = incumbent, bounding
        self._rng = default_rng(incumbent.run.seed)
        self._rounds = max(ROUNDS, int(ROUNDS_SHARE * len(incumbent.problem.jobs)))
        self._idle = 0

    def advance(self) -> None:
        """Do a round."""
        better = improve_schedule(self._incumbent, self._bounding, self._rng, self._rounds)
        self._idle, self._rounds = 0 if better else self._idle + 1, 2 * self._rounds
        self.ended = self._idle >= PATIENCE and self._bounding.ascent.converged


def improve_schedule(
    incumbent: Incumbent, bounding: Bounding, rng: np.random.Generator, rounds: int
) -> bool:
    """Anneal the incumbent at the present prices, and return whether that improved it."""
    from pats_solvers.local.improve import improve

    before, began, left = incumbent.loss, time.monotonic(), incumbent.run.remaining()
    seconds = math.inf if left is None else max(1e-9, SHARE * left)
    done = itertools.count()

    def progress() -> float | None:
        """Return the share of the rounds that is over, or of the time where that is more."""
        share = max(next(done) / rounds, (time.monotonic() - began) / seconds)
        return None if share >= 1.0 or incumbent.over() else share

    plan = improve(incumbent.problem, incumbent.plan, rng, progress, prices=bounding.hold_prices())
    if plan is not None:
        incumbent.offer(plan)
    return incumbent.loss < before
