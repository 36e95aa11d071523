"""Residents through a GPU's sequence of batches, where several may be, compiled.

Who is evicted follows a rule (:func:`_victim`).
"""

# ruff: noqa: C901, PLR0912, PLR0917, SIM110 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled


@compiled
def uses(data: Any, state: Any, g: int) -> Any:
    """Return the next use of each adapter, by position and slot, and its first use."""
    count, slots = state.count[g], state.need.shape[1]
    after = np.empty((count, slots), dtype=np.int64)
    coming = np.full(data.adapters.shape[0] + 1, count, dtype=np.int64)  # the last one: never
    for p in range(count - 1, -1, -1):
        b = state.order[g, p]
        for i in range(slots):
            if state.need[b, i] >= 0:
                after[p, i] = coming[state.need[b, i]]
                coming[state.need[b, i]] = p
    return after, coming


@compiled
def settle_residents(data: Any, state: Any, g: int) -> None:
    """Work out residents and switches where several may be resident.

    Where loads run beside serving (section 5a), a switch is its activations, and loads take no
    time here: :mod:`pats_solvers.local.loading` knows their times.
    """
    after, coming = uses(data, state, g)  # from here on, coming[a] is the next use of a
    count, room, slots = state.count[g], data.initial.shape[1], state.need.shape[1]
    held = np.full(room, -1, dtype=np.int64)
    holds = ZERO
    for i in range(room):
        if data.initial[g, i] >= 0:
            held[holds] = data.initial[g, i]
            holds += 1
    previous, beside = -1, data.channels > 0
    for p in range(count):
        b = state.order[g, p]
        ticks, loss, loaded, activated = ZERO, 0.0, ZERO, ZERO
        fresh = np.full(slots, -1, dtype=np.int64)
        for i in range(slots):
            a = state.need[b, i]
            if a < 0:
                break
            coming[a] = after[p, i]
            known = False
            for k in range(holds):
                known = known or held[k] == a
            if not known:
                fresh[loaded] = a
                loaded += 1
                loss += data.switches[-1, a].loss
                if not beside:
                    ticks += data.switches[-1, a].ticks
            if (known or beside) and previous >= 0 and not among(state.need[previous], a):
                activated += 1
        memory = data.base_vram + state.batches[b].memory
        for k in range(holds):
            memory += data.adapters[held[k]].vram
        for i in range(loaded):
            memory += data.adapters[fresh[i]].vram
        while holds > 0 and (holds + loaded > room or memory > data.capacity[g, 0]):
            tight = holds + loaded <= room
            k = _victim(data, state.need[b], held, holds, coming, p, tight)
            if k < 0:
                break
            memory -= data.adapters[held[k]].vram
            holds -= 1
            held[k] = held[holds]
        for i in range(loaded):
            held[holds] = fresh[i]
            holds += 1
        state.batches[b].switch = ticks + activated * data.activate_ticks
        state.batches[b].paid = loss + activated * data.activate_loss
        state.batches[b].loads, state.batches[b].activations = loaded, activated
        live, memory = 0, data.base_vram + state.batches[b].memory
        for k in range(room):
            state.resident[b, k] = held[k] if k < holds else -1
            if k < holds and (coming[held[k]] < count or among(state.need[b], held[k])):
                live += 1
                memory += data.adapters[held[k]].vram
        state.batches[b].live, state.batches[b].live_memory = live, memory
        previous = b


@compiled
def among(need: Any, adapter: int) -> bool:
    """Return whether an adapter is among those that a batch needs."""
    for i in range(need.shape[0]):
        if need[i] == adapter:
            return True
    return False


@compiled
def _victim(data: Any, need: Any, held: Any, holds: int, coming: Any, p: int, tight: bool) -> int:
    """Return the place of the resident to evict at position ``p``, or -1: all are needed now.

    One whose next use is far and that is quick to load again; where memory is what is ``tight``,
    one that takes much of it. Without any of these differences it is the one needed last, which
    is then optimal (Belady 1966).
    """
    found, most = -1, 0.0
    for k in range(holds):
        a = held[k]
        if among(need, a) or (tight and data.adapters[a].vram == 0):
            continue
        score = eviction_score(data, coming, a, p, tight)
        if found < 0 or score > most:
            found, most = k, score
    return found


@compiled
def eviction_score(data: Any, coming: Any, a: int, p: int, tight: bool) -> Any:
    """Return how well a resident can be spared at position ``p``; infinite if never used again."""
    if coming[a] >= coming[coming.shape[0] - 1]:
        return np.inf
    score = (coming[a] - p) / (data.adapters[a].load_s + 1e-9)
    return score * data.adapters[a].vram if tight else score
