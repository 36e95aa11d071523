"""A batch at a price of GPU time: what it costs, who joins it, with which option."""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

import math
from typing import Any

import numpy as np

from pats_solvers.kernel import NONE, ZERO, compiled

#: Jobs refused in a row after which no more are tried for a batch.
MOST_REFUSED = 4


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
    m: int,
    room: Any,
    now: int,
    start: int,
    price: float,
    most: int,
) -> tuple[int, float, int]:
    """Add waiting entries of one adapter to a batch, in their order, while that pays.

    One joins where the batch with it costs less than the batch and then it alone: the loss of
    those served, and ``price`` for every tick that all others wait.

    Args:
        fleet: The GPUs' constants.
        rows: The jobs.
        scene: The entries.
        served: Entries that do not wait any more.
        local: The adapter, by its number in the scene.
        batch: Entries and options so far; added to.
        m: How many.
        room: What is left of each resource; lessened.
        now: The tick.
        start: The tick at which the batch starts.
        price: Loss of a tick's delay of all that wait, those of the batch included.
        most: Most members.

    Returns:
        Members, serving loss, ticks.
    """
    loss, ticks = 0.0, ZERO
    if m > 0:
        loss, ticks = cost(fleet, rows, scene, batch, m, NONE, ZERO, start)
    rest = price
    for i in range(m):
        rest -= rows.jobs[scene.entries[batch[i, 0]].src].price
    refused = 0
    for at in range(scene.begin[local], scene.begin[local + 1]):
        if m >= most or refused >= MOST_REFUSED:
            break
        entry = scene.order[at]
        if served[entry] or scene.entries[entry].arrival > now:
            continue
        row = scene.entries[entry].src
        fits = True
        for r in range(len(room)):
            if rows.demand[row, r] > room[r]:
                fits = False
        if not fits:
            continue
        after = max(0.0, rest - rows.jobs[row].price)
        best, choice, best_loss, best_ticks = np.inf, -1, 0.0, 0
        apart = np.inf
        for o in range(rows.jobs[row].options):
            with_it, longer = cost(fleet, rows, scene, batch, m, entry, o, start)
            if start + longer <= fleet.horizon and with_it + after * longer < best:
                best, choice = with_it + after * longer, o
                best_loss, best_ticks = with_it, longer
            own, own_ticks = alone(fleet, rows, row, scene.entries[entry].arrival, o, start + ticks)
            apart = min(apart, loss + own + after * (ticks + own_ticks))
        if choice < 0:
            continue
        if best - loss - after * ticks > rows.jobs[row].reject:
            continue
        if m > 0 and best > apart + 1e-12:
            refused += 1
            continue
        insert(rows, scene, batch, m, entry, choice)
        m += 1
        rest, loss, ticks = after, best_loss, best_ticks
        for r in range(len(room)):
            room[r] -= rows.demand[row, r]
    return m, loss, ticks


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
