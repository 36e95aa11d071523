"""The model of the search over GPUs and caches, and the priced bound on what is left, compiled."""

# ruff: noqa: PLR0917 - compiled: one function is one loop, and takes arrays

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.arrays import fields
from pats_solvers.common.compiled import entry, lean
from pats_solvers.dp.bound import NONE, lane_backlog, oldest_cost
from pats_solvers.lagrangian.costs import ABSENT, ACTIVE, RESIDENT

#: What a GPU may do next: anything, only what could not begin before (it waited for an arrival), or
#: only a batch of the adapter that it has just switched to.
READY, WAITED, COMMITTED = range(3)

#: A GPU's ``active`` before its first batch: whatever is resident then is active.
FIRST = -1

#: Ticks of a GPU that serves no more, and a ``reach`` that asks for nothing.
NEVER = 2**52

#: GPUs of a label: tick from which it is free, adapter that is active (:data:`FIRST`; the number of
#: adapters where none that matters is), bits of the residents with jobs left, what it may do next,
#: how close to the start of its next batch a member has to arrive (the batch starts less than
#: ``reach`` ticks later), and its place among its parent's GPUs.
GPUS = fields("free active resident mode reach was")

#: Waiting jobs of an adapter that a pattern's members are chosen from, at most: the earliest.
QUEUED = 64

#: Subproblems by GPU kind and adapter: their classes in the tables, whether any was merged or they
#: are lanes, where their values begin, and the backlogs told apart (0: the adapter has no jobs for
#: such a GPU).
CHAINS = fields("table_at table_end merged lanes base size")


class FleetModel(NamedTuple):
    """A problem on GPUs with caches, and its bound.

    What has the same name in :class:`.SearchModel` is the same.

    Attributes:
        gpus: Kind of each GPU (of equal capacity); kinds follow one another.
        adapters: :data:`.ADAPTERS`; a last row ends them.
        chains: :data:`CHAINS`.
        into: Class in the tables by GPU kind and class; -1 where no such GPU can serve it.
        classes: :data:`.CLASSES`.
        arrival: Arrival ticks of all jobs.
        arrivals: Their sums.
        beyond: Sums of what jobs lose beyond the tables.
        slots: The same, without what several GPUs change.
        elsewhere: Sums of the prices of serving jobs, arrivals included.
        moves: :data:`.MOVES`.
        takes: Jobs taken by move and class of its adapter.
        late: Members with a priced deadline.
        patterns: :data:`.PATTERNS` where moves are patterns, or of no length.
        pattern_parts: Their parts, :data:`.PATTERN_PARTS`.
        losses: Quality losses by class and place of the step count.
        gains: What the fewest steps lose beyond the most, by class.
        dues: :data:`.DUES`.
        demands: Demands by class and resource.
        free: What members may use by GPU kind, adapter and resource.
        fits: Whether a move fits a GPU kind with no other adapter resident.
        need: Memory of a move's members.
        room: Memory for residents and members, by GPU kind.
        vram: Memory of each adapter while resident.
        bits: Each adapter's bit among residents; 0 for those without jobs.
        passing: Bits of adapters that are loaded at no more than it costs to activate them.
        loads: :data:`.SWITCHES` by adapter held (last row: none) and target.
        activation: :data:`.SWITCHES`, one row.
        places: Most residents.
        caching: Whether there may be several.
        paired: Whether switching depends on the adapter held.
        horizon: Tick by which all must have ended.
        grain: Ticks in a grain.
        span: Ticks in a layer of labels.
        arrived: Jobs arrived by class and grain.
        tables: :data:`.TABLES`.
        table_arrived: Jobs arrived by table class and grain.
        skip: Cost of leaving each job in the tables.
        served: Least loss of a start by table class and grain.
        sums: Sums of arrivals by table class.
        lane_jobs: :data:`.LANE_JOBS` by GPU kind and job.
        values: Cost to go by subproblem, state, grain and backlog, in a row.
        whole: The same where the GPU serves all jobs; of no length where there is one GPU only.
        paid: Price of a GPU, its places included, by kind, summed up to each grain.
    """

    gpus: Any
    adapters: Any
    chains: Any
    into: Any
    classes: Any
    arrival: Any
    arrivals: Any
    beyond: Any
    slots: Any
    elsewhere: Any
    moves: Any
    takes: Any
    late: Any
    patterns: Any
    pattern_parts: Any
    losses: Any
    gains: Any
    dues: Any
    demands: Any
    free: Any
    fits: Any
    need: Any
    room: Any
    vram: Any
    bits: Any
    passing: int
    loads: Any
    activation: Any
    places: int
    caching: bool
    paired: bool
    horizon: int
    grain: int
    span: int
    arrived: Any
    tables: Any
    table_arrived: Any
    skip: Any
    served: Any
    sums: Any
    lane_jobs: Any
    values: Any
    whole: Any
    paid: Any


