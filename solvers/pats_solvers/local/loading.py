"""Loads beside serving (section 5a): when a GPU's loads and batches start, compiled.

Loads are issued in the order of the batches that need them, each as early as a channel is free and
room can be made, no earlier than the load before it. Room is made by a rule (:func:`_leaving`);
the *fate* of an adapter after a batch overrules it, so that moves can reach other evictions.
"""

# ruff: noqa: C901, PLR0912, PLR0915, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled
from pats_solvers.local.residency import among, eviction_score, uses

#: Fates of an adapter after a batch: as the rule has it, the first to leave, or the last.
BY_RULE, GOES, STAYS = 0, 1, 2


@compiled
def start_beside_loads(data: Any, state: Any, g: int) -> None:
    """Set the starts of a GPU's loads and batches, and what its switching costs."""
    after, coming = uses(data, state, g)  # from here on, coming[a] is the next use of a
    count, room, slots = state.count[g], data.initial.shape[1], state.need.shape[1]
    held = np.full(room, -1, dtype=np.int64)
    free = np.full(data.adapters.shape[0], -1, dtype=np.int64)  # when each may leave; -1: absent
    fate = np.zeros(data.adapters.shape[0], dtype=np.int64)
    channels = np.zeros(data.channels, dtype=np.int64)  # when each is free
    holds, memory, issued, end, previous = ZERO, data.base_vram + ZERO, ZERO, ZERO, -1
    for i in range(room):
        a = data.initial[g, i]
        if a >= 0:
            held[holds] = a
            holds += 1
            free[a] = 0
            memory += data.adapters[a].vram
    for p in range(count):
        b = state.order[g, p]
        activated, paid = 0, 0.0
        for i in range(slots):
            a = state.need[b, i]
            if a >= 0:
                coming[a] = after[p, i]
                activated += int(previous >= 0 and not among(state.need[previous], a))
        start = max(end + activated * data.activate_ticks, state.batches[b].ready)
        for i in range(slots):
            a = state.need[b, i]
            state.loading[b, i].start = -1
            if a < 0 or free[a] >= 0:
                continue
            ticks, channel = data.switches[-1, a].ticks, channels.argmin()
            begin = max(issued, channels[channel]) if ticks > 0 else issued
            while True:
                taken, until = _in_progress(state, g, p, begin)
                full = holds == room
                if not full and memory + data.adapters[a].vram + taken <= data.capacity[g, 0]:
                    break
                k = _leaving(data, state.need[b], held, holds, free, fate, coming, p, not full)
                if not full and taken > 0:
                    # A batch in progress takes the memory: wait for its end where that costs
                    # nothing, rather than evict what is used again.
                    idle = k >= 0 and coming[held[k]] >= count and free[held[k]] <= begin
                    if k < 0 or (not idle and until + ticks <= start):
                        begin = until
                        continue
                if k < 0:
                    break
                begin = max(begin, free[held[k]])
                memory -= data.adapters[held[k]].vram
                free[held[k]] = -1
                holds -= 1
                held[k] = held[holds]
            held[holds] = a
            holds += 1
            memory += data.adapters[a].vram
            issued = begin
            if ticks > 0:
                channels[channel] = begin + ticks
            free[a] = begin + ticks
            start = max(start, begin + ticks)
            state.loading[b, i].start = begin
            paid += data.switches[-1, a].loss
        while memory + state.batches[b].memory > data.capacity[g, 0]:
            k = _leaving(data, state.need[b], held, holds, free, fate, coming, p, True)
            if k < 0:
                break
            issued = max(issued, free[held[k]])
            memory -= data.adapters[held[k]].vram
            free[held[k]] = -1
            holds -= 1
            held[k] = held[holds]
        end = start + state.batches[b].duration
        for i in range(slots):
            a = state.need[b, i]
            if a >= 0:
                free[a], fate[a] = end, state.loading[b, i].fate
        state.batches[b].start = start
        state.batches[b].switch = activated * data.activate_ticks
        state.batches[b].paid = paid + activated * data.activate_loss
        previous = b


@compiled
def _in_progress(state: Any, g: int, p: int, tick: int) -> Any:
    """Return the most memory of a batch before ``p`` that ends after a tick, and the next end."""
    taken, until = ZERO, ZERO
    for q in range(p - 1, -1, -1):
        b = state.order[g, q]
        end = state.batches[b].start + state.batches[b].duration
        if end <= tick:
            break
        taken, until = max(taken, state.batches[b].memory), end
    return taken, until


@compiled
def _leaving(
    data: Any,
    need: Any,
    held: Any,
    holds: int,
    free: Any,
    fate: Any,
    coming: Any,
    p: int,
    tight: bool,
) -> int:
    """Return the place of the resident to evict for batch ``p``, or -1: all are needed now.

    Args:
        data: The problem.
        need: Adapters of the batch.
        held: Residents.
        holds: How many these are.
        free: When each adapter may leave.
        fate: What is to become of each adapter.
        coming: Next use of each adapter; the last cell is that of one that is not used again.
        p: Position of the batch.
        tight: Whether memory is what lacks.
    """
    found, most = -1, 0.0
    for k in range(holds):
        a = held[k]
        if among(need, a) or (tight and data.adapters[a].vram == 0):
            continue
        score = eviction_score(data, coming, a, p, tight)
        if fate[a] == GOES:
            score = np.inf
        elif fate[a] == STAYS and score < np.inf:
            score = -1.0 / score
        if found < 0 or score > most or (score == most and free[a] < free[held[found]]):
            found, most = k, score
    return found
