"""Prices, local search and label search that take turns on one best plan; a part of ``exact``.

On several GPUs a fourth search plans a few of them anew, with all of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta, Struct

from pats_opt.core.prices import KEY
from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run, features
from pats_opt.errors import InputError
from pats_opt.model.problem import Problem
from pats_solvers.common.incumbent import Incumbent, trivial_outcome
from pats_solvers.common.kernel_sets import KernelSet
from pats_solvers.common.stopping import StopError
from pats_solvers.dp import Dp
from pats_solvers.dp.passes import LabelPasses, searched_batches
from pats_solvers.fleet_parts import PartSearch
from pats_solvers.primal_dual import Annealings, Ascents, Lagrangian
from pats_solvers.turns import Rounds, Turns

if TYPE_CHECKING:
    from pats_solvers.common.classes import Move

#: Share of the time left that a pass of the label search may take.
PASS = 0.5

#: Evaluations in a round of the ascent, and the share of the time left that they may take: little,
#: as it goes on where it was.
EVALUATIONS, ASCENT = 10, 0.1

#: Share of the memory that the search over a few GPUs may take, beside all of it.
PART = 0.25


class GuidedSearch(Struct, frozen=True, kw_only=True):
    """Label search, prices and local search on one best plan.

    The label search is left out where it does not apply, or turns out to be too large.

    Attributes:
        memory_gib: Memory in GiB, half for the bound's tables and half for labels.
    """

    name: ClassVar[str] = "guided"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES | {Feature.OVERLAP},
        bound=True,
        warm_start=True,
        packages=("numba",),
    )

    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 4.0

    def kernels(self, problem: Problem | None = None) -> tuple[KernelSet, ...]:
        """Return the kernels that it needs."""
        needed = Lagrangian().kernels(problem)
        if problem is None or searchable(problem):
            # A part of a fleet may be one GPU with one resident, which has kernels of its own.
            one = problem is not None and problem.site.max_resident == 1
            several = problem is not None and len(problem.site.gpus) > 1
            needed += Dp().kernels(None if one and several else problem)
        return tuple(dict.fromkeys(needed))

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Take turns until the optimum is proven, neither can go on, or a limit is reached."""
        from pats_solvers.lagrangian.bounding import bounding_of

        settled = trivial_outcome(problem)
        if settled is not None:
            return settled
        incumbent, details = Incumbent(problem, run), dict[str, Any]()
        batches: Sequence[Move] | None = ()
        try:
            if searchable(problem):
                try:
                    batches = searched_batches(problem, incumbent.over)
                except InputError as refusal:
                    details["refused by dp"] = refusal.problem
            bounding = bounding_of(incumbent, self.memory_gib / 2)
        except StopError:
            return incumbent.outcome(run.stop(), **details)
        searches: dict[str, Rounds] = {
            "ascent": Ascents(incumbent, bounding, EVALUATIONS, ASCENT),
            "local-search": Annealings(incumbent, bounding),
        }
        if batches is None or batches:
            dp = Dp(memory_gib=self.memory_gib)
            searches = {
                "dp": LabelPasses(incumbent, bounding, dp.limits, batches, PASS),
                **searches,
            }
        if len(problem.site.gpus) > 1:
            part = GuidedSearch(memory_gib=PART * self.memory_gib)
            searches["parts"] = PartSearch(incumbent, part)
        turns = Turns(incumbent, searches)
        turns.run()
        for name, taken in turns.taken.items():
            details[name] = {"turns": taken, "seconds": round(turns.seconds[name], 3)}
        details[KEY] = bounding.details()[KEY]
        return incumbent.outcome(run.stop(), **details)


def searchable(problem: Problem) -> bool:
    """Return whether the label search can state the problem."""
    return features(problem) <= Dp.capabilities.features
