"""The ``milp`` solver: windows, model, backend, and a check before its plan is believed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct

from pats_opt.core.solver import Capabilities, Kind, Outcome, Run
from pats_opt.errors import SolverError
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.bounds import combinatorial_bound
from pats_solvers.common.incumbent import Incumbent, trivial_outcome
from pats_solvers.milp.backends import backend
from pats_solvers.milp.contract import Answer, Limits, Name
from pats_solvers.milp.family import Windows
from pats_solvers.milp.formulations import Formulation, chosen
from pats_solvers.milp.model import Builder, Floats, Model
from pats_solvers.milp.size import refuse_too_large, size_of

#: The objective is scaled so that the loss to beat, or the dearest column, is about this: a
#: solver's absolute tolerances are then far below what matters.
SCALE = 4096.0

#: Share of the room and of a tick that is left unused where tolerances broke a rule.
MARGIN = 1e-5


class Milp(Struct, frozen=True, kw_only=True):
    """The documents' MILP over batch shapes, time-indexed, through a MIP solver.

    Attributes:
        backend: HiGHS or SCIP through OR-Tools MathOpt, or CBC through PuLP.
        formulation: ``flow``, ``counting`` (flow with a stronger bound) or ``indicator``: see the
            modules of these names.
        memory_gib: A model that would take more GiB than this is refused.
    """

    name: ClassVar[str] = "milp"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(bound=True, warm_start=True)

    backend: Name = "highs"
    formulation: Formulation = "auto"
    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 8.0

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Build the model and solve it within ``run``'s limits.

        Raises:
            InputError: The model would not fit ``memory_gib``.
            CapabilityError: The formulation asked for cannot state the problem.
        """
        settled = trivial_outcome(problem)
        if settled is not None:
            return settled
        incumbent = Incumbent(problem, run, combinatorial_bound(problem))
        size = size_of(problem, incumbent.known_loss, self.formulation)
        refuse_too_large(size, self.memory_gib)
        details: dict[str, Any] = {"backend": self.backend}
        found = self._attempt(incumbent, details, margin=0.0)
        if found.bound is not None:
            incumbent.raise_bound(found.bound)
        if found.stop is StopReason.INFEASIBLE:  # nor does the model hold a plan to be better
            incumbent.raise_bound(math.inf)
        if found.plan is None or incumbent.offer(found.plan) is not None:
            return incumbent.outcome(found.stop, **details)
        # Tolerances let the plan break a rule: its bound holds, a plan takes another model.
        again = self._attempt(incumbent, details, margin=MARGIN)
        if again.plan is not None and incumbent.offer(again.plan) is None:
            raise SolverError(f"{self.backend} breaks a rule beyond its tolerances")
        if again.stop is StopReason.INFEASIBLE:  # with a margin it proves nothing
            return incumbent.outcome(StopReason.COMPLETE, **details)
        return incumbent.outcome(again.stop, **details)

    def _attempt(self, incumbent: Incumbent, details: dict[str, Any], margin: float) -> _Attempt:
        """Build one model and solve it from the incumbent."""
        problem, known_loss = incumbent.problem, incumbent.known_loss
        written = chosen(problem, self.formulation)
        builder = Builder()
        columns = written.write(problem, Windows.of(problem, known_loss), builder, margin)
        model = builder.build()
        hint = None
        if incumbent.plan is not None:
            hint = written.point(problem, columns, incumbent.plan, len(model.cost))
        details |= dict(zip(("columns", "rows", "nonzeros"), model.size, strict=True))
        scale = _scale(model, known_loss)
        answer = _solved(self.backend, model, scale, incumbent.run, hint, proves=margin == 0.0)
        return _Attempt(
            stop=answer.stop,
            plan=None if answer.x is None else written.plan(problem, columns, answer.x),
            bound=None if answer.bound is None else answer.bound / scale,
        )


@dataclass(frozen=True, slots=True)
class _Attempt:
    """Why the backend stopped, the plan of its best point, and its bound on the loss."""

    stop: StopReason
    plan: Plan | None
    bound: float | None


def _scale(model: Model, known: float | None) -> float:
    """A power of two that brings the loss to about ``SCALE``."""
    size = known or float(np.max(np.abs(model.cost), initial=0.0)) or SCALE
    return 2.0 ** math.floor(math.log2(SCALE / size))


def _solved(
    name: Name, model: Model, scale: float, run: Run, hint: Floats | None, *, proves: bool
) -> Answer:
    """Solve the model with its cost scaled; its bounds are reported where they prove something."""

    def progress(bound: float | None, objective: float | None) -> None:
        run.progress(
            None if bound is None or not proves else max(0.0, bound / scale),
            None if objective is None else objective / scale,
        )

    limits = Limits(run.seed, run.remaining, run.interrupted.is_set, progress)
    return backend(name)(replace(model, cost=model.cost * scale), limits, hint)
