"""Solve an instance with any solver or policy, and check the schedule that it returns."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from numbers import Integral, Real
from typing import Any

import msgspec
from msgspec.structs import replace

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.prices import KEY
from pats_opt.core.solver import Outcome, Run, Solver, require
from pats_opt.errors import InfeasibleError, InputError, PatsError, SolverError, expect
from pats_opt.model.checker import TOLERANCE, ReplayedBatch, ReplayedLoad, check, valid_loss
from pats_opt.model.instance import Instance
from pats_opt.model.loss import best_utility, gap
from pats_opt.model.plan import Plan, schedule_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import SolverRef, StopReason
from pats_opt.simulate import PolicySolver
from pats_opt.solving.interrupt import interruptible
from pats_opt.solving.result import Result
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

#: Policies whose schedules a solver may start from, a quick one first, then those that are best
#: most often.
WARM_STARTS = (
    "fifo:option=fewest",
    "price-index",
    "pats:threshold=1",
    "price-index:forecast=0",
    "price-index:forecast=2",
)

#: The same where loads run beside serving.
OVERLAP_STARTS = (
    "fifo:option=fewest:prefetch=next",
    "price-index:prefetch=next",
    "price-index:prefetch=ahead",
    "pats:threshold=1:prefetch=ahead",
    "pats:prefetch=ahead",
)

#: Requests beyond which all other policies are tried as well. Fewer are soon planned better than
#: any policy does it.
FEW_REQUESTS = 20

#: Share of the time limit after which no schedule better than the first is looked for.
WARM_SHARE = 0.5


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
    if phase is not None:
        phase(PREPARING, None)
    prepare(chosen, problem)
    run = start_run(time_limit=time_limit, seed=seed, jobs=jobs, progress=progress, phase=phase)
    with interruptible(run):
        if chosen.capabilities.warm_start:
            run.start = warm_start(problem, run, start)
        run.phase(chosen.name, None)
        outcome = chosen.solve(problem, run)
    log.info("stopped: %s, bound %s", outcome.stop.value, outcome.bound)
    log.debug("details: %s", outcome.details)
    return finish(problem, chosen, run, outcome)


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


def prepare(solver: Solver, problem: Problem | None = None) -> None:
    """Let a solver do its one-off work, such as compiling, outside the clock of a run.

    Args:
        solver: The solver.
        problem: The problem that it will solve; None for any.
    """
    ready = getattr(solver, "prepare", None)
    if ready is None:
        return
    began = time.monotonic()
    ready(problem)
    if (seconds := time.monotonic() - began) > 1.0:
        log.info("%s: ready after %.1f s, most of it compiling", solver.name, seconds)


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


def warm_start(problem: Problem, run: Run, given: Plan | None) -> tuple[Plan, float] | None:
    """Return the best plan known before solving, with its loss; None if there is no valid one.

    Args:
        problem: The problem.
        run: Its limits. The loss of each better plan is reported as progress.
        given: Plan to use; None for the best of the policies' plans.
    """
    best: tuple[Plan, float] | None = None
    for plan in _policy_plans(problem, run) if given is None else [given]:
        loss = valid_loss(problem, plan)
        if loss is None or (best is not None and loss > best[1]):
            continue
        if best is None or loss < best[1]:
            run.progress(None, loss)
        best = plan, loss
    log.info("starts from loss %s", None if best is None else best[1])
    return best


def _starts(problem: Problem) -> Iterator[str]:
    """Yield the policies that a solver starts from.

    Where waiting costs nothing and no request has a choice of options, policies have nothing to
    weigh, and the first is as good as any.
    """
    site = problem.site
    beside = site.channels is not None
    first = OVERLAP_STARTS if beside else WARM_STARTS
    waiting = site.latency_price_per_s > 0.0 or site.late_price > 0.0
    if not waiting and all(len(job.options) == 1 for job in problem.jobs):
        yield first[0]
        return
    yield from first
    if len(problem.jobs) > FEW_REQUESTS:
        names = [f"{name}:prefetch=next" if beside else name for name in registry.policies()]
        yield from (name for name in names if name not in first)


def _policy_plans(problem: Problem, run: Run) -> Iterator[Plan]:
    """Yield plans of online policies.

    The first plan is made whatever it takes, so that every solver has a schedule to give. The
    others come within :data:`WARM_SHARE` of the time limit.
    """
    left: float | None = None
    for name in _starts(problem):
        if run.interrupted.is_set() or left == 0.0:
            return
        stage = Run(time_limit=left, seed=run.seed, phase=run.phase, interrupted=run.interrupted)
        try:
            plan = runnable(name).solve(problem, stage).plan
        except PatsError as error:
            log.debug("no start from %s: %s", name, error)
            continue  # a policy may lack a feature, or fail at a hard horizon
        if plan is not None:
            yield plan
            if run.time_limit is not None:
                spent = time.monotonic() - run.began
                left = max(0.0, WARM_SHARE * run.time_limit - spent)


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
    loss = terms = metrics = None
    bound, batches, loads = outcome.bound, tuple[ReplayedBatch, ...](), tuple[ReplayedLoad, ...]()
    if outcome.plan is not None:
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
