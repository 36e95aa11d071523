"""A batch at a price of GPU time: what it costs, who joins it, with which option."""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

import math
from typing import Any

import numpy as np

from pats_solvers.common.compiled import NONE, ZERO, compiled

#: Waiting jobs, in largest batches, up to which a queue's length matters to the size of a batch.
FAR = 4


@compiled
def ticks_of(fleet: Any, seconds: float) -> Any:
    """Seconds on the grid."""
    return np.int64(math.ceil(seconds / fleet.tick_s - 1e-9))


@compiled
def cost(
    fleet: Any, rows: Any, scene: Any, batch: Any, m: int, new: int, option: int, start: int
) -> tuple[float, int]:
    """Serving loss and ticks of a batch that starts at ``start``.

    Args:
        fleet: The GPUs' constants.
        rows: The jobs.
        scene: The entries.
        batch: Entries and their options, by rising steps.
        m: How many.
        new: An entry that joins, or -1.
        option: Its option.
        start: The tick at which the batch starts.
    """
    count = m if new < 0 else m + 1
    joins = new >= 0
    steps_new = rows.modes[scene.entries[new].src, option].steps if joins else 0
    elapsed, loss = fleet.overhead_s[count], 0.0
    done = i = offset = ZERO
    for left in range(count, 0, -1):
        if joins and (
            i >= m or steps_new < rows.modes[scene.entries[batch[i, 0]].src, batch[i, 1]].steps
        ):
            entry, o = new, option
            joins = False
        else:
            entry, o = batch[i, 0], batch[i, 1]
            i += 1
        row = scene.entries[entry].src
        steps = rows.modes[row, o].steps
        if fleet.slotted:
            offset = 0
        elif steps != done or left == count:
            elapsed += (steps - done) * fleet.step_s[left]
            offset = ticks_of(fleet, elapsed)
            done = steps
        latency = start + offset - scene.entries[entry].arrival
        loss += rows.modes[row, o].quality + rows.jobs[row].price * latency
        if latency > rows.jobs[row].deadline:
            loss += rows.jobs[row].late
    return loss, (1 if fleet.slotted else offset)


@compiled
def alone(
    fleet: Any, rows: Any, row: int, arrival: int, option: int, start: int
) -> tuple[float, int]:
    """Serving loss and ticks of a batch of one, a job like ``row`` that arrived at ``arrival``."""
    ticks, offset = ZERO + 1, ZERO
    if not fleet.slotted:
        ticks = ticks_of(
            fleet, fleet.overhead_s[1] + rows.modes[row, option].steps * fleet.step_s[1]
        )
        offset = ticks
    latency = start + offset - arrival
    loss = rows.modes[row, option].quality + rows.jobs[row].price * latency
    if latency > rows.jobs[row].deadline:
        loss += rows.jobs[row].late
    return loss, ticks


@compiled
def insert(rows: Any, scene: Any, batch: Any, m: int, entry: int, option: int) -> None:
    """Put an entry at its place by rising steps."""
    steps = rows.modes[scene.entries[entry].src, option].steps
    i = m
    while i > 0 and rows.modes[scene.entries[batch[i - 1, 0]].src, batch[i - 1, 1]].steps > steps:
        batch[i, 0], batch[i, 1] = batch[i - 1, 0], batch[i - 1, 1]
        i -= 1
    batch[i, 0], batch[i, 1] = entry, option


