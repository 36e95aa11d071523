"""The batches that jobs of one adapter can form, as arcs between counts of jobs served.

Jobs stand in *queues*, each served in its order. Interchangeable jobs have a queue to themselves,
which loses nothing (:mod:`pats_solvers.common.classes`); where that makes too many states, all
stand in one queue by arrival, a batch is a run of it, and each member takes the option that is best
for itself under a cap on steps: then the arcs are a choice among the batches, not all of them.
"""

# ruff: noqa: C901, PLR0912, PLR0915, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled
from pats_solvers.common.kernels import completions

#: States above which jobs of several classes share a queue, and most arcs.
MOST_STATES, MOST_ARCS = 900, 6000

#: Most queues: where all jobs differ, batches and states double with each. The numbers of the
#: insertion's steps leave room for twice as many.
MOST_QUEUES = 6

#: Choices of options that are listed for a batch of several classes, each class with one option.
MOST_CHOICES = 64


class Queues(NamedTuple):
    """Jobs in queues.

    Attributes:
        jobs: Jobs, queue after queue.
        at: Where each queue begins in ``jobs``, and its end.
        strides: Of the flattened counts of jobs served.
        size: States.
        digits: Jobs served by state and queue.
        alike: Whether the jobs of a queue are interchangeable.
    """

    jobs: Any
    at: Any
    strides: Any
    size: int
    digits: Any
    alike: bool


class BatchArcs(NamedTuple):
    """Batches as arcs between counts of jobs served.

    Attributes:
        span: First arc and end by state; those of alike queues are the same for all states.
        take: Jobs by arc and queue.
        option: Option by arc and queue of alike queues; the level of the cap otherwise.
        move: What is added to the state's index.
        duration: Ticks.
        ready: When the members have arrived (0 for alike queues: counts tell).
        fixed: Loss that does not depend on the start, arrivals priced.
        slope: What a tick later adds.
        over: The next arc that may be possible where this one's members have not all arrived.
        late_at: Where an arc's members with a priced deadline begin in the next two.
        late_from: First start at which they are late.
        late_loss: What that costs.
    """

    span: Any
    take: Any
    option: Any
    move: Any
    duration: Any
    ready: Any
    fixed: Any
    slope: Any
    over: Any
    late_at: Any
    late_from: Any
    late_loss: Any


@compiled
def _sort(items: Any, keys: Any) -> None:
    """Sort items by rising keys, both in place; equal ones keep their order."""
    for i in range(1, items.shape[0]):
        item, key, k = items[i], keys[i], i
        while k > 0 and keys[k - 1] > key:
            items[k], keys[k] = items[k - 1], keys[k - 1]
            k -= 1
        items[k], keys[k] = item, key


