"""The ``cpsat`` solver: builds the model, watches the native search, reads the plan back."""

from __future__ import annotations

import math
import threading
from typing import Annotated, Any, ClassVar

from msgspec import Meta, Struct

from pats_opt.checker import TOLERANCE
from pats_opt.errors import InputError, SolverError
from pats_opt.plan import Plan
from pats_opt.problem import Problem
from pats_opt.schedule import Stop
from pats_opt.solver import Capabilities, Kind, Outcome, Run
from pats_opt.solving import valid_loss
from pats_solvers.cpsat.hint import add_hint
from pats_solvers.cpsat.layout import Batch, timed
from pats_solvers.cpsat.model import BuildingStopped, Model
from pats_solvers.windows import least_loss, least_switching

#: Bytes per choice (job, option, GPU, position), once for the model and once per worker: measured,
#: as peaks of 40 s with 60 and 100 requests.
BYTES_PER_CHOICE = 12_000

#: Seconds between looks at the interrupt flag while the native search runs.
POLL_S = 0.05


def choices(problem: Problem) -> int:
    """How many (job, option, GPU, position) the model has at most: what its size grows with."""
    hosts = [problem.hosts(job) for job in problem.jobs]
    positions = [sum(1 for h in hosts if gpu.index in h) for gpu in problem.site.gpus]
    return sum(len(job.options) * positions[g] for job in problem.jobs for g in hosts[job.index])


