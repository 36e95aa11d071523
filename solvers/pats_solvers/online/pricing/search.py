"""Candidates for what an idle GPU does next, raced over sampled futures."""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled, entry
from pats_solvers.online.pricing.play import NEVER, choose, play
from pats_solvers.online.pricing.queue import arrive, compose, index, queue_of, ready
from pats_solvers.online.pricing.scene import scene_of

#: Futures between two looks at which candidates fall out.
FIRST_LOOK = 4


@compiled
def same(a: Any, b: Any, m: int) -> bool:
    """Whether two batches of one size are one."""
    for k in range(m):  # noqa: SIM110 - compiled
        if a[k, 0] != b[k, 0] or a[k, 1] != b[k, 1]:
            return False
    return True


@compiled
def queue_at(
    fleet: Any, rows: Any, scene: Any, machines: Any, gpu: int, now: int, price: float, most: int
) -> Any:
    """The queue as it is, with the batches that one GPU could start."""
    queue = queue_of(scene, most)
    for e in range(len(scene.entries) - len(scene.coming)):
        arrive(rows, scene, queue, e)
    room = np.empty(fleet.capacity.shape[1], np.int64)
    for i in range(len(queue.lines)):
        if queue.lines[i].count > 0:
            ready(fleet, rows, scene, queue, machines, i, gpu, now, price, room)
    return queue


@compiled
def propose(
    fleet: Any, rows: Any, scene: Any, queue: Any, machines: Any, gpu: int, now: int,
    price: float, adapters: int, factors: Any, waits: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Candidates for one idle GPU.

    Args:
        fleet: The GPUs' constants.
        rows: The jobs.
        scene: Those that wait.
        queue: The same, with the batches that the GPU could start.
        machines: The GPUs.
        gpu: The GPU.
        now: The tick.
        price: Price of GPU time.
        adapters: Adapters tried, those with the highest index.
        factors: Each one's batches are made at the price of GPU time times these.
        waits: Ticks to wait instead.

    Returns:
        By candidate: members (0 where it waits), tick to wait until, entries and options.
    """
    most = queue.batch.shape[1]
    room = np.empty(fleet.capacity.shape[1], np.int64)
    values = np.full(len(queue.lines), -1.0)
    for i in range(len(queue.lines)):
        values[i] = index(fleet, scene, queue, machines, i, gpu, price)
        if queue.lines[i].members > 0 and values[i] < 0.0:
            values[i] = 0.0
    size = min(adapters, len(values)) * (len(factors) + 2) + len(waits)
    members, until = np.zeros(size, np.int64), np.zeros(size, np.int64)
    batches = np.zeros((size, most, 2), np.int64)
    count = 0
    for _ in range(min(adapters, len(values))):
        i = 0
        for x in range(len(values)):
            if values[x] > values[i]:
                i = x
        if values[i] < 0.0:
            break
        values[i] = -1.0
        first, whole = count, queue.lines[i].members
        for f in range(len(factors) + 2):
            limit, factor = most, 1.0
            if f < len(factors):
                factor = factors[f]
            elif f == len(factors):
                limit = ZERO + 1
            else:
                limit = max(1, whole // 2)
            batch = batches[count]
            m, _, _ = compose(
                fleet, rows, scene, queue.served, machines, i, gpu, now, price * factor,
                limit, room, batch,
            )  # fmt: skip
            if m == 0:
                continue
            known = False
            for c in range(first, count):
                if members[c] == m and same(batches[c], batch, m):
                    known = True
            if not known:
                members[count] = m
                count += 1
    for wait in waits:
        members[count] = 0
        until[count] = now + wait
        count += 1
    return members[:count], until[:count], batches[:count]


@compiled
def against_first(losses: Any, c: int, count: int) -> tuple[float, float]:
    """Mean of a candidate's loss above the first one's in the same futures, and its error."""
    total = squares = 0.0
    for s in range(count):
        more = losses[c, s] - losses[0, s]
        total += more
        squares += more * more
    mean = total / count
    return mean, np.sqrt(max(0.0, squares / count - mean * mean) / count)


@compiled
def race(losses: Any, alive: Any, count: int) -> None:
    """Drop the candidates that are worse than another beyond doubt."""
    least = 0.0
    for c in range(1, len(alive)):
        if alive[c]:
            mean, error = against_first(losses, c, count)
            least = min(least, mean + error)
    for c in range(1, len(alive)):
        if alive[c]:
            mean, error = against_first(losses, c, count)
            if mean - error > least:
                alive[c] = False


@entry
def decide(
    fleet: Any, rows: Any, waiting: Any, machines: Any, gpu: int, now: int, floor: float,
    most: int, number: Any, come_count: Any, come_src: Any, come_arrival: Any,
    come_adapter: Any, adapters: int, factors: Any, waits: Any, caution: float,
) -> tuple[int, int, Any]:  # fmt: skip
    """What an idle GPU does next.

    Args:
        fleet: The GPUs' constants.
        rows: The jobs.
        waiting: Rows of those that wait, the most urgent first.
        machines: The GPUs as they are.
        gpu: The GPU.
        now: The tick.
        floor: Loss for a tick's delay of the jobs that are forecast.
        most: Most members of a batch.
        number: A cell of -1 for each adapter of the site, for use within.
        come_count: How many jobs each sampled future has; of no future: the index decides.
        come_src: Rows they are like, by future.
        come_arrival: Their arrivals.
        come_adapter: Their adapters.
        adapters: Adapters tried, those with the highest index.
        factors: Each one's batches are made at the price of GPU time times these.
        waits: Ticks to wait instead.
        caution: Standard errors by which another candidate must be better than the first.

    Returns:
        Members, tick to wait until, entries and options.
    """
    price = floor
    for row in waiting:
        price += rows.jobs[row].price
    price /= len(machines.free)
    scene = scene_of(
        fleet, rows, waiting, come_src[0, :0], come_arrival[0, :0], come_adapter[0, :0],
        number, now, price,
    )  # fmt: skip
    queue = queue_at(fleet, rows, scene, machines, gpu, now, price, most)
    futures = len(come_count)
    if futures == 0:
        room = np.empty(fleet.capacity.shape[1], np.int64)
        i = choose(fleet, rows, scene, queue, machines, gpu, now, floor, room)
        if i < 0:
            return ZERO, NEVER, queue.batch[0]
        return queue.lines[i].members, now, queue.batch[i]
    members, until, batches = propose(
        fleet, rows, scene, queue, machines, gpu, now, price, adapters, factors, waits
    )
    n = len(members)
    if n == 0:  # nothing can end by the horizon
        return ZERO, NEVER, queue.batch[0]
    losses = np.zeros((n, futures))
    alive = np.ones(n, np.bool_)
    for s in range(futures):
        if s >= FIRST_LOOK and s % FIRST_LOOK == 0:
            race(losses, alive, s)
        f = come_count[s]
        scene = scene_of(
            fleet, rows, waiting, come_src[s, :f], come_arrival[s, :f], come_adapter[s, :f],
            number, now, price,
        )  # fmt: skip
        queue = queue_at(fleet, rows, scene, machines, gpu, now, price, most)
        for c in range(n):
            if alive[c]:
                losses[c, s] = play(
                    fleet, rows, scene, queue, machines, now, gpu, batches[c], members[c],
                    until[c], floor,
                )  # fmt: skip
    best, least = 0, 0.0
    for c in range(1, n):
        if alive[c]:
            mean, error = against_first(losses, c, futures)
            if mean + caution * error < least - 1e-9:
                best, least = c, mean + caution * error
    return members[best], until[best], batches[best]
