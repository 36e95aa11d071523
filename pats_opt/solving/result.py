"""Results of solving: the checked schedule, its figures, and those of a latency budget."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
from msgspec import Struct
from typing_extensions import override

from pats_opt import display
from pats_opt.display import Plottable
from pats_opt.errors import NoScheduleError, one_line
from pats_opt.model.checker import ReplayedBatch, ReplayedLoad
from pats_opt.model.files import StrPath
from pats_opt.model.loss import LossTerms
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule, Status
from pats_opt.tables import Metrics
from pats_opt.wording import number, percent

#: Fields of a result that its summary leaves out.
NOT_IN_SUMMARY = frozenset({"schedule", "replayed", "loads", "problem"})


class Result(Struct, Plottable, frozen=True, kw_only=True):
    """Result of solving an instance: the checked schedule and its figures.

    Attributes:
        solver: Name of the solver; ``params`` and ``seed`` are what it ran with.
        status: Why the solver stopped, and the status of its schedule.
        loss: Loss of the schedule as the checker computes it; None without a schedule.
        bound: Proven lower bound on the loss of every schedule; None if there is none.
        gap: ``(loss - bound) / loss``; None without a loss or a bound.
        utility: Sum of weight x best quality minus the loss; None without a schedule.
        runtime_s: Seconds that the solver took, its warm start included.
        terms: The loss term by term; None without a schedule.
        metrics: Latency, switching and use of the GPUs; None without a schedule.
        details: Further output of the solver, such as model sizes.
        schedule: The schedule document. Without a plan it holds no batches.
        replayed: The batches as the checker replayed them, the input of :mod:`pats_opt.tables`.
        loads: The loads beside serving as the checker replayed them.
        problem: The problem that was solved. Pictures need it; a result that was put together by
            hand may leave it out.
    """

    solver: str
    params: dict[str, Any]
    seed: int
    status: Status
    loss: float | None
    bound: float | None
    gap: float | None
    utility: float | None
    runtime_s: float
    terms: LossTerms | None
    metrics: Metrics | None
    details: dict[str, Any]
    schedule: Schedule
    replayed: tuple[ReplayedBatch, ...] = ()
    loads: tuple[ReplayedLoad, ...] = ()
    problem: Problem | None = None

    def summary(self) -> dict[str, Any]:
        """Return all but the schedule, ready for JSON."""
        names = [name for name in self.__struct_fields__ if name not in NOT_IN_SUMMARY]
        return {name: msgspec.to_builtins(getattr(self, name)) for name in names}

    def show(self, path: StrPath) -> None:
        """Write a picture of the schedule, as ``pats-opt show`` does.

        Args:
            path: The file to write. Its suffix selects the format: .html, .svg or .png.
        """
        display.show(self, path)

    @override
    def __repr__(self) -> str:
        facts = [  # on one line: a schedule would fill the screen
            f"solver={self.solver!r}",
            f"status={self.status.point.value!r}",
            f"loss={number(self.loss, 6)}",
            f"bound={number(self.bound, 6)}",
            f"gap={percent(self.gap)}",
        ]
        return one_line(f"{type(self).__name__}({', '.join(facts)})")


class LatencyMeasure(StrEnum):
    """Latency figure that a budget limits, over the requests served."""

    MEAN = "mean"  #: ``metrics.latency_mean_s``, every request alike
    P95 = "p95"  #: ``metrics.latency_p95_s``


class BudgetPoint(Struct, frozen=True, kw_only=True):
    """Point of the trade-off curve: the schedule found at one latency price.

    Attributes:
        price: ``lambda`` in JSON: the price per second; None if only latency was minimised.
        latency_mean_s: Mean latency over the requests served; None if there are none.
        latency_p95_s: Its 95 % quantile.
        quality: Loss of quality; the next three are the other terms.
        other: Loss without latency: the sum of the four terms.
        proven: Whether the solver proved the schedule optimal at this price.
        meets: Whether the schedule keeps the budget.
        chosen: Whether this is the schedule returned.
    """

    price: float | None = msgspec.field(name="lambda")
    latency_mean_s: float | None
    latency_p95_s: float | None
    quality: float
    late: float
    switching: float
    rejection: float
    other: float = msgspec.field(name="loss_without_latency")
    proven: bool
    meets: bool
    chosen: bool


class Budget(Struct, frozen=True, kw_only=True):
    """Latency budget, the multiplier that meets it, its cost, and the trade-off curve.

    Attributes:
        measure: The figure that is limited, over the requests served.
        budget_s: The limit.
        met: Whether the schedule returned keeps it. If not, that schedule comes nearest.
        reached_s: The schedule's value of the measure; None if it serves no request.
        price: ``lambda`` in JSON: the least latency price per second at which no schedule found is
            better than the one returned (0: the budget costs nothing); None if there is none.
        loss: ``loss_without_latency`` in JSON: that of the schedule returned; None without one.
        bound: Proven: no schedule that keeps the budget has a lower loss without latency. None
            if no solver gave a bound (for p95, only a run at the price 0 gives one).
        gap: ``(loss - bound) / loss``; None without a bound, or if the budget is missed.
        curve: The schedules found, by rising price.
    """

    measure: LatencyMeasure
    budget_s: float
    met: bool
    reached_s: float | None
    price: float | None = msgspec.field(name="lambda")
    loss: float | None = msgspec.field(name="loss_without_latency")
    bound: float | None
    gap: float | None
    curve: tuple[BudgetPoint, ...]


class BudgetResult(Result, frozen=True, kw_only=True):
    """Result whose schedule is chosen by a latency budget.

    ``loss`` and ``terms`` use the instance's own latency price. ``bound`` is None, because the
    schedule is not meant to minimise that loss; read ``budget.bound`` instead.
    """

    budget: Budget


def require_schedule(result: Result) -> None:
    """Require that a result has a schedule.

    Raises:
        NoScheduleError: It has none.
    """
    if result.loss is None:
        raise NoScheduleError(
            f"{result.solver} stopped ({result.status.stop}) without a schedule"
            + ("" if result.bound is None else f"; its bound is {result.bound:g}")
            + "; give it more time or try another solver"
        )


def require_met(result: BudgetResult) -> None:
    """Require that the schedule of a result, if there is one, keeps the latency budget.

    Raises:
        NoScheduleError: The schedule misses the budget.
    """
    budget = result.budget
    if result.loss is not None and not budget.met:
        assert budget.reached_s is not None
        at = "with latency alone" if budget.price is None else f"at lambda {budget.price:.4g}"
        raise NoScheduleError(
            f"{result.solver} found no schedule with a {budget.measure} latency of "
            f"{budget.budget_s:g} s or less; the nearest, {at}, has {budget.reached_s:.6g} s; "
            "raise the budget, give it more time or try another solver"
        )
