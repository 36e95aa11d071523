"""The children of a label, compiled: their bounds, and how they are filed."""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: one function is one loop, and takes arrays

from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import lean
from pats_solvers.dp.bound import NONE, pack, rejection_cost
from pats_solvers.dp.fleet.bound import (
    FIRST,
    NEVER,
    FleetModel,
    adapter_of,
    beyond_rest,
    chain_value,
    paid_rest,
    state_of,
)
from pats_solvers.dp.fleet.estimate import estimate, rest_of
from pats_solvers.dp.fleet.pool import FleetLabel, FleetPool, copy_gpu, insert
from pats_solvers.dp.fleet.scratch import GpuTurn, LabelBounds
from pats_solvers.dp.label_pool import below
from pats_solvers.lagrangian.costs import ABSENT, ACTIVE, RESIDENT


@lean
def mark_left(model: FleetModel, counts: Any, left: Any) -> float:
    """Mark the adapters with jobs left; return what rejecting all of these adds to the loss."""
    total = 0.0
    for a in range(left.shape[0]):
        left[a] = False
        for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
            if counts[q] < model.classes[q].jobs:
                left[a] = True
                total += rejection_cost(model, q, counts[q], model.classes[q].jobs)
    return total


@lean
def look_at(model: FleetModel, pool: FleetPool, p: LabelBounds, row: int, at: int) -> GpuTurn:
    """Work out the parts of a label's bound; ``p.counts``, ``p.left`` and ``p.gpus`` are there."""
    label, g = pool.labels[row], 0
    for h in range(1, p.gpus.shape[0]):
        if p.gpus[h].free < p.gpus[g].free:
            g = h
    others = beyond_rest(model, p.counts)
    for h in range(p.gpus.shape[0]):
        gpu, kind = p.gpus[h], model.gpus[h]
        grain = gpu.free // model.grain
        for a in range(p.left.shape[0]):
            p.now[h, a] = 0.0
            if p.left[a]:
                p.now[h, a] = chain_value(
                    model, kind, a, state_of(model, gpu, a), grain, p.counts, NONE, p.backlogs
                )
            if h != g:
                others += p.now[h, a]
        if h != g:
            others += paid_rest(model, kind, gpu.free)
    if p.gpus.shape[0] > 1:
        for a in range(p.left.shape[0]):
            p.rest[a] = rest_of(model, p, g, a, p.counts) if p.left[a] else 0.0
    limit = below(pool.state[0].best)
    return GpuTurn(
        at, g, model.gpus[g], p.gpus[g].free, others, label.promise, label.loss, label.pending,
        limit,
    )  # fmt: skip


@lean
def _set_apart(model: FleetModel, p: LabelBounds, acting: GpuTurn, grain: int) -> int:
    """Work out what each adapter costs the acting GPU from a grain on; return where that is."""
    last, count = model.paid.shape[1] - 1, p.left.shape[0]
    place = min(grain, last)
    if p.stamp[place] == acting.at:
        return place  # type: ignore[no-any-return]
    p.stamp[place] = acting.at if grain <= last else NONE
    p.apart[place, count], p.endless[place] = 0.0, 0
    resident = p.gpus[acting.g].resident
    for a in range(count):
        p.apart[place, a] = 0.0
        if p.left[a]:
            state = RESIDENT if model.caching and resident & model.bits[a] else ABSENT
            each = chain_value(model, acting.kind, a, state, grain, p.counts, NONE, p.backlogs)
            p.apart[place, a] = each
            if each == np.inf:
                p.endless[place] += 1
            else:
                p.apart[place, count] += each
    return place  # type: ignore[no-any-return]


@lean
def promise_of(
    model: FleetModel,
    p: LabelBounds,
    acting: GpuTurn,
    free: int,
    active: int,
    resident: int,
    move: int,
    loss: float,
) -> float:
    """Return the promise of a child by a batch, a switch or waiting.

    Args:
        model: The model.
        p: The label.
        acting: Its acting GPU.
        free: When that GPU is free then.
        active: The adapter that is active there then.
        resident: The residents then.
        move: The batch, or :data:`.NONE`.
        loss: The loss then.
    """
    before, grain = p.gpus[acting.g].resident, free // model.grain
    place = _set_apart(model, p, acting, grain)
    total, endless = p.apart[place, p.left.shape[0]], p.endless[place]
    changed = before ^ resident
    if active == FIRST:
        changed |= resident
    for a in range(p.left.shape[0]):
        if not p.left[a] or (a != active and not changed & model.bits[a]):
            continue
        old = p.apart[place, a]
        if old == np.inf:
            endless -= 1
        else:
            total -= old
        state = ABSENT
        if a == active or (active == FIRST and resident & model.bits[a]):
            state = ACTIVE
        elif model.caching and resident & model.bits[a]:
            state = RESIDENT
        taken = move if a == active else NONE
        new = chain_value(model, acting.kind, a, state, grain, p.counts, taken, p.backlogs)
        if new == np.inf:
            endless += 1
        else:
            total += new
    if endless > 0:
        return np.inf
    total += loss + acting.others + paid_rest(model, acting.kind, free)
    if move >= 0:
        first = model.adapters[active].class_at
        for q in range(first, model.adapters[active + 1].class_at):
            at = model.classes[q].arrival_at + q + p.counts[q]
            total += model.beyond[at + model.takes[move, q - first]] - model.beyond[at]
        for h in range(p.gpus.shape[0]):
            if h != acting.g:
                gpu = p.gpus[h]
                total -= p.now[h, active]
                total += chain_value(
                    model, model.gpus[h], active, state_of(model, gpu, active),
                    gpu.free // model.grain, p.counts, move, p.backlogs,
                )  # fmt: skip
    return max(acting.promise, total)  # type: ignore[no-any-return]


