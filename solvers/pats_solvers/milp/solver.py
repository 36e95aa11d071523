"""Solver ``milp``: formulation, backend, and a check of every plan."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta, Struct

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.errors import CapabilityError, SolverError
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.incumbent import Incumbent, trivial_outcome
from pats_solvers.common.windows import SLACK
from pats_solvers.milp.backends import BackendLimits, BackendName, backend
from pats_solvers.milp.counting import CountingFormulation
from pats_solvers.milp.family import TimeWindows
from pats_solvers.milp.flow import FlowFormulation
from pats_solvers.milp.formulation import Formulation
from pats_solvers.milp.indicator import IndicatorFormulation
from pats_solvers.milp.loader import LoaderFormulation
from pats_solvers.milp.model import (
    UNLIMITED,
    BuildStoppedError,
    LinearModel,
    ModelBuilder,
    ModelLimits,
    ModelSize,
)

FormulationName = Literal["auto", "flow", "counting", "indicator"]

FORMULATIONS: dict[str, type[Formulation]] = {
    "flow": FlowFormulation,
    "counting": CountingFormulation,
    "indicator": IndicatorFormulation,
}

#: The objective is scaled so that the loss to beat, or the dearest column, is about this: a
#: solver's absolute tolerances are then far below what matters.
SCALE = 4096.0

#: Violations of rows up to this are rounding.
ROUND = 1e-9

#: A plan whose loss is this share of the known one, or less, has the model solved at its own scale.
FINER = 1e-4

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
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES | {Feature.OVERLAP}, bound=True, warm_start=True
    )

    backend: BackendName = "highs"
    formulation: FormulationName = "auto"
    memory_gib: Annotated[float, Meta(gt=0, le=1e6)] = 8.0

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Build the model and solve it within ``run``'s limits.

        Raises:
            InputError: The model would not fit ``memory_gib``.
            CapabilityError: The formulation cannot state the problem.
        """
        settled = trivial_outcome(problem)
        if settled is not None:
            return settled
        incumbent = Incumbent(problem, run)
        details: dict[str, Any] = {"backend": self.backend}
        try:
            known, limits = incumbent.known_loss, ModelLimits(self.memory_gib, run.stop)
            size_of(problem, known, self.formulation, limits)
            return self._solve_models(incumbent, details)
        except BuildStoppedError:
            return incumbent.outcome(**details)

    def _solve_models(self, incumbent: Incumbent, details: dict[str, Any]) -> Outcome:
        """Solve the model, and once more with a margin where tolerances break a rule."""
        known = incumbent.known_loss
        found = self._solve_model(incumbent, details, margin=0.0)
        loss = None if found.plan is None else incumbent.offer(found.plan)
        if loss is not None and known is not None and 0.0 < loss < FINER * known:
            return self._solve_models(incumbent, details)  # its tolerances were above this loss
        if found.bound is not None:
            incumbent.raise_bound(found.bound)
        if found.stop is StopReason.INFEASIBLE:  # the windows keep every better plan
            incumbent.raise_bound(math.inf)
        if loss is not None or (found.plan is None and not found.broken):
            return incumbent.outcome(found.stop, **details)
        # Tolerances let the plan break a rule: its bound holds, a plan takes another model.
        again = self._solve_model(incumbent, details, margin=MARGIN)
        if again.broken:
            return incumbent.outcome(StopReason.COMPLETE, **details)
        if again.plan is not None and incumbent.offer(again.plan) is None:
            raise SolverError(f"{self.backend} breaks a rule beyond its tolerances")
        if again.stop is StopReason.INFEASIBLE:  # with a margin it proves nothing
            return incumbent.outcome(StopReason.COMPLETE, **details)
        return incumbent.outcome(again.stop, **details)

    def _solve_model(
        self, incumbent: Incumbent, details: dict[str, Any], margin: float
    ) -> _ModelResult:
        """Build a model and solve it from the incumbent."""
        problem, run, known_loss = incumbent.problem, incumbent.run, incumbent.known_loss
        limits = ModelLimits(self.memory_gib, run.stop)
        model, stated = build(problem, self.formulation, known_loss, margin, limits)
        if known_loss is not None:
            model = model.below(known_loss * (1.0 + SLACK))
        details |= dict(zip(("columns", "rows", "nonzeros"), model.size, strict=True))
        hint = None
        if incumbent.plan is not None:
            hint = stated.point(incumbent.plan, len(model.cost))
        scale = _scale(model, known_loss)

        def progress(bound: float | None, objective: float | None) -> None:
            run.progress(
                None if bound is None or margin else max(0.0, bound / scale),
                None if objective is None else objective / scale,
            )

        scaled = replace(model, cost=model.cost * scale)
        result = backend(self.backend)(
            scaled,
            BackendLimits(run.seed, run.remaining, run.interrupted.is_set, progress),
            hint,
        )
        stop = result.stop
        if stop is StopReason.INFEASIBLE and hint is not None and not model.violation(hint) > ROUND:
            stop = StopReason.COMPLETE  # it fails at small coefficients: that proves nothing
        plan, broken = None, False
        if result.x is not None:
            try:
                plan = stated.plan(result.x)
            except SolverError:  # CBC has been seen to return a point off by 1 in some rows
                broken = True
        bound = None if result.bound is None else result.bound / scale
        return _ModelResult(stop, plan, bound, broken)


