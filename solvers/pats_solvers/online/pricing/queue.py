"""What waits, by adapter: the batch that each could start, and its index."""

# ruff: noqa: PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled
from pats_solvers.online.pricing.batch import fill, improve
from pats_solvers.online.pricing.scene import mark

#: Share by which the price of GPU time may change before a batch is made anew.
DRIFT = 0.3

LINES = np.dtype(
    [(name, np.int64) for name in ("count", "room", "members", "ticks")]
    + [(name, np.float64) for name in ("price", "made", "gain", "others")]
)


class Queue(NamedTuple):
    """What is left of a scene while it is played.

    Attributes:
        served: By entry.
        lines: By adapter: waiting entries and their loss for a tick of waiting; of the batch it
            would make: the price of GPU time it was made at (below 0 where it is stale), the kind
            of GPU it was made for, its members and ticks, and what serving it gains over rejecting
            it (infinite where a member must be served), and what a tick costs all others.
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
    queue.lines[i].made = -1.0


@compiled
def leave(rows: Any, scene: Any, queue: Any, entry: int) -> None:
    """An entry is served."""
    i, price = scene.entries[entry].local, rows.jobs[scene.entries[entry].src].price
    queue.served[entry] = True
    queue.lines[i].count -= 1
    queue.lines[i].price -= price
    queue.lines[i].made = -1.0
    if queue.lines[i].count == 0:
        queue.lines[i].price = 0.0


@compiled
def switch_s(fleet: Any, machines: Any, gpu: int, adapter: int) -> Any:
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
def on_grid(fleet: Any, seconds: float) -> Any:
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
    m, loss, ticks = ZERO, 0.0, ZERO
    for others in (True, False):  # where nobody fits beside the other residents, they go
        room_of(fleet, machines, gpu, adapter, others, room)
        m = fill(fleet, rows, scene, served, i, batch, room, now, start, price, most)
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
    kind = fleet.kind[gpu]
    if made >= 0.0 and queue.lines[i].room == kind and abs(made - price) <= DRIFT * made:
        return
    batch = queue.batch[i]
    m, loss, ticks = compose(
        fleet, rows, scene, queue.served, machines, i, gpu, now, price,
        queue.batch.shape[1], room, batch,
    )  # fmt: skip
    gain, own = 0.0, 0.0
    for k in range(m):
        gain += rows.jobs[scene.entries[batch[k, 0]].src].reject
        own += rows.jobs[scene.entries[batch[k, 0]].src].price
    queue.lines[i].members, queue.lines[i].ticks, queue.lines[i].made = m, ticks, price
    queue.lines[i].room = kind
    queue.lines[i].others = max(0.0, price - own)
    queue.lines[i].gain = gain - loss - queue.lines[i].others * ticks


@compiled
def worth(fleet: Any, seconds: float, price: float) -> Any:
    """Ticks of GPU time that the price of so much switching is worth."""
    return seconds * fleet.switch_price / price if price > 0.0 else 0.0


@compiled
def behind_s(fleet: Any, scene: Any, queue: Any, machines: Any, gpu: int) -> float:
    """Seconds to load the adapter used last again, if it must go and leaves requests behind."""
    resident = machines.resident[gpu]
    if resident[len(resident) - 1] < 0:
        return 0.0
    for i in range(len(scene.adapter)):
        if scene.adapter[i] == resident[0] and queue.lines[i].count > 0:
            return float(fleet.load_s[resident[0]])
    return 0.0


@compiled
def index(fleet: Any, scene: Any, queue: Any, machines: Any, i: int, gpu: int, price: float) -> Any:
    """Smith's ratio of a run of one adapter: loss a tick of those served, for a tick of GPU time.

    The run is of as many batches as the adapter's queue makes. Going there takes the switch, and
    the one back to whoever is left behind; their price counts as the GPU time that it is worth.
    Below 0 where no batch is worth its switch.
    """
    seconds = switch_s(fleet, machines, gpu, scene.adapter[i])
    paid = seconds * fleet.switch_price
    line = queue.lines[i]
    wait = on_grid(fleet, seconds)
    if line.members == 0 or line.gain < paid + line.others * wait:
        return -1.0
    took = wait + worth(fleet, seconds, price) + line.ticks * line.count / line.members
    if seconds > 0.0:
        back_s = behind_s(fleet, scene, queue, machines, gpu)
        took += on_grid(fleet, back_s) + worth(fleet, back_s, price)
    return line.price / max(took, 1e-9)
