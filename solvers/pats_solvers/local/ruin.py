"""Ruin and recreate: some adapters' batches in a window of time go out and are inserted again."""

# ruff: noqa: C901, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled, entry, inlined
from pats_solvers.local.batches import alike_arcs, queues_of, run_arcs
from pats_solvers.local.insertion import gaps_of, insert
from pats_solvers.local.moves import decide
from pats_solvers.local.state import anchor, drop, leave
from pats_solvers.local.timing import refresh, settle, time_gpu


@compiled
def shuffle(rng: Any, items: Any, n: int) -> None:
    """Put the first ``n`` items into random order."""
    for i in range(n - 1, 0, -1):
        k = int(rng.random() * (i + 1))
        items[i], items[k] = items[k], items[i]


@compiled
def chosen_adapters(
    data: Any, state: Any, rng: Any, g: int, begin: int, end: int, most: int
) -> Any:
    """Return up to ``most`` random adapters of some positions, as a mask and a list."""
    wanted = np.zeros(data.adapters.shape[0], dtype=np.bool_)
    found = np.empty(data.adapters.shape[0], dtype=np.int64)
    n = ZERO
    for p in range(begin, end):
        b = state.order[g, p]
        for i in range(state.need.shape[1]):
            a = state.need[b, i]
            if a >= 0 and not wanted[a]:
                wanted[a] = True
                found[n] = a
                n += 1
    shuffle(rng, found, n)
    for i in range(most, n):
        wanted[found[i]] = False
    return wanted, found[: min(n, most)]


@compiled
def take_out(
    data: Any, state: Any, wanted: Any, begin: int, end: int, gpu: int, cost: Any, pool: Any
) -> int:
    """Take the jobs of some adapters out of the batches that meet a window.

    Args:
        data: The problem.
        state: Its batches; starts stay, switches are settled again.
        wanted: Whether an adapter goes out.
        begin: First tick.
        end: End of the window.
        gpu: The GPU, or -1 for all.
        cost: Set to what each job taken out cost there.
        pool: Set to the jobs taken out, and those rejected that arrive before the end.

    Returns:
        How many those are.
    """
    n = 0
    for j in range(data.jobs.shape[0]):
        rejected = (
            state.jobs[j].batch < 0 and wanted[data.jobs[j].adapter] and data.jobs[j].arrival < end
        )
        for g in range(state.count.shape[0]):
            if rejected and data.hosts[j, g]:
                cost[j] = data.jobs[j].reject
                pool[n] = j
                n += 1
                break
    for g in range(state.count.shape[0]):
        if gpu >= 0 and g != gpu:
            continue
        for p in range(state.count[g] - 1, -1, -1):
            b = state.order[g, p]
            if state.batches[b].start >= end:
                continue
            if state.batches[b].start + state.batches[b].duration <= begin:
                break
            j, before = state.batches[b].first, n
            while j >= 0:
                following = state.jobs[j].follow
                if wanted[data.jobs[j].adapter]:
                    latency = state.batches[b].start + state.jobs[j].offset - data.jobs[j].arrival
                    cost[j] = (
                        data.modes[j, state.jobs[j].option].quality + data.jobs[j].price * latency
                    )
                    leave(state, j)
                    pool[n] = j
                    n += 1
                j = following
            if state.batches[b].first < 0:
                drop(state, g, p)
            elif n > before:
                refresh(data, state, b)
        settle(data, state, g)
    return n


@inlined
def reinsert(
    data: Any,
    state: Any,
    rng: Any,
    adapters: Any,
    pool: Any,
    n: int,
    cost: Any,
    begin: int,
    end: int,
    prices: Any,
    most: float,
    gpu: int,
) -> bool:
    """Insert jobs again, adapter after adapter in random order, and time the GPUs.

    Of each adapter, what pays goes into a first GPU and the rest into the next ones.

    Args:
        data: The problem.
        state: Its batches.
        rng: Source of random numbers.
        adapters: The adapters.
        pool: Their jobs that are in no batch; these are reordered.
        n: How many those are.
        cost: What each job cost before: about what another GPU would do it for.
        begin: First tick of the time that may be used.
        end: The end of it.
        prices: Prices of ticks, summed up from 0; the last adapter pays none.
        most: The greatest factor on them; each adapter draws its own.
        gpu: The only GPU that may be used, or -1.

    Returns:
        Whether there was a way; otherwise the state is of no use.
    """
    skip = np.zeros(data.jobs.shape[0])
    gpus = np.arange(state.count.shape[0])
    mine = np.empty(n, dtype=np.int64)
    shuffle(rng, adapters, adapters.shape[0])
    for a in range(adapters.shape[0]):
        scale = most * rng.random() if a + 1 < adapters.shape[0] else 0.0
        shuffle(rng, gpus, gpus.shape[0])
        for i in range(gpus.shape[0]):
            g = gpus[i]
            if gpu >= 0 and g != gpu:
                continue
            generous = 0.6 + rng.random()
            many = 0
            for k in range(n):
                j = pool[k]
                if data.jobs[j].adapter != adapters[a] or state.jobs[j].batch >= 0:
                    continue
                if not data.hosts[j, g]:
                    continue
                mine[many] = j
                many += 1
                out = data.jobs[j].reject
                for other in range(i + 1, gpus.shape[0]):
                    if gpu < 0 and data.hosts[j, gpus[other]]:
                        out = min(out, generous * cost[j])
                skip[j] = out + data.jobs[j].price * data.jobs[j].arrival
            if many == 0:
                continue
            queues = queues_of(data, mine[:many].copy(), rng.random() < 0.5)
            gaps = gaps_of(data, state, g, queues.jobs, begin, end)
            arcs = alike_arcs(data, g, queues) if queues.alike else run_arcs(data, g, queues)
            if not insert(data, state, g, queues, arcs, gaps, skip, prices, scale):
                return False
            settle(data, state, g)
    for g in range(state.count.shape[0]):
        if gpu < 0 or g == gpu:
            time_gpu(data, state, g)
    return True


@entry
def ruin_and_recreate(
    data: Any,
    current: Any,
    best: Any,
    trial: Any,
    losses: Any,
    rng: Any,
    prices: Any,
    temperature: float,
    reach: int,
    adapters: int,
    most: float,
) -> bool:
    """Take up to ``adapters`` adapters out of a window of up to ``reach`` batches, and insert them.

    The states and losses are those of :func:`pats_solvers.local.accept.decide`.

    Returns:
        Whether the result was accepted.
    """
    g, p = anchor(trial, rng)
    if g < 0:
        return False
    stop = min(p + 1 + int(rng.random() * reach), trial.count[g])
    begin = trial.batches[trial.order[g, p]].start
    last = trial.order[g, stop - 1]
    end = trial.batches[last].start + trial.batches[last].duration
    many = 1 + int(rng.random() * adapters)
    wanted, found = chosen_adapters(data, trial, rng, g, p, stop, many)
    gpu = g if trial.count.shape[0] > 1 and rng.random() < 0.5 else -1
    cost = np.zeros(data.jobs.shape[0])
    pool = np.empty(data.jobs.shape[0], dtype=np.int64)
    n = take_out(data, trial, wanted, begin, end, gpu, cost, pool)
    spare = int(rng.random() * (end - begin + 1))
    made = reinsert(
        data, trial, rng, found, pool, n, cost, begin - spare, end + spare, prices, most, gpu
    )
    return decide(data, current, best, trial, losses, rng, temperature, made)
