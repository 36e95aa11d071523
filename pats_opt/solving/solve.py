"""The main job: problem in, checked schedule out, whatever solver made it."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pats_opt import display
from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.prices import KEY
from pats_opt.core.solver import Outcome, Run, Solver, require
from pats_opt.display import Drawn
from pats_opt.errors import InfeasibleError, NoScheduleError, PatsError, SolverError, one_line
from pats_opt.model.checker import TOLERANCE, ReplayedBatch, examine, valid_loss
from pats_opt.model.files import StrPath
from pats_opt.model.instance import Instance
from pats_opt.model.loss import LossTerms, best_utility, gap
from pats_opt.model.plan import Plan, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolverRef, Status, StopReason
from pats_opt.simulate import PolicySolver
from pats_opt.tables import Metrics, bound_on_waiting, measure
from pats_opt.wording import number, percent

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)

#: Loss and bound this close, relative to the loss, are one number.
ROUNDING = 1e-12

#: The phase before the clock starts, in which kernels are loaded, or compiled for this machine.
PREPARING = "preparing"

#: Policies that make the schedule an exact solver starts from, where it uses one.
WARM_STARTS = ("pats", "pats:gamma=0", "pats:threshold=1", "fifo", "fifo:option=fewest")


#: Fields of a result that its summary leaves out.
UNTOLD = frozenset({"schedule", "replayed", "problem"})


class Result(Struct, Drawn, frozen=True, kw_only=True):
    """A solved instance: the checked schedule and what is known about it.

    Attributes:
        solver: Name of the solver, with ``params`` and ``seed``.
        status: Why it stopped, and what the schedule is.
        loss: The checker's loss of the schedule, or None without one.
        bound: Proven lower bound on every schedule's loss, or None.
        gap: ``(loss - bound) / loss``, or None.
        utility: The documents' utility, sum of weight x best quality minus the loss, or None.
        runtime_s: Seconds the solver took, its warm start included.
        terms: The loss term by term, or None.
        metrics: Latency, switching and use of the GPUs, or None.
        details: What else the solver tells.
        schedule: The schedule document, or None.
        replayed: The schedule as the checker replayed it, for :mod:`pats_opt.tables`; empty
            without one.
        problem: What was solved, for pictures; None in a result put together by hand.
    """

    solver: str
    params: dict[str, Any]
    seed: int
    status: Status
    loss: float | None
    bound: float | None
    gap: float | None
    utility: float | None
    runtime_s: float
    terms: LossTerms | None
    metrics: Metrics | None
    details: dict[str, Any]
    schedule: Schedule
    replayed: tuple[ReplayedBatch, ...] = ()
    problem: Problem | None = None

    def summary(self) -> dict[str, Any]:
        """Everything but the schedule, ready for JSON."""
        told = [name for name in self.__struct_fields__ if name not in UNTOLD]
        return {name: msgspec.to_builtins(getattr(self, name)) for name in told}

    def show(self, path: StrPath) -> None:
        """Write the schedule's picture, as ``pats-opt show`` does; the suffix says as what."""
        display.show(self, path)

    def __repr__(self) -> str:
        """One line: a schedule would fill the screen."""
        facts = [
            f"solver={self.solver!r}",
            f"status={self.status.point.value!r}",
            f"loss={number(self.loss, 6)}",
            f"bound={number(self.bound, 6)}",
            f"gap={percent(self.gap)}",
        ]
        return one_line(f"{type(self).__name__}({', '.join(facts)})")


def solve(
    instance: Instance | Problem,
    solver: str | Solver | Policy = "auto",
    *,
    time_limit: float | None = None,
    seed: int = 0,
    jobs: int = 1,
    start: Plan | None = None,
    progress: Callable[[float | None, float | None], None] | None = None,
    phase: Callable[[str, float | None], None] | None = None,
    **params: Any,
) -> Result:
    """Solve an instance and check the result.

    Args:
        instance: What to solve.
        solver: A name from ``pats-opt solvers``, with parameters as ``name:key=value`` or keywords.
        time_limit: Seconds, warm start included; None for no limit.
        seed: Seed of every random choice.
        jobs: Threads the solver may use.
        start: A plan to start from; otherwise the online policies make one where it is of use.
        progress: Called with (bound, loss) as they improve.
        phase: Called with who is at work (:data:`PREPARING` before the clock starts, then a policy
            or solver) and the share of it that is done, or None.
        **params: Parameters of the solver.

    Raises:
        InfeasibleError: No schedule exists, and that is proven.
        CapabilityError: The solver cannot handle a feature of this instance.
        InputError: Unknown solver or parameter.
        SolverError: The solver returned something that breaks a rule: a bug in it.
    """
    problem = instance if isinstance(instance, Problem) else Problem(instance)
    chosen = runnable(solver, **params)
    require(chosen, problem)
    refuse_unservable(problem)
    log.info(
        "%s: %d requests, %d adapters, %d GPUs; solver %s",
        problem.instance.name,
        len(problem.jobs),
        len(problem.site.adapter_ids),
        len(problem.site.gpus),
        chosen.name,
    )
    if phase is not None:
        phase(PREPARING, None)
    prepare(chosen, problem)
    run = Run(time_limit=time_limit, seed=seed, jobs=jobs)
    if progress is not None:
        run.progress = progress
    if phase is not None:
        run.phase = phase
    with interruptible(run):
        if chosen.capabilities.warm_start:
            run.start = warm_start(problem, run, start)
            log.info("starts from loss %s", None if run.start is None else run.start[1])
        run.phase(chosen.name, None)
        outcome = chosen.solve(problem, run)
    log.info("stopped: %s, bound %s", outcome.stop.value, outcome.bound)
    log.debug("details: %s", outcome.details)
    return finish(problem, chosen, run, outcome)


