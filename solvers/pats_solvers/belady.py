"""Belady's yardstick: the loss of a policy, had it known what to evict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from msgspec import Struct

from pats_opt.core import registry
from pats_opt.core.solver import Capabilities, Kind, Outcome, Run, Solver
from pats_opt.errors import InputError
from pats_opt.model.checker import valid_loss
from pats_opt.model.plan import Plan, PlannedBatch, earliest
from pats_opt.model.problem import Adapters, Problem
from pats_opt.model.schedule import StopReason
from pats_opt.simulate import simulate
from pats_solvers.paging import AdapterUse, cheapest, furthest, seconds_and_loads


class Belady(Struct, frozen=True, kw_only=True):
    """An online policy's batches, with residents re-decided in hindsight and times made early.

    It simulates the policy and keeps every GPU's sequence of batches: members, options, order. On
    each GPU it then chooses the residents that need the least seconds of switching
    (:mod:`pats_solvers.paging`): the optimum where every batch can keep so many adapters besides
    its own, whichever they are (all take the same memory, or memory leaves room for the largest)
    and all save the same or the sequence has at most 10,000 chances to keep one; else by furthest
    next use; the policy's own where those are no better. Last, every batch starts
    as early as arrivals, the batch before and the switch allow.

    So the seconds of switching are never above the policy's, nor is the number of loads where all
    take the same time to load and to activate none. Fewer seconds in all can still be more ahead of
    an early batch, so the loss could be larger or the hard horizon missed; then the policy's own
    residents stay, with times made early, and ``details.kept`` says so. The loss is never above the
    policy's. The yardstick is for evictions only: a policy that had known them would have made
    other batches.

    ``details``: ``loads`` and ``switching_s`` of the policy and in hindsight, and whether
    hindsight is proven ``optimal`` for this sequence of batches.

    Args:
        policy: The policy, with its parameters: ``exhaustive:route=cyclic``. Where this is part of
            a solver's spec, in which a colon ends a parameter, with commas instead:
            ``belady:policy=exhaustive,route=cyclic``.
    """

    name: ClassVar[str] = "belady"
    kind: ClassVar[Kind] = Kind.HEURISTIC
    capabilities: ClassVar[Capabilities] = Capabilities()

    policy: str = "pats"

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """The policy's batches with the residents that hindsight picks."""
        made = registry.make(self.policy.replace(",", ":"))
        if isinstance(made, Solver):
            raise InputError(
                f"'belady': {self.policy!r} is no online policy", hint="name one, such as pats"
            )
        done = simulate(problem, made, seed=run.seed, stop=run.stop)
        if done.plan is None:
            return Outcome(done.stop)
        chosen = [_Gpu(problem, g, batches) for g, batches in enumerate(done.plan.gpus)]
        own = Plan(tuple(gpu.timed(gpu.own) for gpu in chosen))
        hindsight = Plan(tuple(gpu.timed(gpu.best) for gpu in chosen))
        loss, before = valid_loss(problem, hindsight), valid_loss(problem, own)
        better = loss is not None and (before is None or loss <= before)
        details: dict[str, Any] = {
            "policy": self.policy,
            "loads": {
                "policy": sum(gpu.own_cost[1] for gpu in chosen),
                "hindsight": sum(gpu.best_cost[1] for gpu in chosen),
            },
            "switching_s": {
                "policy": sum(gpu.own_cost[0] for gpu in chosen),
                "hindsight": sum(gpu.best_cost[0] for gpu in chosen),
            },
            "optimal": all(gpu.optimal for gpu in chosen),
            "kept": "hindsight" if better else "policy",
        }
        return Outcome(StopReason.COMPLETE, hindsight if better else own, details=details)


class _Gpu:
    """The batches of one GPU, with the policy's residents and the best in hindsight."""

    def __init__(self, problem: Problem, gpu: int, batches: Sequence[PlannedBatch]) -> None:
        self._problem, self._gpu, self._batches = problem, gpu, batches
        site, jobs = problem.site, problem.jobs
        members = [tuple(jobs[j] for j, _ in batch.members) for batch in batches]
        uses = [AdapterUse(m, frozenset(job.adapter for job in m)) for m in members]
        self.own: list[Adapters] = [batch.resident for batch in batches]
        exact = cheapest(site, gpu, uses) if site.max_resident > 1 else [u.active for u in uses]
        found = [exact or furthest(site, gpu, uses), self.own]
        costs = [seconds_and_loads(site, gpu, uses, residents) for residents in found]
        self.own_cost = costs[-1]
        self.best_cost, best = min((cost, i) for i, cost in enumerate(costs))
        self.best = found[best]
        self.optimal = exact is not None

    def timed(self, residents: list[Adapters]) -> tuple[PlannedBatch, ...]:
        """Return the batches with these residents, each as early as possible."""
        pairs = zip(self._batches, residents, strict=True)
        kept = [(batch.members, resident) for batch, resident in pairs]
        return earliest(self._problem, self._gpu, kept)
