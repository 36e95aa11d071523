"""Finite horizons and time windows that keep an optimum.

Every loss term is nondecreasing in completion ticks, so some optimal schedule is *semi-active*:
no batch can start earlier with the order and members unchanged. Its length is bounded by
:func:`safe_horizon`. With a known schedule of loss U, a job that completes so late that its own
loss and the least possible of all others exceed U cannot be in a better schedule:
:func:`latest_completions`. Both keep the known schedule too, once it is timed as early as it
can be.
"""

from __future__ import annotations

from functools import cache

from pats_opt.model.loss import serving_loss
from pats_opt.model.problem import Problem
from pats_solvers.common.bounds import (
    combinatorial_bound,
    earliest_completion,
    largest_batch,
    least_loss,
    longest_batch,
    longest_switch,
    share_of_batch,
)

#: Slack on the known loss, relative, so that rounding never cuts off the schedule it came from.
SLACK = 1e-9


def safe_horizon(problem: Problem, known_loss: float | None = None) -> int:
    """Return a tick by which some optimal schedule has ended, at most the hard horizon.

    After the last arrival a semi-active schedule never idles, and it has at most one batch, hence
    one switch, per job. With a known loss, some schedule that is no worse has ended by then.
    """
    if not problem.jobs:
        return 0
    busy = 0
    members = max((largest_batch(problem, gpu.index) for gpu in problem.site.gpus), default=0)
    if members:
        busy = len(problem.jobs) * (share_of_batch(problem, members) + longest_switch(problem))
        if known_loss is not None:
            busy = min(busy, _longest_tail(problem, known_loss, members, busy))
    end = problem.jobs[-1].arrival + busy
    return end if problem.site.horizon is None else min(end, problem.site.horizon)


def _longest_tail(problem: Problem, known_loss: float, members: int, most: int) -> int:
    """Return ticks after the last arrival in which each semi-active schedule within a loss ends.

    Where a GPU ends ``tail`` ticks after the last arrival it has been busy since. Batch ends are
    then at most one batch and one switch apart, and at each of them some job completes: these
    completions alone must not cost more than the known loss leaves. (In the slotted model the
    completion is the tick before.)
    """
    site, last = problem.site, problem.jobs[-1].arrival
    apart = longest_batch(problem, members) + longest_switch(problem)
    spare = spare_loss(problem, known_loss)
    least = [least_loss(problem, job) for job in problem.jobs]

    @cache
    def extra(tick: int) -> float:
        """Return the least that any job completing at ``tick`` adds to its own least loss."""
        losses = (
            min(serving_loss(site, job, o, tick) for o in range(len(job.options)))
            for job in problem.jobs
        )
        return max(0.0, min(loss - own for loss, own in zip(losses, least, strict=True)))

    def too_long(tail: int) -> bool:
        ends = range(last + tail, last, -apart)
        total = 0.0
        for tick in ends[: len(problem.jobs)]:
            total += extra(tick - 1 if site.clock.slotted else tick)
            if total > spare:
                return True
        return False

    low, high = 0, most  # a longer tail costs more: bisect the longest that is within
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if too_long(middle) else (middle, high)
    return low


def spare_loss(problem: Problem, known_loss: float) -> float:
    """Return how far a known loss is above :func:`combinatorial_bound`, with some slack."""
    slack = SLACK * max(1.0, abs(known_loss))
    return known_loss - combinatorial_bound(problem) + slack


def latest_completions(problem: Problem, known_loss: float | None) -> list[list[int | None]]:
    """Return the last tick, per job and option, at which completing can still match ``known_loss``.

    None where the option cannot be used at all. Every entry is capped by :func:`safe_horizon`.
    """
    site, end = problem.site, safe_horizon(problem, known_loss)
    if known_loss is None:
        return [[end] * len(job.options) for job in problem.jobs]
    least = [least_loss(problem, job) for job in problem.jobs]
    spare = spare_loss(problem, known_loss)
    table: list[list[int | None]] = []
    for job in problem.jobs:
        budget = least[job.index] + spare
        row: list[int | None] = []
        for o in range(len(job.options)):
            low, high = earliest_completion(problem, job, o), end
            if high < low or serving_loss(site, job, o, low) > budget:
                row.append(None)
                continue
            while low < high:  # the loss never falls with the tick: bisect the last one within
                middle = (low + high + 1) // 2
                if serving_loss(site, job, o, middle) <= budget:
                    low = middle
                else:
                    high = middle - 1
            row.append(low)
        table.append(row)
    return table