def runnable(solver: str | Solver | Policy, **params: Any) -> Solver:
    """A solver by name, a policy wrapped so that it solves through the simulator."""
    made = registry.make(solver, **params) if isinstance(solver, str) else solver
    return made if isinstance(made, Solver) else PolicySolver(made)


def prepare(solver: Solver, problem: Problem | None = None) -> None:
    """Let a solver do what it does once on a machine, such as compiling; no run's clock pays.

    Args:
        solver: The solver.
        problem: What it will solve; None: anything.
    """
    ready = getattr(solver, "prepare", None)
    if ready is None:
        return
    began = time.monotonic()
    ready(problem)
    if (seconds := time.monotonic() - began) > 1.0:
        log.info("%s: ready after %.1f s, most of it compiling", solver.name, seconds)


def refuse_unservable(problem: Problem) -> None:
    """Raise InfeasibleError where a request that must be served cannot be."""
    for job, reason in problem.unservable():
        if job.reject_loss is None:
            raise InfeasibleError(
                f"requests[{job.position}] {job.id!r}: {reason}; lower its demand, add capacity, "
                "or give it a reject_loss"
            )


def warm_start(problem: Problem, run: Run, given: Plan | None) -> tuple[Plan, float] | None:
    """The best plan at hand before solving, with its loss: the given one, or an online policy's."""
    candidates: list[Plan] = [given] if given is not None else []
    for name in WARM_STARTS if given is None else ():
        if run.stop():
            break
        try:
            plan = runnable(name).solve(problem, run).plan
        except PatsError as error:
            log.debug("no start from %s: %s", name, error)
            continue  # a policy may lack a feature, or fail at a hard horizon
        if plan is not None:
            candidates.append(plan)
    rated = [(plan, loss) for plan in candidates if (loss := valid_loss(problem, plan)) is not None]
    best = min(rated, key=lambda pair: pair[1], default=None)
    if best is not None:
        run.progress(None, best[1])
    return best


def finish(problem: Problem, solver: Solver, run: Run, outcome: Outcome) -> Result:
    """Check an outcome, whatever solver made it, and put the result together.

    Raises:
        InfeasibleError: The solver proved that there is no schedule.
        SolverError: A rule is broken, or a claim of the solver does not hold.
    """
    if outcome.stop is StopReason.INFEASIBLE:
        raise InfeasibleError(
            f"{problem.instance.name!r}: {solver.name} proves: no schedule exists"
        )
    made = solver.policy if isinstance(solver, PolicySolver) else solver
    params = registry.parameters(made)
    ref = SolverRef(
        name=solver.name,
        params=params,
        seed=run.seed,
        runtime_s=round(time.monotonic() - run.began, 6),
    )
    loss = terms = metrics = None
    bound, batches = outcome.bound, list[ReplayedBatch]()
    draft = schedule_of(problem, outcome.plan, ref, stop=outcome.stop)
    if outcome.plan is not None:
        verdict, batches = examine(problem, draft)
        if not verdict.ok:
            raise SolverError(f"solver {solver.name!r} broke {verdict.first()}")
        terms, loss = verdict.terms, verdict.loss
        metrics = measure(problem, batches, max_wait_s=bound_on_waiting(params))
        _believable(solver, outcome, loss)
        if bound is not None and bound > loss - ROUNDING * max(1.0, loss):
            bound = loss  # they differ by what adding up in another order does to floats
    prices = outcome.details.get(KEY)
    schedule = replace(
        draft, loss=loss, bound=bound, extra=msgspec.UNSET if prices is None else {KEY: prices}
    )
    return Result(
        solver=solver.name,
        params=params,
        seed=run.seed,
        status=schedule.status,
        loss=loss,
        bound=bound,
        gap=gap(loss, bound),
        utility=None if loss is None else best_utility(problem) - loss,
        runtime_s=ref.runtime_s,
        terms=terms,
        metrics=metrics,
        details=outcome.details,
        schedule=schedule,
        replayed=tuple(batches),
        problem=problem,
    )


def _believable(solver: Solver, outcome: Outcome, loss: float) -> None:
    """Raise SolverError where a solver's claims contradict the loss that the checker found."""
    bound, slack = outcome.bound, TOLERANCE * max(1.0, loss)
    if bound is not None and not bound <= loss + slack:
        raise SolverError(f"solver {solver.name!r} claims bound {bound}, above its loss {loss}")
    if outcome.stop is StopReason.OPTIMAL and (bound is None or bound < loss - slack):
        raise SolverError(
            f"solver {solver.name!r} claims an optimum of loss {loss}, but its bound is {bound}"
        )


def require_schedule(result: Result) -> None:
    """Raise NoScheduleError where a result has no schedule."""
    if result.loss is None:
        raise NoScheduleError(
            f"{result.solver} stopped ({result.status.stop}) without a schedule"
            + ("" if result.bound is None else f"; its bound is {result.bound:g}")
            + "; give it more time or try another solver"
        )


@contextmanager
def interruptible(run: Run) -> Iterator[None]:
    """While solving, the first Ctrl-C asks for the best so far; the second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(*_: object) -> None:
        if run.interrupted.is_set():
            raise KeyboardInterrupt
        run.interrupted.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