@dataclass(frozen=True, slots=True)
class _ModelResult:
    """Result of one model: stop reason, plan of the best point, and bound on the loss.

    ``broken`` says that the point is no plan at all.
    """

    stop: StopReason
    plan: Plan | None
    bound: float | None
    broken: bool


def build(
    problem: Problem,
    formulation: FormulationName = "auto",
    known_loss: float | None = None,
    margin: float = 0.0,
    limits: ModelLimits = UNLIMITED,
) -> tuple[LinearModel, Formulation]:
    """Return the model of a problem, and its columns by meaning.

    :func:`pats_solvers.milp.backends.mathopt.mathopt_model` and
    :func:`pats_solvers.milp.backends.cbc.pulp_problem` turn it into a model of these packages, to
    which you can add constraints.

    Args:
        problem: The problem.
        formulation: Name of the formulation.
        known_loss: Loss of a schedule; the model then holds only those that are no worse.
        margin: See :class:`Formulation`.
        limits: Where to stop.
    """
    builder = ModelBuilder(limits)
    windows = TimeWindows.of(problem, known_loss)
    stated = select(problem, formulation)(problem, windows, builder, margin)
    return builder.build(), stated


def select(problem: Problem, formulation: FormulationName) -> type[Formulation]:
    """Return a formulation; ``auto`` is counting with one resident adapter, else indicators.

    Raises:
        CapabilityError: It cannot state this problem.
    """
    if problem.site.channels is not None:
        if formulation not in ("auto", "indicator"):
            raise CapabilityError(
                f"formulation {formulation!r} cannot handle overlap",
                hint="leave 'formulation' out, or set it to indicator",
            )
        return LoaderFormulation
    if formulation == "auto":
        formulation = "counting" if problem.site.max_resident == 1 else "indicator"
    if formulation != "indicator" and problem.site.max_resident > 1:
        raise CapabilityError(
            f"formulation {formulation!r} cannot handle max_resident above 1",
            hint="leave 'formulation' out, or set it to indicator",
        )
    if formulation == "indicator" and problem.site.pairs:
        raise CapabilityError(
            "formulation 'indicator' cannot handle pairwise switching times",
            hint="leave 'formulation' out, or set it to flow",
        )
    return FORMULATIONS[formulation]


def size_of(
    problem: Problem,
    known_loss: float | None = None,
    formulation: FormulationName = "auto",
    limits: ModelLimits = UNLIMITED,
) -> ModelSize:
    """Return the exact size of a problem's model without building it.

    Raises:
        InputError: Its batch shapes alone are too many, or it would take too much memory.
        BuildStoppedError: It is time to stop.
    """
    size = ModelSize(limits)
    select(problem, formulation)(problem, TimeWindows.of(problem, known_loss), size)
    return size


def _scale(model: LinearModel, known_loss: float | None) -> float:
    """Return a power of two that brings the loss to about ``SCALE``."""
    size = known_loss or float(np.max(np.abs(model.cost), initial=0.0)) or SCALE
    return 2.0 ** math.floor(math.log2(SCALE / size))
