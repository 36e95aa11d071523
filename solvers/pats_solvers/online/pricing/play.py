"""The index rule, and playing on with it until all is served."""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.kernel import NONE, ZERO, compiled
from pats_solvers.online.pricing.batch import cost, fill, improve
from pats_solvers.online.pricing.scene import copied, mark

#: Stands for the loss of a job that must be served and is not.
UNSERVED = 1e7

#: Ticks later than any.
NEVER = np.int64(2**60)


LINES = np.dtype(
    [(name, np.int64) for name in ("count", "room", "members", "ticks")]
    + [(name, np.float64) for name in ("price", "since", "made", "gain")]
)


class Queue(NamedTuple):
    """What is left of a scene while it is played.

    Attributes:
        served: By entry.
        lines: By adapter: waiting entries, their loss for a tick of waiting, its sum with arrivals;
            of the batch it would make: the price of GPU time it was made at (below 0 where it is
            stale), the GPU it was made for, its members and ticks, and what serving it gains over
            rejecting it (infinite where a member must be served).
        batch: Entries and options of these batches.
    """

    served: Any
    lines: Any
    batch: Any


@compiled
def queue_of(scene: Any, most: int) -> Any:
    """A queue in which nothing waits yet."""
    count = len(scene.adapter)
    lines = np.zeros(count, LINES)
    for i in range(count):
        lines[i].made = -1.0
    return Queue(
        np.zeros(len(scene.entries), np.bool_), lines, np.zeros((count, most, 2), np.int64)
    )


@compiled
def arrive(rows: Any, scene: Any, queue: Any, entry: int) -> None:
    """An entry begins to wait."""
    i, price = scene.entries[entry].local, rows.jobs[scene.entries[entry].src].price
    queue.lines[i].count += 1
    queue.lines[i].price += price
    queue.lines[i].since += price * scene.entries[entry].arrival
    queue.lines[i].made = -1.0


@compiled
def leave(rows: Any, scene: Any, queue: Any, entry: int) -> None:
    """An entry is served."""
    i, price = scene.entries[entry].local, rows.jobs[scene.entries[entry].src].price
    queue.served[entry] = True
    queue.lines[i].count -= 1
    queue.lines[i].price -= price
    queue.lines[i].since -= price * scene.entries[entry].arrival
    queue.lines[i].made = -1.0
    if queue.lines[i].count == 0:
        queue.lines[i].price = queue.lines[i].since = 0.0


@compiled
def switch_s(fleet: Any, machines: Any, gpu: int, adapter: int) -> float:
    """Seconds of switching before a batch of one adapter."""
    resident = machines.resident[gpu]
    for k in range(len(resident)):
        if resident[k] == adapter:
            if machines.active[gpu] != 0 and machines.active[gpu] != mark(adapter):
                return fleet.activate_s
            return 0.0
    if len(fleet.pairs) > 0:
        return fleet.pairs[resident[0] + 1, adapter]
    return fleet.load_s[adapter]


@compiled
def on_grid(fleet: Any, seconds: float) -> int:
    """Ticks of a switch."""
    if fleet.slotted:
        return 0
    return np.int64(np.ceil(seconds / fleet.tick_s - 1e-9))


@compiled
def room_of(fleet: Any, machines: Any, gpu: int, adapter: int, others: bool, room: Any) -> None:
    """What a batch of one adapter may use, with as many other residents as may stay, or none."""
    for r in range(len(room)):
        room[r] = fleet.capacity[gpu, r]
    held, used = 1, fleet.base_vram + fleet.vram[adapter]
    for k in range(len(machines.resident[gpu])):
        a = machines.resident[gpu, k]
        if others and a >= 0 and a != adapter and held < fleet.max_resident:
            held += 1
            used += fleet.vram[a]
    room[0] -= used


@compiled
def compose(
    fleet: Any, rows: Any, scene: Any, served: Any, machines: Any, i: int, gpu: int, now: int,
    price: float, most: int, room: Any, batch: Any,
) -> tuple[int, float, int]:  # fmt: skip
    """A batch of at most ``most`` of one adapter; its members, serving loss and ticks."""
    adapter = scene.adapter[i]
    start = now + on_grid(fleet, switch_s(fleet, machines, gpu, adapter))
    m, loss, ticks = np.int64(0), 0.0, np.int64(0)
    for others in (True, False):  # where nobody fits beside the other residents, they go
        room_of(fleet, machines, gpu, adapter, others, room)
        m, loss, ticks = fill(
            fleet, rows, scene, served, i, batch, ZERO, room, now, start, price, most
        )
        if m > 0 or fleet.max_resident == 1:
            break
    if m > 0:
        loss, ticks = improve(fleet, rows, scene, batch, m, start, price)
    return m, loss, ticks


