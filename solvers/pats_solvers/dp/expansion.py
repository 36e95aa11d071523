"""The labels that a label leads to, compiled: by a batch, or by rejecting jobs."""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.arrays import fields
from pats_solvers.common.compiled import compiled, entry, inlined, lean
from pats_solvers.dp.bound import (
    NONE,
    SearchModel,
    batch_cost,
    pack,
    paid_until,
    rejection_cost,
    start_of,
    unpack,
    value,
)
from pats_solvers.dp.label_pool import REJECT, REJECT_ALL, Label, LabelPool, below, insert

#: Successors: the move, what is pending after it, and when the GPU is free; the loss, the adapter's
#: value, and the promise, at first a quick one.
SUCCESSORS = fields("move pending free", "loss own promise")


class Successors(NamedTuple):
    """Successors of one label by moves of one adapter, and scratch.

    Attributes:
        rows: :data:`SUCCESSORS`.
        order: Places in them, those chosen first.
        counts: The label's jobs dealt with by class.
        after: Those of a successor.
        new: Its key.
        left: Whether an adapter has jobs left.
        backlogs: Scratch of :func:`value`.
        stamp: The label that a grain's numbers below are of.
        apart: What each adapter costs from a grain on, if it is not held; in the last column all.
        endless: How many of them cost infinity.
    """

    rows: Any
    order: Any
    counts: Any
    after: Any
    new: Any
    left: Any
    backlogs: Any
    stamp: Any
    apart: Any
    endless: Any


@compiled
def _scratch(model: SearchModel, words: int) -> Successors:
    adapters, classes = model.adapters.shape[0] - 1, model.classes.shape[0]
    room, grains = model.takes.shape[0] + classes, model.paid.shape[0]
    return Successors(
        np.empty(room, dtype=SUCCESSORS),
        np.empty(room, dtype=np.int64),
        np.empty(classes, dtype=np.int64),
        np.empty(classes, dtype=np.int64),
        np.empty((1, words), dtype=np.int64),
        np.empty(adapters, dtype=np.bool_),
        np.empty(model.tables.shape[0], dtype=np.int64),
        np.full(grains, NONE),
        np.empty((grains, adapters + 1)),
        np.empty(grains, dtype=np.int64),
    )


@lean
def _mark_left(model: SearchModel, found: Successors) -> float:
    """Mark the adapters with jobs left; return what rejecting all of these adds to the loss."""
    total = 0.0
    for a in range(found.left.shape[0]):
        found.left[a] = False
        for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
            if found.counts[q] < model.classes[q].jobs:
                found.left[a] = True
                total += rejection_cost(model, q, found.counts[q], model.classes[q].jobs)
    return total


@inlined
def _rejections(
    model: SearchModel, label: Label, a: int, now: float, limit: float, found: Successors
) -> int:
    """Find the successors by rejecting one job of adapter ``a``; return how many there are.

    To reject a job before it has arrived is of use only where a later one of its class is served
    next, at the earliest when that one arrives.
    """
    counts, places = found.counts, 0
    for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
        left = model.classes[q].jobs - counts[q]
        if left == 0 or model.classes[q].rejected == np.inf or q < label.pending:
            continue
        job = model.classes[q].arrival_at + counts[q]
        early = model.arrival[job] > label.free
        if (early and left == 1) or (label.pending != NONE and not early):
            continue
        cost = rejection_cost(model, q, counts[q], counts[q] + 1)
        counts[q] += 1
        held, grain = a == label.held, label.free // model.grain
        own = value(model, grain, a, held, counts, NONE, found.backlogs)
        counts[q] -= 1
        promise = max(label.promise, label.promise + (cost + own - now))
        if early and not held:
            ready = model.arrival[job + 1] - model.switches[label.held, a].ticks
            begin = max(label.free, ready)
            promise += paid_until(model, begin) - paid_until(model, label.free)
        if promise < limit:
            row = found.rows[places]
            row.move, row.pending, row.free = REJECT - q, q if early else NONE, label.free
            row.loss, row.promise = label.loss + cost, promise
            places += 1
    return places


