"""Actions of the GPU of a label, compiled: batches, switches, loads ahead of time, rejections.

The GPU that is free first acts. It need not do all that the rules allow, because some optimal
schedule is of this form: every batch starts at an arrival of a member, or as soon as its GPU can.
So

- a GPU waits for arrivals only (less the time of the switch that is needed then), and then starts
  what could not start before;
- a switch to a batch's adapter is made right before the batch, which starts when it ends;
- what is evicted is what makes just enough room, but for adapters that are loaded at no more than
  it costs to activate them: these leave with the first batch of another;
- another adapter is loaded ahead only where the load cannot be made up for later: where the GPU's
  next batch starts less than the load's ticks after a member arrives. (Else that batch and those
  after it could begin so much earlier, and the load could be made later; and adapters that are
  loaded at no more than it costs to activate them are best loaded when they are needed.)
- a job is rejected right before a later one of its class is served, or at the end.
"""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: one function is one loop, and takes arrays

from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import lean
from pats_solvers.dp.bound import NONE, batch_cost, rejection_cost
from pats_solvers.dp.fleet.bound import COMMITTED, FIRST, NEVER, READY, FleetModel
from pats_solvers.dp.fleet.children import promise_of, rejection_promise
from pats_solvers.dp.fleet.pool import FleetPool
from pats_solvers.dp.fleet.scratch import GpuTurn, LabelBounds, arrived_by
from pats_solvers.dp.label_pool import REJECT

#: Residents up to which all that can be evicted together is tried.
TRIED_TOGETHER = 12


@lean
def switch_to(model: FleetModel, gpu: Any, a: int) -> tuple[int, float]:
    """Return ticks and loss of a switch to adapter ``a`` for the next batch of a GPU."""
    count = model.bits.shape[0]
    if gpu.active == a:
        return 0, 0.0
    if not model.caching:
        switch = model.loads[gpu.active, a]
        return switch.ticks, switch.loss
    if gpu.resident & model.bits[a]:
        if gpu.active == FIRST:
            return 0, 0.0
        return model.activation[0].ticks, model.activation[0].loss
    return model.loads[count, a].ticks, model.loads[count, a].loss


@lean
def _choices(
    model: FleetModel,
    pool: FleetPool,
    p: LabelBounds,
    acting: GpuTurn,
    fixed: int,
    loose: int,
    need: int,
) -> int:
    """Find the largest choices of ``loose`` residents to keep beside the ``fixed`` ones.

    Args:
        model: The model.
        pool: The labels.
        p: The label; ``p.kept`` is filled with the choices, as bits.
        acting: Its GPU.
        fixed: Bits of what has to be there.
        loose: Bits of what may stay.
        need: Memory of the members beside.

    Returns:
        How many choices there are.
    """
    count = model.bits.shape[0]
    room, places = model.room[acting.kind] - need, model.places
    for a in range(count):
        if (fixed | loose) & model.bits[a]:
            room -= model.vram[a]
            places -= 1
    if room >= 0 and places >= 0:
        p.kept[0] = loose
        return 1
    found, small, many = 0, 0, 0
    for a in range(count):
        if loose & model.bits[a]:
            if room + model.vram[a] >= 0 and places + 1 >= 0:
                p.kept[found] = loose & ~model.bits[a]
                found += 1
            elif many < TRIED_TOGETHER:  # only together with others of these
                small |= model.bits[a]
                many += 1
            else:
                pool.state[0].cut = min(pool.state[0].cut, acting.promise)
    sub = small
    while sub:
        spare, left, enough = room, places, True
        for a in range(count):
            if sub & model.bits[a]:
                spare += model.vram[a]
                left += 1
        for a in range(count):
            if sub & model.bits[a] and spare - model.vram[a] >= 0 and left - 1 >= 0:
                enough = False  # this one may stay
        if spare >= 0 and left >= 0 and enough:
            if found < p.kept.shape[0]:
                p.kept[found] = loose & ~sub
                found += 1
            else:
                pool.state[0].cut = min(pool.state[0].cut, acting.promise)
        sub = (sub - 1) & small
    return found


@lean
def can_start(model: FleetModel, p: LabelBounds, kind: int, a: int, start: int, reach: int) -> bool:
    """Return whether jobs of adapter ``a`` are there at a tick, one of them as late as asked."""
    for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
        if model.into[kind, q] < 0:
            continue
        there = arrived_by(model, q, p.counts[q], start)
        if there > p.counts[q]:
            last = model.arrival[model.classes[q].arrival_at + there - 1]
            if last > start - reach:
                return True
    return False


@lean
def next_event(model: FleetModel, p: LabelBounds, kind: int, a: int, after: int) -> int:
    """Return the first arrival of a job of adapter ``a`` after a tick."""
    event = NEVER
    for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
        if model.into[kind, q] < 0:
            continue
        there = arrived_by(model, q, p.counts[q], after)
        if there < model.classes[q].jobs:
            event = min(event, model.arrival[model.classes[q].arrival_at + there])
    return event


