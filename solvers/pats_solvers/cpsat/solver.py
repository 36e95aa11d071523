"""Solver ``cpsat``: model, native search, plan."""

from __future__ import annotations

import math
import threading
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.errors import CapabilityError, InputError, SolverError
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.incumbent import Incumbent, trivial_outcome
from pats_solvers.cpsat.base import BuildInterruptedError, CpSatModel
from pats_solvers.cpsat.circuit import CircuitModel
from pats_solvers.cpsat.model import PositionsModel
from pats_solvers.cpsat.packing import PackingModel

FormulationName = Literal["auto", "positions", "circuit", "packing"]

#: By name, the most special first.
FORMULATIONS: dict[str, type[CpSatModel]] = {
    model.name: model for model in (PackingModel, CircuitModel, PositionsModel)
}

#: Seconds between looks at the limits while the native search runs.
POLL_S = 0.05


class CpSat(Struct, frozen=True, kw_only=True):
    """OR-Tools CP-SAT on models whose size does not depend on ticks.

    ``positions`` states every problem. ``circuit`` is for one GPU with one resident adapter and
    batches of one request; ``packing`` for one GPU and adapter where only what goes together
    counts: there, the LP proves what the positions cannot.

    Attributes:
        formulation: The model; ``auto`` takes the most special one that can state the problem.
        memory_gib: Refuse a problem whose model and search are estimated to take more, in GiB.
        linearization: CP-SAT's ``linearization_level``: how much of the model its LP sees; None
            for what suits the model.
    """

    name: ClassVar[str] = "cpsat"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES | {Feature.OVERLAP},
        bound=True,
        warm_start=True,
        packages=("ortools",),
    )

    formulation: FormulationName = "auto"
    memory_gib: Annotated[float, Meta(gt=0)] = 4.0
    linearization: Annotated[int, Meta(ge=0, le=2)] | None = None

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Solve within ``run``'s limits.

        Raises:
            CapabilityError: ``formulation`` cannot state the problem.
            InputError: The model would take more than ``memory_gib``.
        """
        settled = trivial_outcome(problem)
        if settled is not None:
            return settled
        formulation = select(problem, self.formulation)
        size = formulation.size(problem)
        estimate = size * formulation.bytes_per_size * (1 + run.jobs) / 2**30
        if estimate > self.memory_gib:
            raise InputError(
                f"cpsat's {formulation.name} model of size {size} would take about "
                f"{estimate:.1f} GiB, limit {self.memory_gib:g}",
                hint="raise memory_gib, split the instance, or use a policy",
            )
        incumbent = Incumbent(problem, run)
        quick = formulation.quick_plan(problem, run.stop)
        if quick is not None:
            incumbent.offer(quick)
        try:
            model = formulation(problem, incumbent.known_loss, run.stop)
        except BuildInterruptedError:
            return incumbent.outcome(run.stop() or StopReason.TIME_LIMIT)
        if incumbent.plan is not None:
            model.hint(incumbent.plan)
        if run.stop():
            return incumbent.outcome()
        search = NativeSearch(incumbent, model)
        level = model.linearization if self.linearization is None else self.linearization
        search.native.parameters.linearization_level = level
        search.native.parameters.cp_model_probing_level = model.probing
        return search.outcome()


def build(
    problem: Problem, formulation: FormulationName = "auto", known_loss: float | None = None
) -> CpSatModel:
    """Return a problem's model, to whose ``cp`` you can add constraints.

    Args:
        problem: The problem.
        formulation: Name of the model.
        known_loss: Loss of a schedule; the model then holds only those that are no worse.
    """
    return select(problem, formulation)(problem, known_loss)


def select(problem: Problem, formulation: FormulationName) -> type[CpSatModel]:
    """Return a model by name; ``auto`` is the most special one that can state the problem.

    Raises:
        CapabilityError: It cannot state the problem.
    """
    if formulation == "auto":
        return next(model for model in FORMULATIONS.values() if model.unfit(problem) is None)
    model = FORMULATIONS[formulation]
    if (why := model.unfit(problem)) is not None:
        raise CapabilityError(
            f"formulation {formulation!r} of solver 'cpsat' cannot handle {why}",
            hint="use formulation=auto",
        )
    return model


def leads(problem: Problem) -> bool:
    """Return whether CP-SAT proves optima of a problem where other methods do not.

    That is so where it is a packing, and where it is a sequence in which only switching costs.
    Where waiting costs, the circuit's bound is poor.
    """
    name = select(problem, "auto").name
    site = problem.site
    waiting = site.latency_price_per_s > 0 or site.late_price > 0
    return name == "packing" or (name == "circuit" and not waiting)


class NativeSearch:
    """A search of CP-SAT, and its outcome.

    Attributes:
        native: The ``CpSolver``.
    """

    def __init__(self, incumbent: Incumbent, model: CpSatModel) -> None:
        from ortools.sat.python import cp_model

        self.incumbent, self.run, self.model = incumbent, incumbent.run, model
        self.cp: Any = cp_model
        self.native: Any = cp_model.CpSolver()
        self.failure: BaseException | None = None
        parameters = self.native.parameters
        parameters.num_workers = self.run.jobs
        parameters.random_seed = self.run.seed % 2**31
        parameters.catch_sigint_signal = False  # Ctrl-C is ours: it sets run.interrupted
        # OR-Tools 9.15's presolve of at-most-ones with linear constraints can cut off the optimum
        # (its issue 5293; seed 64 of the tests shows it). A work limit of 0 skips that step.
        parameters.presolve_inclusion_work_limit = 0

    def outcome(self) -> Outcome:
        """Search, and return the best plan, the bound, and why it stopped."""
        incumbent, cp = self.incumbent, self.cp
        status = self._search()
        if status == cp.MODEL_INVALID:
            raise InputError(
                f"numbers are too large for CP-SAT ({self.model.cp.validate()[:200]})",
                hint="use a coarser tick_s or another solver",
            )
        if status == cp.INFEASIBLE:
            if incumbent.plan is not None:
                raise SolverError("cpsat found no schedule where one was given: a bug in its model")
            incumbent.raise_bound(math.inf)
        else:
            self._on_bound(self.native.best_objective_bound)
        if status in (cp.OPTIMAL, cp.FEASIBLE):
            valid = incumbent.offer(self.model.plan(self.native.value)) is not None
            if not valid and self.model.exact:
                raise SolverError("cpsat's solution breaks a rule: a bug in its model")
        if status == cp.OPTIMAL:
            stop = StopReason.OPTIMAL  # but for integers that durations or losses do not fit
        else:
            stop = self.run.stop() or StopReason.TIME_LIMIT
        return incumbent.outcome(stop, **self._details(self.native.status_name(status).lower()))

    def _search(self) -> Any:
        """Run the native search in a thread, so that this one can end it.

        It gets no time limit: it would measure that on the system's clock, which may jump.
        """
        status: list[Any] = []
        callback = self._callback()
        self.native.best_bound_callback = self._on_bound

        def work() -> None:
            try:
                status.append(self.native.solve(self.model.cp, callback))
            except BaseException as error:
                self.failure = error

        thread = threading.Thread(target=work, name="cpsat", daemon=True)
        thread.start()
        try:
            while thread.is_alive():
                left = self.run.remaining()
                thread.join(POLL_S if not left else min(POLL_S, left))
                if self.run.stop() is not None:
                    self.native.stop_search()
        finally:
            while thread.is_alive():  # a second Ctrl-C leaves through here
                self.native.stop_search()
                thread.join(POLL_S)
        if self.failure is not None:
            raise self.failure
        return status[0]

    def _callback(self) -> Any:
        search = self

        class SolutionCallback(self.cp.CpSolverSolutionCallback):  # type: ignore[name-defined, misc]
            """Reports every better solution."""

            def on_solution_callback(self) -> None:
                loss = self.objective_value / search.model.losses.scale
                search.incumbent.report(loss=loss)

        return SolutionCallback()

    def _on_bound(self, objective: float) -> None:
        if math.isfinite(objective):
            self.incumbent.raise_bound(self.model.losses.bound(objective))

    def _details(self, status: str) -> dict[str, Any]:
        proto = self.model.cp.proto
        return {
            "formulation": self.model.name,
            "status": status,
            "variables": len(proto.variables),
            "constraints": len(proto.constraints),
            "exact_durations": self.model.exact,
            "loss_rounding": self.model.losses.excess,
        }
