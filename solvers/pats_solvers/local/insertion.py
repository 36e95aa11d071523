"""Priced insertion: one adapter's jobs into the free time of one GPU, by dynamic programming.

The batches that are there stay where they are. A state is a tick of a gap and how many jobs of each
queue have been served; between gaps only the counts matter, and whether the adapter is resident.
Free ticks may have prices, so that an adapter leaves room for those that are inserted later.
"""

# ruff: noqa: C901, PLR0912, PLR0915, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import compiled
from pats_solvers.local.batches import Arcs, Queues, best_option
from pats_solvers.local.editing import join, new_batch
from pats_solvers.local.gaps import Gaps
from pats_solvers.local.timing import refresh

#: How a tick's state was reached: these, SKIP + queue, or SERVE + arc.
HOLD, LOAD, WAKE, SKIP, SERVE = 0, 1, 2, 3, 16

#: Cells (ticks x states) that the program may have.
MOST_CELLS = 4_000_000


@compiled
def rest_of(data: Any, queues: Queues, skip: Any) -> Any:
    """By state: the least that the jobs still to come cost, and what leaving them all out costs."""
    rest, out = np.zeros(queues.size), np.zeros(queues.size)
    for q in range(queues.strides.shape[0]):
        total = queues.at[q + 1] - queues.at[q]
        least, left = np.zeros(total + 1), np.zeros(total + 1)  # from each job to the queue's end
        for i in range(total - 1, -1, -1):
            j = queues.jobs[queues.at[q] + i]
            least[i] = least[i + 1] + min(data.jobs[j].least, skip[j])
            left[i] = left[i + 1] + skip[j]
        for s in range(queues.size):
            rest[s] += least[queues.digits[s, q]]
            out[s] += left[queues.digits[s, q]]
    return rest, out


