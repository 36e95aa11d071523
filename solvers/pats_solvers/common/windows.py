"""Finite horizons and time windows that keep an optimum.

Every loss term is nondecreasing in completion ticks, so some optimal schedule is *semi-active*:
no batch can start earlier with the order and members unchanged. Its length is bounded by
:func:`safe_horizon`. With a known schedule of loss U, a job that completes so late that its own
loss and the least possible of all others exceed U cannot be in a better schedule:
:func:`latest_completions`. Both keep the known schedule too, once it is timed as early as it
can be.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pats_opt.model.loss import serving_loss
from pats_opt.model.problem import Job, Problem
from pats_solvers.common.bounds import (
    combinatorial_bound,
    earliest_completion,
    largest_batch,
    least_loss,
    longest_batch,
    longest_switch,
    share_of_batch,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

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
    last = problem.jobs[-1].arrival
    apart = longest_batch(problem, members) + longest_switch(problem)
    spare = spare_loss(problem, known_loss)
    cheapest = _cheapest_to_delay(problem, last)
    early = 1 if problem.site.clock.slotted else 0

    def too_long(tail: int) -> bool:
        ends = np.arange(last + tail, last, -apart)[: len(problem.jobs)] - early
        extra = np.min([_excess(problem, job, ends) for job in cheapest], axis=0)
        return float(np.cumsum(np.maximum(extra, 0.0))[-1]) > spare

    low, high = 0, most  # a longer tail costs more: bisect the longest that is within
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if too_long(middle) else (middle, high)
    return low


def _excess(problem: Problem, job: Job, ticks: Ints) -> Floats:
    """Return how far completing ``job`` at each of ``ticks`` is above its least loss."""
    site = problem.site
    waits = ticks - job.arrival
    quality = min(option.quality_loss for option in job.options)
    late = site.late_price * job.weight * (waits > _patience(job))
    latency = site.latency_price_per_s * job.weight * waits * site.tick_s
    excess: Floats = quality + latency + late - least_loss(problem, job)
    return excess


def _patience(job: Job) -> float:
    return math.inf if job.deadline is None else job.deadline


def _cheapest_to_delay(problem: Problem, last: int) -> list[Job]:
    """Return jobs of which one has the least excess at each tick from ``last`` on.

    Every other job has a higher excess at ``last``, a higher weight and an earlier deadline than
    one of them.
    """
    rated = []
    for job in problem.jobs:
        due = job.arrival + _patience(job)
        excess = float(_excess(problem, job, np.array([last]))[0])
        rated.append((excess, job.weight, -math.inf if due < last else -due, job.index))
    kept: list[tuple[float, float, float, int]] = []
    for one in sorted(rated):
        if not any(other[1] <= one[1] and other[2] <= one[2] for other in kept):
            kept.append(one)
    return [problem.jobs[index] for *_, index in kept]


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