@inlined
def _servings(
    model: SearchModel,
    label: Label,
    a: int,
    now: float,
    limit: float,
    found: Successors,
    places: int,
) -> int:
    """Find the successors by batches of adapter ``a``; return how many there are in all."""
    counts, first = found.counts, model.adapters[a].class_at
    switch = model.switches[label.held, a]
    paid = paid_until(model, label.free)
    for move in range(model.adapters[a].move_at, model.adapters[a + 1].move_at):
        if label.pending != NONE and model.takes[move, label.pending - first] == 0:
            continue
        start = start_of(model, move, a, label.free + switch.ticks, counts)
        stop = start + model.moves[move].duration
        if start < 0 or stop > model.horizon:
            continue
        # Until the switch the GPU stands idle. (Waiting with the adapter held is paid for.)
        if a != label.held:
            idle = paid_until(model, start - switch.ticks) - paid
            if label.promise + idle >= limit:
                continue
        cost = switch.loss + batch_cost(model, move, a, start, counts)
        own = value(model, stop // model.grain, a, True, counts, move, found.backlogs)
        # No other adapter costs less later on.
        promise = label.promise + (cost + own - now) + (paid_until(model, stop) - paid)
        if promise < limit:
            row = found.rows[places]
            row.move, row.pending, row.free = move, NONE, stop
            row.loss, row.own = label.loss + cost, own
            row.promise = max(label.promise, promise)
            places += 1
    return places


@lean
def _choose(pool: LabelPool, found: Successors, places: int, few: int) -> int:
    """Put the most promising places first, and cut the others; how many are left."""
    order, promise = found.order, found.rows.promise
    for i in range(places):
        order[i] = i
    if places <= few:
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
def _others(model: SearchModel, found: Successors, at: int, a: int, grain: int) -> float:
    """Return what all adapters but ``a`` cost from a grain on, none of them held.

    ``at`` tells one label from another.
    """
    last, count = model.paid.shape[0] - 1, found.left.shape[0]
    place = min(grain, last)
    if found.stamp[place] != at:
        found.stamp[place] = at if grain <= last else NONE
        found.apart[place, count], found.endless[place] = 0.0, 0
        for b in range(count):
            if found.left[b]:
                each = value(model, grain, b, False, found.counts, NONE, found.backlogs)
                found.apart[place, b] = each
                if each == np.inf:
                    found.endless[place] += 1
                else:
                    found.apart[place, count] += each
    own = found.apart[place, a]
    if found.endless[place] > (1 if own == np.inf else 0):
        return np.inf
    return found.apart[place, count] - (0.0 if own == np.inf else own)  # type: ignore[no-any-return]


@lean
def _step(model: SearchModel, found: Successors, a: int, move: int) -> int:
    """Fill in a successor's counts; return how many jobs its move deals with."""
    counts, after = found.counts, found.after
    for q in range(counts.shape[0]):
        after[q] = counts[q]
    if move < 0:
        after[REJECT - move] += 1
        return 1
    taken, first = 0, model.adapters[a].class_at
    for q in range(first, model.adapters[a + 1].class_at):
        n = model.takes[move, q - first]
        after[q] += n
        taken += n
    return taken


@lean
def _file(
    model: SearchModel,
    pool: LabelPool,
    found: Successors,
    place: int,
    label: Label,
    a: int,
    row: int,
    at: int,
    layer: int,
    slack: float,
) -> int:
    """File a successor of a label that is not cut; return its layer."""
    state, move, free = pool.state[0], found.rows[place].move, found.rows[place].free
    loss, promise = found.rows[place].loss, found.rows[place].promise
    limit = below(state.best)
    if promise >= limit:
        return layer
    layer += _step(model, found, a, move)
    if layer == pool.layers.shape[0] - 1:
        if loss < limit:
            state.best, state.final, state.final_move = loss, row, move
        return layer
    if move >= 0 and promise < pool.layers[layer].worst:
        rest = _others(model, found, at, a, free // model.grain) + found.rows[place].own
        promise = max(promise, loss + rest + paid_until(model, free) - model.paid[-1])
        if promise >= limit:
            return layer
    if promise >= pool.layers[layer].worst:
        state.cut = min(state.cut, promise)
        return layer
    pack(model.classes, found.after, found.new[0])
    found.left[a] = False
    for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
        if found.after[q] < model.classes[q].jobs:
            found.left[a] = True
    held = label.held if move < 0 else a
    then = Label(loss, promise, free, held, found.rows[place].pending)
    insert(pool, layer, found.new, then, row, move, found.left, model, slack)
    found.left[a] = True
    return layer


@inlined
def _successors(
    model: SearchModel,
    pool: LabelPool,
    found: Successors,
    row: int,
    at: int,
    layer: int,
    width: int,
    few: int,
    slack: float,
) -> None:
    """Make the successors of one label; see :func:`expand`."""
    state, this = pool.state[0], pool.labels[row]
    label = Label(this.loss, this.promise, this.free, this.held, this.pending)
    unpack(model.classes, pool.key, row, found.counts)
    total = label.loss + _mark_left(model, found)
    if label.pending == NONE and total < below(state.best):
        state.best, state.final, state.final_move = total, row, REJECT_ALL
    grain = label.free // model.grain
    for a in range(found.left.shape[0]):
        first, end = model.adapters[a].class_at, model.adapters[a + 1].class_at
        if not found.left[a] or (label.pending != NONE and not first <= label.pending < end):
            continue
        limit = below(state.best)
        now = value(model, grain, a, a == label.held, found.counts, NONE, found.backlogs)
        rejections = _rejections(model, label, a, now, limit, found)
        places = _servings(model, label, a, now, limit, found, rejections)
        chosen = _choose(pool, found, places, rejections + few if few > 0 else places)
        for i in range(chosen):
            into = _file(model, pool, found, found.order[i], label, a, row, at, layer, slack)
            if pool.layers[into].count >= width:
                state.overfull = 1
        state.looks += model.adapters[a + 1].move_at - model.adapters[a].move_at + chosen


@entry
def expand(
    model: SearchModel,
    pool: LabelPool,
    rows: Any,
    position: int,
    layer: int,
    width: int,
    few: int,
    work: int,
    slack: float,
) -> int:
    """Make the successors of collected labels, until all are done or it is time to look up.

    Args:
        model: The problem.
        pool: The labels.
        rows: Those collected.
        position: The first one that is not done.
        layer: Their layer.
        width: Labels in a layer's list from which on it is overfull.
        few: Batches tried for each label and adapter, the most promising ones; 0: all.
        work: Batches looked at before it returns.
        slack: Losses that differ by this are equal.

    Returns:
        The first position that is not done. It stops early where the pool may not hold a label's
        successors, or where a layer is overfull.
    """
    found = _scratch(model, pool.key.shape[1])
    state = pool.state[0]
    enough = state.looks + work
    for at in range(position, rows.shape[0]):
        room = pool.key.shape[0] - state.used + state.spares
        if state.looks >= enough or room < found.order.shape[0] or state.overfull > 0:
            return at
        if pool.labels[rows[at]].promise < below(state.best):
            _successors(model, pool, found, rows[at], at, layer, width, few, slack)
    return rows.shape[0]  # type: ignore[no-any-return]
