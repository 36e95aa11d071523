"""The ``local-search`` solver: annealings, each twice as long as the last one."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Annotated, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.common.kernel_sets import KernelSet, kernel_set
from pats_solvers.common.stopping import StopError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Rounds of the first annealing: this share of the jobs, and at least so many.
FIRST_SHARE, FIRST_LEAST = 0.25, 5

#: Share of the time that the prices may take.
PRICING = 0.15

#: Evaluations before prices may get finer, and the share of their time that they may take.
EVALUATIONS, SHARE = 40, 0.35


class LocalSearch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Good schedules for every feature, without a bound.

    Starts from the best online policy's schedule. A move takes some adapters out of a window of
    time and inserts each again by a dynamic program over the free time, at the dual prices of
    ``lagrangian`` so that it leaves room for the others; smaller moves merge, split and shift
    batches. Worse schedules are accepted as in simulated annealing. Each annealing is twice as long
    as the last one; the search ends when some of them in a row have found nothing better.

    Where one resident cannot be told from the others (several residents, mixed batches) the dynamic
    program guesses what is evicted, and inserts batches of one adapter; every schedule is timed by
    the rules all the same. Loads beside serving are issued in the order of the batches that need
    them; moves change what is evicted.

    Args:
        patience: Annealings without a better schedule after which it ends.
        evaluations: Evaluations of the relaxation that make the prices; 0 does without.
    """

    name: ClassVar[str] = "local-search"
    kind: ClassVar[Kind] = Kind.HEURISTIC
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES | {Feature.OVERLAP}, warm_start=True, packages=("numba",)
    )

    patience: Annotated[int, Meta(ge=1, le=1000)] = 4
    evaluations: Annotated[int, Meta(ge=0, le=100_000)] = 120

    def kernels(self, _: Problem | None = None) -> tuple[KernelSet, ...]:
        """Return the kernels that it needs."""
        if not self.evaluations:
            return (annealing,)
        from pats_solvers.lagrangian.prepared import bound_kernels

        return annealing, bound_kernels

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Anneal until nothing better is found for long, or a limit is reached."""
        from numpy.random import default_rng

        from pats_solvers.local.improve import improve

        incumbent = Incumbent(problem, run, bound=-math.inf)
        rng = default_rng(run.seed)
        prices, bound = self._prices(incumbent)
        rounds = max(FIRST_LEAST, int(FIRST_SHARE * len(problem.jobs)))
        idle, annealings = 0, 0
        while run.stop() is None and idle < self.patience and not _met(incumbent, bound):
            clock, before = _Clock(run, rounds), incumbent.loss
            found = improve(
                problem,
                incumbent.plan,
                rng,
                clock,
                prices=prices,
                better=lambda loss: incumbent.report(loss=loss),
            )
            annealings, rounds = annealings + 1, 2 * rounds
            loss = None if found is None else incumbent.offer(found)
            idle = 0 if loss is not None and loss < before - 1e-9 * abs(loss) else idle + 1
        return incumbent.outcome(annealings=annealings)

    def _prices(self, incumbent: Incumbent) -> tuple[NDArray[np.float64] | None, float]:
        """Return dual prices from a short ascent, and the bound that they prove."""
        from pats_solvers.lagrangian.bounding import bounding_of

        problem, run = incumbent.problem, incumbent.run
        if not self.evaluations or not problem.jobs or not problem.site.gpus:
            return None, 0.0
        left = run.remaining()
        short = Run(time_limit=None if left is None else PRICING * left, start=incumbent.start)
        short.interrupted = run.interrupted
        priced = Incumbent(problem, short)
        try:
            bounding = bounding_of(priced, memory_gib=2.0)
        except (InputError, StopError):  # too large to be priced, or in this time
            return None, 0.0
        before = -1
        while before < bounding.evaluations < self.evaluations and not priced.over():
            before = bounding.evaluations
            bounding.advance(priced, EVALUATIONS, SHARE)
        prices = bounding.hold_prices()
        if not len(prices) or math.isinf(priced.bound):
            return None, 0.0
        return prices, priced.bound


@kernel_set("local", "common")
def annealing() -> None:
    """Compile the local search."""
    from pats_solvers.common.small import small_problem

    LocalSearch(patience=1, evaluations=0).solve(small_problem(), Run())


class _Clock:
    """Share of an annealing that is over: of its rounds, or of the time left where that is less."""

    def __init__(self, run: Run, rounds: int) -> None:
        self.run, self.rounds, self.done = run, rounds, 0
        self.began, self.left = time.monotonic(), run.remaining()

    def __call__(self) -> float | None:
        """Return the share, or None where it is to end."""
        if self.run.stop() is not None or self.done >= self.rounds:
            return None
        share = self.done / self.rounds
        if self.left:
            share = max(share, (time.monotonic() - self.began) / self.left)
        self.done += 1
        return min(share, 1.0)


def _met(incumbent: Incumbent, bound: float) -> bool:
    """Return whether no better schedule exists."""
    loss = incumbent.loss
    return incumbent.plan is not None and loss - bound <= 1e-9 * loss