@compiled
def queues_of(data: Any, jobs: Any, by_due: bool) -> Queues:
    """Return the queues of some jobs of one adapter, which are sorted.

    ``by_due`` orders a queue of several classes by deadline, not arrival.
    """
    n = jobs.shape[0]
    keys = np.empty(n, dtype=np.int64)
    for i in range(n):
        keys[i] = data.jobs[jobs[i]].kind * (data.last + 1) + data.jobs[jobs[i]].arrival
    _sort(jobs, keys)
    queues, size = 0, 1
    at = np.zeros(n + 1, dtype=np.int64)
    for i in range(1, n + 1):
        if i == n or data.jobs[jobs[i]].kind != data.jobs[jobs[i - 1]].kind:
            size = min(size * (i - at[queues] + 1), MOST_STATES + 1)
            queues += 1
            at[queues] = i
    alike = size <= MOST_STATES and queues <= MOST_QUEUES
    if not alike:
        for i in range(n):
            job = data.jobs[jobs[i]]
            keys[i] = job.arrival
            if by_due and job.late > 0.0:
                keys[i] += job.deadline
        _sort(jobs, keys)
        queues, size = 1, n + 1
        at[1] = n
    strides = np.ones(queues, dtype=np.int64)
    for q in range(queues - 2, -1, -1):
        strides[q] = strides[q + 1] * (at[q + 2] - at[q + 1] + 1)
    digits = np.empty((size, queues), dtype=np.int64)
    for s in range(size):
        for q in range(queues):
            digits[s, q] = (s // strides[q]) % (at[q + 1] - at[q] + 1)
    return Queues(jobs, at, strides, size, digits, alike)


@compiled
def best_option(data: Any, j: int, cap: int) -> int:
    """Return the option that is best for a job alone among those of at most ``cap``'s steps.

    Where there is none, the one of fewest steps.
    """
    found, least, fewest = -1, np.inf, 0
    for o in range(data.jobs[j].options):
        if data.modes[j, o].level < data.modes[j, fewest].level:
            fewest = o
        cost = data.modes[j, o].quality + data.jobs[j].price * data.modes[j, o].ticks
        if data.modes[j, o].level <= cap and cost < least:
            found, least = o, cost
    return found if found >= 0 else fewest


@compiled
def _fits(data: Any, g: int, adapter: int, reps: Any, take: Any) -> bool:
    members = 0
    for q in range(take.shape[0]):
        members += take[q]
    if members >= data.sizes.shape[0]:
        return False
    for r in range(data.demand.shape[1]):
        used = data.base_vram + data.adapters[adapter].vram if r == 0 else 0
        for q in range(take.shape[0]):
            used += take[q] * data.demand[reps[q], r]
        if used > data.capacity[g, r]:
            return False
    return True


@compiled
def _choice(data: Any, reps: Any, take: Any, number: int, product: int, option: Any) -> None:
    """Fill ``option`` with choice ``number`` of options for each queue."""
    for q in range(take.shape[0]):
        option[q] = 0
        if take[q] == 0:
            continue
        if product <= MOST_CHOICES:
            option[q] = number % data.jobs[reps[q]].options
            number //= data.jobs[reps[q]].options
        else:
            option[q] = best_option(data, reps[q], number)


@compiled
def alike_arcs(data: Any, g: int, queues: Queues) -> BatchArcs:
    """Return all batches of alike queues in which each queue's members run the same option.

    Of those that take the same jobs, the ones that a shorter and cheaper one beats are left out.
    """
    count = queues.strides.shape[0]
    reps = np.empty(count, dtype=np.int64)
    for q in range(count):
        reps[q] = queues.jobs[queues.at[q]]
    adapter = data.jobs[reps[0]].adapter
    takes = np.zeros((MOST_ARCS, count), dtype=np.int64)
    options = np.zeros((MOST_ARCS, count), dtype=np.int64)
    duration = np.zeros(MOST_ARCS, dtype=np.int64)
    fixed, slope = np.zeros(MOST_ARCS), np.zeros(MOST_ARCS)
    over = np.zeros(MOST_ARCS, dtype=np.int64)
    late_at = np.zeros(MOST_ARCS + 1, dtype=np.int64)
    lates = MOST_ARCS * count if data.any_late else 0
    late_from = np.zeros(lates, dtype=np.int64)
    late_loss = np.zeros(lates)
    take = np.zeros(count, dtype=np.int64)
    option = np.zeros(count, dtype=np.int64)
    members = np.zeros(data.levels.shape[0], dtype=np.int64)
    ends = np.zeros(data.levels.shape[0], dtype=np.int64)
    made, late = 0, 0
    while True:
        q = count - 1  # the next vector of jobs taken that fits
        while q >= 0:
            take[q] += 1
            if take[q] <= queues.at[q + 1] - queues.at[q] and _fits(data, g, adapter, reps, take):
                break
            take[q] = 0
            q -= 1
        if q < 0:
            break
        product, total, priced = ZERO + 1, ZERO, False
        for q in range(count):
            total += take[q]
            if take[q] > 0:
                product = min(product * data.jobs[reps[q]].options, MOST_CHOICES + 1)
                priced = priced or data.jobs[reps[q]].late > 0.0
        begin = made
        for number in range(product if product <= MOST_CHOICES else data.levels.shape[0]):
            if made == MOST_ARCS:
                break
            _choice(data, reps, take, number, product, option)
            for level in range(members.shape[0]):
                members[level] = 0
            for q in range(count):
                members[data.modes[reps[q], option[q]].level] += take[q]
            length = completions(data, members, total, ends)
            cost, tick = 0.0, 0.0
            for q in range(count):
                j = reps[q]
                if take[q] > 0:
                    end = ends[data.modes[j, option[q]].level]
                    cost += take[q] * (data.modes[j, option[q]].quality + data.jobs[j].price * end)
                    tick += take[q] * data.jobs[j].price
            beaten = False
            for m in range(begin, made):
                if not priced and duration[m] <= length and fixed[m] <= cost:
                    beaten = True
                elif not priced and length <= duration[m] and cost <= fixed[m]:
                    beaten = True  # it takes the place of the one that it beats
                    duration[m], fixed[m] = length, cost
                    for q in range(count):
                        options[m, q] = option[q]
                    break
            if beaten:
                continue
            for q in range(count):
                takes[made, q], options[made, q] = take[q], option[q]
            duration[made], fixed[made], slope[made] = length, cost, tick
            for q in range(count):
                j = reps[q]
                if take[q] > 0 and data.jobs[j].late > 0.0:
                    end = ends[data.modes[j, option[q]].level]
                    late_from[late] = data.jobs[j].arrival + data.jobs[j].deadline - end + 1
                    late_loss[late] = take[q] * data.jobs[j].late
                    late += 1
            made += 1
            late_at[made] = late
        for m in range(begin, made):
            over[m] = made
        if made == MOST_ARCS:
            break
    move = np.zeros(made, dtype=np.int64)
    for m in range(made):
        for q in range(count):
            move[m] += takes[m, q] * queues.strides[q]
    span = np.zeros((queues.size, 2), dtype=np.int64)
    for s in range(queues.size):
        span[s, 1] = made
    return BatchArcs(
        span, takes, options, move, duration, np.zeros(made, dtype=np.int64), fixed, slope,
        over, late_at, late_from, late_loss,
    )  # fmt: skip


@compiled
def run_arcs(data: Any, g: int, queues: Queues) -> BatchArcs:
    """Return batches that are runs of one queue, with options under a cap on steps."""
    jobs, n = queues.jobs, queues.jobs.shape[0]
    resources, levels = data.demand.shape[1], data.levels.shape[0]
    adapter = data.jobs[jobs[0]].adapter
    room = max(MOST_ARCS, 4 * n)
    take = np.zeros((room, 1), dtype=np.int64)
    option = np.zeros((room, 1), dtype=np.int64)
    duration = np.zeros(room, dtype=np.int64)
    ready = np.zeros(room, dtype=np.int64)
    fixed, slope = np.zeros(room), np.zeros(room)
    over = np.zeros(room, dtype=np.int64)
    late_at = np.zeros(room + 1, dtype=np.int64)
    lates = 40 * room if data.any_late else 0
    late_from = np.zeros(lates, dtype=np.int64)
    late_loss = np.zeros(lates)
    span = np.zeros((n + 1, 2), dtype=np.int64)
    counts = np.zeros(levels, dtype=np.int64)
    before = np.zeros(levels, dtype=np.int64)
    ends = np.zeros(levels, dtype=np.int64)
    used = np.zeros(resources, dtype=np.int64)
    made, late = 0, 0
    for i in range(n):
        span[i, 0] = made
        share = late + lates // max(n, 1)
        stop = made + room // n
        for r in range(resources):
            used[r] = 0
        used[0] = data.base_vram + data.adapters[adapter].vram
        arrived, full = 0, False
        for k in range(i, n):
            arrived = max(arrived, data.jobs[jobs[k]].arrival)
            for r in range(resources):
                used[r] += data.demand[jobs[k], r]
                full = full or used[r] > data.capacity[g, r]
            size = k - i + 1
            if full or size >= data.sizes.shape[0] or late + size > share:
                break
            before[0] = -1
            for cap in range(levels):
                if made >= stop:
                    break
                for level in range(levels):
                    counts[level] = 0
                for m in range(i, k + 1):
                    counts[data.modes[jobs[m], best_option(data, jobs[m], cap)].level] += 1
                same = True
                for level in range(levels):
                    same = same and counts[level] == before[level]
                    before[level] = counts[level]
                if same:
                    continue
                length = completions(data, counts, size, ends)
                cost, tick = 0.0, 0.0
                for m in range(i, k + 1):
                    j = jobs[m]
                    o = best_option(data, j, cap)
                    end = ends[data.modes[j, o].level]
                    cost += data.modes[j, o].quality + data.jobs[j].price * end
                    tick += data.jobs[j].price
                    if data.jobs[j].late > 0.0 and late < lates:
                        late_from[late] = data.jobs[j].arrival + data.jobs[j].deadline - end + 1
                        late_loss[late] = data.jobs[j].late
                        late += 1
                take[made, 0], option[made, 0] = size, cap
                duration[made], ready[made] = length, arrived
                fixed[made], slope[made] = cost, tick
                made += 1
                late_at[made] = late
        span[i, 1] = made
        over[span[i, 0] : made] = made  # a longer run is not ready before a shorter one
    move = np.empty(made, dtype=np.int64)
    for m in range(made):
        move[m] = take[m, 0]
    return BatchArcs(
        span, take, option, move, duration, ready, fixed, slope,
        over, late_at, late_from, late_loss,
    )  # fmt: skip
