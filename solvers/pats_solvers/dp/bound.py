"""The search's model as arrays, and the priced bound on what is left at a label, compiled.

Arrays have their fields in columns: a compiled function takes long to compile, and to call, with
many of them.
"""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import compiled, entry

#: No row, no class, no move.
NONE = -1

#: Columns of :attr:`Jobs.adapters`. An adapter's classes, moves and table classes end where the
#: next one's begin.
CLASS_AT, MOVE_AT, TABLE_AT, MERGED, BASE, SIZE = range(6)

#: Columns of :attr:`Jobs.classes`: where its count is in a key, its jobs, where they begin in
#: ``arrival`` (in ``arrivals`` each class before has one more), its class in the tables.
WORD, SHIFT, MASK, JOBS, ARRIVAL_AT, INTO = range(6)

#: Columns of :attr:`Jobs.losses`: rejecting a job (infinity: it must be served), what its tick
#: costs beyond what the tables say, what the tables say.
REJECTED, EXTRA, PRICE = range(3)

#: Columns of :attr:`Batches.moves`: ticks, where the members with a priced deadline begin, and jobs
#: taken by class of the adapter. Of :attr:`Batches.costs`: at the start, and by tick of the start.
DURATION, LATE_AT, TAKES = range(3)
FIXED, SLOPE = range(2)

#: Columns of :attr:`Bound.tables`: backlogs told apart, stride, where ``skip`` and ``sums`` begin
#: (where none may be skipped: -1). Of :attr:`Bound.costs`: a start's loss by grain and by tick
#: that it is later, and at 0.
DIM, STRIDE, SKIP_AT, SUMS_AT = range(4)
BY_GRAIN, BY_TICK, LEAST = range(3)


class Jobs(NamedTuple):
    """Adapters, classes, and when their jobs come.

    Attributes:
        adapters: ``(adapters + 1, 6)``.
        classes: ``(classes, 6)``.
        losses: ``(classes, 3)``.
        arrival: Arrival ticks of all jobs, classes after one another.
        arrivals: Sums of the class's arrivals before each job, and all of them.
    """

    adapters: Any
    classes: Any
    losses: Any
    arrival: Any
    arrivals: Any


class Batches(NamedTuple):
    """Moves, and the switches before them.

    Attributes:
        moves: ``(moves + 1, 2 + most classes of an adapter)``.
        costs: ``(moves, 2)``.
        late_from: First start at which a member with a priced deadline is late.
        late_cost: What that costs.
        switch: Ticks of switching, by adapter held (last row: none) and target.
        switch_cost: Price of it.
        paired: Whether switching depends on the adapter held.
        horizon: Tick by which all must have ended, or beyond all ticks.
    """

    moves: Any
    costs: Any
    late_from: Any
    late_cost: Any
    switch: Any
    switch_cost: Any
    paired: bool
    horizon: int


class Bound(NamedTuple):
    """Cost-to-go tables.

    They have classes of their own, fewer where some were merged, and count time in *grains* of
    ticks.

    Attributes:
        grain: Ticks in a grain.
        arrived: Jobs arrived by class and grain.
        tables: ``(table classes, 4)``.
        costs: ``(table classes, 3)``.
        table_arrived: Jobs arrived by table class and grain.
        skip: Cost of rejecting each job in the tables.
        sums: Sums of arrivals by table class.
        values: Cost to go by adapter, whether it is held, grain and backlog, in a row.
        paid: Price of the GPU summed up to each grain.
    """

    grain: int
    arrived: Any
    tables: Any
    costs: Any
    table_arrived: Any
    skip: Any
    sums: Any
    values: Any
    paid: Any


class Model(NamedTuple):
    """A problem with one GPU and one resident adapter, and its bound, in arrays.

    Classes and moves (batches) are numbered through all adapters.
    """

    jobs: Jobs
    batches: Batches
    bound: Bound


# -- the bound -----------------------------------------------------------------------------------


@compiled
def _backlogs(
    jobs: Jobs, bound: Bound, moves: Any, t: int, a: int, counts: Any, move: int, backlogs: Any
) -> float:
    """Fill in backlogs by table class, after ``move`` (or none); what corrects their value."""
    adapters, classes, losses, _, arrivals = jobs
    first = adapters[a, CLASS_AT]
    merged = adapters[a, MERGED] > 0
    for k in range(adapters[a, TABLE_AT], adapters[a + 1, TABLE_AT]):
        backlogs[k] = 0
    cost = 0.0
    for q in range(first, adapters[a + 1, CLASS_AT]):
        done = counts[q]
        if move >= 0:
            done += moves[move, TAKES + q - first]
        waiting = bound.arrived[q, t] - done
        k = classes[q, INTO]
        if waiting >= 0:
            backlogs[k] += waiting
        if waiting < 0 or (merged and bound.tables[k, SKIP_AT] >= 0):
            # Jobs rejected before they came, which the tables reject again; or of merged classes,
            # of which the tables take the latest jobs to be left: those are dearer to reject.
            at = classes[q, ARRIVAL_AT] + q + done
            cost += losses[q, PRICE] * (arrivals[at + waiting] - arrivals[at])
            if waiting < 0:
                cost += losses[q, REJECTED] * waiting
    if merged:
        for k in range(adapters[a, TABLE_AT], adapters[a + 1, TABLE_AT]):
            if bound.tables[k, SKIP_AT] >= 0:
                at = bound.tables[k, SUMS_AT] + bound.table_arrived[k, t]
                latest = bound.sums[at] - bound.sums[at - backlogs[k]]
                cost -= bound.costs[k, BY_TICK] * latest
    return cost


