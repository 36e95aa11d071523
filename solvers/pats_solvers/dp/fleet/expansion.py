"""The children of a label, compiled: of all that its GPU may do, the most promising."""

# ruff: noqa: C901, PLR0917 - compiled: one function is one loop, and takes arrays

from __future__ import annotations

from typing import Any

from pats_solvers.common.compiled import entry, lean
from pats_solvers.dp.bound import NONE, unpack
from pats_solvers.dp.fleet.actions import (
    can_start,
    commitments,
    loads_ahead,
    next_event,
    note,
    rejections,
    servings,
    switch_to,
)
from pats_solvers.dp.fleet.bound import COMMITTED, NEVER, READY, WAITED, FleetModel
from pats_solvers.dp.fleet.children import file_child, look_at, mark_left, promise_of
from pats_solvers.dp.fleet.filling import fill_patterns
from pats_solvers.dp.fleet.pool import FleetPool, copy_gpu
from pats_solvers.dp.fleet.scratch import GpuTurn, LabelBounds, label_bounds
from pats_solvers.dp.label_pool import REJECT_ALL, below


@lean
def _choose(pool: FleetPool, p: LabelBounds, places: int, few: int) -> int:
    """Put the most promising places first, and cut the others; how many are left."""
    order, promise = p.order, p.rows.promise
    for i in range(places):
        order[i] = i
    if few == 0 or places <= few:
        return places
    for i in range(few):
        best = i
        for j in range(i + 1, places):
            if promise[order[j]] < promise[order[best]]:
                best = j
        order[i], order[best] = order[best], order[i]
    for i in range(few, places):
        pool.state[0].cut = min(pool.state[0].cut, promise[order[i]])
    return few


@lean
def _file_some(
    model: FleetModel,
    pool: FleetPool,
    p: LabelBounds,
    acting: GpuTurn,
    row: int,
    places: int,
    few: int,
    width: int,
    slack: float,
) -> None:
    """File the most promising children noted."""
    state = pool.state[0]
    for i in range(_choose(pool, p, places, few)):
        if pool.key.shape[0] - state.used + state.spares < 1:
            state.cut = min(state.cut, p.rows[p.order[i]].promise)
            continue
        into = file_child(model, pool, p, acting, p.order[i], row, slack)
        if into != NONE and pool.layers[into].count >= width:
            state.overfull = 1
    state.looks += places


@lean
def _children(
    model: FleetModel,
    pool: FleetPool,
    p: LabelBounds,
    row: int,
    at: int,
    few: int,
    width: int,
    slack: float,
) -> None:
    """Make the children of one label."""
    state, label = pool.state[0], pool.labels[row]
    unpack(model.classes, pool.key, row, p.counts)
    for h in range(p.gpus.shape[0]):
        copy_gpu(pool.gpus[row, h], p.gpus[h])
    total = label.loss + mark_left(model, p.counts, p.left)
    if label.pending == NONE and total < below(state.best):
        state.best, state.final, state.final_move = total, row, REJECT_ALL
    acting = look_at(model, pool, p, row, at)
    gpu, count = p.gpus[acting.g], p.left.shape[0]
    event, busy = NEVER, False
    for a in range(count):
        if not p.left[a] or model.chains[acting.kind, a].size == 0:
            continue
        if gpu.mode == COMMITTED and gpu.active != a:
            continue
        if acting.pending != NONE and not (
            model.adapters[a].class_at <= acting.pending < model.adapters[a + 1].class_at
        ):
            continue
        ticks, loss = switch_to(model, gpu, a)
        places = 0
        if ticks == 0:
            if can_start(model, p, acting.kind, a, acting.free, gpu.reach):
                if model.patterns.shape[0] > 0:
                    fill_patterns(model, p, acting.kind, a, acting.free)
                places = rejections(model, pool, p, acting, a, places)
                places = servings(model, pool, p, acting, a, loss, places)
        elif acting.pending == NONE:
            places = commitments(model, pool, p, acting, a, ticks, loss, places)
        event = min(event, next_event(model, p, acting.kind, a, acting.free + ticks) - ticks)
        busy |= places > 0
        _file_some(model, pool, p, acting, row, places, few, width, slack)
    if gpu.mode == COMMITTED or acting.pending != NONE:
        return
    _idle(model, pool, p, acting, row, event, few > 0 and busy, width, slack)


@lean
def _idle(
    model: FleetModel,
    pool: FleetPool,
    p: LabelBounds,
    acting: GpuTurn,
    row: int,
    event: int,
    busy: bool,
    width: int,
    slack: float,
) -> None:
    """Make the children by waiting for an event, and by loading ahead (if ``busy``, cut these)."""
    gpu, several = p.gpus[acting.g], p.gpus.shape[0] > 1
    waits = event < min(model.horizon, NEVER // 2)
    if waits or several:
        until = event if waits else NEVER
        promise = promise_of(model, p, acting, until, gpu.active, gpu.resident, NONE, acting.loss)
        then = until, gpu.active, gpu.resident, WAITED, 1
        places = note(pool, p, acting, 0, NONE, NONE, then, acting.loss, promise)
        _file_some(model, pool, p, acting, row, places, 0, width, slack)
    if not (waits and model.caching and model.places > 1 and gpu.mode == READY):
        return
    for a in range(p.left.shape[0]):
        if not p.left[a] or model.chains[acting.kind, a].size == 0:
            continue
        if (gpu.resident | model.passing) & model.bits[a]:
            continue
        places = loads_ahead(model, pool, p, acting, a, 0)
        if busy:
            for i in range(places):
                pool.state[0].cut = min(pool.state[0].cut, p.rows[i].promise)
        else:
            _file_some(model, pool, p, acting, row, places, 0, width, slack)


@entry
def expand(
    model: FleetModel,
    pool: FleetPool,
    rows: Any,
    position: int,
    width: int,
    few: int,
    work: int,
    room: int,
    slack: float,
) -> int:
    """Make the children of collected labels, until all are done or it is time to look up.

    Args:
        model: The problem.
        pool: The labels.
        rows: Those collected.
        position: The first one that is not done.
        width: Labels in a layer's list from which on it is overfull.
        few: Batches tried for each label and adapter, the most promising ones, and loads ahead
            only where the GPU has nothing else to do; 0: all.
        work: Children looked at before it returns.
        room: Children of a label by one adapter, at most.
        slack: Losses that differ by this are equal.

    Returns:
        The first position that is not done. It stops early where the pool may not hold a label's
        children, or where a layer is overfull.
    """
    p = label_bounds(model, pool.key.shape[1], room)
    state = pool.state[0]
    enough = state.looks + work
    for at in range(position, rows.shape[0]):
        free = pool.key.shape[0] - state.used + state.spares
        if state.looks >= enough or free < room or state.overfull > 0:
            return at
        if pool.labels[rows[at]].promise < below(state.best):
            _children(model, pool, p, rows[at], at, few, width, slack)
            state.looks += 1
    return rows.shape[0]  # type: ignore[no-any-return]
