"""Drivers of a run: what gives the workers their orders, and the one that carries out a schedule.

The other one asks a policy (:mod:`pats_opt.execute.policy_driver`).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, Protocol

from msgspec import Struct
from typing_extensions import override

from pats_opt.errors import InputError
from pats_opt.execute.orders import GpuOrders, OrderBuilder, gpu_orders, shapes
from pats_opt.execute.record import GpuRun, Pace
from pats_opt.execute.supervisor import Supervisor
from pats_opt.execute.work import Member, Shape
from pats_opt.model.checker import check
from pats_opt.model.instance import digest
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolutionStatus, SolverRef


class WorkerSetup(Struct, frozen=True, kw_only=True):
    """Initial state of one GPU's worker.

    Attributes:
        needed: Whether it has anything to do; a GPU without gets no worker.
        resident: Adapters it holds.
        slots: Adapters it has to be able to hold.
        requests: Requests it may be given.
        prime: Members whose latents must be at hand.
        warm: Shapes that it will run.
    """

    needed: bool
    resident: tuple[str, ...]
    slots: int
    requests: tuple[str, ...]
    prime: tuple[Member, ...]
    warm: tuple[Shape, ...]


class Driver(Protocol):
    """Sets up the workers, and gives them their orders.

    Attributes:
        live: Whether a policy decides while it runs.
        maker: The schedule's solver, or the policy.
        sha256: Digest of the schedule; None for a policy.
        key: Its part of the run's identity.
        wanted: Requests that are to get an image, as far as that is known.
        rejected: Those that are not served, as far as that is known.
        adapters: Adapters that may be needed.
        notes: Further entries of ``execution.json``.
    """

    live: bool
    maker: SolverRef
    sha256: str | None
    key: dict[str, str]
    wanted: Set[str]
    rejected: tuple[str, ...]
    adapters: Set[str]
    notes: dict[str, Any]

    def set_up(
        self, builder: OrderBuilder, made: Set[str], past: Sequence[GpuRun]
    ) -> list[WorkerSetup]:
        """Set up each GPU's worker.

        Args:
            builder: Of the instance.
            made: Requests that have their image from earlier sessions.
            past: What each GPU did in them.
        """
        ...

    def drive(self, supervisor: Supervisor) -> None:
        """Give the orders; workers may still be at the last ones when this returns.

        Raises:
            PatsError: A worker, or the policy, cannot go on.
        """
        ...


class ScheduleDriver(Driver):
    """Carries out a schedule.

    Args:
        problem: The instance on the grid.
        schedule: Its schedule.
        pace: Whether the schedule's times count.

    Raises:
        InputError: The schedule is of another instance, or not valid.
    """

    live = False

    def __init__(self, problem: Problem, schedule: Schedule, pace: Pace) -> None:
        if schedule.status.point is SolutionStatus.NONE:
            raise InputError("there is no schedule in this file", place="status.point")
        check(problem, schedule).require_valid()
        self._schedule, self._pace = schedule, pace
        self._orders: Sequence[GpuOrders] = ()
        self.maker: SolverRef = schedule.solver
        self.sha256: str | None = _digest(schedule)
        self.key = {"schedule": self.sha256 or ""}
        self.wanted: Set[str] = {
            s.id for gpu in schedule.gpus for batch in gpu.batches for s in batch.requests
        }
        self.rejected: tuple[str, ...] = schedule.rejected
        self.adapters: Set[str] = _adapters(problem, schedule)
        self.notes: dict[str, object] = {}

    @override
    def set_up(
        self, builder: OrderBuilder, made: Set[str], past: Sequence[GpuRun]
    ) -> list[WorkerSetup]:
        self._orders = gpu_orders(builder, self._schedule, self._pace, made)
        slots = max([1, *(script.slots for script in self._orders)])
        return [
            WorkerSetup(
                needed=bool(script.batches),
                resident=script.resident,
                slots=slots,
                requests=tuple(m.id for order in script.batches for m in order.members),
                prime=tuple(m for order in script.batches for m in order.members if m.skip),
                warm=tuple(sorted({s for o in script.batches for s in shapes(o.members)})),
            )
            for script in self._orders
        ]

    @override
    def drive(self, supervisor: Supervisor) -> None:
        for gpu, script in enumerate(self._orders):
            for order in script.orders:
                supervisor.send(gpu, order)


def _adapters(problem: Problem, schedule: Schedule) -> Set[str]:
    """Those that a valid schedule ever holds."""
    held = {name for gpu in problem.instance.gpus for name in gpu.resident}
    held |= {load.adapter for gpu in schedule.gpus for load in gpu.loads or ()}
    return held | {name for gpu in schedule.gpus for batch in gpu.batches for name in batch.load}


def _digest(schedule: Schedule) -> str:
    """Digest of a schedule, as that of an instance is made."""
    import json

    import msgspec

    return digest(json.loads(msgspec.json.encode(schedule)))
