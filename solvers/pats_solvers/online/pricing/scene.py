"""The waiting jobs and a sample of those to come, by adapter, and the GPUs: what is played on."""

# ruff: noqa: PLR0917 - compiled: arrays handed on
from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled, entry
from pats_solvers.online.pricing.batch import alone

ENTRIES = np.dtype(
    [(name, np.int64) for name in ("src", "arrival", "local")] + [("quality", np.float64)]
)


class Scene(NamedTuple):
    """Entries: the waiting jobs, then sampled ones.

    Attributes:
        entries: By entry: its row, its arrival tick (a sampled one's is not its row's), its
            adapter, numbered within the scene, and the loss of quality of its best option alone.
        adapter: Index of each of these.
        begin: Where each one's entries begin in ``order``, and the end of the last.
        order: Entries by adapter, in the order in which they are to be served.
        coming: Sampled entries by arrival.
    """

    entries: Any
    adapter: Any
    begin: Any
    order: Any
    coming: Any


class Machines(NamedTuple):
    """The GPUs.

    Attributes:
        free: Tick at which each is free.
        resident: Residents, the last used first, filled up with -1.
        active: A number for the adapter set of the last batch; 0 before the first.
    """

    free: Any
    resident: Any
    active: Any


def mark_of(adapters: Iterable[int]) -> int:
    """The number of a set of adapters."""
    function: Any = mark
    return sum(int(function.py_func(adapter)) for adapter in adapters)


@compiled
def mark(adapter: int) -> Any:
    """A number for an adapter; a set's is the sum of its members'."""
    return (np.int64(adapter) + 1) * np.int64(2654435761) + (np.int64(adapter) ** 2) * 40503 + 1


@compiled
def urgency(
    fleet: Any, rows: Any, row: int, arrival: int, now: int, price: float
) -> tuple[float, float]:
    """Loss a tick of waiting, for each tick of service: Smith's ratio of the best option alone.

    A deadline that can still be met counts as in apparent tardiness cost: the more the nearer.

    Returns:
        The ratio, and the loss of quality of that option.
    """
    best, took, quality = np.inf, ZERO + 1, 0.0
    start = max(now, arrival)
    for o in range(rows.jobs[row].options):
        loss, ticks = alone(fleet, rows, row, arrival, o, start)
        if loss + price * ticks < best:
            best, took = loss + price * ticks, ticks
            quality = rows.modes[row, o].quality
    slope = rows.jobs[row].price
    if rows.jobs[row].late > 0.0:
        slack = arrival + rows.jobs[row].deadline - start - took
        if slack >= 0:
            slope += rows.jobs[row].late / took * np.exp(-slack / (2.0 * took))
    return slope / max(1, took), quality


@entry
def urgencies(fleet: Any, rows: Any, waiting: Any, now: int, price: float) -> Any:
    """The urgency of each waiting job."""
    found = np.empty(len(waiting))
    for e in range(len(waiting)):
        row = waiting[e]
        found[e] = urgency(fleet, rows, row, rows.jobs[row].arrival, now, price)[0]
    return found


@compiled
def scene_of(
    fleet: Any, rows: Any, waiting: Any, come_src: Any, come_arrival: Any,
    come_adapter: Any, number: Any, now: int, price: float,
) -> Any:  # fmt: skip
    """Put a scene together.

    Args:
        fleet: The GPUs' constants.
        rows: The jobs.
        waiting: Rows of the waiting jobs, the most urgent first.
        come_src: Rows that the sampled jobs are like.
        come_arrival: Their arrivals, rising.
        come_adapter: Their adapters.
        number: A cell of -1 for each adapter of the site, for use within.
        now: The tick.
        price: Loss of a tick's delay of all that wait.
    """
    n, f = len(waiting), len(come_src)
    entries, adapters = np.zeros(n + f, ENTRIES), np.empty(n + f, np.int64)
    urgent = np.empty(n + f)
    count = 0
    for e in range(n + f):
        if e < n:
            src = waiting[e]
            arrival, a = rows.jobs[src].arrival, rows.jobs[src].adapter
        else:
            src, arrival, a = come_src[e - n], come_arrival[e - n], come_adapter[e - n]
        urgent[e], entries[e].quality = urgency(fleet, rows, src, arrival, now, price)
        if number[a] < 0:
            number[a] = count
            adapters[count] = a
            count += 1
        entries[e].src, entries[e].arrival, entries[e].local = src, arrival, number[a]
    for i in range(count):
        number[adapters[i]] = -1
    begin = np.zeros(count + 1, np.int64)
    for e in range(n + f):
        begin[entries[e].local + 1] += 1
    for i in range(count):
        begin[i + 1] += begin[i]
    order, size = np.empty(n + f, np.int64), np.zeros(count, np.int64)
    for e in range(n + f):
        i = entries[e].local
        at = begin[i] + size[i]
        while e >= n and at > begin[i] and urgent[order[at - 1]] < urgent[e]:
            order[at] = order[at - 1]
            at -= 1
        order[at] = e
        size[i] += 1
    return Scene(entries, adapters[:count], begin, order, n + np.arange(f))
