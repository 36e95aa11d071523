"""The labels that a label leads to, compiled: by a batch, or by rejecting jobs."""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import compiled, entry
from pats_solvers.dp.bound import (
    ARRIVAL_AT,
    CLASS_AT,
    DURATION,
    JOBS,
    MOVE_AT,
    NONE,
    REJECTED,
    TAKES,
    Jobs,
    Model,
    _cost_of,
    _rejecting,
    pack,
    start_of,
    unpack,
    value,
)
from pats_solvers.dp.label_pool import (
    BEST,
    COUNT,
    CUT,
    FINAL,
    FINAL_MOVE,
    FREE,
    HELD,
    LOOKS,
    LOSS,
    OVERFULL,
    PENDING,
    PROMISE,
    REJECT,
    REJECT_ALL,
    SPARES,
    USED,
    Label,
    Pool,
    below,
    insert,
)

#: Columns of :attr:`Found.whole`: the move, what is pending after it, and when the GPU is free.
#: Of :attr:`Found.real`: the loss, the adapter's value, and the promise, at first a quick one.
THE_MOVE, THEN_PENDING, THEN_FREE = range(3)
THEN_LOSS, OWN, THEN_PROMISE = range(3)


class Found(NamedTuple):
    """Successors of one label by moves of one adapter, and scratch.

    Attributes:
        whole: ``(room, 3)``.
        real: ``(room, 3)``.
        order: Places in the two, those chosen first.
        counts: The label's jobs dealt with by class.
        after: Those of a successor.
        new: Its key.
        left: Whether an adapter has jobs left.
        backlogs: Scratch of :func:`value`.
        stamp: The label that a grain's numbers below are of.
        apart: What each adapter costs from a grain on, if it is not held; in the last column all.
        endless: How many of them cost infinity.
    """

    whole: Any
    real: Any
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
def _scratch(model: Model, words: int) -> Found:
    adapters, classes = model.jobs.adapters.shape[0] - 1, model.jobs.classes.shape[0]
    room, grains = model.batches.costs.shape[0] + classes, model.bound.paid.shape[0]
    return Found(
        np.empty((room, 3), dtype=np.int64),
        np.empty((room, 3)),
        np.empty(room, dtype=np.int64),
        np.empty(classes, dtype=np.int64),
        np.empty(classes, dtype=np.int64),
        np.empty((1, words), dtype=np.int64),
        np.empty(adapters, dtype=np.bool_),
        np.empty(model.bound.tables.shape[0], dtype=np.int64),
        np.full(grains, NONE),
        np.empty((grains, adapters + 1)),
        np.empty(grains, dtype=np.int64),
    )


@compiled
def _what_is_left(jobs: Jobs, found: Found) -> float:
    """See which adapters have jobs left; what rejecting all of these adds to the loss."""
    total = 0.0
    for a in range(found.left.shape[0]):
        found.left[a] = False
        for q in range(jobs.adapters[a, CLASS_AT], jobs.adapters[a + 1, CLASS_AT]):
            if found.counts[q] < jobs.classes[q, JOBS]:
                found.left[a] = True
                total += _rejecting(jobs, q, found.counts[q], jobs.classes[q, JOBS])
    return total


