"""Interface of solvers: a name, capabilities, parameters, and ``solve(problem, run)``.

A solver is an immutable msgspec struct whose fields are its parameters. It gets a :class:`Run`
(time limit, seed, warm start, where to report progress) and returns an :class:`Outcome`;
:mod:`pats_opt.solving.solve` turns that into a checked schedule.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

from pats_opt.errors import CapabilityError
from pats_opt.model.instance import StepsService, StepTime
from pats_opt.model.plan import Plan
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import StopReason


class Kind(StrEnum):
    """Kind of result that a solver gives."""

    EXACT = "exact"  #: proves its optimum, given time
    BOUND = "bound"  #: proves a lower bound; may give a schedule too
    HEURISTIC = "heuristic"  #: gives a schedule, offline
    ONLINE = "online"  #: gives a schedule without seeing the future


class Feature(StrEnum):
    """A feature of PROBLEM.md that a solver may lack."""

    OPTIONS = "several options per request"
    GPUS = "several GPUs"
    RESOURCES = "several resources"
    TABLE = "step-time table"
    OVERHEAD = "batch overhead"
    SLOT = "slot service"
    RESIDENT = "max_resident above 1"
    MIXED_BATCH = "max_per_batch above 1"
    PAIRS = "pairwise switching times"
    ACTIVATE = "activation time"
    DEADLINES = "priced deadlines"
    REJECTION = "rejection"
    INITIAL = "initial residents"
    HORIZON = "hard horizon"
    OVERLAP = "overlap"


#: Every feature but ``overlap``, because loads beside serving ask for decisions of their own.
ALL_FEATURES: frozenset[Feature] = frozenset(Feature) - {Feature.OVERLAP}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Capabilities of a solver. A problem with a feature that it lacks is refused.

    Attributes:
        features: Features that it handles.
        bound: Whether it gives a lower bound.
        warm_start: Whether it uses a warm start.
        packages: Import names that it needs beyond the base installation.
    """

    features: frozenset[Feature] = ALL_FEATURES
    bound: bool = False
    warm_start: bool = False
    packages: tuple[str, ...] = ()


@dataclass(slots=True)
class Run:
    """Limits and callbacks of one run of a solver.

    Attributes:
        time_limit: Seconds from now, or None.
        seed: Seed of every random choice.
        jobs: Threads or processes it may use.
        start: A valid plan to start from, and its loss, or None.
        progress: Called with (bound, loss), either None while unknown.
        phase: Called as a phase begins, with its name and the share done (None if unknown).
        interrupted: Set when the user wants the best so far.
    """

    time_limit: float | None = None
    seed: int = 0
    jobs: int = 1
    start: tuple[Plan, float] | None = None
    progress: Callable[[float | None, float | None], None] = lambda *_: None
    phase: Callable[[str, float | None], None] = lambda *_: None
    interrupted: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)

    def remaining(self) -> float | None:
        """Seconds left, at least 0, or None where there is no limit."""
        if self.time_limit is None:
            return None
        return max(0.0, self.began + self.time_limit - time.monotonic())

    def stop(self) -> StopReason | None:
        """Reason to stop now, or None."""
        if self.interrupted.is_set():
            return StopReason.INTERRUPTED
        return StopReason.TIME_LIMIT if self.remaining() == 0.0 else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Outcome of a solver: its best plan and bound, and why it stopped.

    Attributes:
        stop: Why it stopped. ``OPTIMAL`` and ``INFEASIBLE`` are claims of proof.
        plan: Its best plan, or None.
        bound: A proven lower bound on every schedule's loss, or None.
        details: Further output, such as model sizes and iterations, ready for JSON.
    """

    stop: StopReason
    plan: Plan | None = None
    bound: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Solver(Protocol):
    """A solver: an immutable struct of parameters with these class attributes.

    It may also have these methods, which :mod:`pats_opt.solving.preparing` calls before a run's
    clock starts, with a problem, or None for any: ``prepare(problem)`` for work once per process,
    ``kernels(problem)`` for the sets of compiled code that it needs, and ``meanwhile(problem)`` for
    a solver that tries the problem while these are compiled.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    capabilities: ClassVar[Capabilities]

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """Solve ``problem`` within ``run``'s limits; return the best found whenever stopped."""
        ...


def features(problem: Problem) -> frozenset[Feature]:
    """The features that a problem uses."""
    site, jobs, service = problem.site, problem.jobs, problem.instance.service
    step = service.step_s
    used = {
        Feature.OPTIONS: any(len(job.options) > 1 for job in jobs),
        Feature.GPUS: len(site.gpus) > 1,
        Feature.RESOURCES: len(site.resources) > 1,
        Feature.TABLE: isinstance(step, StepTime) and isinstance(step.table, tuple),
        Feature.OVERHEAD: isinstance(service, StepsService) and site.clock.overhead_s(1) > 0,
        Feature.SLOT: site.clock.slotted,
        Feature.RESIDENT: site.max_resident > 1,
        Feature.MIXED_BATCH: site.max_per_batch > 1,
        Feature.PAIRS: bool(site.pairs),
        Feature.ACTIVATE: site.activate_s > 0 and site.max_resident > 1,
        Feature.DEADLINES: site.late_price > 0 and any(job.deadline is not None for job in jobs),
        Feature.REJECTION: any(job.reject_loss is not None for job in jobs),
        Feature.INITIAL: any(gpu.resident for gpu in site.gpus),
        Feature.HORIZON: site.horizon is not None,
        Feature.OVERLAP: site.channels is not None,
    }
    return frozenset(feature for feature, is_used in used.items() if is_used)


def require(solver: Solver, problem: Problem) -> None:
    """Refuse a problem that uses a feature the solver lacks.

    Raises:
        CapabilityError: The message has the missing features.
    """
    missing = sorted(features(problem) - solver.capabilities.features)
    if missing:
        raise CapabilityError(
            f"solver {solver.name!r} cannot handle {', '.join(missing)}",
            hint="choose another with --solver (see 'pats-opt solvers')",
        )
