"""The ``local-search`` solver: annealings, each twice as long as the last one."""

from __future__ import annotations

import math
import time
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.solver import Capabilities, Kind, Outcome, Run
from pats_opt.errors import InputError
from pats_opt.model.checker import valid_loss
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers import compiling

#: Rounds of the first annealing: this share of the jobs, and at least so many.
FIRST_SHARE, FIRST_LEAST = 0.25, 5

#: Share of the time that the prices may take.
PRICING = 0.15


class LocalSearch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Good schedules for every feature, without a bound.

    Starts from the best online policy's schedule. A move takes some adapters out of a window of
    time and inserts each again by a dynamic program over the free time, at the dual prices of
    ``lagrangian`` so that it leaves room for the others; smaller moves merge, split and shift
    batches. Worse schedules are accepted as in simulated annealing. Each annealing is twice as long
    as the last one; the search ends when some of them in a row have found nothing better.

    Where one resident cannot be told from the others (several residents, mixed batches) the dynamic
    program guesses what is evicted, and inserts batches of one adapter; every schedule is timed by
    the rules all the same.

    Args:
        patience: Annealings without a better schedule after which it ends.
        evaluations: Evaluations of the relaxation that make the prices; 0 does without.
    """

    name: ClassVar[str] = "local-search"
    kind: ClassVar[Kind] = Kind.HEURISTIC
    capabilities: ClassVar[Capabilities] = Capabilities(warm_start=True, packages=("numba",))

    patience: Annotated[int, Meta(ge=1, le=1000)] = 4
    evaluations: Annotated[int, Meta(ge=0, le=100_000)] = 120

    def prepare(self, _: Problem | None = None) -> None:
        """Compile the kernels."""
        compiling.compile_relaxation()
        compiling.compile_local_search()

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Anneal until nothing better is found for long, or a limit is reached."""
        import numpy as np

        from pats_solvers.local.improve import improve

        plan, loss = run.start if run.start is not None else (None, math.inf)
        rng = np.random.default_rng(run.seed)
        prices, bound = self._prices(problem, run, plan, loss)
        rounds = max(FIRST_LEAST, int(FIRST_SHARE * len(problem.jobs)))
        idle, annealings = 0, 0
        while run.stop() is None and idle < self.patience and not _met(loss, bound):
            clock = _Clock(run, rounds)
            found = improve(problem, plan, rng, clock, prices=prices, better=_telling(run, loss))
            annealings, rounds = annealings + 1, 2 * rounds
            value = math.inf if found is None else _loss(problem, found)
            idle = 0 if value < loss - 1e-9 * abs(value) else idle + 1
            if value < loss:
                plan, loss = found, value
        stop = run.stop() or StopReason.COMPLETE
        return Outcome(stop, plan, None, {"annealings": annealings})

    def _prices(self, problem: Problem, run: Run, plan: Plan | None, loss: float) -> Any:
        """Dual prices from a short ascent and the bound they prove, for when to stop."""
        from pats_solvers.lagrangian.closing import Closing

        if not self.evaluations or not problem.jobs or not problem.site.gpus:
            return None, 0.0
        left = run.remaining()
        short = Run(seed=run.seed, start=None if plan is None else (plan, loss))
        short.interrupted = run.interrupted
        short.time_limit = None if left is None else PRICING * left
        try:
            closing = Closing(problem, short, memory_gib=2.0)
        except InputError:  # too large to be priced
            return None, 0.0
        while closing.bounding.evaluations < self.evaluations and not closing.over():
            before = closing.bounding.evaluations
            closing.raise_bound()
            if closing.bounding.evaluations == before:
                break
        prices = closing.prices()
        if not len(prices) or closing.infeasible:
            return None, 0.0
        return prices, closing.bound


class _Clock:
    """Share of an annealing that is over: of its rounds, or of the time left where that is less."""

    def __init__(self, run: Run, rounds: int) -> None:
        self.run, self.rounds, self.done = run, rounds, 0
        self.began, self.left = time.monotonic(), run.remaining()

    def __call__(self) -> float | None:
        """The share, or None where it is to end."""
        if self.run.stop() is not None or self.done >= self.rounds:
            return None
        share = self.done / self.rounds
        if self.left:
            share = max(share, (time.monotonic() - self.began) / self.left)
        self.done += 1
        return min(share, 1.0)


def _telling(run: Run, known: float) -> Any:
    """Reports better losses as they are found."""

    def tell(loss: float) -> None:
        if loss < known:
            run.progress(None, loss)

    return tell


def _loss(problem: Problem, plan: Plan) -> float:
    loss = valid_loss(problem, plan)
    return math.inf if loss is None else loss


def _met(loss: float, bound: float) -> bool:
    """Whether no better schedule exists."""
    return loss - bound <= 1e-9 * max(1.0, loss)
