"""Clock and GPUs of a policy's run: the interfaces, and the simulated ones.

The live executor has its own (:mod:`pats_opt.execute.policy_driver`).
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Protocol

from msgspec.structs import replace
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.model.plan import PlannedLoad
from pats_opt.model.problem import Site


class Clock(Protocol):
    """Passes the time of a run."""

    def wait(self, due: int | None) -> int | None:
        """Wait until ``due``, or until a GPU becomes idle or a load ends before it.

        Args:
            due: Tick of the next arrival, timer or withdrawal, or None where there is none to come.

        Returns:
            The current tick, which may be later; None where nothing is to come or in progress.
        """
        ...


class GpuFleet(Protocol):
    """Carry out batches and switches."""

    def occupy(self, gpu: GpuState, tick: int, members: tuple[tuple[int, int], ...]) -> None:
        """Begin a switch and the batch after it.

        Args:
            gpu: The GPU while it is busy; ``free_at`` is the predicted end.
            tick: The current tick.
            members: Job and option of each member; empty for a switch alone.
        """
        ...

    def load(self, gpu: GpuState, end: int, load: PlannedLoad) -> None:
        """Begin a load beside serving.

        Args:
            gpu: The GPU with the load in progress.
            end: Predicted tick of the load's end.
            load: The load, which starts at the current tick.
        """
        ...

    def ended(self, tick: int) -> int:
        """How many GPUs have become idle and loads ended since the last call, up to this tick."""
        ...

    def states(self, tick: int) -> Sequence[GpuState]:
        """All GPUs at this tick."""
        ...


class SimulatedGpus(GpuFleet):
    """GPUs that are done exactly when predicted."""

    def __init__(self, site: Site) -> None:
        self._states = [GpuState(gpu.index, gpu.resident) for gpu in site.gpus]
        self.ends: list[int] = []  # a heap of the ticks at which busy ones and loads end
        self._loads = 0  # in progress beside serving

    @override
    def occupy(self, gpu: GpuState, tick: int, members: tuple[tuple[int, int], ...]) -> None:
        self._states[gpu.index] = gpu
        heappush(self.ends, gpu.free_at)

    @override
    def load(self, gpu: GpuState, end: int, load: PlannedLoad) -> None:
        self._states[gpu.index] = gpu
        self._loads += end > load.start  # one of no ticks never is in progress
        heappush(self.ends, end)

    @override
    def ended(self, tick: int) -> int:
        count = 0
        while self.ends and self.ends[0] <= tick:
            heappop(self.ends)
            count += 1
        if count and self._loads:
            self._end_loads(tick)
        return count

    def _end_loads(self, tick: int) -> None:
        """Leave out of the states the loads that have ended."""
        for gpu in self._states:
            left = tuple([load for load in gpu.loading if load[1] > tick])
            if len(left) < len(gpu.loading):
                self._loads -= len(gpu.loading) - len(left)
                self._states[gpu.index] = replace(gpu, loading=left)

    @override
    def states(self, tick: int) -> Sequence[GpuState]:
        return tuple(self._states)


class SimulatedClock(Clock):
    """A clock that jumps to the next event, on simulated GPUs."""

    def __init__(self, gpus: SimulatedGpus) -> None:
        self._ends = gpus.ends

    @override
    def wait(self, due: int | None) -> int | None:
        ends = self._ends
        return ends[0] if ends and (due is None or ends[0] < due) else due
