"""Where an adapter can go between the batches of a GPU, and what entering and leaving takes."""

# ruff: noqa: PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import NONE, ZERO, compiled
from pats_solvers.local.timing import whole_ticks


class Gaps(NamedTuple):
    """Free time between batches, by start.

    Attributes:
        position: Where new batches go in the GPU's sequence.
        begin: First free tick.
        end: Where the next batch starts.
        load: Ticks to enter when the adapter is absent.
        load_loss: What that costs.
        wake: Ticks to enter when it is resident.
        wake_loss: What that costs.
        leave: Ticks of the next batch's switch after this adapter.
        leave_loss: How much more that costs than now.
        held: What the batch before a gap means to a resident adapter: 0 it must go, 1 it may stay,
            2 it is resident in any case.
    """

    position: Any
    begin: Any
    end: Any
    load: Any
    load_loss: Any
    wake: Any
    wake_loss: Any
    leave: Any
    leave_loss: Any
    held: Any


@compiled
def gaps_of(data: Any, state: Any, g: int, jobs: Any, begins: int, ends: int) -> Gaps:
    """The gaps of a GPU that meet a window of time.

    Args:
        data: The problem.
        state: Its batches, with settled switches.
        g: The GPU.
        jobs: The jobs that are to go in.
        begins: First tick of the window.
        ends: Its end.
    """
    adapter = data.jobs[jobs[0]].adapter
    first, last, tail = data.jobs[jobs[0]].arrival, 0, 1 + data.adapters[adapter].slowest
    for j in jobs:
        first = min(first, data.jobs[j].arrival)
        last = max(last, data.jobs[j].arrival)
        tail += data.jobs[j].longest + 1
    count = state.count[g]
    found = np.empty((10, count + 1), dtype=np.int64)
    losses = np.zeros((3, count + 1))
    n, end = ZERO, ZERO
    for p in range(count + 1):
        begin = end
        b = state.order[g, p] if p < count else NONE
        until = min(max(begin, last) + tail, data.horizon) if b < 0 else state.batches[b].start
        if b >= 0:
            end = state.batches[b].start + state.batches[b].duration
        if until <= begins or (begin >= ends and p < count) or until <= first:
            continue
        if n > 0 and begin >= ends:
            break
        before = state.order[g, p - 1] if p > 0 else NONE
        _enter(data, state, g, adapter, before, found, losses, n)
        _leave(data, state, adapter, b, found, losses, n)
        begin = max(begin, first - found[3, n])
        if until - begin < found[7, n] or until <= begin:
            continue
        found[0, n], found[1, n], found[2, n] = p, begin, until
        n += 1
    return Gaps(
        found[0, :n], found[1, :n], found[2, :n], found[3, :n], losses[0, :n], found[5, :n],
        losses[1, :n], found[7, :n], losses[2, :n], found[9, :n],
    )  # fmt: skip


@compiled
def _enter(
    data: Any, state: Any, g: int, adapter: int, before: int, found: Any, losses: Any, n: int
) -> None:
    """Fill in what entering gap ``n`` takes after batch ``before`` (-1 where there is none)."""
    if data.max_resident == 1:
        held = data.initial[g, 0] if before < 0 else state.need[before, 0]
        found[3, n] = found[5, n] = data.switches[held + 1, adapter].ticks
        losses[0, n] = losses[1, n] = data.switches[held + 1, adapter].cost
        found[9, n] = 0
        return
    same, resident = before < 0, False
    if before >= 0:
        same = state.need[before, 0] == adapter
        for i in range(1, state.need.shape[1]):
            same = same and state.need[before, i] < 0
    for k in range(data.initial.shape[1]):
        held = data.initial[g, k] if before < 0 else state.resident[before, k]
        resident = resident or held == adapter
    seconds = data.adapters[adapter].load_s
    roomy = before < 0 or (
        state.batches[before].live < data.initial.shape[1]
        and state.batches[before].live_memory + data.adapters[adapter].vram <= data.capacity[g, 0]
    )
    if not roomy:  # another one is evicted, and will have to be loaded again
        seconds *= 2.0
    found[3, n], losses[0, n] = whole_ticks(data, seconds), data.switch_price * seconds
    seconds = 0.0 if same else data.activate_s
    found[5, n], losses[1, n] = whole_ticks(data, seconds), data.switch_price * seconds
    found[9, n] = 2 if resident else 1 if roomy else 0


@compiled
def _leave(data: Any, state: Any, adapter: int, b: int, found: Any, losses: Any, n: int) -> None:
    """Fill in what batch ``b`` after gap ``n`` (-1 where there is none) pays more."""
    found[7, n], losses[2, n] = 0, 0.0
    if b < 0:
        return
    if data.max_resident == 1:
        found[7, n] = data.switches[adapter + 1, state.need[b, 0]].ticks
        losses[2, n] = data.switches[adapter + 1, state.need[b, 0]].cost - state.batches[b].paid
        return
    same = state.need[b, 0] == adapter
    for i in range(1, state.need.shape[1]):
        same = same and state.need[b, i] < 0
    found[7, n] = state.batches[b].switch
    if same:
        found[7, n], losses[2, n] = 0, -state.batches[b].paid
    elif state.batches[b].loads == 0:
        found[7, n] = whole_ticks(data, data.activate_s)
        losses[2, n] = data.switch_price * data.activate_s - state.batches[b].paid
