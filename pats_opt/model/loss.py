"""Objective function, term by term (PROBLEM.md section 6).

Solvers price their decisions with :func:`serving_loss` and :func:`switching_loss`; the checker adds
the same terms up over a schedule. Losses have no unit; latency enters in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from pats_opt.model.instance import Instance, Option
from pats_opt.model.problem import Job, Problem, Site


class LossTerms(Struct, frozen=True, kw_only=True):
    """The five terms of the loss; :attr:`total` is the loss."""

    quality: float = 0.0
    latency: float = 0.0
    late: float = 0.0
    switching: float = 0.0
    rejection: float = 0.0

    @property
    def total(self) -> float:
        """The loss."""
        return self.quality + self.latency + self.late + self.switching + self.rejection


def latency_loss(site: Site, job: Job, completion: int) -> float:
    """Price of the seconds between arrival and completion."""
    return site.latency_price_per_s * job.weight * (completion - job.arrival) * site.tick_s


def late_loss(site: Site, job: Job, completion: int) -> float:
    """Price of missing the deadline."""
    return site.late_price * job.weight if is_late(job, completion) else 0.0


def is_late(job: Job, completion: int) -> bool:
    """Whether a job that completes at this tick misses its deadline."""
    return job.deadline is not None and completion - job.arrival > job.deadline


def serving_loss(site: Site, job: Job, option: int, completion: int) -> float:
    """Loss of serving ``job`` with ``option``, done at tick ``completion``: never falling in it."""
    return (
        job.options[option].quality_loss
        + latency_loss(site, job, completion)
        + late_loss(site, job, completion)
    )


def switching_loss(site: Site, seconds: float) -> float:
    """Price of the seconds a switch pays, before rounding to ticks."""
    return site.switch_price_per_s * seconds


def best_utility(problem: Problem) -> float:
    """Sum of weight x best quality: the documents' utility is this minus the loss."""
    return sum(job.weight * max(o.quality for o in job.options) for job in problem.jobs)


def gap(loss: float | None, bound: float | None) -> float | None:
    """``(loss - bound) / loss``; 0 when both are 0; None where either is missing."""
    if loss is None or bound is None:
        return None
    if loss <= 0:
        return 0.0
    return max(0.0, (loss - bound) / loss)


def loss_of_expiry(
    options: Sequence[Option], deadline_s: float | None, prices: Instance | Site
) -> float | None:
    """Return the rejection loss of a request that a server takes out at its deadline.

    Until then serving it never loses more, so that no policy or bound gives it up for what waiting
    costs.

    Args:
        options: The request's options.
        deadline_s: Its deadline in seconds from arrival, or None.
        prices: Where the prices of waiting and of being late are.

    Returns:
        The loss per unit of weight; None without a deadline, as the request must be served then.
    """
    if deadline_s is None:
        return None
    waiting = prices.latency_price_per_s * deadline_s + prices.late_price
    return max([option.quality for option in options]) + waiting
