"""The index rule, and playing on with it until all is served."""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import NONE, ZERO, compiled
from pats_solvers.online.pricing.batch import cost
from pats_solvers.online.pricing.queue import (
    Queue,
    arrive,
    index,
    leave,
    on_grid,
    ready,
    switch_s,
)
from pats_solvers.online.pricing.scene import Machines, mark

#: Stands for the loss of a job that must be served and is not.
UNSERVED = 1e7

#: Batches that are played; what is left then is estimated.
MOST_BATCHES = 10

#: Ticks later than any.
NEVER: Any = np.int64(2**60)


@compiled
def serve(
    fleet: Any, rows: Any, scene: Any, queue: Any, machines: Any, gpu: int, batch: Any, m: int,
    now: int,
) -> Any:  # fmt: skip
    """Start a batch on an idle GPU; what it loses, switching included."""
    seconds, loads, active = 0.0, 0, ZERO
    resident = machines.resident[gpu]
    room = len(resident)
    need = np.empty(m, np.int64)
    count = 0
    for k in range(m):
        a = scene.adapter[scene.entries[batch[k, 0]].local]
        known = False
        for x in range(count):
            if need[x] == a:
                known = True
        if not known:
            need[count] = a
            count += 1
    before = resident[0]
    for x in range(count):
        active += mark(need[x])
        at = room - 1
        found = False
        for k in range(room):
            if resident[k] == need[x]:
                at, found = k, True
                break
        if not found:
            loads += 1
            if len(fleet.pairs) > 0:
                seconds += fleet.pairs[before + 1, need[x]]
            else:
                seconds += fleet.load_s[need[x]]
        for k in range(at, 0, -1):
            resident[k] = resident[k - 1]
        resident[0] = need[x]
    used = fleet.base_vram
    for k in range(m):
        used += rows.demand[scene.entries[batch[k, 0]].src, 0]
    for k in range(room):
        if resident[k] >= 0:
            used += fleet.vram[resident[k]]
            if k >= count and used > fleet.capacity[gpu, 0]:
                used -= fleet.vram[resident[k]]
                resident[k] = -1  # no room beside the members
    if loads == 0 and machines.active[gpu] != 0 and machines.active[gpu] != active:
        seconds = fleet.activate_s
    start = now + on_grid(fleet, seconds)
    loss, ticks = cost(fleet, rows, scene, batch, m, NONE, ZERO, start)
    machines.active[gpu] = active
    machines.free[gpu] = start + ticks
    for k in range(m):
        leave(rows, scene, queue, batch[k, 0])
    return loss + seconds * fleet.switch_price


@compiled
def total_price(queue: Any, gpus: int, floor: float) -> float:
    """Loss of a tick's delay of one GPU: of all that wait, and of those forecast."""
    total = floor
    for i in range(len(queue.lines)):
        total += queue.lines[i].price
    return total / gpus


@compiled
def choose(
    fleet: Any, rows: Any, scene: Any, queue: Any, machines: Any, gpu: int, now: int,
    floor: float, room: Any,
) -> Any:  # fmt: skip
    """The adapter that an idle GPU serves by the rule, or -1.

    ``floor`` is the loss for a tick's delay of the jobs that are forecast.
    """
    price = total_price(queue, len(machines.free), floor)
    best, found = -1.0, NONE
    for i in range(len(queue.lines)):
        if queue.lines[i].count > 0:
            ready(fleet, rows, scene, queue, machines, i, gpu, now, price, room)
            value = index(fleet, scene, queue, machines, i, gpu, price)
            if value > best:
                best, found = value, i
    return found


@compiled
def rest(fleet: Any, rows: Any, scene: Any, queue: Any, machines: Any, now: int) -> float:
    """What those still unserved lose, about: they are done evenly over the time they need."""
    work, loss = 0.0, 0.0
    for i in range(len(queue.lines)):
        if queue.lines[i].count > 0 and queue.lines[i].members > 0:
            seconds = switch_s(fleet, machines, 0, scene.adapter[i])
            work += queue.lines[i].ticks * queue.lines[i].count / queue.lines[i].members
            work += on_grid(fleet, seconds)
            loss += seconds * fleet.switch_price
    half = work / (2.0 * len(machines.free))
    for e in range(len(scene.entries)):
        if not queue.served[e]:
            row = scene.entries[e].src
            waits = max(0, now - scene.entries[e].arrival) + half
            own = scene.entries[e].quality + rows.jobs[row].price * waits
            loss += min(own, rows.jobs[row].reject)
    return loss


@compiled
def play(
    fleet: Any, rows: Any, scene: Any, before: Any, begun: Any, now: int, gpu: int, first: Any,
    m: int, until: int, floor: float,
) -> float:  # fmt: skip
    """Loss of all entries where a GPU begins with a batch, or waits, and the rule goes on.

    Args:
        fleet: The GPUs' constants.
        rows: The jobs.
        scene: Those that wait, and those that come in one future.
        before: The queue as it is.
        begun: The GPUs as they are.
        now: The tick.
        gpu: The GPU that begins.
        first: Entries and options of its batch, by rising steps.
        m: How many; 0 where it waits.
        until: Tick until which it waits, unless something arrives before.
        floor: Loss for a tick's delay of the jobs that are forecast.
    """
    machines = Machines(begun.free.copy(), begun.resident.copy(), begun.active.copy())
    queue = Queue(before.served.copy(), before.lines.copy(), before.batch.copy())
    room = np.empty(fleet.capacity.shape[1], np.int64)
    loss, next_one, batches = 0.0, 0, 0
    come = scene.coming
    if m > 0:
        loss += serve(fleet, rows, scene, queue, machines, gpu, first, m, now)
    else:
        if len(come) > 0:
            until = min(until, scene.entries[come[0]].arrival)
        machines.free[gpu] = max(machines.free[gpu], until)
    left = len(scene.entries) - m
    while left > 0:
        while next_one < len(come) and scene.entries[come[next_one]].arrival <= now:
            arrive(rows, scene, queue, come[next_one])
            next_one += 1
        busy, idle = NEVER, False
        for g in range(len(machines.free)):
            if machines.free[g] <= now:
                i = choose(fleet, rows, scene, queue, machines, g, now, floor, room)
                if i >= 0:
                    members = queue.lines[i].members
                    batch = queue.batch[i]
                    loss += serve(fleet, rows, scene, queue, machines, g, batch, members, now)
                    left -= members
                    batches += 1
                else:
                    idle = True
            if machines.free[g] > now:
                busy = min(busy, machines.free[g])
        if idle and next_one < len(come):  # where all are busy, arrivals change nothing until then
            busy = min(busy, scene.entries[come[next_one]].arrival)
        if busy >= NEVER or busy >= fleet.horizon:
            break
        now = busy
        if batches >= MOST_BATCHES:
            return loss + rest(fleet, rows, scene, queue, machines, now)
    if left > 0:
        for e in range(len(scene.entries)):
            if not queue.served[e]:
                loss += min(UNSERVED, rows.jobs[scene.entries[e].src].reject)
    return loss
