"""Drives workers by a schedule: every order is known from the start."""

from __future__ import annotations

from collections.abc import Sequence, Set

from pats_opt.errors import InputError
from pats_opt.execute.drivers import Outset
from pats_opt.execute.orders import Script, Translator, scripts, shapes
from pats_opt.execute.record import GpuRun, Pace
from pats_opt.execute.supervisor import Supervisor
from pats_opt.model.checker import check
from pats_opt.model.instance import digest
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, SolutionStatus, SolverRef


class ScheduleDriver:
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
        self._refuse_invalid(problem, schedule)
        self._schedule, self._pace = schedule, pace
        self._scripts: Sequence[Script] = ()
        self.maker: SolverRef = schedule.solver
        self.sha256: str | None = _digest(schedule)
        self.key = {"schedule": self.sha256 or ""}
        self.wanted: Set[str] = {
            s.id for gpu in schedule.gpus for batch in gpu.batches for s in batch.requests
        }
        self.rejected: tuple[str, ...] = schedule.rejected
        self.adapters: Set[str] = _adapters(problem, schedule)
        self.notes: dict[str, object] = {}

    @staticmethod
    def _refuse_invalid(problem: Problem, schedule: Schedule) -> None:
        verdict = check(problem, schedule)
        if schedule.status.point is SolutionStatus.NONE:
            raise InputError("there is no schedule in this file", place="status.point")
        if not verdict.ok:
            first = verdict.violations[0]
            more = f" ({len(verdict.violations)} violations)" if verdict.violations[1:] else ""
            raise InputError(
                f"this schedule breaks rule {first.rule}: {first.message}{more}",
                place=first.place,
                hint="'pats-opt check' lists all that is wrong",
            )

    def set_up(
        self, translator: Translator, made: Set[str], past: Sequence[GpuRun]
    ) -> list[Outset]:
        """What is left of the schedule for each GPU; None for one with nothing left."""
        del past  # a schedule says what is resident when
        self._scripts = scripts(translator, self._schedule, self._pace, made)
        slots = max([1, *(script.slots for script in self._scripts)])
        return [
            Outset(
                needed=bool(script.orders),
                resident=script.resident,
                slots=slots,
                requests=tuple(m.id for order in script.orders for m in order.members),
                prime=tuple(m for order in script.orders for m in order.members if m.skip),
                warm=tuple(sorted({s for o in script.orders for s in shapes(o.members)})),
            )
            for script in self._scripts
        ]

    def drive(self, supervisor: Supervisor) -> None:
        """Hand out all orders."""
        for gpu, script in enumerate(self._scripts):
            for order in script.orders:
                supervisor.send(gpu, order)


def _adapters(problem: Problem, schedule: Schedule) -> Set[str]:
    """Those that a valid schedule ever holds."""
    held = {name for gpu in problem.instance.gpus for name in gpu.resident}
    return held | {name for gpu in schedule.gpus for batch in gpu.batches for name in batch.load}


def _digest(schedule: Schedule) -> str:
    """Digest of a schedule, as that of an instance is made."""
    import json

    import msgspec

    return digest(json.loads(msgspec.json.encode(schedule)))