@lean
def note(
    pool: FleetPool,
    p: LabelBounds,
    acting: GpuTurn,
    places: int,
    move: int,
    rejected: int,
    gpu: tuple[int, int, int, int, int],
    loss: float,
    promise: float,
) -> int:
    """Note a child, unless it is not worth it; return how many there are."""
    if promise >= acting.limit:
        return places
    if places >= p.rows.shape[0]:
        pool.state[0].cut = min(pool.state[0].cut, promise)
        return places
    row = p.rows[places]
    row.move, row.rejected = move, rejected
    row.free, row.active, row.resident, row.mode, row.reach = gpu
    row.loss, row.promise = loss, promise
    return places + 1


@lean
def rejections(
    model: FleetModel, pool: FleetPool, p: LabelBounds, acting: GpuTurn, a: int, places: int
) -> int:
    """Find the children by rejecting a job of adapter ``a`` before a batch is served."""
    gpu = p.gpus[acting.g]
    for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
        if model.classes[q].rejected == np.inf or q < acting.pending:
            continue
        if model.into[acting.kind, q] < 0:
            continue
        if arrived_by(model, q, p.counts[q], acting.free) < p.counts[q] + 2:
            continue
        loss = acting.loss + rejection_cost(model, q, p.counts[q], p.counts[q] + 1)
        promise = rejection_promise(model, p, acting, q, loss)
        then = gpu.free, gpu.active, gpu.resident, gpu.mode, gpu.reach
        places = note(pool, p, acting, places, REJECT - q, q, then, loss, promise)
    return places


@lean
def _servable(
    model: FleetModel, p: LabelBounds, acting: GpuTurn, a: int, move: int, reach: int
) -> bool:
    """Return whether a batch can start now."""
    first, now, latest = model.adapters[a].class_at, acting.free, -NEVER
    if not model.fits[move, acting.kind] or now + model.moves[move].duration > model.horizon:
        return False
    if acting.pending != NONE and model.takes[move, acting.pending - first] == 0:
        return False
    for q in range(first, model.adapters[a + 1].class_at):
        n = model.takes[move, q - first]
        if n > 0:
            if p.counts[q] + n > model.classes[q].jobs:
                return False
            arrival = model.arrival[model.classes[q].arrival_at + p.counts[q] + n - 1]
            if arrival > now:
                return False
            latest = max(latest, arrival)
    return latest > now - reach


@lean
def servings(
    model: FleetModel,
    pool: FleetPool,
    p: LabelBounds,
    acting: GpuTurn,
    a: int,
    loss: float,
    places: int,
) -> int:
    """Find the children by batches of adapter ``a`` that start now; a switch costs ``loss``."""
    gpu = p.gpus[acting.g]
    bit, loose = model.bits[a], gpu.resident & ~model.bits[a] & ~model.passing
    for move in range(model.adapters[a].move_at, model.adapters[a + 1].move_at):
        if not _servable(model, p, acting, a, move, gpu.reach):
            continue
        free = acting.free + model.moves[move].duration
        cost = acting.loss + loss + batch_cost(model, move, a, acting.free, p.counts)
        for i in range(_choices(model, pool, p, acting, bit, loose, model.need[move])):
            resident = p.kept[i] | bit
            promise = promise_of(model, p, acting, free, a, resident, move, cost)
            then = free, a, resident, READY, NEVER
            places = note(pool, p, acting, places, move, NONE, then, cost, promise)
    return places


@lean
def commitments(
    model: FleetModel,
    pool: FleetPool,
    p: LabelBounds,
    acting: GpuTurn,
    a: int,
    ticks: int,
    loss: float,
    places: int,
) -> int:
    """Find the children by switching to adapter ``a``, whose batch starts when that ends."""
    gpu = p.gpus[acting.g]
    start, cost = acting.free + ticks, acting.loss + loss
    if start >= model.horizon or not can_start(model, p, acting.kind, a, start, gpu.reach):
        return places
    bit, loose = model.bits[a], gpu.resident & ~model.bits[a] & ~model.passing
    for i in range(_choices(model, pool, p, acting, bit, loose, 0)):
        resident = p.kept[i] | bit
        promise = promise_of(model, p, acting, start, a, resident, NONE, cost)
        then = start, a, resident, COMMITTED, gpu.reach
        places = note(pool, p, acting, places, NONE, NONE, then, cost, promise)
    return places


@lean
def loads_ahead(
    model: FleetModel, pool: FleetPool, p: LabelBounds, acting: GpuTurn, a: int, places: int
) -> int:
    """Find the children by loading adapter ``a`` while the GPU would wait."""
    gpu, count = p.gpus[acting.g], model.bits.shape[0]
    load = model.loads[count, a]
    free, cost = acting.free + load.ticks, acting.loss + load.loss
    if load.ticks == 0 or free >= model.horizon:
        return places
    bit, loose = model.bits[a], gpu.resident
    reach = min(gpu.reach, load.ticks)
    for i in range(_choices(model, pool, p, acting, bit, loose, 0)):
        resident = p.kept[i] | bit
        promise = promise_of(model, p, acting, free, gpu.active, resident, NONE, cost)
        then = free, gpu.active, resident, READY, reach
        places = note(pool, p, acting, places, NONE, NONE, then, cost, promise)
    return places
