"""The schedule document (PROBLEM.md section 4) as immutable typed data."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pats_opt.model.instance import Document, Id

#: The last tick that a schedule can state.
LAST_TICK = 10**16

Tick = Annotated[int, Meta(ge=0, le=LAST_TICK)]
Index = Annotated[int, Meta(ge=0, le=1_000_000)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]


class StopReason(StrEnum):
    """Why a solver stopped."""

    OPTIMAL = "optimal"  #: bound met loss, so the schedule is proven optimal
    COMPLETE = "complete"  #: a heuristic or policy ran to its end; nothing is proven
    TIME_LIMIT = "time-limit"  #: the time limit was reached
    MEMORY_LIMIT = "memory-limit"  #: going on would not have fitted the memory
    INTERRUPTED = "interrupted"  #: the user stopped it
    INFEASIBLE = "infeasible"  #: it is proven that no schedule exists


class SolutionStatus(StrEnum):
    """Status of a schedule."""

    OPTIMAL = "optimal"  #: valid, and no valid schedule has a lower loss
    FEASIBLE = "feasible"  #: valid
    NONE = "none"  #: there is no schedule


class Status(Document, frozen=True, kw_only=True):
    """Why the solver stopped, apart from what the schedule is."""

    stop: StopReason
    point: SolutionStatus


class InstanceRef(Document, frozen=True, kw_only=True):
    """The instance a schedule belongs to, by name and digest."""

    name: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class SolverRef(Document, frozen=True, kw_only=True):
    """The solver that made a schedule, so that it can be made again."""

    name: str
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    seed: int = 0
    runtime_s: Annotated[float, Meta(ge=0)] = 0.0


class Served(Document, frozen=True, kw_only=True):
    """One member of a batch: request id, index of its option, completion tick."""

    id: Id
    option: Index
    completion: Tick


class Batch(Document, frozen=True, kw_only=True):
    """A switch (loads and evictions, from ``switch_start``) and the batch that follows it."""

    switch_start: Tick
    load: tuple[Id, ...] = ()
    evict: tuple[Id, ...] = ()
    start: Tick
    requests: Annotated[tuple[Served, ...], Meta(min_length=1)]


class Load(Document, frozen=True, kw_only=True):
    """A load beside serving: what it makes resident from ``start`` on, and what leaves then."""

    adapter: Id
    start: Tick
    evict: tuple[Id, ...] = ()


class GpuPlan(Document, frozen=True, kw_only=True):
    """The batches of one GPU and, where the instance has ``overlap``, its loads."""

    id: Id
    batches: tuple[Batch, ...]
    loads: tuple[Load, ...] | msgspec.UnsetType = msgspec.UNSET


class Schedule(Document, frozen=True, kw_only=True):
    """Batches of every GPU, rejected requests, and the claims of the solver."""

    format: Literal["pats-opt/schedule"] = "pats-opt/schedule"
    version: Literal[1] = 1
    instance: InstanceRef
    solver: SolverRef
    status: Status
    loss: Number | None = None
    bound: Number | None = None
    gpus: tuple[GpuPlan, ...] = ()
    rejected: tuple[Id, ...] = ()