@compiled
def ready(
    fleet: Any, rows: Any, scene: Any, queue: Any, machines: Any, i: int, gpu: int, now: int,
    price: float, room: Any,
) -> None:  # fmt: skip
    """Make the batch of one adapter anew where it is stale."""
    made = queue.lines[i].made
    if made >= 0.0 and queue.lines[i].room == gpu and abs(made - price) <= 0.3 * made:
        return
    batch = queue.batch[i]
    m, loss, ticks = compose(
        fleet, rows, scene, queue.served, machines, i, gpu, now, price,
        len(fleet.step_s) - 1, room, batch,
    )  # fmt: skip
    gain, own = 0.0, 0.0
    for k in range(m):
        gain += rows.jobs[scene.entries[batch[k, 0]].src].reject
        own += rows.jobs[scene.entries[batch[k, 0]].src].price
    queue.lines[i].members, queue.lines[i].ticks, queue.lines[i].made = m, ticks, price
    queue.lines[i].room = gpu
    queue.lines[i].gain = gain - loss - max(0.0, price - own) * ticks


@compiled
def index(
    fleet: Any, scene: Any, queue: Any, machines: Any, i: int, gpu: int, price: float
) -> tuple[float, float]:
    """Smith's ratio of a run of one adapter: loss a tick of those served, for a tick of GPU time.

    The run is of as many batches as the adapter's queue makes; switching is paid once, its price
    counted as the GPU time that it is worth.

    Returns:
        The index, below 0 where there is no batch worth its switch; the price of switching.
    """
    seconds = switch_s(fleet, machines, gpu, scene.adapter[i])
    paid = seconds * fleet.switch_price
    m = queue.lines[i].members
    wait = on_grid(fleet, seconds)
    if m == 0 or queue.lines[i].gain < paid + price * wait:
        return -1.0, paid
    worth = paid / price if price > 0.0 else 0.0
    took = wait + worth + queue.lines[i].ticks * queue.lines[i].count / m
    return queue.lines[i].price / max(took, 1e-9), paid


@compiled
def serve(
    fleet: Any, rows: Any, scene: Any, queue: Any, machines: Any, gpu: int, batch: Any, m: int,
    now: int,
) -> float:  # fmt: skip
    """Start a batch on an idle GPU; what it loses, switching included."""
    seconds, loads, active = 0.0, 0, np.int64(0)
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
    floor: float, hold: float, room: Any,
) -> tuple[int, int]:  # fmt: skip
    """The adapter an idle GPU serves by the rule, or -1 and when to look again.

    Args:
        floor: Loss a tick of delay to those forecast.
        hold: Share of a switch's price that must have been lost by waiting before it is made.
    """
    price = total_price(queue, len(machines.free), floor)
    best, found, later = -1.0, -1, NEVER
    for i in range(len(queue.lines)):
        if queue.lines[i].count == 0:
            continue
        ready(fleet, rows, scene, queue, machines, i, gpu, now, price, room)
        value, paid = index(fleet, scene, queue, machines, i, gpu, price)
        if value < 0.0:
            continue
        if hold > 0.0 and queue.lines[i].price > 0.0:
            lost = queue.lines[i].price * now - queue.lines[i].since
            if lost < hold * paid:
                wait = np.int64(np.ceil((hold * paid - lost) / queue.lines[i].price))
                later = min(later, now + max(1, wait))
                continue
        if value > best:
            best, found = value, i
    return found, later


@compiled
def play(
    fleet: Any, rows: Any, scene: Any, begun: Any, now: int, gpu: int, first: Any, m: int,
    until: int, floor: float, hold: float,
) -> float:  # fmt: skip
    """Loss of all entries where a GPU begins with a batch, or waits, and the rule goes on.

    Args:
        begun: The GPUs as they are.
        gpu: The GPU that begins.
        first: Entries and options of its batch, by rising steps.
        m: How many; 0 where it waits.
        until: Tick until which it waits, unless something arrives before.
    """
    machines = copied(begun)
    queue = queue_of(scene, len(fleet.step_s) - 1)
    waits = len(scene.entries) - len(scene.coming)
    for e in range(waits):
        arrive(rows, scene, queue, e)
    room = np.empty(fleet.capacity.shape[1], np.int64)
    loss, next_one = 0.0, 0
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
        later = NEVER
        if next_one < len(come):
            later = scene.entries[come[next_one]].arrival
        busy = NEVER
        idle = False
        for g in range(len(machines.free)):
            if machines.free[g] <= now:
                i, wake = choose(fleet, rows, scene, queue, machines, g, now, floor, hold, room)
                if i >= 0:
                    members = queue.lines[i].members
                    batch = queue.batch[i]
                    loss += serve(fleet, rows, scene, queue, machines, g, batch, members, now)
                    left -= members
                else:
                    idle = True
                    later = min(later, wake)
            if machines.free[g] > now:
                busy = min(busy, machines.free[g])
        # Where all are busy, arrivals change nothing until one is free.
        step = min(busy, later) if idle else busy
        if step >= NEVER or step >= fleet.horizon:
            break
        now = step
    if left > 0:
        for e in range(len(scene.entries)):
            if not queue.served[e]:
                loss += min(UNSERVED, rows.jobs[scene.entries[e].src].reject)
    return loss
