"""One GPU of a fleet: its own requests, and the run of the policy that sees only them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Set
from types import MappingProxyType
from typing import Protocol

from pats_opt.core.policy import Action, GpuState, Start, StartLoad, State, SwitchTo
from pats_opt.model.problem import Job
from pats_solvers.online.common.queue import JobQueue, insert


class LocalPolicy(Protocol):
    """Decisions for one GPU; :class:`~pats_solvers.online.decider.Decider` makes them."""

    def __call__(self, state: State) -> list[Action]:
        """Return what the GPU does next."""
        ...

    def committed(self) -> Set[int]:
        """Return the indices of the jobs that wait in a batch that is decided on."""
        ...


class LocalRun:
    """The policy of one GPU in one run.

    Args:
        gpu: The GPU's index in the fleet; for its own policy it is 0.
        decide: The policy's decisions.

    Attributes:
        decide: The policy's decisions.
        waiting: The jobs bound to it that no batch has started with, in order of arrival.
    """

    def __init__(self, gpu: int, decide: LocalPolicy) -> None:
        self.waiting: JobQueue = OrderedDict()
        self._gpu, self.decide = gpu, decide
        self._view = MappingProxyType(self.waiting)
        self._arrived: JobQueue = OrderedDict()  # since the policy was last asked
        self._withdrawn: JobQueue = OrderedDict()

    def add(self, job: Job) -> None:
        """Bind a job to this GPU; the policy learns of it when it is next asked."""
        insert(self.waiting, job)
        if self._withdrawn.pop(job.index, None) is None:  # else the policy has not missed it yet
            insert(self._arrived, job)

    def remove(self, job: Job) -> None:
        """Take away a job that is moved or withdrawn."""
        del self.waiting[job.index]
        if self._arrived.pop(job.index, None) is None:
            insert(self._withdrawn, job)

    @property
    def decided(self) -> bool:
        """Whether a batch is decided on that has not started."""
        return bool(self.decide.committed())

    def movable(self) -> list[Job]:
        """Return the jobs that wait in no batch that is decided on, in order of arrival."""
        committed = self.decide.committed()
        return [job for index, job in self.waiting.items() if index not in committed]

    def ask(self, tick: int, gpu: GpuState) -> list[Action]:
        """Ask the policy, and return its actions as those of the fleet's GPU.

        Members of a batch that starts are still among those waiting afterwards.
        """
        own = GpuState(0, gpu.resident, gpu.active, gpu.free_at, gpu.before, gpu.loading, gpu.taken)
        arrived, withdrawn = tuple(self._arrived.values()), tuple(self._withdrawn.values())
        self._arrived.clear()
        self._withdrawn.clear()
        state = State(tick, self._view, arrived, withdrawn, (own,))
        return [self._of_fleet(action) for action in self.decide(state)]

    def _of_fleet(self, action: Action) -> Action:
        if isinstance(action, Start):
            return Start(self._gpu, action.members, action.resident)
        if isinstance(action, StartLoad):
            return StartLoad(self._gpu, action.adapter, action.evict)
        if isinstance(action, SwitchTo):
            return SwitchTo(self._gpu, action.resident)
        return action
