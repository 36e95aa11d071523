"""The ``dp`` solver: prices, and passes with wider and wider beams, until one cuts nothing."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct

from pats_opt.core.prices import KEY, as_json
from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.model.problem import Problem
from pats_solvers.common.incumbent import Incumbent, trivial_outcome
from pats_solvers.common.kernel_sets import KernelSet, kernel_set
from pats_solvers.common.stopping import StopError
from pats_solvers.dp.passes import LabelPasses, PassLimits, alone, searched_batches


class Dp(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exact dynamic program over batch sequences, on any GPUs with any residents.

    Jobs that differ in arrival only are served first come, first served, so a state is a count
    per class of jobs, and what each GPU holds; sequences that reach it are compared by time and
    loss.
    What is left of a sequence is bounded by pricing the GPU's time (see ``lagrangian``), which
    leaves few sequences worth going on with. Passes with a beam give good schedules early; each is
    wider than the last one, at better prices, and the one that cuts nothing proves the optimum.
    With several GPUs or residents, sequences are of all that GPUs do, by time. Where batches are
    too many to list, only those are that a better schedule can have, or patterns of batches are
    tried, which prove nothing.

    Args:
        first: Labels a layer in the first pass after a narrow opening one.
        beam: The widest beam, in labels a layer; the default widens until the optimum is proven.
        memory_gib: Memory in GiB, half for the bound's tables and half for labels. Where the
            tables would take more, they get coarser, which weakens the bound.
    """

    name: ClassVar[str] = "dp"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES - {Feature.MIXED_BATCH},
        bound=True,
        warm_start=True,
        packages=("numba",),
    )

    first: Annotated[int, Meta(ge=1, le=10**9)] = 20
    beam: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 4.0

    @property
    def limits(self) -> PassLimits:
        """Limits of the passes."""
        return PassLimits(self.first, self.beam, self.memory_gib)

    def kernels(self, problem: Problem | None = None) -> tuple[KernelSet, ...]:
        """Return the kernels that it needs; all of them where there is no problem."""
        from pats_solvers.lagrangian.prepared import bound_kernels

        if problem is None:
            return bound_kernels, fleet, one_gpu  # the longest ones first
        return bound_kernels, one_gpu if alone(problem) else fleet

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Raise the prices and widen the beam until the optimum is proven or a limit is reached."""
        from pats_solvers.lagrangian.bounding import bounding_of

        settled = trivial_outcome(problem)
        if settled is not None:
            return settled
        incumbent = Incumbent(problem, run)
        try:
            batches = searched_batches(problem, incumbent.over)
            bounding = bounding_of(incumbent, self.memory_gib / 2)
        except StopError:
            return incumbent.outcome()
        passes = LabelPasses(incumbent, bounding, self.limits, batches)
        while not (incumbent.over() or passes.ended):
            passes.advance()
        details: dict[str, Any] = {"evaluations": bounding.evaluations, **passes.details()}
        details[KEY] = as_json(bounding.prices())
        return incumbent.outcome(run.stop() or passes.stop, **details)


@kernel_set("dp", "lagrangian", "common")
def one_gpu() -> None:
    """Compile the search on one GPU with one resident."""
    from pats_solvers.common.small import small_problem
    from pats_solvers.dp.model import latest_by_job, tables_at
    from pats_solvers.lagrangian.relaxation import Relaxation

    problem = small_problem()
    Dp(first=2, beam=2).solve(problem, Run())
    lanes = Relaxation(problem, 10, states=1, lanes=True)
    latest_by_job(problem, tables_at(lanes, np.zeros(lanes.dimension)), 0.0)


@kernel_set("dp/fleet", "dp", "lagrangian", "common")
def fleet() -> None:
    """Compile the search on several GPUs or residents."""
    from pats_solvers.common.small import small_problem

    Dp(first=2, beam=2).solve(small_problem(gpus=2), Run())
