"""Kernels are compiled on first use on a machine, and kept on disk; here before any clock runs.

numba keeps what it compiled beside the source, or in the user's cache folder where that cannot be
written. Until then the first run would spend its time limit on compiling.
"""

from __future__ import annotations

from functools import cache

from pats_opt.core.solver import Run
from pats_opt.model.problem import Problem


@cache
def _tiny() -> Problem:
    """A problem that takes no time."""
    from pats_opt.generate import Recipe, generate
    from pats_opt.generate.recipe import Popularity

    return Problem(generate(Recipe(requests=4, popularity=Popularity(adapters=2)), seed=0))


@cache
def compile_relaxation() -> None:
    """The dynamic programs of :mod:`pats_solvers.lagrangian`."""
    from pats_solvers.lagrangian.bounding import Bounding

    Bounding(_tiny(), 20, 0.1).climb(1.0, 1, lambda: False)


@cache
def compile_search() -> None:
    """The search of :mod:`pats_solvers.dp`."""
    from pats_solvers.dp import Dp

    Dp(first=2, beam=2).solve(_tiny(), Run())


@cache
def compile_local_search() -> None:
    """The moves of :mod:`pats_solvers.local`."""
    from pats_solvers.lagrangian.closing import Closing

    closing = Closing(_tiny(), Run(), 0.1)
    closing.improve_schedule()


@cache
def compile_pricing() -> None:
    """The decisions of :mod:`pats_solvers.online.price_index`."""
    from pats_opt.simulate import simulate
    from pats_solvers.online.price_index import PriceIndex

    simulate(_tiny(), PriceIndex())
