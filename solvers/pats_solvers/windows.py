"""How late anything can be worth doing: finite horizons that keep an optimum.

Every loss term is nondecreasing in completion ticks, so some optimal schedule is *semi-active*:
no batch can start earlier with the order and members unchanged. Its length is bounded by
:func:`safe_horizon`. With a known schedule of loss U, a job that completes so late that its own
loss and the least possible of all others exceed U cannot be in a better schedule:
:func:`latest_completions`. Both keep the known schedule too, once it is timed as early as it
can be.
"""

from __future__ import annotations

import math
from functools import cache

from pats_opt.model.loss import serving_loss, switching_loss
from pats_opt.model.problem import Job, Problem
from pats_opt.model.timing import to_ticks

#: Slack on the known loss, relative, so that rounding never cuts off the schedule it came from.
SLACK = 1e-9

#: Relative error of a sum of seconds, so that one order of adding them is never above another.
ROUNDING = 1e-12


def largest_batch(problem: Problem, gpu: int) -> int:
    """An upper bound on the members of any batch on ``gpu`` (fewest resources first)."""
    site, jobs = problem.site, problem.jobs
    most = len(jobs) if site.clock.largest is None else min(len(jobs), site.clock.largest)
    lightest = min(site.adapter_vram, default=0)
    room = site.room(gpu, frozenset())
    for i, free in enumerate(room):
        if free is None:
            continue
        left = free - lightest if i == 0 else free
        count = 0
        for need in sorted(job.demand[i] for job in jobs):
            if need > left:
                break
            left -= need
            count += 1
        most = min(most, count)
    return most


def share_of_batch(problem: Problem, members: int) -> int:
    """Ticks per member that no batch of at most ``members`` exceeds.

    A batch of n with largest step count s ends within ``h(n) + s * max of w(1..n)`` seconds.
    """
    clock, tick_s = problem.site.clock, problem.site.tick_s
    if clock.slotted:
        return 1
    steps = max((o.steps for job in problem.jobs for o in job.options), default=0)
    share, slowest = 0, 0.0
    for n in range(1, members + 1):
        slowest = max(slowest, clock.step_s(n))
        ticks = to_ticks(clock.overhead_s(n) + steps * slowest, tick_s) + 1
        share = max(share, math.ceil(ticks / n))
    return share


def longest_switch(problem: Problem) -> int:
    """Ticks that no switch exceeds."""
    site = problem.site
    if site.clock.slotted:
        return 0
    loads = sorted((*site.load_s, *site.pairs.values()), reverse=True)
    seconds = max(math.fsum(loads[: site.max_resident]), site.activate_s)
    return to_ticks(seconds, site.tick_s) + 1


def longest_batch(problem: Problem, members: int) -> int:
    """Ticks that no batch of at most ``members`` exceeds (see :func:`share_of_batch`)."""
    clock, tick_s = problem.site.clock, problem.site.tick_s
    if clock.slotted or not members:
        return 1
    steps = max((o.steps for job in problem.jobs for o in job.options), default=0)
    slowest = max(clock.step_s(n) for n in range(1, members + 1))
    return to_ticks(clock.overhead_s(members) + steps * slowest, tick_s) + 1


def safe_horizon(problem: Problem, known_loss: float | None = None) -> int:
    """A tick by which some optimal schedule has ended (the hard horizon, where it is earlier).

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
    """Ticks after the last arrival by which every semi-active schedule within a loss has ended.

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
        """The least that any job completing at ``tick`` adds to its own least loss."""
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


def earliest_completion(problem: Problem, job: Job, option: int) -> int:
    """The first tick at which ``job`` can complete with ``option``, whatever else happens.

    A table's step time may fall with the batch's size, so every size counts there.
    """
    clock = problem.site.clock
    if clock.slotted:
        return job.arrival
    steps = job.options[option].steps
    step_s = min(clock.step_s(n) for n in range(1, (clock.largest or 1) + 1))
    seconds = (clock.overhead_s(1) + steps * step_s) * (1.0 - ROUNDING)
    return job.arrival + max(1, to_ticks(seconds, problem.site.tick_s))


def least_loss(problem: Problem, job: Job) -> float:
    """A lower bound on what ``job`` adds to the loss of any schedule."""
    served = min(
        serving_loss(problem.site, job, o, earliest_completion(problem, job, o))
        for o in range(len(job.options))
    )
    return served if job.reject_loss is None else min(served, job.reject_loss)


def least_switching(problem: Problem) -> float:
    """A lower bound on the switching loss: each adapter that must be used is loaded once."""
    site = problem.site
    at_hand = {a for gpu in site.gpus for a in gpu.resident}
    needed = {job.adapter for job in problem.jobs if job.reject_loss is None} - at_hand
    seconds = 0.0
    for a in needed:
        seconds += min([site.load_s[a], *(s for (_, to), s in site.pairs.items() if to == a)])
    return switching_loss(site, seconds)


def spare_loss(problem: Problem, known_loss: float) -> float:
    """What a known loss leaves above the least loss of every job and the least switching."""
    least = math.fsum(least_loss(problem, job) for job in problem.jobs)
    return known_loss - least - least_switching(problem) + SLACK * max(1.0, abs(known_loss))


def latest_completions(problem: Problem, known_loss: float | None) -> list[list[int | None]]:
    """The last tick, per job and option, at which completing can still match ``known_loss``.

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
