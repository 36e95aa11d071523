"""Candidates for what an idle GPU does next, raced over sampled futures."""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.kernel import ZERO, compiled, entry
from pats_solvers.online.pricing.play import (
    NEVER,
    arrive,
    choose,
    compose,
    index,
    play,
    queue_of,
    ready,
    total_price,
)
from pats_solvers.online.pricing.scene import scene_of


@compiled
def same(a: Any, b: Any, m: int) -> bool:
    """Whether two batches of one size are one."""
    for k in range(m):
        if a[k, 0] != b[k, 0] or a[k, 1] != b[k, 1]:
            return False
    return True


@compiled
def propose(
    fleet: Any, rows: Any, scene: Any, machines: Any, gpu: int, now: int, floor: float,
    adapters: int, factors: Any, waits: Any,
) -> tuple[Any, Any, Any]:  # fmt: skip
    """Candidates for one idle GPU.

    Args:
        adapters: Adapters tried, those with the highest index.
        factors: Each one's batches are made at the price of GPU time times these.
        waits: Ticks to wait instead.

    Returns:
        By candidate: members (0 where it waits), tick to wait until, entries and options.
    """
    most = len(fleet.step_s) - 1
    queue = queue_of(scene, most)
    for e in range(len(scene.entries)):
        arrive(rows, scene, queue, e)
    price = total_price(queue, len(machines.free), floor)
    room = np.empty(fleet.capacity.shape[1], np.int64)
    values = np.full(len(queue.lines), -1.0)
    for i in range(len(queue.lines)):
        ready(fleet, rows, scene, queue, machines, i, gpu, now, price, room)
        values[i] = index(fleet, scene, queue, machines, i, gpu, price)[0]
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
                limit = np.int64(1)
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
def race(losses: Any, alive: Any, count: int, caution: float) -> None:
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
    fleet: Any, rows: Any, waiting: Any, key: Any, machines: Any, gpu: int, now: int, floor: float,
    hold: float, number: Any, come_count: Any, come_src: Any, come_arrival: Any,
    come_adapter: Any, adapters: int, factors: Any, waits: Any, rollout: bool, caution: float,
) -> tuple[int, int, Any, float]:  # fmt: skip
    """What an idle GPU does next.

    Args:
        waiting: Rows of the waiting jobs, the most urgent first.
        key: Their urgencies.
        come_count: How many jobs each sampled future has.
        come_src: Rows they are like, by future.
        come_arrival: Their arrivals.
        come_adapter: Their adapters.

    Returns:
        Members, tick to wait until, entries and options.
    """
    total = floor
    for row in waiting:
        total += rows.jobs[row].price
    total /= len(machines.free)
    scene = scene_of(
        fleet,
        rows,
        waiting,
        key,
        come_src[0, :0],
        come_arrival[0, :0],
        come_adapter[0, :0],
        number,
        now,
        total,
    )
    if not rollout:
        queue = queue_of(scene, len(fleet.step_s) - 1)
        for e in range(len(scene.entries)):
            arrive(rows, scene, queue, e)
        room = np.empty(fleet.capacity.shape[1], np.int64)
        i, wake = choose(fleet, rows, scene, queue, machines, gpu, now, floor, hold, room)
        if i < 0:
            return 0, wake, queue.batch[0], 0.0
        return queue.lines[i].members, now, queue.batch[i], 0.0
    members, until, batches = propose(
        fleet, rows, scene, machines, gpu, now, floor, adapters, factors, waits
    )
    n, futures = len(members), len(come_count)
    if n == 0:  # nothing can end by the horizon
        return ZERO, NEVER, np.zeros((0, 2), np.int64), 0.0
    losses = np.zeros((n, futures))
    alive = np.ones(n, np.bool_)
    for s in range(futures):
        if s >= 4 and s % 4 == 0:
            race(losses, alive, s, caution)
        f = come_count[s]
        now_scene = scene_of(
            fleet, rows, waiting, key, come_src[s, :f], come_arrival[s, :f], come_adapter[s, :f],
            number, now, total,
        )  # fmt: skip
        for c in range(n):
            if alive[c]:
                losses[c, s] = play(
                    fleet, rows, now_scene, machines, now, gpu, batches[c], members[c],
                    until[c], floor, hold,
                )  # fmt: skip
    best, least = 0, 0.0
    for c in range(1, n):
        if alive[c]:
            mean, error = against_first(losses, c, futures)
            if mean + caution * error < least - 1e-9:
                best, least = c, mean + caution * error
    return members[best], until[best], batches[best], least
