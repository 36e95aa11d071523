"""Incumbent: the best plan and the best proven bound while a solver runs."""

from __future__ import annotations

import math
from typing import Any

from pats_opt.core.solver import Outcome, Run
from pats_opt.model.checker import TOLERANCE, valid_loss
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason
from pats_solvers.common.bounds import trivial_bound


class Incumbent:
    """Best plan, its loss, and best proven bound of a problem, within the limits of a run.

    Plans are checked when they are offered, bounds only rise, both are reported as progress, and
    :meth:`outcome` claims an optimum only where they meet::

        incumbent = Incumbent(problem, run)
        while not incumbent.over():
            incumbent.raise_bound(...)
            incumbent.offer(plan)
        return incumbent.outcome(passes=3)

    Attributes:
        run: Limits of the run; its ``start`` is the first plan.
        plan: The best plan, or None.
        loss: Its loss; infinity without a plan.
        bound: The best proven lower bound on the loss of every plan, at first
            :func:`~pats_solvers.common.bounds.trivial_bound` unless another is given. Infinity says
            that there is no plan better than ``plan``; minus infinity that the solver proves no
            bound.
    """

    def __init__(self, problem: Problem, run: Run, bound: float | None = None) -> None:
        self.problem, self.run = problem, run
        self.bound = trivial_bound(problem) if bound is None else bound
        self.plan: Plan | None = None
        self.loss = math.inf
        if run.start is not None:
            self.plan, self.loss = run.start
        self._reported = self.loss

    @property
    def start(self) -> tuple[Plan, float] | None:
        """The best plan and its loss, as :attr:`Run.start` of another solver."""
        return None if self.plan is None else (self.plan, self.loss)

    @property
    def known_loss(self) -> float | None:
        """The loss to beat, or None."""
        return None if self.plan is None else self.loss

    @property
    def met(self) -> bool:
        """Whether loss and bound meet, so that the plan is proven optimal."""
        return self.plan is not None and self.loss - self.bound <= TOLERANCE * self.loss

    @property
    def infeasible(self) -> bool:
        """Whether it is proven that there is no plan."""
        return self.plan is None and self.bound == math.inf

    def over(self) -> bool:
        """Return whether there is nothing left to improve, or no time to do it."""
        return self.met or self.infeasible or self.run.stop() is not None

    def offer(self, plan: Plan) -> float | None:
        """Keep a plan where it is valid and better than the best one.

        Returns:
            Its loss, or None where it breaks a rule.
        """
        loss = valid_loss(self.problem, plan)
        if loss is not None and loss < self.loss:
            self.plan, self.loss = plan, loss
            self.report(loss=loss)
        return loss

    def raise_bound(self, bound: float) -> None:
        """Keep a proven bound where it is higher than the best one, and report it."""
        self.report(bound)

    def report(self, bound: float | None = None, loss: float | None = None) -> None:
        """Keep a proven bound, and report the progress of a search that still runs.

        Has the signature of :attr:`Run.progress`, for searches that report on their own.

        Args:
            bound: A proven bound, or None.
            loss: Loss of a plan that has yet to be offered, or None.
        """
        self.bound = max(self.bound, -math.inf if bound is None else bound)
        self._reported = min(self._reported, math.inf if loss is None else loss)
        self.run.progress(_finite(self.bound), _finite(self._reported))

    def outcome(self, stop: StopReason | None = None, /, **details: Any) -> Outcome:
        """Return the best plan and bound, and why the solver stopped.

        Args:
            stop: Why it stopped, where neither proof says so; by default the limit that was
                reached, or ``COMPLETE``. A claim of ``OPTIMAL`` whose bound does not meet the loss
                is ``COMPLETE``.
            **details: See :attr:`Outcome.details`.
        """
        if self.infeasible:
            return Outcome(StopReason.INFEASIBLE, details=details)
        if self.met:
            stop = StopReason.OPTIMAL
        elif stop is StopReason.OPTIMAL:
            stop = StopReason.COMPLETE
        stop = stop or self.run.stop() or StopReason.COMPLETE
        return Outcome(stop, self.plan, _finite(min(self.bound, self.loss)), details)


def trivial_outcome(problem: Problem) -> Outcome | None:
    """Return the optimum of a problem without jobs or without GPUs; None for any other."""
    if problem.jobs and problem.site.gpus:
        return None
    loss = math.fsum(job.reject_loss or 0.0 for job in problem.jobs)
    return Outcome(StopReason.OPTIMAL, Plan(tuple(() for _ in problem.site.gpus)), loss)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
