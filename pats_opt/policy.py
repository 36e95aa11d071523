"""What an online policy is (PROBLEM.md section 7): parameters, and a decision at every event.

One policy object drives the simulator and the live executor. It never sees the future: it knows
the :class:`~pats_opt.problem.Site` from the start, and at each event a :class:`State` with the jobs
that have arrived. Jobs are numbered by arrival, so not even an index tells what is to come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pats_opt.problem import Adapters, Job, Site
from pats_opt.solver import Capabilities, Kind


@dataclass(slots=True)
class GpuState:
    """One GPU as a policy sees it. The simulator owns it; policies only read.

    Attributes:
        index: Its place in ``Site.gpus``.
        resident: Adapters resident now (after the switch in progress, where there is one).
        active: Adapters of its last batch, or None before its first.
        free_at: Tick at which what it does now ends; at most the current tick where it is idle.
        switched: Whether it has switched and not served since; then it must serve as it is.
    """

    index: int
    resident: Adapters
    active: Adapters | None = None
    free_at: int = 0
    switched: bool = False


@dataclass(slots=True)
class State:
    """What a policy sees at an event.

    Attributes:
        tick: The current tick.
        waiting: Arrived jobs that are not served yet, by job index, in order of arrival.
        arrived: The jobs that arrived since the last decision, in order of arrival.
        gpus: Every GPU; ``idle`` lists those that can be given something to do.
    """

    tick: int
    waiting: Mapping[int, Job]
    arrived: Sequence[Job]
    gpus: Sequence[GpuState]

    @property
    def idle(self) -> list[GpuState]:
        """GPUs that do nothing at this tick."""
        return [gpu for gpu in self.gpus if gpu.free_at <= self.tick]


@dataclass(frozen=True, slots=True)
class Start:
    """Start a batch on an idle GPU, switching to ``resident`` first where that differs.

    ``members`` are ``(job index, option)``; ``resident`` holds at least their adapters.
    """

    gpu: int
    members: tuple[tuple[int, int], ...]
    resident: Adapters


@dataclass(frozen=True, slots=True)
class SwitchTo:
    """Switch an idle GPU to ``resident`` now, ahead of the batch that will need it."""

    gpu: int
    resident: Adapters


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Ask again at this tick, whatever else happens."""

    tick: int


Action = Start | SwitchTo | WakeAt

#: Answers an event: what idle GPUs do next. A GPU that no action names waits for the next event.
Decide = Callable[[State], Iterable[Action]]


class Policy(Protocol):
    """An online policy: an immutable struct of parameters with these class attributes."""

    name: ClassVar[str]
    kind: ClassVar[Kind]
    capabilities: ClassVar[Capabilities]

    def start(self, site: Site, seed: int) -> Decide:
        """A fresh decision function, with its own memory, for one run on ``site``."""
        ...
