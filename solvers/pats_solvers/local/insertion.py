"""Priced insertion: one adapter's jobs into the free time of one GPU, by dynamic programming.

The batches that are there stay where they are. A state is a tick of a gap and how many jobs of each
queue have been served; between gaps only the counts matter, and whether the adapter is resident.
Free ticks may have prices, so that an adapter leaves room for those that are inserted later.
"""

# ruff: noqa: C901, PLR0912, PLR0915, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import NONE, ZERO, compiled
from pats_solvers.local.batches import BatchArcs, Queues, best_option
from pats_solvers.local.residency import among
from pats_solvers.local.state import join, new_batch
from pats_solvers.local.timing import refresh

#: How a tick's state was reached: these, SKIP + queue, or SERVE + arc.
HOLD, LOAD, WAKE, SKIP, SERVE = 0, 1, 2, 3, 16

#: Cells (ticks x states) that the program may have.
MOST_CELLS = 4_000_000


class GapTable(NamedTuple):
    """Free time between batches, by start.

    Attributes:
        position: Where new batches go in the GPU's sequence.
        begin: First free tick.
        end: Where the next batch starts.
        load: Ticks to enter when the adapter is absent.
        load_loss: What that costs.
        wake: Ticks to enter when it is resident.
        wake_loss: What that costs.
        leave: Ticks of the next batch's switch after this adapter.
        leave_loss: How much more that costs than now.
        held: What the batch before a gap means to a resident adapter: 0 it must go, 1 it may stay,
            2 it is resident in any case.
    """

    position: Any
    begin: Any
    end: Any
    load: Any
    load_loss: Any
    wake: Any
    wake_loss: Any
    leave: Any
    leave_loss: Any
    held: Any


@compiled
def gaps_of(data: Any, state: Any, g: int, jobs: Any, begins: int, ends: int) -> GapTable:
    """Return the gaps of a GPU that meet a window of time.

    Args:
        data: The problem.
        state: Its batches, with settled switches.
        g: The GPU.
        jobs: The jobs that are to go in.
        begins: First tick of the window.
        ends: Its end.
    """
    adapter = data.jobs[jobs[0]].adapter
    first, last, tail = data.jobs[jobs[0]].arrival, 0, 1 + data.adapters[adapter].slowest
    for j in jobs:
        first = min(first, data.jobs[j].arrival)
        last = max(last, data.jobs[j].arrival)
        tail += data.jobs[j].longest + 1
    count = state.count[g]
    found = np.empty((10, count + 1), dtype=np.int64)
    losses = np.zeros((3, count + 1))
    n, end, loader = ZERO, ZERO, ZERO
    for p in range(count + 1):
        begin = end
        b = state.order[g, p] if p < count else NONE
        until = min(max(begin, last) + tail, data.horizon) if b < 0 else state.batches[b].start
        if b >= 0:
            end = state.batches[b].start + state.batches[b].duration
        loaded = loader  # before batch b
        if b >= 0 and data.channels > 0:
            loader = _loader_free(data, state, b, loader)
        if until <= begins or (begin >= ends and p < count) or until <= first:
            continue
        if n > 0 and begin >= ends:
            break
        before = state.order[g, p - 1] if p > 0 else NONE
        _enter(data, state, g, adapter, before, loaded, found, losses, n)
        _leave(data, state, adapter, b, found, losses, n)
        begin = max(begin, first - found[3, n])
        if until - begin < found[7, n] or until <= begin:
            continue
        found[0, n], found[1, n], found[2, n] = p, begin, until
        n += 1
    return GapTable(
        found[0, :n], found[1, :n], found[2, :n], found[3, :n], losses[0, :n], found[5, :n],
        losses[1, :n], found[7, :n], losses[2, :n], found[9, :n],
    )  # fmt: skip


@compiled
def _loader_free(data: Any, state: Any, b: int, free: int) -> int:
    """Return when about a load for what follows batch ``b`` could start."""
    for i in range(state.need.shape[1]):
        start = state.loading[b, i].start
        if state.need[b, i] >= 0 and start >= 0:
            ticks = data.switches[-1, state.need[b, i]].ticks if data.channels == 1 else 0
            free = max(free, start + ticks)
    return free


@compiled
def _enter(
    data: Any,
    state: Any,
    g: int,
    adapter: int,
    before: int,
    loader: int,
    found: Any,
    losses: Any,
    n: int,
) -> None:
    """Fill in what entering gap ``n`` takes after batch ``before`` (-1 where there is none)."""
    if not data.several:
        held = data.initial[g, 0] if before < 0 else state.need[before, 0]
        found[3, n] = found[5, n] = data.switches[held, adapter].ticks
        losses[0, n] = losses[1, n] = data.switches[held, adapter].loss
        found[9, n] = 0
        return
    active, resident = before < 0 or among(state.need[before], adapter), False
    for k in range(data.initial.shape[1]):
        held = data.initial[g, k] if before < 0 else state.resident[before, k]
        resident = resident or held == adapter
    roomy = before < 0 or (
        state.batches[before].live < data.initial.shape[1]
        and state.batches[before].live_memory + data.adapters[adapter].vram <= data.capacity[g, 0]
    )
    found[3, n], losses[0, n] = data.switches[-1, adapter].ticks, data.switches[-1, adapter].loss
    if not roomy:  # another one is evicted, and will have to be loaded again
        found[3, n] *= 2
        losses[0, n] *= 2.0
    found[5, n], losses[1, n] = 0, 0.0
    if not active:
        found[5, n], losses[1, n] = data.activate_ticks, data.activate_loss
    if data.channels > 0:  # the load is hidden as far as the batch before lasts
        if before >= 0:
            begin = max(loader, state.batches[before].start)
            end = state.batches[before].start + state.batches[before].duration
            found[3, n] = max(0, begin + data.switches[-1, adapter].ticks - end)
        found[3, n] = max(found[3, n], found[5, n])
        losses[0, n] += losses[1, n]
    found[9, n] = 2 if resident else 1 if roomy else 0


@compiled
def _leave(data: Any, state: Any, adapter: int, b: int, found: Any, losses: Any, n: int) -> None:
    """Fill in what batch ``b`` after gap ``n`` (-1 where there is none) pays more."""
    found[7, n], losses[2, n] = 0, 0.0
    if b < 0:
        return
    if not data.several:
        found[7, n] = data.switches[adapter, state.need[b, 0]].ticks
        losses[2, n] = data.switches[adapter, state.need[b, 0]].loss - state.batches[b].paid
        return
    needed, used = ZERO, among(state.need[b], adapter)
    for i in range(state.need.shape[1]):
        needed += int(state.need[b, i] >= 0)
    if used and needed == 1:
        losses[2, n] = -state.batches[b].paid
        return
    loads = 0 if data.channels > 0 else state.batches[b].loads
    more = max(0, needed - loads - int(used)) - state.batches[b].activations
    found[7, n] = state.batches[b].switch + more * data.activate_ticks
    losses[2, n] = more * data.activate_loss


@compiled
def rest_of(data: Any, queues: Queues, skip: Any) -> Any:
    """Return the least loss of the jobs still to come, and that of leaving them out, by state."""
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
    arcs: BatchArcs,
    gaps: GapTable,
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
                    if k + ticks > length or (kind == 1 and not data.several):
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
                    if out < stays[s] and data.several:
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
    arcs: BatchArcs,
    gaps: GapTable,
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