class CpSat(Struct, frozen=True, kw_only=True):
    """OR-Tools CP-SAT on a model of positions whose size does not depend on ticks.

    Attributes:
        memory_gib: Refuse a problem whose model and search are estimated to take more, in GiB.
        linearization: CP-SAT's ``linearization_level``: how much of the model its LP sees.
    """

    name: ClassVar[str] = "cpsat"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        bound=True, warm_start=True, packages=("ortools",)
    )

    memory_gib: Annotated[float, Meta(gt=0)] = 4.0
    linearization: Annotated[int, Meta(ge=0, le=2)] = 0

    def estimate_gib(self, problem: Problem, jobs: int = 1) -> float:
        """GiB that solving is estimated to take with ``jobs`` workers."""
        return choices(problem) * BYTES_PER_CHOICE * (1 + jobs) / 2**30

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Solve within ``run``'s limits.

        Raises:
            InputError: The model would take more than ``memory_gib``.
        """
        if not problem.jobs:
            return Outcome(Stop.OPTIMAL, Plan(((),) * len(problem.site.gpus)), 0.0)
        estimate = self.estimate_gib(problem, run.jobs)
        if estimate > self.memory_gib:
            raise InputError(
                f"cpsat's model of {choices(problem)} choices would take about {estimate:.1f} GiB, "
                f"limit {self.memory_gib:g}",
                mend="raise memory_gib, split the instance, or use a policy",
            )
        try:
            model = Model(problem, run.start[1] if run.start else None, run.stop)
        except BuildingStopped:
            return _unsearched(problem, run)
        if run.start:
            add_hint(model, run.start[0])
        if run.stop():
            return _unsearched(problem, run)
        return _Search(self, problem, run, model).outcome()


def _least(problem: Problem) -> float:
    """A bound that takes no search."""
    served = math.fsum(least_loss(problem, job) for job in problem.jobs)
    return served + least_switching(problem)


def _unsearched(problem: Problem, run: Run) -> Outcome:
    """What comes back where there was no time to search."""
    bound, stop = _least(problem), run.stop() or Stop.TIME_LIMIT
    if run.start is None:
        return Outcome(stop, None, bound)
    plan, loss = run.start
    return Outcome(stop, plan, min(bound, loss))


class _Search:
    """One native search, and what comes of it."""

    def __init__(self, solver: CpSat, problem: Problem, run: Run, model: Model) -> None:
        from ortools.sat.python import cp_model

        self.problem, self.run, self.model = problem, run, model
        self.best = run.start
        self.bound = _least(problem)
        self.cp: Any = cp_model
        self.native: Any = cp_model.CpSolver()
        self.failure: BaseException | None = None
        parameters = self.native.parameters
        parameters.num_workers = run.jobs
        parameters.random_seed = run.seed % 2**31
        parameters.linearization_level = solver.linearization
        parameters.catch_sigint_signal = False  # Ctrl-C is ours: it sets run.interrupted
        # OR-Tools 9.15's presolve of at-most-ones with linear constraints can cut off the optimum
        # (its issue 5293; seed 64 of the tests shows it). A work limit of 0 skips that step.
        parameters.presolve_inclusion_work_limit = 0

    def outcome(self) -> Outcome:
        """Search, then the best plan, the bound, and an honest word on why it stopped."""
        run, cp = self.run, self.cp
        status = self._search()
        if status == cp.MODEL_INVALID:
            raise InputError(
                f"numbers are too large for CP-SAT ({self.model.cp.validate()[:200]})",
                mend="use a coarser tick_s or another solver",
            )
        if status == cp.INFEASIBLE:
            if run.start:
                raise SolverError("cpsat found no schedule where one was given: a bug in its model")
            return Outcome(Stop.INFEASIBLE, details=self._details("infeasible"))
        self._raise_bound(self.native.best_objective_bound)
        if status in (cp.OPTIMAL, cp.FEASIBLE):
            self._offer(self._plan())
        loss = self.best[1] if self.best else None
        bound = self.bound if loss is None else min(self.bound, loss)
        if loss is not None and loss - bound <= TOLERANCE * loss:
            stop = Stop.OPTIMAL
        elif status == cp.OPTIMAL:
            stop = Stop.COMPLETE  # durations or losses beyond CP-SAT's integers left a gap
        else:
            stop = Stop.INTERRUPTED if run.interrupted.is_set() else Stop.TIME_LIMIT
        return Outcome(
            stop,
            self.best[0] if self.best else None,
            bound,
            self._details(self.native.status_name(status).lower()),
        )

    def _search(self) -> Any:
        """Run the native search in a thread, so that this one can answer Ctrl-C."""
        left = self.run.remaining()
        if left is not None:
            self.native.parameters.max_time_in_seconds = left
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
                thread.join(POLL_S)
                if self.run.interrupted.is_set():
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

        class Report(self.cp.CpSolverSolutionCallback):  # type: ignore[name-defined, misc]
            """Tells the caller about every better solution."""

            def on_solution_callback(self) -> None:
                loss = self.objective_value / search.model.losses.scale
                search.run.progress(search.bound, loss)

        return Report()

    def _on_bound(self, objective: float) -> None:
        self._raise_bound(objective)
        self.run.progress(self.bound, None)

    def _raise_bound(self, objective: float) -> None:
        if math.isfinite(objective):
            self.bound = max(self.bound, self.model.losses.bound(objective))

    def _offer(self, plan: Plan) -> None:
        """Keep the plan where it is valid (it is, if durations are exact) and better."""
        loss = valid_loss(self.problem, plan)
        if loss is None and self.model.exact:
            raise SolverError("cpsat's solution breaks a rule: a bug in its model")
        if loss is not None and (self.best is None or loss < self.best[1]):
            self.best = plan, loss

    def _plan(self) -> Plan:
        value = self.native.boolean_value
        gpus = [
            [
                Batch(
                    tuple(key for key, v in p.x.items() if value(v)),
                    frozenset(a for a, v in p.resident.items() if value(v)),
                )
                for p in row
                if value(p.used)
            ]
            for row in self.model.rows
        ]
        return timed(self.problem, gpus)

    def _details(self, status: str) -> dict[str, Any]:
        proto = self.model.cp.proto
        return {
            "status": status,
            "variables": len(proto.variables),
            "constraints": len(proto.constraints),
            "exact_durations": self.model.exact,
            "loss_rounding": self.model.losses.excess,
        }
