"""The loop that asks a policy: the answer to each event, from its hooks."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Generic, Protocol, TypeVar

from pats_opt.core.policy import Action, GpuState, State, WakeAt
from pats_opt.model.problem import Job
from pats_solvers.online.common.batch import BatchBuilder, EvictionOrder, open_batch
from pats_solvers.online.common.context import Leader, RunContext
from pats_solvers.online.common.options import fewest_steps
from pats_solvers.online.common.staleness import Staleness

RunT = TypeVar("RunT", bound=RunContext)
RunT_contra = TypeVar("RunT_contra", bound=RunContext, contravariant=True)


class PolicyRule(Protocol[RunT_contra]):
    """The hooks of a policy; :class:`~pats_solvers.online.base.OnlinePolicy` explains them."""

    def select_leader(self, run: RunT_contra, idle: Sequence[GpuState]) -> Leader | None:
        """Return the next batch's GPU and its leader."""

    def fill_batch(self, run: RunT_contra, batch: BatchBuilder) -> None:
        """Add members to a batch that holds its leader."""

    def wake(self, run: RunT_contra, idle: Sequence[GpuState]) -> int | None:
        """Return a tick at which to decide again at the latest."""

    def arrived(self, run: RunT_contra, job: Job) -> None:
        """Note that ``job`` has arrived."""

    def served(self, run: RunT_contra, batch: BatchBuilder) -> None:
        """Note that ``batch`` starts."""


class Decider(Generic[RunT]):
    """A policy in one run: the answer to each event."""

    def __init__(self, policy: PolicyRule[RunT], run: RunT, stale: Staleness | None) -> None:
        self._policy, self._run, self._stale = policy, run, stale

    def __call__(self, state: State) -> list[Action]:
        """Return what the idle GPUs do next."""
        run = self._run
        self._update(state)
        idle, actions = state.idle, list[Action]()
        while idle and len(run.waiting):
            batch = self._next_batch(idle, run.eviction)
            if batch is None:
                break
            self._commit(batch)
            actions.append(batch.start())
            idle = [gpu for gpu in idle if gpu.index != batch.gpu.index]
        if idle and len(run.waiting):
            actions += self._wakes(idle)
        run.waiting.show_all()
        return actions

    def committed(self) -> Set[int]:
        """Return the indices of the jobs that wait in a batch that is decided on."""
        return frozenset()

    def _update(self, state: State) -> None:
        """Take in what has arrived and left since the last decision."""
        policy, run = self._policy, self._run
        run.tick = state.tick
        for job in state.arrived:
            run.waiting.add(job)
            run.eviction.arrived(job)
            if self._stale is not None:
                self._stale.arrived(job)
            policy.arrived(run, job)
        for job in state.withdrawn:
            run.waiting.remove(job)

    def _next_batch(self, idle: Sequence[GpuState], evict: EvictionOrder) -> BatchBuilder | None:
        """Build the batch that the policy would start next; nothing is committed yet."""
        policy, run = self._policy, self._run
        while (leader := self._leader(idle)) is not None:
            gpu, job = leader
            options = [run.option_on(gpu.index, job)]
            if run.site.horizon is not None:  # the fewest steps may end in time where it does not
                options.append(fewest_steps(job))
            batch = open_batch(
                run.site, gpu, job, options, tick=run.tick, evict=evict, least=run.waiting.least
            )
            if batch is None:
                run.waiting.hide(gpu.index, job)
                continue
            policy.fill_batch(run, batch)
            return batch
        return None

    def _commit(self, batch: BatchBuilder) -> None:
        """Note that a batch will run."""
        run, gpu = self._run, batch.gpu
        for member in batch.jobs:
            run.waiting.remove(member)
        run.eviction.served(gpu.index, gpu.resident, batch.resident, batch.active)
        self._policy.served(run, batch)

    def _leader(self, idle: Sequence[GpuState]) -> Leader | None:
        overdue = self._stale.overdue(idle, self._run.tick) if self._stale is not None else None
        return overdue or self._policy.select_leader(self._run, idle)

    def _wakes(self, idle: Sequence[GpuState]) -> list[Action]:
        """The timer for GPUs that are left idle beside waiting jobs, if any."""
        wakes = [self._policy.wake(self._run, idle)]
        if self._stale is not None:
            wakes.append(self._stale.wake(idle, self._run.tick))
        wake = min((w for w in wakes if w is not None), default=None)
        return [] if wake is None else [WakeAt(wake)]
