"""What a search for a latency budget gives: its result, the budget's figures, the curve."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from pats_opt.errors import NoScheduleError
from pats_opt.solving.budget_curve import Measure
from pats_opt.solving.solve import Result


class BudgetPoint(Struct, frozen=True, kw_only=True):
    """What the solver found at one latency price: a point of the trade-off curve.

    Attributes:
        price: ``lambda`` in JSON: the price per second; None is latency alone, all else free.
        latency_mean_s: Mean latency over the requests served; None where there are none.
        latency_p95_s: Its 95 % quantile.
        quality: Loss of quality; the next three are the other terms.
        other: Loss without latency: the sum of the four terms.
        proven: Whether the solver proved the schedule optimal at this price.
        meets: Whether it keeps the budget.
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
    """A latency budget, the multiplier that meets it, what it costs, and the trade-off curve.

    Attributes:
        measure: What is limited, over the requests served.
        budget_s: The limit.
        met: Whether the schedule returned keeps it; else it is the one that comes nearest.
        reached_s: The schedule's value of the measure; None where it serves nobody.
        price: ``lambda`` in JSON: the least latency price per second at which no schedule found is
            better than the one returned (0: the budget costs nothing); None where there is none.
        loss: ``loss_without_latency`` in JSON: that of the schedule returned, or None without one.
        bound: Proven: no schedule that keeps the budget has a lower loss without latency. None
            where no solver gave a bound (of a p95, the only one is that of the price 0).
        gap: ``(loss - bound) / loss``; None without a bound, or where the budget is not met.
        curve: What was found, by rising price.
    """

    measure: Measure
    budget_s: float
    met: bool
    reached_s: float | None
    price: float | None = msgspec.field(name="lambda")
    loss: float | None = msgspec.field(name="loss_without_latency")
    bound: float | None
    gap: float | None
    curve: tuple[BudgetPoint, ...]


class BudgetResult(Result, frozen=True, kw_only=True):
    """A result whose schedule is chosen by a latency budget.

    ``loss`` and ``terms`` are those of the instance itself, at its own latency price. ``bound`` is
    None, as the schedule is not meant to minimise that loss; ``budget.bound`` is the one to read.
    """

    budget: Budget


def require_met(result: BudgetResult) -> None:
    """Raise NoScheduleError where a result has a schedule, and it misses the budget."""
    budget = result.budget
    if result.loss is not None and not budget.met:
        assert budget.reached_s is not None
        at = "with latency alone" if budget.price is None else f"at lambda {budget.price:.4g}"
        raise NoScheduleError(
            f"{result.solver} found no schedule with a {budget.measure} latency of "
            f"{budget.budget_s:g} s or less; the nearest, {at}, has {budget.reached_s:.6g} s; "
            "raise the budget, give it more time or try another solver"
        )
