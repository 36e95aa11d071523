"""The set of kernels that every solver with prices needs."""

from __future__ import annotations

from pats_opt.core.solver import Run
from pats_solvers.common.incumbent import Incumbent
from pats_solvers.common.kernel_sets import kernel_set
from pats_solvers.common.small import small_problem
from pats_solvers.lagrangian.bounding import bounding_of


@kernel_set("lagrangian", "common")
def bound_kernels() -> None:
    """Compile the relaxation and the ascent."""
    incumbent = Incumbent(small_problem(), Run())
    bounding = bounding_of(incumbent, 1.0)
    while not (incumbent.over() or bounding.ascent.converged):
        bounding.advance(incumbent, evaluations=40, share=1.0)