@lean
def _backlogs(
    model: FleetModel,
    kind: int,
    a: int,
    grain: int,
    counts: Any,
    move: int,
    whole: bool,
    backlogs: Any,
) -> float:
    """Fill in backlogs by table class; return what is lost beside their value.

    Args:
        model: The model.
        kind: The GPU's kind.
        a: The adapter.
        grain: The grain.
        counts: Jobs dealt with by class.
        move: A batch of the adapter that is served too, or :data:`.NONE`.
        whole: Whether the GPU serves all jobs that fit it: then the others are served elsewhere, at
            their prices, and the tables of merged classes leave none.
        backlogs: Filled here, one entry for each table class of the adapter.
    """
    chain, last = model.chains[kind, a], model.paid.shape[1] - 1
    t, table_at = min(grain, last), chain.table_at
    for k in range(chain.table_end - table_at):
        backlogs[k] = 0
    cost, first = 0.0, model.adapters[a].class_at
    for q in range(first, model.adapters[a + 1].class_at):
        into, done = model.into[kind, q], counts[q]
        if into < 0:
            if whole:
                cost += model.elsewhere[model.classes[q].arrival_at + q + done]
            continue
        if move >= 0:
            done += model.takes[move, q - first]
        waiting = model.arrived[q, t] - done
        if chain.lanes > 0:
            at = model.classes[q].arrival_at + done
            for i in range(at, at + waiting):
                row = model.lane_jobs[kind, i]
                cost += lane_backlog(model, row, grain, last, backlogs, table_at)
        elif waiting > 0:
            backlogs[into - table_at] += waiting
            if not whole and chain.merged > 0 and model.tables[into].skip_at >= 0:
                # The tables take the latest jobs of merged classes to be left.
                at = model.classes[q].arrival_at + q + done
                each = model.classes[q].price
                cost += each * (model.arrivals[at + waiting] - model.arrivals[at])
    return cost


@lean
def _row_of(model: FleetModel, kind: int, a: int, state: int, t: int) -> int:
    """Return where the values of an adapter in a state at a grain begin."""
    chain, grains = model.chains[kind, a], model.paid.shape[1]
    row = t + grains * (state if model.caching or state == ABSENT else 1)
    return chain.base + row * chain.size  # type: ignore[no-any-return]


@lean
def chain_value(
    model: FleetModel,
    kind: int,
    a: int,
    state: int,
    grain: int,
    counts: Any,
    move: int,
    backlogs: Any,
) -> float:
    """Return the least that adapter ``a`` still costs a GPU of a kind from ``grain`` on.

    What jobs lose beyond the tables is apart.

    Args:
        model: The model.
        kind: The GPU's kind.
        a: The adapter.
        state: How it is there: absent, resident or active.
        grain: The grain.
        counts: Jobs dealt with by class.
        move: A batch of the adapter that is served too, or :data:`.NONE`.
        backlogs: Scratch, one entry for each table class of an adapter.
    """
    chain = model.chains[kind, a]
    if chain.size == 0:
        return 0.0
    cost = _backlogs(model, kind, a, grain, counts, move, False, backlogs)
    last, table_at, index = model.paid.shape[1] - 1, chain.table_at, 0
    t = min(grain, last)
    for k in range(table_at, chain.table_end):
        backlog, table = backlogs[k - table_at], model.tables[k]
        if chain.merged > 0 and table.skip_at >= 0:
            at = table.sums_at + model.table_arrived[k, t]
            cost -= table.by_tick * (model.sums[at] - model.sums[at - backlog])
        over = backlog if grain > last else backlog - table.dim + 1
        if over > 0:  # beyond what the tables tell apart
            cost += oldest_cost(model, k, grain, t, backlog, over)
            backlog -= over
        index += backlog * table.stride
    return cost + model.values[_row_of(model, kind, a, state, t) + index]  # type: ignore[no-any-return]


