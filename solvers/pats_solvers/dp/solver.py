"""The ``dp`` solver: prices, and passes with wider and wider beams, until one cuts nothing."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.prices import KEY, as_json
from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.incumbent import Incumbent, trivial_outcome

if TYPE_CHECKING:
    from pats_solvers.dp.model import CostToGo
    from pats_solvers.lagrangian.bounding import Bounding

#: Beam of the opening pass, which finds the first schedule.
OPENING = 3

#: How much wider each pass's beam is than the last one's.
WIDER = 5

#: Batches tried for each label and adapter in a pass that is not expected to prove anything.
FEW = 3

#: Evaluations of the relaxation before the first pass, and at least before each later one.
EVALUATIONS, LEAST_EVALUATIONS = 30, 5

#: Steps of the relaxation's dynamic programs that take as long as looking at one batch, about.
STEPS = 1500


class Dp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exact dynamic program over batch sequences, for one GPU with one resident adapter.

    Jobs that differ in arrival only are served first come, first served, so a state is a count
    per class of jobs and the adapter held; sequences that reach it are compared by time and loss.
    What is left of a sequence is bounded by pricing the GPU's time (see ``lagrangian``), which
    leaves few sequences worth going on with. Passes with a beam give good schedules early; each is
    wider than the last one, at better prices, and the one that cuts nothing proves the optimum.

    Args:
        first: Labels a layer in the first pass after a narrow opening one.
        beam: The widest beam, in labels a layer; the default widens until the optimum is proven.
        memory_gib: Memory in GiB, half for the bound's tables and half for labels. Where the
            tables would take more, they get coarser, which weakens the bound.
    """

    name: ClassVar[str] = "dp"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES
        - {Feature.GPUS, Feature.RESIDENT, Feature.MIXED_BATCH, Feature.ACTIVATE},
        bound=True,
        warm_start=True,
        packages=("numba",),
    )

    first: Annotated[int, Meta(ge=1, le=10**9)] = 20
    beam: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 4.0

    def prepare(self, _: Problem | None = None) -> None:
        """Compile the kernels."""
        _compile()

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Raise the prices and widen the beam until the optimum is proven or a limit is reached."""
        from pats_solvers.dp.search import PricedSearch
        from pats_solvers.lagrangian.bounding import bounding_of
        from pats_solvers.lagrangian.exchange import StopError

        settled = trivial_outcome(problem)
        if settled is not None:
            return settled
        incumbent = Incumbent(problem, run)
        try:
            bounding = bounding_of(incumbent, self.memory_gib / 2)
        except StopError:
            return incumbent.outcome()
        search: PricedSearch | None = None
        passes, stop, evaluations = [], None, EVALUATIONS
        beam, few = OPENING, FEW
        while stop is None and not incumbent.over():
            if search is None or not bounding.ascent.converged:
                bounding.advance(incumbent, evaluations)
                if incumbent.over():
                    break
                tables = _tables(bounding, self.memory_gib / 2)
                search = PricedSearch(problem, tables, search)
            most = max(1, int(self.memory_gib / 2 * 2**30 / search.label_bytes))
            widest = most if self.beam is None else min(most, self.beam)
            beam = min(beam, widest)
            done = search.run(
                incumbent.loss,
                run.stop,
                beam=beam,
                few=few,
                most=most,
                bounds=incumbent.raise_bound,
            )
            passes.append({"beam": beam, "few": few, "labels": done.labels, "batches": done.looks})
            if done.batches is not None:
                incumbent.offer(Plan((done.batches,)))
            incumbent.raise_bound(min(done.bound, incumbent.loss))
            # Where the beam cut most layers, a wider one will cut too: no need to try every batch.
            crowded = 2 * done.labels > beam * len(problem.jobs)
            if beam == widest and few == 0 and done.batches is None:
                stop = StopReason.COMPLETE if self.beam is not None else StopReason.MEMORY_LIMIT
            if beam == widest or (few > 0 and not crowded):
                few = 0
            else:
                beam, few = max(self.first, beam * WIDER), FEW if crowded else 0
            # The next prices may cost as much as the last pass did.
            evaluations = int(done.looks * STEPS / _steps(bounding))
            evaluations = max(LEAST_EVALUATIONS, min(EVALUATIONS, evaluations))
        details: dict[str, Any] = {"evaluations": bounding.evaluations, "passes": passes}
        details[KEY] = as_json(bounding.prices())
        if search is not None:
            details |= {"states": search.states, "moves": len(search.data.batches)}
        return incumbent.outcome(run.stop() or stop, **details)


def _steps(bounding: Bounding) -> int:
    """Steps of the dynamic programs in one evaluation."""
    subproblems = bounding.ascent.relaxation.subproblems
    return max(
        1,
        sum(
            subproblem.ticks * len(subproblem.moves) * subproblem.size for subproblem in subproblems
        ),
    )


def _tables(bounding: Bounding, memory_gib: float) -> CostToGo:
    """Tables at the present prices, with fewer distinct backlogs if memory is short."""
    from pats_solvers.dp.model import tables_at, tables_bytes
    from pats_solvers.lagrangian.relaxation import Relaxation

    coarse, flat = bounding.ascent.relaxation, bounding.ascent.prices
    relaxation, states = coarse, 0
    while tables_bytes(relaxation.subproblems) > memory_gib * 2**30 and states != 1:
        states = max(1, max(subproblem.size for subproblem in relaxation.subproblems) // 4)
        relaxation = Relaxation(
            bounding.problem, bounding.end, states=states, grain=relaxation.grain
        )
    return tables_at(relaxation, relaxation.carried(coarse, flat))


@cache
def _compile() -> None:
    from pats_solvers.common.small import small_problem

    Dp(first=2, beam=2).solve(small_problem(), Run())
