"""Solve an instance with any solver or policy, and check the schedule that it returns."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import msgspec
from msgspec.structs import replace

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.prices import KEY
from pats_opt.core.solver import Outcome, Run, Solver, require
from pats_opt.errors import InfeasibleError, InputError, SolverError, expect
from pats_opt.model.checker import TOLERANCE, ReplayedBatch, ReplayedLoad, check
from pats_opt.model.instance import Instance
from pats_opt.model.loss import best_utility, gap
from pats_opt.model.plan import Plan, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolverRef, StopReason
from pats_opt.simulate import PolicySolver
from pats_opt.solving.interrupt import interruptible
from pats_opt.solving.preparing import prepare, solved_meanwhile
from pats_opt.solving.result import Result
from pats_opt.solving.starts import PolicyStarts, checked_start
from pats_opt.tables import ScheduleTable, bound_on_waiting, measure

log = logging.getLogger(__name__)

#: Receives (bound, loss) as they improve; either is None while unknown.
Progress = Callable[[float | None, float | None], None]

#: Receives the name of the solver or policy at work and the share of its work that is done, or
#: None if that is unknown.
Phase = Callable[[str, float | None], None]

#: Name of the phase before the clock starts, in which kernels are loaded or compiled.
PREPARING = "preparing"

#: Loss and bound this close, relative to the loss, are the same number.
ROUNDING = 1e-12


def solve(
    instance: Instance | Problem,
    solver: str | Solver | Policy = "auto",
    *,
    time_limit: float | None = None,
    seed: int = 0,
    jobs: int = 1,
    start: Plan | None = None,
    progress: Progress | None = None,
    phase: Phase | None = None,
    **params: Any,
) -> Result:
    """Solve an instance and check the result.

    Args:
        instance: The instance or problem to solve.
        solver: A name from ``pats-opt solvers``, with parameters as ``name:key=value`` or keywords.
        time_limit: Seconds, warm start included; None for no limit. The simulation of the quickest
            policy, which is the first schedule, is not cut off.
        seed: Seed of every random choice.
        jobs: Threads that the solver may use.
        start: Plan to start from. By default the online policies make one if the solver uses it.
        progress: Called with (bound, loss) as they improve.
        phase: Called as each phase begins, with its name (:data:`PREPARING` before the clock
            starts, then a policy or solver) and the share of it that is done, or None.
        **params: Parameters of the solver.

    Returns:
        The result. It has no schedule if the solver stopped before it found one.

    Raises:
        InfeasibleError: No schedule exists, and that is proven.
        CapabilityError: The solver cannot handle a feature of this instance.
        InputError: The solver or a parameter is unknown.
        SolverError: The schedule breaks a rule or a claim is wrong: a bug in the solver.
    """
    problem = instance if isinstance(instance, Problem) else Problem(instance)
    if start is not None:
        expect(start, Plan, "give the Plan of an Outcome")
    chosen = runnable(solver, **params)
    require(chosen, problem)
    refuse_unservable(problem)
    name, site = problem.instance.name, problem.site
    sizes = (len(problem.jobs), len(site.adapter_ids), len(site.gpus))
    log.info("%s: %d requests, %d adapters, %d GPUs; solver %s", name, *sizes, chosen.name)
    run = start_run(time_limit=time_limit, seed=seed, jobs=jobs, progress=progress, phase=phase)
    return finish(problem, chosen, run, _outcome(problem, chosen, run, start))


def _outcome(problem: Problem, chosen: Solver, run: Run, start: Plan | None) -> Outcome:
    """Prepare a solver, then let it solve the problem."""
    run.phase(PREPARING, None)
    early = solved_meanwhile(chosen, problem, run)
    if early is not None:
        return early
    prepare(chosen, problem)
    run.began = time.monotonic()
    with interruptible(run):
        starts = None
        if chosen.capabilities.warm_start and start is None:
            starts = PolicyStarts(problem, run)
            run.start = starts.first()
        elif chosen.capabilities.warm_start:
            run.start = checked_start(problem, run, start)
        run.phase(chosen.name, None)
        outcome = chosen.solve(problem, run if starts is None else starts.reserved())
        if starts is not None:
            outcome = starts.improved(outcome)
    log.info("stopped: %s, bound %s", outcome.stop.value, outcome.bound)
    log.debug("details: %s", outcome.details)
    return outcome


def runnable(solver: str | Solver | Policy, **params: Any) -> Solver:
    """Return a solver by its name or specification; a policy becomes a solver that simulates it."""
    if isinstance(solver, str):
        made = registry.make(solver, **params)
    elif params:
        unused = ", ".join(map(repr, params))
        hint = "give them to the solver itself, or give its name here"
        raise InputError(f"parameters without effect: {unused}", hint=hint)
    else:
        made = solver
        if isinstance(made, type) or not isinstance(made, Solver | Policy):
            hint = "give its name, or an object such as Fifo()"
            raise InputError(f"{made!r} is no solver or policy", hint=hint)
    return made if isinstance(made, Solver) else PolicySolver(made)


def start_run(
    *,
    time_limit: float | None,
    seed: int,
    jobs: int,
    progress: Progress | None,
    phase: Phase | None,
) -> Run:
    """Start a run's clock, with its limits and callbacks.

    Raises:
        InputError: A limit is out of range.
    """
    if time_limit is not None and not (isinstance(time_limit, Real) and 0 <= time_limit < math.inf):
        hint = "give seconds, at least 0, or None for no limit"
        raise InputError(f"time_limit is {time_limit!r}", hint=hint)
    for name, value, least in (("seed", seed, 0), ("jobs", jobs, 1)):
        if not (isinstance(value, Integral) and value >= least):
            hint = f"give a whole number of at least {least}"
            raise InputError(f"{name} is {value!r}", hint=hint)
    run = Run(time_limit=time_limit, seed=seed, jobs=jobs)
    run.progress = progress or run.progress
    run.phase = phase or run.phase
    return run


def refuse_unservable(problem: Problem) -> None:
    """Refuse a problem with a request that cannot be served and may not be rejected.

    Raises:
        InfeasibleError: There is such a request.
    """
    for job, reason in problem.unservable():
        if job.reject_loss is None:
            raise InfeasibleError(
                f"requests[{job.position}] {job.id!r}: {reason}; lower its demand, add capacity, "
                "or give it a reject_loss"
            )


def finish(problem: Problem, solver: Solver, run: Run, outcome: Outcome) -> Result:
    """Check the outcome of a solver and make the result of it.

    Raises:
        InfeasibleError: The solver proved that there is no schedule.
        SolverError: The schedule breaks a rule, or a claim of the solver is wrong.
    """
    if outcome.stop is StopReason.INFEASIBLE:
        raise InfeasibleError(
            f"{problem.instance.name!r}: {solver.name} proves: no schedule exists"
        )
    params = registry.parameters(solver.policy if isinstance(solver, PolicySolver) else solver)
    runtime_s = round(time.monotonic() - run.began, 6)
    ref = SolverRef(name=solver.name, params=params, seed=run.seed, runtime_s=runtime_s)
    draft = schedule_of(problem, outcome.plan, ref, stop=outcome.stop)
    planned = outcome.plan is not None
    outcome = dataclasses.replace(outcome, plan=None)  # that of a million requests is large
    loss = terms = metrics = None
    bound, batches, loads = outcome.bound, tuple[ReplayedBatch, ...](), tuple[ReplayedLoad, ...]()
    if planned:
        verdict = check(problem, draft)
        batches, loads = verdict.replayed, verdict.loads
        if not verdict.ok:
            raise SolverError(f"solver {solver.name!r} broke {verdict.first()}")
        terms, loss = verdict.terms, verdict.loss
        table = ScheduleTable.from_replay(problem, batches, loads)
        metrics = measure(table, max_wait_s=bound_on_waiting(params))
        _verify_claims(solver, outcome, loss)
        if bound is not None and bound > loss * (1.0 - ROUNDING):
            bound = loss  # floats added up in another order differ by so little
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
        runtime_s=runtime_s,
        terms=terms,
        metrics=metrics,
        details=outcome.details,
        schedule=schedule,
        replayed=batches,
        loads=loads,
        problem=problem,
    )


def _verify_claims(solver: Solver, outcome: Outcome, loss: float) -> None:
    """Refuse a bound or a proof of optimality that the checked loss contradicts."""
    bound, slack = outcome.bound, TOLERANCE * max(1.0, loss)
    if bound is not None and not bound <= loss + slack:
        raise SolverError(f"solver {solver.name!r} claims bound {bound}, above its loss {loss}")
    if outcome.stop is StopReason.OPTIMAL and (bound is None or bound < loss - slack):
        raise SolverError(
            f"solver {solver.name!r} claims an optimum of loss {loss}, but its bound is {bound}"
        )
