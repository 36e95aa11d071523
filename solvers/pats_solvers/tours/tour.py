"""Travelling salesman problems among the instances: which they are, costs, and plans of tours."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pats_opt.model.loss import switching_loss
from pats_opt.model.plan import Plan, earliest
from pats_opt.model.problem import Job, Problem
from pats_solvers.cpsat.integers import LOSS_UNIT, common_denominator

#: Bits of the length of a tour in whole units. With :data:`FINE_BITS` for fractions of a unit, sums
#: of prices stay exact as doubles.
LENGTH_BITS, FINE_BITS = 40, 6

#: Nodes below which there is nothing to search.
FEWEST_NODES = 4


def is_tour(problem: Problem) -> bool:
    """Return whether a problem is a travelling salesman problem.

    It is where all of this holds:

    - There is one GPU with one resident adapter, and no load beside serving.
    - No two requests share an adapter, so every batch holds one request and no switch is saved.
    - Every request has one option and has to be served, and fits the GPU alone.
    - Waiting costs nothing, and neither does lateness.
    - Time restricts nothing but which request is last. That is so without a horizon. It is so
      with slots, where switches take no time, if all requests have arrived before the last of as
      many slots as there are requests (a *path*, any order), or if there are as many slots as
      requests and all but one arrive at tick 0, that one in the last slot (*closed*).
    - There are at least :data:`FEWEST_NODES` nodes.

    Then every order of the requests (in the closed case, every order that ends with the last one)
    is a schedule, its loss is the sum of its switches, and there are no other schedules: the loss
    is the length of a tour through the nodes of :class:`Tour`.
    """
    site, jobs = problem.site, problem.jobs
    adapters = {job.adapter for job in jobs}
    return (
        len(site.gpus) == 1
        and site.max_resident == 1
        and site.channels is None
        and len(adapters) == len(jobs) > 0
        and all(len(job.options) == 1 and job.reject_loss is None for job in jobs)
        and site.latency_price_per_s == 0.0
        and (site.late_price == 0.0 or all(job.deadline is None for job in jobs))
        and (_any_order(problem) or _last(problem) is not None)
        and len(jobs) + (_last(problem) is None) >= FEWEST_NODES
        and all(problem.hosts(job) for job in jobs)
    )


def _any_order(problem: Problem) -> bool:
    """Return whether every order of the jobs fits the horizon."""
    site, jobs = problem.site, problem.jobs
    if site.horizon is None:
        return True
    return site.clock.slotted and jobs[-1].arrival + len(jobs) <= site.horizon


def _last(problem: Problem) -> Job | None:
    """Return the job that has to be last, where the horizon leaves it no other slot."""
    site, jobs = problem.site, problem.jobs
    closed = (
        site.clock.slotted
        and site.horizon == len(jobs)
        and len(jobs) > 1
        and jobs[-2].arrival == 0
        and jobs[-1].arrival == len(jobs) - 1
    )
    return jobs[-1] if closed else None


class Tour:
    """A problem of :func:`is_tour` as a matrix of whole numbers.

    Node 0 is the GPU at tick 0, and the last job where it is fixed; every other job is a node.

    Attributes:
        nodes: Their number.
        cost: Cost from node to node in units, by row and column; whole numbers.
        symmetric: Whether both directions always cost the same.
        scale: Units per unit of loss.
        excess: The most by which a tour's length, in loss, may exceed its true loss.
        fine: Fractions of a unit in which prices are counted.
    """

    def __init__(self, problem: Problem, stop: Callable[[], object] = lambda: None) -> None:
        """Compute the matrix; where ``stop`` returns anything, raise :class:`InterruptedError`."""
        self._problem, self._last = problem, _last(problem)
        self._jobs = [job for job in problem.jobs if job is not self._last]
        self.nodes = 1 + len(self._jobs)
        losses = self._losses(stop)
        largest = float(losses.max()) or 1.0
        most = 2.0**LENGTH_BITS / (self.nodes * largest)
        whole = common_denominator(np.unique(losses).tolist(), LOSS_UNIT)
        if whole is not None and whole <= most:
            self.scale = float(whole)
            self.cost = np.rint(losses * self.scale).astype(np.int64)
        else:
            self.scale = 2.0 ** math.floor(math.log2(most))
            self.cost = np.floor(losses * self.scale).astype(np.int64)
        self.excess = self.nodes * max(0.0, float((self.cost / self.scale - losses).max()))
        self.symmetric = bool((self.cost == self.cost.T).all())
        bits = math.ceil(math.log2(self.nodes * largest * self.scale + 2))
        self.fine = 1 << min(20, LENGTH_BITS + FINE_BITS - bits)

    def _losses(self, stop: Callable[[], object]) -> Any:
        site, jobs = self._problem.site, self._jobs
        targets = [job.adapter for job in jobs]
        back = None if self._last is None else self._last.adapter
        start, losses = site.gpus[0].resident, np.zeros((self.nodes, self.nodes))
        for i, before in enumerate([start, *(frozenset((a,)) for a in targets)]):
            if stop():
                raise InterruptedError
            row = [0.0 if a in before else site.load_seconds(a, before) for a in targets]
            losses[i, 1:] = [switching_loss(site, seconds) for seconds in row]
            if i and back is not None:
                losses[i, 0] = switching_loss(site, site.load_seconds(back, before))
        return losses

    def length(self, order: Any) -> int:
        """Return the length of a tour, in units."""
        return int(self.cost[order, np.roll(order, -1)].sum())

    def bound(self, units: int) -> float:
        """Return a lower bound on the loss, from one on the length in units."""
        return max(0.0, units / self.scale - self.excess)

    def plan(self, order: Any) -> Plan:
        """Return the plan that visits the nodes in this order, from node 0 on."""
        first = order.tolist().index(0)
        jobs = [self._jobs[node - 1] for node in np.roll(order, -first).tolist()[1:]]
        jobs += [] if self._last is None else [self._last]
        batches = [(((job.index, 0),), frozenset((job.adapter,))) for job in jobs]
        return Plan((earliest(self._problem, 0, batches),))

    def order(self, plan: Plan) -> Any:
        """Return the order of the nodes in a plan."""
        node = {job.index: i for i, job in enumerate(self._jobs, 1)}
        served = [batch.members[0][0] for batch in plan.gpus[0]]
        return np.array([0, *(node[j] for j in served if j in node)], dtype=np.int64)
