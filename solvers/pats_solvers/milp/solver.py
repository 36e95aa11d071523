"""The ``milp`` solver."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta, Struct

from pats_opt.checker import TOLERANCE
from pats_opt.errors import SolverError
from pats_opt.plan import Plan
from pats_opt.problem import Problem
from pats_opt.schedule import Stop
from pats_opt.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_solvers.milp.backends import Limits, Name, backend
from pats_solvers.milp.model import Builder, Floats, Model
from pats_solvers.windows import latest_completions, safe_horizon

#: The objective is scaled so that the loss to beat is about this.
SCALE = 2.0**12


class Milp(Struct, frozen=True, kw_only=True):
    """The documents' MILP over batch shapes, time-indexed, through a MIP solver."""

    name: ClassVar[str] = "milp"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES - {Feature.RESIDENT, Feature.MIXED_BATCH}, bound=True, warm_start=True
    )

    backend: Name = "highs"
    formulation: Literal["auto", "flow", "indicator"] = "auto"
    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 4.0

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Build the model and solve it within ``run``'s limits."""
        from pats_opt.solving import valid_loss
        from pats_solvers.milp.extract import plan_at, point_of
        from pats_solvers.milp.flow import build_flow

        known = None if run.start is None else run.start[1]
        builder = Builder()
        flow = build_flow(
            problem, latest_completions(problem, known), safe_horizon(problem), builder
        )
        model = builder.build()
        scale = (
            SCALE / known if known else SCALE / max(1e-30, float(np.max(model.cost, initial=1e-30)))
        )
        scale = 2.0 ** np.floor(np.log2(scale))
        hint = None if run.start is None else point_of(problem, flow, run.start[0], len(model.cost))
        limits = Limits(
            run.seed,
            run.remaining,
            run.interrupted.is_set,
            lambda b, o: run.progress(
                None if b is None else b / scale, None if o is None else o / scale
            ),
        )
        answer = backend(self.backend)(replace(model, cost=model.cost * scale), limits, hint)
        details = {
            "columns": model.size[0],
            "rows": model.size[1],
            "nonzeros": model.size[2],
            "hint": hint is not None,
            "viol": None if hint is None else model.violation(hint),
        }
        plan, loss = run.start or (None, None)
        if answer.x is not None:
            found = plan_at(problem, flow, answer.x)
            reached = valid_loss(problem, found)
            if reached is None:
                raise SolverError("invalid plan")
            if loss is None or reached < loss:
                plan, loss = found, reached
        if answer.stop is Stop.INFEASIBLE and loss is not None:
            return Outcome(Stop.OPTIMAL, plan, loss, details)
        if answer.stop is Stop.INFEASIBLE:
            return Outcome(Stop.INFEASIBLE, details=details)
        bound = 0.0 if answer.bound is None else max(0.0, answer.bound / scale)
        if loss is not None:
            bound = min(bound, loss)
        stop = answer.stop
        if loss is not None and loss - bound <= TOLERANCE * loss:
            stop = Stop.OPTIMAL
        elif stop is Stop.OPTIMAL:
            stop = Stop.COMPLETE
        return Outcome(stop, plan, bound, details)