@compiled
def insert(
    data: Any,
    state: Any,
    g: int,
    queues: Queues,
    arcs: Arcs,
    gaps: Gaps,
    skip: Any,
    prices: Any,
    scale: float,
) -> bool:
    """Insert jobs of one adapter into the free time of a GPU.

    Args:
        data: The problem.
        state: Its batches; those that are there keep their starts.
        g: The GPU.
        queues: The jobs, which are in no batch.
        arcs: The batches they can form.
        gaps: The free time.
        skip: Loss of leaving a job out, by job of the problem; infinite where it must go in.
        prices: Prices of ticks, summed up from 0.
        scale: Factor on them.

    Returns:
        Whether there was a way. Jobs that are left out stay in no batch.
    """
    size, many, count = queues.size, queues.strides.shape[0], gaps.begin.shape[0]
    base = np.zeros(count + 1, dtype=np.int64)  # where the ticks of each gap begin
    for i in range(count):
        base[i + 1] = base[i] + gaps.end[i] - gaps.begin[i] + 1
    cells = base[count]
    if cells == 0 or cells * size > MOST_CELLS:
        return False
    far = prices.shape[0] - 1
    value = np.full((cells, size), np.inf)
    how = np.zeros((cells, size), dtype=np.int32)
    absent, resident = np.full(size, np.inf), np.full(size, np.inf)
    after, stays = np.empty(size), np.empty(size)
    left_at = np.full((count, size), -1, dtype=np.int32)  # tick of leaving the gap, absent after it
    kept_at = np.full((count, size), -1, dtype=np.int32)  # the same, resident after it
    from_kept = np.zeros((count, size), dtype=np.bool_)
    from_absent = np.zeros((count, size), dtype=np.bool_)
    rest, left = rest_of(data, queues, skip)
    have = np.zeros(many, dtype=np.int64)
    absent[0] = 0.0
    best = left[0]
    for i in range(count):
        cell = base[i]
        for s in range(size):  # past the batch before the gap
            if gaps.held[i] == 2 and absent[s] < resident[s]:
                resident[s], from_absent[i, s] = absent[s], True
            elif resident[s] < absent[s]:
                absent[s], from_kept[i, s] = resident[s], True
            if gaps.held[i] == 0:
                resident[s] = np.inf
        for s in range(size):
            after[s], stays[s] = absent[s], resident[s]
        length = gaps.end[i] - gaps.begin[i]
        for k in range(length + 1):
            t = gaps.begin[i] + k
            here = value[cell + k]
            now = prices[min(t, far)]
            if k == 0 or scale > 0.0:
                for kind in range(2):
                    ticks = gaps.wake[i] if kind else gaps.load[i]
                    if k + ticks > length or (kind == 1 and data.max_resident == 1):
                        continue
                    cost = gaps.wake_loss[i] if kind else gaps.load_loss[i]
                    cost += scale * (prices[min(t + ticks, far)] - now)
                    source, target = resident if kind else absent, value[cell + k + ticks]
                    for s in range(size):
                        if source[s] + cost < target[s] and source[s] + cost + rest[s] < best:
                            target[s] = source[s] + cost
                            how[cell + k + ticks, s] = WAKE if kind else LOAD
            for q in range(many):
                total = queues.at[q + 1] - queues.at[q]
                if not queues.alike:
                    have[q] = total
                while (
                    have[q] < total and data.jobs[queues.jobs[queues.at[q] + have[q]]].arrival <= t
                ):
                    have[q] += 1
            hold = scale * (prices[min(t + 1, far)] - now)
            leaving = k + gaps.leave[i] <= length
            for s in range(size):
                v = here[s]
                if v + rest[s] >= best:
                    continue
                if leaving:
                    out = v + gaps.leave_loss[i]
                    if gaps.leave[i] > 0 and scale > 0.0:
                        out += scale * (prices[min(t + gaps.leave[i], far)] - now)
                    if out < after[s]:
                        after[s], left_at[i, s] = out, k
                    if out < stays[s] and data.max_resident > 1:
                        stays[s], kept_at[i, s] = out, k
                    best = min(best, out + left[s])
                if k < length and v + hold < value[cell + k + 1, s]:
                    value[cell + k + 1, s] = v + hold
                    how[cell + k + 1, s] = HOLD
                for q in range(many):
                    d = queues.at[q] + queues.digits[s, q]
                    if d < queues.at[q + 1]:
                        cost = v + skip[queues.jobs[d]]
                        if cost < here[s + queues.strides[q]]:
                            here[s + queues.strides[q]] = cost
                            how[cell + k, s + queues.strides[q]] = SKIP + q
                m, end = arcs.span[s, 0], arcs.span[s, 1]
                while m < end:
                    possible = t >= arcs.ready[m]
                    for q in range(many):
                        if arcs.take[m, q] > have[q] - queues.digits[s, q]:
                            possible = False
                            break
                    if not possible:
                        m = arcs.over[m]
                        continue
                    then = k + arcs.duration[m]
                    if then <= length:
                        cost = v + arcs.fixed[m] + arcs.slope[m] * t
                        if scale > 0.0:
                            cost += scale * (prices[min(t + arcs.duration[m], far)] - now)
                        if data.any_late:
                            for x in range(arcs.late_at[m], arcs.late_at[m + 1]):
                                if t >= arcs.late_from[x]:
                                    cost += arcs.late_loss[x]
                        into = s + arcs.move[m]
                        if cost < value[cell + then, into] and cost + rest[into] < best + 1e-12:
                            value[cell + then, into] = cost
                            how[cell + then, into] = SERVE + m
                    m += 1
        absent, after, resident, stays = after, absent, stays, resident
    goal, best = size, np.inf
    for s in range(size):
        reached = min(absent[s], resident[s]) + left[s]
        if reached < best:
            goal, best = s, reached
    if goal == size:
        return False
    _read(
        data, state, g, queues, arcs, gaps, how, base, left_at, kept_at, from_kept, from_absent,
        goal, int(resident[goal] < absent[goal]),
    )  # fmt: skip
    return True


@compiled
def _read(
    data: Any,
    state: Any,
    g: int,
    queues: Queues,
    arcs: Arcs,
    gaps: Gaps,
    how: Any,
    base: Any,
    left_at: Any,
    kept_at: Any,
    from_kept: Any,
    from_absent: Any,
    goal: int,
    held: int,
) -> None:
    """Put the plan that ends at state ``goal`` into the sequence, last batch first."""
    s, kept = goal, held == 1
    for i in range(gaps.begin.shape[0] - 1, -1, -1):
        k = kept_at[i, s] if kept else left_at[i, s]
        while k >= 0:
            what = how[base[i] + k, s]
            if what == HOLD:
                k -= 1
            elif what in (LOAD, WAKE):
                kept = what == WAKE
                k = -1
            elif what < SERVE:
                s -= queues.strides[what - SKIP]
            else:
                m = what - SERVE
                k -= arcs.duration[m]
                s -= arcs.move[m]
                b = new_batch(state, g, gaps.position[i])
                for q in range(queues.strides.shape[0]):
                    at = queues.at[q] + queues.digits[s, q]
                    for j in queues.jobs[at : at + arcs.take[m, q]]:
                        o = arcs.option[m, q]
                        join(state, b, j, o if queues.alike else best_option(data, j, o))
                refresh(data, state, b)
                state.batches[b].start = gaps.begin[i] + k
        if kept and from_absent[i, s]:
            kept = False
        elif not kept and from_kept[i, s]:
            kept = True