@compiled
def fill(
    fleet: Any,
    rows: Any,
    scene: Any,
    served: Any,
    local: int,
    batch: Any,
    room: Any,
    now: int,
    start: int,
    price: float,
    most: int,
) -> Any:
    """Make a batch of the first waiting entries of one adapter that fit, of the best size.

    Each entry joins with the option that costs least: the loss of those served, and ``price`` for
    every tick that all others wait. What a batch of so many saves against serving them one after
    another tells its size: the one with which the whole queue, in batches of that size, saves most.
    One at a time would be no guide, as on the grid a second member may save nothing and a third a
    tick.

    Args:
        fleet: The GPUs' constants.
        rows: The jobs.
        scene: The entries.
        served: Entries that do not wait any more.
        local: The adapter, by its number in the scene.
        batch: Its entries and options are written here, by rising steps.
        room: What there is of each resource; lessened.
        now: The tick.
        start: The tick at which the batch starts.
        price: Loss of a tick's delay of all that wait, those of the batch included.
        most: Most members.

    Returns:
        Members.
    """
    joined = np.empty((most, 2), np.int64)
    saves = np.zeros(most + 1)
    m = waiting = ZERO
    loss, ticks, rest = 0.0, ZERO, price
    apart, apart_ticks = 0.0, ZERO
    for at in range(scene.begin[local], scene.begin[local + 1]):
        entry = scene.order[at]
        if served[entry] or scene.entries[entry].arrival > now:
            continue
        waiting += 1
        if m >= most:
            if waiting >= FAR * most:
                break
            continue
        row = scene.entries[entry].src
        fits = True
        for r in range(len(room)):
            if rows.demand[row, r] > room[r]:
                fits = False
        if not fits:
            continue
        after = max(0.0, rest - rows.jobs[row].price)
        best, choice, best_loss, best_ticks = np.inf, -1, 0.0, ZERO
        single, single_loss, single_ticks = np.inf, 0.0, ZERO
        for o in range(rows.jobs[row].options):
            with_it, longer = cost(fleet, rows, scene, batch, m, entry, o, start)
            if start + longer <= fleet.horizon and with_it + after * longer < best:
                best, choice = with_it + after * longer, o
                best_loss, best_ticks = with_it, longer
            arrival = scene.entries[entry].arrival
            own, own_ticks = alone(fleet, rows, row, arrival, o, start + apart_ticks)
            if own + after * own_ticks < single:
                single, single_loss, single_ticks = own + after * own_ticks, own, own_ticks
        if choice < 0 or best - loss - after * ticks > rows.jobs[row].reject:
            continue
        insert(rows, scene, batch, m, entry, choice)
        joined[m, 0], joined[m, 1] = entry, choice
        m += 1
        rest, loss, ticks = after, best_loss, best_ticks
        apart, apart_ticks = apart + single_loss, apart_ticks + single_ticks
        saves[m] = apart + rest * apart_ticks - loss - rest * ticks
        for r in range(len(room)):
            room[r] -= rows.demand[row, r]
    size, saved = m, -np.inf
    for k in range(m, 0, -1):
        total = (waiting // k) * saves[k] + saves[min(waiting % k, m)]
        if total > saved + 1e-12:
            size, saved = k, total
    if size < m:
        for k in range(size):
            insert(rows, scene, batch, k, joined[k, 0], joined[k, 1])
    return size


@compiled
def improve(
    fleet: Any, rows: Any, scene: Any, batch: Any, m: int, start: int, price: float
) -> tuple[float, int]:
    """Choose each member's option anew, the others' given, at the price of the others' wait."""
    rest = price
    for i in range(m):
        rest -= rows.jobs[scene.entries[batch[i, 0]].src].price
    rest = max(0.0, rest)
    loss, ticks = cost(fleet, rows, scene, batch, m, NONE, ZERO, start)
    i = 0
    for _ in range(2 * m):
        if i >= m:
            break
        entry, option = batch[i, 0], batch[i, 1]
        row = scene.entries[entry].src
        if rows.jobs[row].options == 1:
            i += 1
            continue
        for k in range(i, m - 1):
            batch[k, 0], batch[k, 1] = batch[k + 1, 0], batch[k + 1, 1]
        best, choice = loss + rest * ticks - 1e-9, option
        for o in range(rows.jobs[row].options):
            if o != option:
                with_it, longer = cost(fleet, rows, scene, batch, m - 1, entry, o, start)
                if start + longer <= fleet.horizon and with_it + rest * longer < best:
                    best, choice = with_it + rest * longer, o
        insert(rows, scene, batch, m - 1, entry, choice)
        if choice != option:
            loss, ticks = cost(fleet, rows, scene, batch, m, NONE, ZERO, start)
            if rows.modes[row, choice].steps > rows.modes[row, option].steps:
                continue  # another entry stands here now
        i += 1
    return loss, ticks