@compiled
def _rejections(model: Model, label: Label, a: int, now: float, limit: float, found: Found) -> int:
    """Find the successors by rejecting one job of adapter ``a``; how many there are.

    To reject a job before it has arrived is of use only where a later one of its class is served
    next, at the earliest when that one arrives.
    """
    jobs, batches, bound = model
    counts, last, places = found.counts, bound.paid.shape[0] - 1, 0
    grain = label.free // bound.grain
    for q in range(jobs.adapters[a, CLASS_AT], jobs.adapters[a + 1, CLASS_AT]):
        left = jobs.classes[q, JOBS] - counts[q]
        if left == 0 or jobs.losses[q, REJECTED] == np.inf or q < label.pending:
            continue
        job = jobs.classes[q, ARRIVAL_AT] + counts[q]
        early = jobs.arrival[job] > label.free
        if (early and left == 1) or (label.pending != NONE and not early):
            continue
        cost = _rejecting(jobs, q, counts[q], counts[q] + 1)
        counts[q] += 1
        own = value(
            jobs, bound, batches.moves, grain, a, a == label.held, counts, NONE, found.backlogs
        )
        counts[q] -= 1
        promise = max(label.promise, label.promise + (cost + own - now))
        if early and a != label.held:
            begin = max(label.free, jobs.arrival[job + 1] - batches.switch[label.held, a])
            promise += bound.paid[min(begin // bound.grain, last)] - bound.paid[min(grain, last)]
        if promise < limit:
            found.whole[places, THE_MOVE] = REJECT - q
            found.whole[places, THEN_PENDING] = q if early else NONE
            found.whole[places, THEN_FREE] = label.free
            found.real[places, THEN_LOSS] = label.loss + cost
            found.real[places, THEN_PROMISE] = promise
            places += 1
    return places


@compiled
def _servings(
    model: Model, label: Label, a: int, now: float, limit: float, found: Found, places: int
) -> int:
    """Find the successors by batches of adapter ``a``; how many there are with those before."""
    jobs, batches, bound = model
    moves, counts, last = batches.moves, found.counts, bound.paid.shape[0] - 1
    switch = batches.switch[label.held, a]
    paid = bound.paid[min(label.free // bound.grain, last)]
    first = jobs.adapters[a, CLASS_AT]
    for move in range(jobs.adapters[a, MOVE_AT], jobs.adapters[a + 1, MOVE_AT]):
        if label.pending != NONE and moves[move, TAKES + label.pending - first] == 0:
            continue
        start = start_of(jobs, moves, move, a, label.free + switch, counts)
        stop = start + moves[move, DURATION]
        if start < 0 or stop > batches.horizon:
            continue
        # Until the switch the GPU stands idle. (Waiting with the adapter held is paid for.)
        if a != label.held:
            begin = min((start - switch) // bound.grain, last)
            if label.promise + (bound.paid[begin] - paid) >= limit:
                continue
        grain = stop // bound.grain
        cost = batches.switch_cost[label.held, a]
        cost += _cost_of(jobs, batches, move, a, start, counts)
        own = value(jobs, bound, moves, grain, a, True, counts, move, found.backlogs)
        # No other adapter costs less later on.
        promise = label.promise + (cost + own - now) + (bound.paid[min(grain, last)] - paid)
        if promise < limit:
            found.whole[places, THE_MOVE], found.whole[places, THEN_PENDING] = move, NONE
            found.whole[places, THEN_FREE] = stop
            found.real[places, THEN_LOSS], found.real[places, OWN] = label.loss + cost, own
            found.real[places, THEN_PROMISE] = max(label.promise, promise)
            places += 1
    return places


@compiled
def _choose(pool: Pool, found: Found, places: int, few: int) -> int:
    """Put the most promising places first, and cut the others; how many are left."""
    order, promise = found.order, found.real[:, THEN_PROMISE]
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
        pool.bests[CUT] = min(pool.bests[CUT], promise[order[i]])
    return few


@compiled
def _others(model: Model, found: Found, at: int, a: int, grain: int) -> float:
    """What all adapters but ``a`` cost from a grain on, none of them held.

    ``at`` tells one label from another.
    """
    jobs, batches, bound = model
    last, count = bound.paid.shape[0] - 1, found.left.shape[0]
    place = min(grain, last)
    if found.stamp[place] != at:
        found.stamp[place] = at if grain <= last else NONE
        found.apart[place, count], found.endless[place] = 0.0, 0
        for b in range(count):
            if found.left[b]:
                each = value(
                    jobs, bound, batches.moves, grain, b, False, found.counts, NONE, found.backlogs
                )
                found.apart[place, b] = each
                if each == np.inf:
                    found.endless[place] += 1
                else:
                    found.apart[place, count] += each
    own = found.apart[place, a]
    if found.endless[place] > (1 if own == np.inf else 0):
        return np.inf
    return found.apart[place, count] - (0.0 if own == np.inf else own)  # type: ignore[no-any-return]


@compiled
def _step(model: Model, found: Found, a: int, move: int) -> int:
    """Fill in a successor's counts; how many jobs its move deals with."""
    counts, after = found.counts, found.after
    for q in range(counts.shape[0]):
        after[q] = counts[q]
    if move < 0:
        after[REJECT - move] += 1
        return 1
    taken, first = 0, model.jobs.adapters[a, CLASS_AT]
    for q in range(first, model.jobs.adapters[a + 1, CLASS_AT]):
        n = model.batches.moves[move, TAKES + q - first]
        after[q] += n
        taken += n
    return taken


@compiled
def _file(
    model: Model,
    pool: Pool,
    found: Found,
    place: int,
    label: Label,
    a: int,
    row: int,
    at: int,
    layer: int,
    slack: float,
) -> int:
    """File a successor of a label that is not cut; its layer."""
    jobs, batches, bound = model
    move, free = found.whole[place, THE_MOVE], found.whole[place, THEN_FREE]
    loss, promise = found.real[place, THEN_LOSS], found.real[place, THEN_PROMISE]
    limit = below(pool.bests[BEST])
    if promise >= limit:
        return layer
    layer += _step(model, found, a, move)
    if layer == pool.layers.shape[0] - 1:
        if loss < limit:
            pool.bests[BEST] = loss
            pool.registers[FINAL], pool.registers[FINAL_MOVE] = row, move
        return layer
    if move >= 0 and promise < pool.worst[layer]:
        grain, last = free // bound.grain, bound.paid.shape[0] - 1
        rest = _others(model, found, at, a, grain) + found.real[place, OWN]
        promise = max(promise, loss + rest + bound.paid[min(grain, last)] - bound.paid[last])
        if promise >= limit:
            return layer
    if promise >= pool.worst[layer]:
        pool.bests[CUT] = min(pool.bests[CUT], promise)
        return layer
    pack(jobs.classes, found.after, found.new[0])
    found.left[a] = False
    for q in range(jobs.adapters[a, CLASS_AT], jobs.adapters[a + 1, CLASS_AT]):
        if found.after[q] < jobs.classes[q, JOBS]:
            found.left[a] = True
    held = label.held if move < 0 else a
    then = Label(loss, promise, free, held, found.whole[place, THEN_PENDING])
    insert(pool, layer, found.new, then, row, move, found.left, batches, slack)
    found.left[a] = True
    return layer


@compiled
def _successors(
    model: Model,
    pool: Pool,
    found: Found,
    row: int,
    at: int,
    layer: int,
    width: int,
    few: int,
    slack: float,
) -> None:
    """Make the successors of one label; see :func:`expand`."""
    jobs, batches, bound = model
    promise, held = pool.real[row, PROMISE], pool.whole[row, HELD]
    free, pending = pool.whole[row, FREE], pool.whole[row, PENDING]
    label = Label(pool.real[row, LOSS], promise, free, held, pending)
    unpack(jobs.classes, pool.key, row, found.counts)
    total = label.loss + _what_is_left(jobs, found)
    if pending == NONE and total < below(pool.bests[BEST]):
        pool.bests[BEST] = total
        pool.registers[FINAL], pool.registers[FINAL_MOVE] = row, REJECT_ALL
    for a in range(found.left.shape[0]):
        first, end = jobs.adapters[a, CLASS_AT], jobs.adapters[a + 1, CLASS_AT]
        if not found.left[a] or (pending != NONE and not first <= pending < end):
            continue
        limit = below(pool.bests[BEST])
        now = value(
            jobs, bound, batches.moves, free // bound.grain, a, a == held, found.counts, NONE,
            found.backlogs,
        )  # fmt: skip
        rejections = _rejections(model, label, a, now, limit, found)
        places = _servings(model, label, a, now, limit, found, rejections)
        chosen = _choose(pool, found, places, rejections + few if few > 0 else places)
        for i in range(chosen):
            into = _file(model, pool, found, found.order[i], label, a, row, at, layer, slack)
            if pool.layers[into, COUNT] >= width:
                pool.registers[OVERFULL] = 1
        moves = jobs.adapters[a + 1, MOVE_AT] - jobs.adapters[a, MOVE_AT]
        pool.registers[LOOKS] += moves + chosen


@entry
def expand(
    model: Model,
    pool: Pool,
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
    registers = pool.registers
    enough = registers[LOOKS] + work
    for at in range(position, rows.shape[0]):
        room = pool.key.shape[0] - registers[USED] + registers[SPARES]
        if registers[LOOKS] >= enough or room < found.order.shape[0] or registers[OVERFULL] > 0:
            return at
        if pool.real[rows[at], PROMISE] < below(pool.bests[BEST]):
            _successors(model, pool, found, rows[at], at, layer, width, few, slack)
    return rows.shape[0]  # type: ignore[no-any-return]
