"""The ``milp`` solver: windows, model, backend, and a check before its plan is believed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from msgspec import Meta, Struct

from pats_opt.core.solver import Capabilities, Kind, Outcome, Run
from pats_opt.errors import SolverError
from pats_opt.model.checker import TOLERANCE, valid_loss
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.milp.backends import backend
from pats_solvers.milp.contract import Answer, Limits, Name
from pats_solvers.milp.family import Windows
from pats_solvers.milp.formulations import Formulation, chosen
from pats_solvers.milp.model import Builder, Model
from pats_solvers.milp.size import refuse_too_large, size_of
from pats_solvers.windows import least_loss, least_switching

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
        start = run.start
        if not problem.jobs:
            return Outcome(StopReason.OPTIMAL, Plan(tuple(() for _ in problem.site.gpus)), 0.0)
        size = size_of(problem, None if start is None else start[1], self.formulation)
        refuse_too_large(size, self.memory_gib)
        details: dict[str, Any] = {"backend": self.backend}
        attempt = _attempt(self, problem, run, details, 0.0)
        if attempt.invalid:  # tolerances: its bound holds, a plan takes another model
            again = _attempt(self, problem, run, details, MARGIN)
            if again.invalid:
                raise SolverError(f"{self.backend} breaks a rule beyond its tolerances")
            stop = (
                StopReason.COMPLETE if again.infeasible else again.stop
            )  # a margin proves nothing
            attempt = replace(again, stop=stop, bound=attempt.bound, infeasible=False)
        return _outcome(attempt, start, details)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What one model gave: the best plan with its loss, the start's included, and a bound."""

    stop: StopReason
    best: tuple[Plan, float] | None
    bound: float
    invalid: bool
    infeasible: bool


def _attempt(
    milp: Milp, problem: Problem, run: Run, details: dict[str, Any], margin: float
) -> _Attempt:
    """Build and solve one model."""
    start = run.start
    known = None if start is None else start[1]
    written = chosen(problem, milp.formulation)
    builder = Builder()
    columns = written.write(problem, Windows.of(problem, known), builder, margin)
    model = builder.build()
    hint = written.point(problem, columns, start[0], len(model.cost)) if start else None
    details |= dict(zip(("columns", "rows", "nonzeros"), model.size, strict=True))
    scale = _scale(model, known)
    answer = _solved(milp.backend, model, scale, run, hint)
    least = math.fsum(least_loss(problem, job) for job in problem.jobs)
    bound = least + least_switching(problem)
    if answer.bound is not None:
        bound = max(bound, answer.bound / scale)
    best, invalid = start, False
    if answer.x is not None:
        plan = written.plan(problem, columns, answer.x)
        loss = valid_loss(problem, plan)
        invalid = loss is None
        if loss is not None and (best is None or loss < best[1]):
            best = plan, loss
    return _Attempt(answer.stop, best, bound, invalid, answer.stop is StopReason.INFEASIBLE)


def _scale(model: Model, known: float | None) -> float:
    """A power of two that brings the loss to about ``SCALE``."""
    size = known or float(np.max(np.abs(model.cost), initial=0.0)) or SCALE
    return 2.0 ** math.floor(math.log2(SCALE / size))


def _solved(name: Name, model: Model, scale: float, run: Run, hint: Any) -> Answer:
    """The backend's answer to the model with its cost scaled."""

    def progress(bound: float | None, objective: float | None) -> None:
        run.progress(
            None if bound is None else max(0.0, bound / scale),
            None if objective is None else objective / scale,
        )

    limits = Limits(run.seed, run.remaining, run.interrupted.is_set, progress)
    return backend(name)(replace(model, cost=model.cost * scale), limits, hint)


def _outcome(
    attempt: _Attempt, start: tuple[Plan, float] | None, details: dict[str, Any]
) -> Outcome:
    """The outcome of an attempt; the windows keep every schedule better than the start."""
    if attempt.infeasible:
        if start is None:
            return Outcome(StopReason.INFEASIBLE, details=details)
        return Outcome(StopReason.OPTIMAL, start[0], start[1], details)
    if attempt.best is None:
        return Outcome(attempt.stop, None, attempt.bound, details)
    plan, loss = attempt.best
    bound = min(attempt.bound, loss)
    proven = loss - bound <= TOLERANCE * loss
    stop = StopReason.OPTIMAL if proven else attempt.stop
    if stop is StopReason.OPTIMAL and not proven:
        stop = StopReason.COMPLETE  # the backend's proof is looser than ours may be
    return Outcome(stop, plan, bound, details)