@lean
def rejection_promise(
    model: FleetModel, p: LabelBounds, acting: GpuTurn, q: int, loss: float
) -> float:
    """Return the promise of a child by rejecting the next job of class ``q``; the loss is then."""
    a = adapter_of(model, q)
    total = loss + acting.others + paid_rest(model, acting.kind, acting.free)
    for b in range(p.left.shape[0]):
        total += p.now[acting.g, b]
    at = model.classes[q].arrival_at + q + p.counts[q]
    total += model.beyond[at + 1] - model.beyond[at]
    p.counts[q] += 1
    for h in range(p.gpus.shape[0]):
        gpu = p.gpus[h]
        total -= p.now[h, a]
        total += chain_value(
            model, model.gpus[h], a, state_of(model, gpu, a), gpu.free // model.grain, p.counts,
            NONE, p.backlogs,
        )  # fmt: skip
    p.counts[q] -= 1
    return max(acting.promise, total)  # type: ignore[no-any-return]


@lean
def _before(one: Any, two: Any) -> bool:
    """Return whether a GPU comes before another one of its kind."""
    if one.free != two.free:
        return one.free < two.free  # type: ignore[no-any-return]
    if one.active != two.active:
        return one.active < two.active  # type: ignore[no-any-return]
    return one.resident < two.resident  # type: ignore[no-any-return]


@lean
def _sort(model: FleetModel, gpus: Any, spare: Any) -> None:
    """Sort GPUs by kind; ``spare`` is a row."""
    for h in range(1, gpus.shape[0]):
        copy_gpu(gpus[h], spare)
        at = h
        while at > 0 and model.gpus[at - 1] == model.gpus[h] and _before(spare, gpus[at - 1]):
            copy_gpu(gpus[at - 1], gpus[at])
            at -= 1
        copy_gpu(spare, gpus[at])


@lean
def _layer(model: FleetModel, pool: FleetPool, gpus: Any, g: int, free: int) -> tuple[int, int]:
    """Return the layer of a label, and the tick at which its first GPU is free.

    The earlier that is, the earlier the layer; then come labels of which several GPUs are free.

    Args:
        model: The model.
        pool: The labels.
        gpus: The label's GPUs but for one.
        g: The place of that one.
        free: When that one is free.
    """
    front, ready = free, 0
    for h in range(gpus.shape[0]):
        if h != g:
            front = min(front, gpus[h].free)
    span = front // model.span
    for h in range(gpus.shape[0]):
        when = free if h == g else gpus[h].free
        ready += 1 if when // model.span == span else 0
    last, count = pool.layers.shape[0] - 1, gpus.shape[0]
    return min(last, span * count + count - ready), front


@lean
def _count_after(model: FleetModel, p: LabelBounds, child: Any) -> int:
    """Fill in what is dealt with after a child and who has jobs left; return their bits.

    These are -1 where nobody has.
    """
    for q in range(p.counts.shape[0]):
        p.after[q] = p.counts[q]
    kept, some = 0, False
    for a in range(p.left.shape[0]):
        p.still[a] = p.left[a]
    if child.move >= 0 or child.rejected >= 0:
        a = child.active if child.move >= 0 else adapter_of(model, child.rejected)
        p.still[a] = False
        first = model.adapters[a].class_at
        for q in range(first, model.adapters[a + 1].class_at):
            if child.move >= 0:
                p.after[q] += model.takes[child.move, q - first]
            elif q == child.rejected:
                p.after[q] += 1
            if p.after[q] < model.classes[q].jobs:
                p.still[a] = True
    for a in range(p.still.shape[0]):
        if p.still[a]:
            kept |= model.bits[a]
            some = True
    return kept if some else -1


@lean
def file_child(
    model: FleetModel,
    pool: FleetPool,
    p: LabelBounds,
    turn: GpuTurn,
    place: int,
    row: int,
    slack: float,
) -> int:
    """File a child; return its layer, or :data:`.NONE`."""
    child, state = p.rows[place], pool.state[0]
    if child.promise >= below(state.best):
        return NONE
    kept = _count_after(model, p, child)
    if kept < 0:
        if child.loss < below(state.best):
            state.best, state.final, state.final_move = child.loss, row, child.move
        return NONE
    layer, front = _layer(model, pool, p.gpus, turn.g, child.free)
    if front >= NEVER:
        return NONE
    rank = child.promise
    if rank < pool.layers[layer].worst and p.gpus.shape[0] > 1:
        rank = estimate(model, p, turn, child)
    if rank >= pool.layers[layer].worst:
        state.cut = min(state.cut, child.promise)
        return NONE
    for h in range(p.gpus.shape[0]):
        gpu = p.then[h]
        copy_gpu(p.gpus[h], gpu)
        gpu.was = h
        if h == turn.g:
            gpu.free, gpu.active, gpu.resident = child.free, child.active, child.resident
            gpu.mode, gpu.reach = child.mode, child.reach
        gpu.resident &= kept
        if not model.paired and 0 <= gpu.active < p.still.shape[0] and not p.still[gpu.active]:
            gpu.active = p.still.shape[0]
    _sort(model, p.then, p.spare[0])
    pack(model.classes, p.after, p.new[0])
    label = FleetLabel(child.loss, child.promise, rank, child.rejected)
    insert(pool, layer, p.new, label, p.then, row, child.move, p.still, model, slack)
    return layer
