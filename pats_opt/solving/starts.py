"""Schedules of the online policies: a solver starts from them, and is never worse than the best."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Iterator
from typing import cast

from pats_opt.core import registry
from pats_opt.core.policy import Policy
from pats_opt.core.solver import Outcome, Run
from pats_opt.errors import PatsError
from pats_opt.model.checker import valid_loss
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_opt.simulate import PolicySolver

log = logging.getLogger(__name__)

#: A plan and its loss.
Start = tuple[Plan, float]

#: Policies that are best most often, a quick one first.
BEST_POLICIES = (
    "fifo:option=fewest",
    "price-index",
    "pats:threshold=1",
    "price-index:forecast=0",
    "price-index:forecast=2",
)

#: The same where loads run beside serving.
BEST_OVERLAPPED = (
    "fifo:option=fewest:prefetch=next",
    "price-index",
    "price-index:forecast=0",
    "price-index:prefetch=ahead",
    "pats:threshold=1:prefetch=ahead",
    "pats:prefetch=ahead",
)

#: Requests beyond which the other policies are tried as well.
FEW_REQUESTS = 20

#: Requests up to which that is left to the end, where the optimum is not proven by then: search
#: soon finds better schedules than any policy.
SOME_REQUESTS = 200

#: Share of the time limit after which no other policy is tried before the solver.
BEFORE = 0.5

#: How much longer each of the policies that are left to the end may take than the first ones did,
#: and the share of the time limit that all of them get at most.
ROOM, MOST_ROOM = 1.0, 0.05


class PolicyStarts:
    """The best schedule of the online policies, before a solver runs and after it.

    Args:
        problem: The problem.
        run: Limits of policies and solver together. The loss of each better plan is reported.
    """

    def __init__(self, problem: Problem, run: Run) -> None:
        self.problem, self.run = problem, run
        self._early, self._late = _policies(problem)
        self._reserve = 0.0

    def first(self) -> Start | None:
        """Return the best schedule to start from, or None.

        The first policy is simulated whatever it takes, so that every solver has a schedule to
        give. The others come within :data:`BEFORE` of the time limit.
        """
        run, began = self.run, time.monotonic()
        best = self._best(self._plans(self._early, BEFORE, whole=True), None)
        if self._late:
            each = (time.monotonic() - began) / len(self._early)
            self._reserve = ROOM * each * len(self._late)
        log.info("starts from loss %s", None if best is None else best[1])
        run.start = best
        return best

    def reserved(self) -> Run:
        """Return the solver's run: time is kept back for the policies that are left."""
        limit = self.run.time_limit
        if limit is None or self._reserve == 0.0:
            return self.run
        return dataclasses.replace(
            self.run, time_limit=limit - min(self._reserve, MOST_ROOM * limit)
        )

    def improved(self, outcome: Outcome) -> Outcome:
        """Return the outcome with a policy's schedule where that is better than the solver's."""
        plan, best = outcome.plan, self.run.start
        if plan is None or outcome.stop is StopReason.OPTIMAL:
            return outcome
        loss = valid_loss(self.problem, plan)
        if loss is None:
            return outcome  # whoever checks it will say so
        if best is None or loss <= best[1]:
            best = plan, loss
        plan, _ = self._best(self._plans(self._late, 1.0), best) or best
        return dataclasses.replace(outcome, plan=plan)

    def _plans(self, names: Iterable[str], share: float, whole: bool = False) -> Iterator[Plan]:
        """Yield plans of policies within a share of the time limit.

        With ``whole`` the first plan takes whatever time it needs.
        """
        run = self.run
        for name in names:
            left: float | None = None
            if run.time_limit is not None and not whole:
                left = max(0.0, share * run.time_limit - (time.monotonic() - run.began))
            if run.interrupted.is_set() or left == 0.0:
                return
            stage = Run(
                time_limit=left, seed=run.seed, phase=run.phase, interrupted=run.interrupted
            )
            try:
                policy = cast("Policy", registry.make(name))
                plan = PolicySolver(policy).solve(self.problem, stage).plan
            except PatsError as error:
                log.debug("no start from %s: %s", name, error)
                continue  # a policy may lack a feature, or fail at a hard horizon
            if plan is not None:
                whole = False
                yield plan

    def _best(self, plans: Iterable[Plan], best: Start | None) -> Start | None:
        for plan in plans:
            loss = valid_loss(self.problem, plan)
            if loss is not None and (best is None or loss < best[1]):
                self.run.progress(None, loss)
                best = plan, loss
        return best


def checked_start(problem: Problem, run: Run, given: Plan | None) -> Start | None:
    """Return a given plan with its loss, or None where it breaks a rule."""
    loss = None if given is None else valid_loss(problem, given)
    if given is None or loss is None:
        return None
    run.progress(None, loss)
    log.info("starts from loss %s", loss)
    return given, loss


def _policies(problem: Problem) -> tuple[list[str], list[str]]:
    """Return the policies to try before a solver, and after it.

    Where waiting costs nothing and no request has a choice of options, policies have nothing to
    weigh, and the first is as good as any.
    """
    site = problem.site
    beside = site.channels is not None
    first = list(BEST_OVERLAPPED if beside else BEST_POLICIES)
    waiting = site.latency_price_per_s > 0.0 or site.late_price > 0.0
    if not waiting and all(len(job.options) == 1 for job in problem.jobs):
        return first[:1], []
    if len(problem.jobs) <= FEW_REQUESTS:
        return first, []
    names = [f"{name}:prefetch=next" if beside else name for name in registry.policies()]
    others = [name for name in names if name not in first]
    return (first, others) if len(problem.jobs) <= SOME_REQUESTS else (first + others, [])
