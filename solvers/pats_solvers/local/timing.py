"""Starts, residents and costs of the batches in a sequence: rules 3 to 5, compiled.

Every loss term is nondecreasing in completion ticks, so each batch starts as early as its GPU and
its members allow.
The rules are those of :mod:`pats_opt.model.timing` and :mod:`pats_opt.model.problem`; tests hold
them together.
"""

# ruff: noqa: C901, PLR0917, SIM110 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled, entry
from pats_solvers.common.kernels import completions
from pats_solvers.local.loading import start_beside_loads
from pats_solvers.local.residency import settle_residents

#: Loss of each tick beyond a hard horizon: far above any real one, so that the search leaves it.
OVERRUN = 1e7


@entry
def refresh(data: Any, state: Any, b: int) -> None:
    """Work out a batch's times, memory and loss from its members."""
    counts = np.zeros(data.levels.shape[0], dtype=np.int64)
    ends = np.zeros(data.levels.shape[0], dtype=np.int64)
    members, ready, memory = ZERO, ZERO, ZERO
    for i in range(state.need.shape[1]):
        state.need[b, i] = -1
    j = state.batches[b].first
    while j >= 0:
        counts[data.modes[j, state.jobs[j].option].level] += 1
        members += 1
        ready = max(ready, data.jobs[j].arrival)
        memory += data.demand[j, 0]
        _add(state.need[b], data.jobs[j].adapter)
        j = state.jobs[j].follow
    state.batches[b].duration = completions(data, counts, members, ends)
    fixed, slope = 0.0, 0.0
    j = state.batches[b].first
    while j >= 0:
        o = state.jobs[j].option
        state.jobs[j].offset = ends[data.modes[j, o].level]
        fixed += data.modes[j, o].quality + data.jobs[j].price * (
            state.jobs[j].offset - data.jobs[j].arrival
        )
        slope += data.jobs[j].price
        j = state.jobs[j].follow
    state.batches[b].members, state.batches[b].ready, state.batches[b].memory = (
        members,
        ready,
        memory,
    )
    state.batches[b].fixed, state.batches[b].slope = fixed, slope


@compiled
def _add(need: Any, adapter: int) -> bool:
    """Put an adapter into a rising list filled up with -1; False where there is no room."""
    room = need.shape[0]
    for i in range(room):
        if need[i] == adapter:
            return True
        if need[i] < 0 or need[i] > adapter:
            if need[room - 1] >= 0:
                return False
            for k in range(room - 1, i, -1):
                need[k] = need[k - 1]
            need[i] = adapter
            return True
    return False


@compiled
def may_join(data: Any, state: Any, g: int, b: int, other: int, job: int) -> bool:
    """Return whether ``b`` fits GPU ``g`` with ``other``'s members and ``job`` (-1: none)."""
    resources = data.demand.shape[1]
    used = np.zeros(resources, dtype=np.int64)
    need = np.full(data.max_per_batch, -1, dtype=np.int64)
    members = 0
    for part in range(3):
        j = state.batches[b].first if part == 0 else job
        if part == 1:
            j = state.batches[other].first if other >= 0 else -1
        while j >= 0:
            members += 1
            if not _add(need, data.jobs[j].adapter):
                return False
            for r in range(resources):
                used[r] += data.demand[j, r]
            j = state.jobs[j].follow if part < 2 else -1
    if members >= data.sizes.shape[0]:
        return False
    used[0] += data.base_vram
    for i in range(need.shape[0]):
        if need[i] >= 0:
            used[0] += data.adapters[need[i]].vram
    for r in range(resources):
        if used[r] > data.capacity[g, r]:
            return False
    return True


@compiled
def settle(data: Any, state: Any, g: int) -> None:
    """Work out the switches of a GPU's sequence (its batches' starts stay)."""
    if data.several:
        settle_residents(data, state, g)
        return
    before = data.initial[g, 0]
    for p in range(state.count[g]):
        b = state.order[g, p]
        after = state.need[b, 0]
        state.batches[b].switch = data.switches[before, after].ticks
        state.batches[b].paid = data.switches[before, after].loss
        before = after


@compiled
def time_gpu(data: Any, state: Any, g: int) -> None:
    """Start every batch of a GPU as early as can be, and add up its loss."""
    beside = data.channels > 0
    if beside:
        start_beside_loads(data, state, g)
    else:
        settle(data, state, g)
    t, loss = 0, 0.0
    for p in range(state.count[g]):
        b = state.order[g, p]
        if not beside:
            state.batches[b].start = max(t + state.batches[b].switch, state.batches[b].ready)
        start = state.batches[b].start
        t = start + state.batches[b].duration
        loss += state.batches[b].fixed + state.batches[b].slope * start + state.batches[b].paid
        if data.any_late:
            j = state.batches[b].first
            while j >= 0:
                if start + state.jobs[j].offset - data.jobs[j].arrival > data.jobs[j].deadline:
                    loss += data.jobs[j].late
                j = state.jobs[j].follow
    if t > data.horizon:
        loss += OVERRUN * (t - data.horizon)
    state.loss[g] = loss


@compiled
def total(data: Any, state: Any) -> float:
    """Return the loss of a timed state; infinite where a job that must be served is not."""
    loss = 0.0
    for j in range(data.jobs.shape[0]):
        if state.jobs[j].batch < 0:
            loss += data.jobs[j].reject
    for g in range(state.count.shape[0]):
        loss += state.loss[g]
    return loss


@entry
def time_all(data: Any, state: Any) -> float:
    """Time every GPU, and return the loss."""
    for g in range(state.count.shape[0]):
        time_gpu(data, state, g)
    return total(data, state)


@entry
def copy(into: Any, state: Any) -> None:
    """Make ``into`` the same as ``state``."""
    for j in range(state.jobs.shape[0]):
        into.jobs[j] = state.jobs[j]
    for i in range(state.batches.shape[0]):
        into.batches[i] = state.batches[i]
        into.unused[i] = state.unused[i]
        for k in range(state.need.shape[1]):
            into.need[i, k] = state.need[i, k]
        for k in range(state.resident.shape[1]):
            into.resident[i, k] = state.resident[i, k]
        for k in range(state.loading.shape[1]):
            into.loading[i, k] = state.loading[i, k]
    last = state.unused.shape[0] - 1
    into.unused[last] = state.unused[last]
    for g in range(state.count.shape[0]):
        into.count[g] = state.count[g]
        into.loss[g] = state.loss[g]
        for p in range(state.count[g]):
            into.order[g, p] = state.order[g, p]