@lean
def adapter_of(model: FleetModel, q: int) -> int:
    """Return the adapter of a class."""
    a = 0
    while model.adapters[a + 1].class_at <= q:
        a += 1
    return a


@lean
def state_of(model: FleetModel, gpu: Any, a: int) -> int:
    """Return how an adapter is on a GPU: before the first batch, all residents are active."""
    if gpu.active == a:
        return ACTIVE
    if model.caching and gpu.resident & model.bits[a]:
        return ACTIVE if gpu.active == FIRST else RESIDENT
    return ABSENT


@lean
def paid_rest(model: FleetModel, kind: int, tick: int) -> float:
    """Return the price of a GPU's time from a tick on, as a loss that is saved: at most 0."""
    last = model.paid.shape[1] - 1
    paid = model.paid[kind]
    return paid[min(tick // model.grain, last)] - paid[last]  # type: ignore[no-any-return]


@lean
def beyond_rest(model: FleetModel, counts: Any) -> float:
    """Return what all jobs left lose beyond the tables."""
    cost = 0.0
    for q in range(counts.shape[0]):
        cost += model.beyond[model.classes[q].arrival_at + q + counts[q]]
    return cost


@lean
def whole_value(
    model: FleetModel, kind: int, a: int, state: int, grain: int, counts: Any, backlogs: Any
) -> float:
    """Return the least that adapter ``a`` costs a GPU from ``grain`` on that serves all its jobs.

    Those that do not fit such a GPU are served elsewhere, at their prices. What jobs lose beyond
    the tables is apart. See :func:`chain_value`.
    """
    chain = model.chains[kind, a]
    cost = _backlogs(model, kind, a, grain, counts, NONE, True, backlogs)
    if chain.size == 0:
        return cost
    last, table_at, index = model.paid.shape[1] - 1, chain.table_at, 0
    t = min(grain, last)
    for k in range(table_at, chain.table_end):
        backlog, table = backlogs[k - table_at], model.tables[k]
        over = backlog if grain > last else backlog - table.dim + 1
        if over > 0:
            cost += over * (model.served[k, t] + table.by_grain * max(0, grain - last))
            backlog -= over
        index += backlog * table.stride
    return cost + model.whole[_row_of(model, kind, a, state, t) + index]  # type: ignore[no-any-return]


@lean
def elsewhere(model: FleetModel, a: int, counts: Any) -> float:
    """Return what other GPUs serve all jobs left of an adapter for."""
    cost = 0.0
    for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
        cost += model.elsewhere[model.classes[q].arrival_at + q + counts[q]]
    return cost


@entry
def remaining(model: FleetModel, gpus: Any, counts: Any) -> float:
    """Return the least that all that is left costs these GPUs, less the price of their time."""
    backlogs = np.empty(max(1, model.tables.shape[0]), dtype=np.int64)
    cost = beyond_rest(model, counts)
    for h in range(gpus.shape[0]):
        gpu, kind = gpus[h], model.gpus[h]
        cost += paid_rest(model, kind, gpu.free)
        for a in range(model.bits.shape[0]):
            cost += chain_value(
                model, kind, a, state_of(model, gpu, a), gpu.free // model.grain, counts, NONE,
                backlogs,
            )  # fmt: skip
    return cost