@compiled
def _oldest(bound: Bound, k: int, grain: int, t: int, backlog: int, over: int) -> float:
    """The least that the oldest ``over`` jobs of a backlog cost from ``grain`` on."""
    each = bound.costs[k, BY_GRAIN] * grain + bound.costs[k, LEAST]
    if bound.tables[k, SKIP_AT] < 0:
        return over * each  # type: ignore[no-any-return]
    cost = 0.0
    job = bound.tables[k, SKIP_AT] + bound.table_arrived[k, t] - backlog
    for i in range(job, job + over):
        cost += min(each, bound.skip[i])
    return cost


@compiled
def value(
    jobs: Jobs,
    bound: Bound,
    moves: Any,
    grain: int,
    a: int,
    held: bool,
    counts: Any,
    move: int,
    backlogs: Any,
) -> float:
    """Least that adapter ``a`` still costs from ``grain`` on, after ``move`` (or none) as well.

    ``backlogs`` is scratch, one entry for each table class.
    """
    last = bound.paid.shape[0] - 1
    t = min(grain, last)
    cost = _backlogs(jobs, bound, moves, t, a, counts, move, backlogs)
    index = 0
    for k in range(jobs.adapters[a, TABLE_AT], jobs.adapters[a + 1, TABLE_AT]):
        backlog = backlogs[k]
        over = backlog if grain > last else backlog - bound.tables[k, DIM] + 1
        if over > 0:  # beyond what the tables tell apart
            cost += _oldest(bound, k, grain, t, backlog, over)
            backlog -= over
        index += backlog * bound.tables[k, STRIDE]
    row = t + last + 1 if held else t
    index += jobs.adapters[a, BASE] + row * jobs.adapters[a, SIZE]
    return cost + bound.values[index]  # type: ignore[no-any-return]


@entry
def remaining(model: Model, held: int, tick: int, counts: Any) -> float:
    """The least that all that is left costs from ``tick`` on, the GPU's price taken off."""
    jobs, batches, bound = model
    last = bound.paid.shape[0] - 1
    grain = tick // bound.grain
    backlogs = np.empty(bound.tables.shape[0], dtype=np.int64)
    cost = bound.paid[min(grain, last)] - bound.paid[last]
    for a in range(jobs.adapters.shape[0] - 1):
        if jobs.adapters[a, CLASS_AT] < jobs.adapters[a + 1, CLASS_AT]:
            cost += value(jobs, bound, batches.moves, grain, a, a == held, counts, NONE, backlogs)
    return cost  # type: ignore[no-any-return]


# -- labels --------------------------------------------------------------------------------------


@entry
def unpack(classes: Any, key: Any, row: int, counts: Any) -> None:
    """Counts by class of a row's key."""
    for q in range(counts.shape[0]):
        counts[q] = (key[row, classes[q, WORD]] >> classes[q, SHIFT]) & classes[q, MASK]


@entry
def pack(classes: Any, counts: Any, key: Any) -> None:
    """The key of counts."""
    key[:] = 0
    for q in range(counts.shape[0]):
        key[classes[q, WORD]] |= counts[q] << classes[q, SHIFT]


@entry
def start_of(jobs: Jobs, moves: Any, move: int, a: int, ready: int, counts: Any) -> int:
    """First tick from ``ready`` at which a batch's members are in; -1: there are not enough."""
    first = jobs.adapters[a, CLASS_AT]
    for q in range(first, jobs.adapters[a + 1, CLASS_AT]):
        n = moves[move, TAKES + q - first]
        if n > 0:
            if counts[q] + n > jobs.classes[q, JOBS]:
                return -1
            ready = max(ready, jobs.arrival[jobs.classes[q, ARRIVAL_AT] + counts[q] + n - 1])
    return ready


@compiled
def _cost_of(jobs: Jobs, batches: Batches, move: int, a: int, start: int, counts: Any) -> float:
    """What a batch adds to a label's loss, its switch aside."""
    cost = batches.costs[move, FIXED] + batches.costs[move, SLOPE] * start
    for i in range(batches.moves[move, LATE_AT], batches.moves[move + 1, LATE_AT]):
        if start >= batches.late_from[i]:
            cost += batches.late_cost[i]
    if jobs.adapters[a, MERGED] > 0:
        first = jobs.adapters[a, CLASS_AT]
        for q in range(first, jobs.adapters[a + 1, CLASS_AT]):
            n = batches.moves[move, TAKES + q - first]
            if n > 0:
                at = jobs.classes[q, ARRIVAL_AT] + q + counts[q]
                cost -= jobs.losses[q, EXTRA] * (jobs.arrivals[at + n] - jobs.arrivals[at])
    return cost  # type: ignore[no-any-return]


@compiled
def _rejecting(jobs: Jobs, q: int, first: int, last: int) -> float:
    """What rejecting the jobs from ``first`` to before ``last`` of a class adds to the loss."""
    at = jobs.classes[q, ARRIVAL_AT] + q
    ahead = jobs.losses[q, PRICE] * (jobs.arrivals[at + last] - jobs.arrivals[at + first])
    return jobs.losses[q, REJECTED] * (last - first) + ahead  # type: ignore[no-any-return]
