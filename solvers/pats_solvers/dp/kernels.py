"""The compiled parts of the search over batch sequences: bound, moves, dominance.

Labels are rows of a :class:`Pool`. A label waits in the list of its layer (jobs dealt with) and in
the chain of its state's hash bucket until its layer is collected; it is then expanded, and stays to
tell its successors' story. A row is used again once its label is dominated or cut.

Arrays have their fields in columns: a compiled function takes long to compile, and to call, with
many of them.
"""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.kernel import compiled, entry

#: No row, no class, no move.
NONE = -1

#: Moves that are not batches: reject all that is left, or one job of class q (``REJECT - q``).
REJECT_ALL, REJECT = -1, -2

#: A pool's whole-number columns. ``HELD`` is :data:`NONE` in a dead row; of ``PENDING``, a class,
#: the next batch must serve a job; ``MOVE`` is a batch or a negative number as above; ``LINK`` is
#: the next row of the layer's list or of the free rows, ``CHAIN`` that of the bucket.
HELD, FREE, PENDING, PARENT, MOVE, LINK, CHAIN = range(7)
COLUMNS = 7

#: A pool's real columns: loss so far (arrivals of the jobs to come are paid), and the promise.
LOSS, PROMISE = range(2)

#: Columns of a pool's layers: first row of the list, and rows in it.
FIRST, COUNT = range(2)

#: A pool's registers: first free row, free rows, rows ever used, where the best sequence ends and
#: its last move, batches looked at, whether a layer is overfull.
SPARE, SPARES, USED, FINAL, FINAL_MOVE, LOOKS, OVERFULL = range(7)
REGISTERS = 7

#: The best loss, and the least promise that was cut.
BEST, CUT = range(2)


class Pool(NamedTuple):
    """Labels and what keeps track of them.

    Attributes:
        key: Jobs dealt with by class, packed into words: ``(rows, words)``.
        whole: ``(rows, COLUMNS)``.
        real: ``(rows, 2)``.
        bucket: First row of each bucket; a power of two of them.
        layers: ``(layers, 2)``.
        worst: Promise from which on a layer takes no more labels.
        registers: ``(REGISTERS,)``.
        bests: ``(2,)``.
    """

    key: Any
    whole: Any
    real: Any
    bucket: Any
    layers: Any
    worst: Any
    registers: Any
    bests: Any


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


@compiled
def _bucket(key: Any, row: int, buckets: int) -> int:
    mixed = np.int64(0)
    for w in range(key.shape[1]):
        mixed = (mixed ^ key[row, w]) * np.int64(-7046029254386353131)
        mixed ^= (mixed >> np.int64(31)) & np.int64(0x1FFFFFFFF)
    return int(mixed & (buckets - 1))


@compiled
def _beats(
    held: int,
    free: int,
    loss: float,
    pending: int,
    other_held: int,
    other_free: int,
    other_loss: float,
    other_pending: int,
    left: Any,
    batches: Batches,
) -> bool:
    """Whether a label can do all that another one of its state can, no later and no dearer.

    ``left`` says which adapters have jobs left.
    """
    if pending != NONE and pending != other_pending:  # noqa: PLR1714 - compiled
        return False
    if held == other_held:
        return free <= other_free and loss <= other_loss
    switch, switch_cost = batches.switch, batches.switch_cost
    if not batches.paired:  # what they hold matters where it is used again
        if other_held < left.shape[0] and left[other_held]:
            free += switch[held, other_held]
            loss += switch_cost[held, other_held]
        return free <= other_free and loss <= other_loss
    for a in range(left.shape[0]):
        if left[a] and (
            free + switch[held, a] > other_free + switch[other_held, a]
            or loss + switch_cost[held, a] > other_loss + switch_cost[other_held, a]
        ):
            return False
    return True


class Label(NamedTuple):
    """A label's own numbers."""

    loss: float
    promise: float
    free: int
    held: int
    pending: int


@compiled
def _same(key: Any, row: int, new: Any) -> bool:
    same = True
    for w in range(key.shape[1]):
        same = same and key[row, w] == new[0, w]
    return same


@compiled
def _beaten(
    pool: Pool, slot: int, new: Any, label: Label, left: Any, batches: Batches, slack: float
) -> bool:
    """Whether a row of the bucket beats a label."""
    row = pool.bucket[slot]
    while row >= 0:
        if (
            pool.whole[row, HELD] >= 0
            and _same(pool.key, row, new)
            and _beats(
                pool.whole[row, HELD], pool.whole[row, FREE], pool.real[row, LOSS] - slack,
                pool.whole[row, PENDING], label.held, label.free, label.loss, label.pending,
                left, batches,
            )
        ):  # fmt: skip
            return True
        row = pool.whole[row, CHAIN]
    return False


@compiled
def _beat(
    pool: Pool, slot: int, new: Any, label: Label, left: Any, batches: Batches, slack: float
) -> int:
    """Mark the rows of the bucket that a label beats as dead; the first one, to be used again."""
    found = NONE
    row = pool.bucket[slot]
    while row >= 0:
        if (
            pool.whole[row, HELD] >= 0
            and _same(pool.key, row, new)
            and _beats(
                label.held, label.free, label.loss - slack, label.pending, pool.whole[row, HELD],
                pool.whole[row, FREE], pool.real[row, LOSS], pool.whole[row, PENDING],
                left, batches,
            )
        ):  # fmt: skip
            pool.whole[row, HELD] = NONE
            if found == NONE:
                found = row
        row = pool.whole[row, CHAIN]
    return found


@compiled
def _row(pool: Pool, slot: int, layer: int, new: Any) -> int:
    """A row not in use, filed in a bucket and a layer's list."""
    registers = pool.registers
    row = registers[SPARE]
    if row == NONE:
        row = registers[USED]
        registers[USED] += 1
    else:
        registers[SPARE] = pool.whole[row, LINK]
        registers[SPARES] -= 1
    for w in range(pool.key.shape[1]):
        pool.key[row, w] = new[0, w]
    pool.whole[row, CHAIN] = pool.bucket[slot]
    pool.bucket[slot] = row
    pool.whole[row, LINK] = pool.layers[layer, FIRST]
    pool.layers[layer, FIRST] = row
    pool.layers[layer, COUNT] += 1
    return row  # type: ignore[no-any-return]


@entry
def insert(
    pool: Pool,
    layer: int,
    new: Any,
    label: Label,
    parent: int,
    move: int,
    left: Any,
    batches: Batches,
    slack: float,
) -> None:
    """File a label with key ``new[0]``, unless another one beats it; drop those that it beats.

    ``left`` says which adapters have jobs left.
    """
    slot = _bucket(new, 0, pool.bucket.shape[0])
    if _beaten(pool, slot, new, label, left, batches, slack):
        return
    row = _beat(pool, slot, new, label, left, batches, slack)
    if row == NONE:
        row = _row(pool, slot, layer, new)
    pool.real[row, LOSS], pool.real[row, PROMISE] = label.loss, label.promise
    pool.whole[row, FREE], pool.whole[row, HELD] = label.free, label.held
    pool.whole[row, PENDING] = label.pending
    pool.whole[row, PARENT], pool.whole[row, MOVE] = parent, move


@entry
def unchain(key: Any, whole: Any, bucket: Any, rows: Any) -> None:
    """Take rows out of their buckets."""
    for row in rows:
        slot = _bucket(key, row, bucket.shape[0])
        at = bucket[slot]
        if at == row:
            bucket[slot] = whole[row, CHAIN]
        else:
            while whole[at, CHAIN] != row:
                at = whole[at, CHAIN]
            whole[at, CHAIN] = whole[row, CHAIN]


@entry
def listed(whole: Any, layers: Any, layer: int) -> Any:
    """The rows of a layer's list, the dead ones too."""
    rows = np.empty(layers[layer, COUNT], dtype=np.int64)
    row = layers[layer, FIRST]
    for i in range(rows.shape[0]):
        rows[i] = row
        row = whole[row, LINK]
    return rows


@entry
def relist(whole: Any, layers: Any, layer: int, rows: Any) -> None:
    """Make these rows a layer's list."""
    layers[layer, FIRST], layers[layer, COUNT] = NONE, rows.shape[0]
    for i in range(rows.shape[0] - 1, -1, -1):
        whole[rows[i], LINK] = layers[layer, FIRST]
        layers[layer, FIRST] = rows[i]


@entry
def release(whole: Any, registers: Any, rows: Any) -> None:
    """Make rows that are in no list and no bucket free to be used again."""
    for row in rows:
        whole[row, LINK] = registers[SPARE]
        registers[SPARE] = row
    registers[SPARES] += rows.shape[0]


@entry
def rehash(key: Any, whole: Any, bucket: Any, layers: Any) -> None:
    """Fill empty buckets with the labels of all layers."""
    for layer in range(layers.shape[0]):
        row = layers[layer, FIRST]
        while row >= 0:
            slot = _bucket(key, row, bucket.shape[0])
            whole[row, CHAIN] = bucket[slot]
            bucket[slot] = row
            row = whole[row, LINK]


@entry
def least_promise(whole: Any, real: Any, layers: Any) -> float:
    """The least promise of the labels in layers' lists."""
    least = np.inf
    for layer in range(layers.shape[0]):
        row = layers[layer, FIRST]
        while row >= 0:
            if whole[row, HELD] >= 0:
                least = min(least, real[row, PROMISE])
            row = whole[row, LINK]
    return least


# -- moves ---------------------------------------------------------------------------------------


@entry
def below(best: float) -> float:
    """Promises from here on beat nothing: rounding must not pass for an improvement."""
    return best - 1e-9 * max(1.0, abs(best)) if best < np.inf else np.inf


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


#: Columns of :attr:`Found.whole`: the move, what is pending after it, and when the GPU is free.
#: Of :attr:`Found.real`: the loss, the adapter's value, and the promise, at first a quick one.
THE_MOVE, THEN_PENDING, THEN_FREE = range(3)
THEN_LOSS, OWN, THEN_PROMISE = range(3)


class Found(NamedTuple):
    """Successors of one label by moves of one adapter, and scratch.

    Attributes:
        whole: ``(room, 3)``.
        real: ``(room, 3)``.
        order: Places in the two, those chosen first.
        counts: The label's jobs dealt with by class.
        after: Those of a successor.
        new: Its key.
        left: Whether an adapter has jobs left.
        backlogs: Scratch of :func:`value`.
        stamp: The label that a grain's numbers below are of.
        apart: What each adapter costs from a grain on, if it is not held; in the last column all.
        endless: How many of them cost infinity.
    """

    whole: Any
    real: Any
    order: Any
    counts: Any
    after: Any
    new: Any
    left: Any
    backlogs: Any
    stamp: Any
    apart: Any
    endless: Any


@compiled
def _scratch(model: Model, words: int) -> Found:
    adapters, classes = model.jobs.adapters.shape[0] - 1, model.jobs.classes.shape[0]
    room, grains = model.batches.costs.shape[0] + classes, model.bound.paid.shape[0]
    return Found(
        np.empty((room, 3), dtype=np.int64),
        np.empty((room, 3)),
        np.empty(room, dtype=np.int64),
        np.empty(classes, dtype=np.int64),
        np.empty(classes, dtype=np.int64),
        np.empty((1, words), dtype=np.int64),
        np.empty(adapters, dtype=np.bool_),
        np.empty(model.bound.tables.shape[0], dtype=np.int64),
        np.full(grains, NONE),
        np.empty((grains, adapters + 1)),
        np.empty(grains, dtype=np.int64),
    )


@compiled
def _what_is_left(jobs: Jobs, found: Found) -> float:
    """See which adapters have jobs left; what rejecting all of these adds to the loss."""
    total = 0.0
    for a in range(found.left.shape[0]):
        found.left[a] = False
        for q in range(jobs.adapters[a, CLASS_AT], jobs.adapters[a + 1, CLASS_AT]):
            if found.counts[q] < jobs.classes[q, JOBS]:
                found.left[a] = True
                total += _rejecting(jobs, q, found.counts[q], jobs.classes[q, JOBS])
    return total


@compiled
def _rejections(model: Model, label: Label, a: int, now: float, limit: float, found: Found) -> int:
    """Find the successors by rejecting one job of adapter ``a``; how many there are.

    To reject a job before it has arrived is of use only where a later one of its class is served
    next, at the earliest when that one arrives.
    """
    jobs, batches, bound = model
    counts, last, places = found.counts, bound.paid.shape[0] - 1, 0
    grain = label.free // bound.grain
    for q in range(jobs.adapters[a, CLASS_AT], jobs.adapters[a + 1, CLASS_AT]):
        left = jobs.classes[q, JOBS] - counts[q]
        if left == 0 or jobs.losses[q, REJECTED] == np.inf or q < label.pending:
            continue
        job = jobs.classes[q, ARRIVAL_AT] + counts[q]
        early = jobs.arrival[job] > label.free
        if (early and left == 1) or (label.pending != NONE and not early):
            continue
        cost = _rejecting(jobs, q, counts[q], counts[q] + 1)
        counts[q] += 1
        own = value(
            jobs, bound, batches.moves, grain, a, a == label.held, counts, NONE, found.backlogs
        )
        counts[q] -= 1
        promise = max(label.promise, label.promise + (cost + own - now))
        if early and a != label.held:
            begin = max(label.free, jobs.arrival[job + 1] - batches.switch[label.held, a])
            promise += bound.paid[min(begin // bound.grain, last)] - bound.paid[min(grain, last)]
        if promise < limit:
            found.whole[places, THE_MOVE] = REJECT - q
            found.whole[places, THEN_PENDING] = q if early else NONE
            found.whole[places, THEN_FREE] = label.free
            found.real[places, THEN_LOSS] = label.loss + cost
            found.real[places, THEN_PROMISE] = promise
            places += 1
    return places


@compiled
def _servings(
    model: Model, label: Label, a: int, now: float, limit: float, found: Found, places: int
) -> int:
    """Find the successors by batches of adapter ``a``; how many there are with those before."""
    jobs, batches, bound = model
    moves, counts, last = batches.moves, found.counts, bound.paid.shape[0] - 1
    switch = batches.switch[label.held, a]
    paid = bound.paid[min(label.free // bound.grain, last)]
    first = jobs.adapters[a, CLASS_AT]
    for move in range(jobs.adapters[a, MOVE_AT], jobs.adapters[a + 1, MOVE_AT]):
        if label.pending != NONE and moves[move, TAKES + label.pending - first] == 0:
            continue
        start = start_of(jobs, moves, move, a, label.free + switch, counts)
        stop = start + moves[move, DURATION]
        if start < 0 or stop > batches.horizon:
            continue
        # Until the switch the GPU stands idle. (Waiting with the adapter held is paid for.)
        if a != label.held:
            begin = min((start - switch) // bound.grain, last)
            if label.promise + (bound.paid[begin] - paid) >= limit:
                continue
        grain = stop // bound.grain
        cost = batches.switch_cost[label.held, a]
        cost += _cost_of(jobs, batches, move, a, start, counts)
        own = value(jobs, bound, moves, grain, a, True, counts, move, found.backlogs)
        # No other adapter costs less later on.
        promise = label.promise + (cost + own - now) + (bound.paid[min(grain, last)] - paid)
        if promise < limit:
            found.whole[places, THE_MOVE], found.whole[places, THEN_PENDING] = move, NONE
            found.whole[places, THEN_FREE] = stop
            found.real[places, THEN_LOSS], found.real[places, OWN] = label.loss + cost, own
            found.real[places, THEN_PROMISE] = max(label.promise, promise)
            places += 1
    return places


@compiled
def _choose(pool: Pool, found: Found, places: int, few: int) -> int:
    """Put the most promising places first, and cut the others; how many are left."""
    order, promise = found.order, found.real[:, THEN_PROMISE]
    for i in range(places):
        order[i] = i
    if places <= few:
        return places
    for i in range(few):
        best = i
        for j in range(i + 1, places):
            if promise[order[j]] < promise[order[best]]:
                best = j
        order[i], order[best] = order[best], order[i]
    for i in range(few, places):
        pool.bests[CUT] = min(pool.bests[CUT], promise[order[i]])
    return few


@compiled
def _others(model: Model, found: Found, at: int, a: int, grain: int) -> float:
    """What all adapters but ``a`` cost from a grain on, none of them held.

    ``at`` tells one label from another.
    """
    jobs, batches, bound = model
    last, count = bound.paid.shape[0] - 1, found.left.shape[0]
    place = min(grain, last)
    if found.stamp[place] != at:
        found.stamp[place] = at if grain <= last else NONE
        found.apart[place, count], found.endless[place] = 0.0, 0
        for b in range(count):
            if found.left[b]:
                each = value(
                    jobs, bound, batches.moves, grain, b, False, found.counts, NONE, found.backlogs
                )
                found.apart[place, b] = each
                if each == np.inf:
                    found.endless[place] += 1
                else:
                    found.apart[place, count] += each
    own = found.apart[place, a]
    if found.endless[place] > (1 if own == np.inf else 0):
        return np.inf
    return found.apart[place, count] - (0.0 if own == np.inf else own)  # type: ignore[no-any-return]


@compiled
def _step(model: Model, found: Found, a: int, move: int) -> int:
    """Fill in a successor's counts; how many jobs its move deals with."""
    counts, after = found.counts, found.after
    for q in range(counts.shape[0]):
        after[q] = counts[q]
    if move < 0:
        after[REJECT - move] += 1
        return 1
    taken, first = 0, model.jobs.adapters[a, CLASS_AT]
    for q in range(first, model.jobs.adapters[a + 1, CLASS_AT]):
        n = model.batches.moves[move, TAKES + q - first]
        after[q] += n
        taken += n
    return taken


@compiled
def _file(
    model: Model,
    pool: Pool,
    found: Found,
    place: int,
    label: Label,
    a: int,
    row: int,
    at: int,
    layer: int,
    slack: float,
) -> int:
    """File a successor of a label that is not cut; its layer."""
    jobs, batches, bound = model
    move, free = found.whole[place, THE_MOVE], found.whole[place, THEN_FREE]
    loss, promise = found.real[place, THEN_LOSS], found.real[place, THEN_PROMISE]
    limit = below(pool.bests[BEST])
    if promise >= limit:
        return layer
    layer += _step(model, found, a, move)
    if layer == pool.layers.shape[0] - 1:
        if loss < limit:
            pool.bests[BEST] = loss
            pool.registers[FINAL], pool.registers[FINAL_MOVE] = row, move
        return layer
    if move >= 0 and promise < pool.worst[layer]:
        grain, last = free // bound.grain, bound.paid.shape[0] - 1
        rest = _others(model, found, at, a, grain) + found.real[place, OWN]
        promise = max(promise, loss + rest + bound.paid[min(grain, last)] - bound.paid[last])
        if promise >= limit:
            return layer
    if promise >= pool.worst[layer]:
        pool.bests[CUT] = min(pool.bests[CUT], promise)
        return layer
    pack(jobs.classes, found.after, found.new[0])
    found.left[a] = False
    for q in range(jobs.adapters[a, CLASS_AT], jobs.adapters[a + 1, CLASS_AT]):
        if found.after[q] < jobs.classes[q, JOBS]:
            found.left[a] = True
    held = label.held if move < 0 else a
    then = Label(loss, promise, free, held, found.whole[place, THEN_PENDING])
    insert(pool, layer, found.new, then, row, move, found.left, batches, slack)
    found.left[a] = True
    return layer


@compiled
def _successors(
    model: Model,
    pool: Pool,
    found: Found,
    row: int,
    at: int,
    layer: int,
    width: int,
    few: int,
    slack: float,
) -> None:
    """Make the successors of one label; see :func:`expand`."""
    jobs, batches, bound = model
    promise, held = pool.real[row, PROMISE], pool.whole[row, HELD]
    free, pending = pool.whole[row, FREE], pool.whole[row, PENDING]
    label = Label(pool.real[row, LOSS], promise, free, held, pending)
    unpack(jobs.classes, pool.key, row, found.counts)
    total = label.loss + _what_is_left(jobs, found)
    if pending == NONE and total < below(pool.bests[BEST]):
        pool.bests[BEST] = total
        pool.registers[FINAL], pool.registers[FINAL_MOVE] = row, REJECT_ALL
    for a in range(found.left.shape[0]):
        first, end = jobs.adapters[a, CLASS_AT], jobs.adapters[a + 1, CLASS_AT]
        if not found.left[a] or (pending != NONE and not first <= pending < end):
            continue
        limit = below(pool.bests[BEST])
        now = value(
            jobs, bound, batches.moves, free // bound.grain, a, a == held, found.counts, NONE,
            found.backlogs,
        )  # fmt: skip
        rejections = _rejections(model, label, a, now, limit, found)
        places = _servings(model, label, a, now, limit, found, rejections)
        chosen = _choose(pool, found, places, rejections + few if few > 0 else places)
        for i in range(chosen):
            into = _file(model, pool, found, found.order[i], label, a, row, at, layer, slack)
            if pool.layers[into, COUNT] >= width:
                pool.registers[OVERFULL] = 1
        moves = jobs.adapters[a + 1, MOVE_AT] - jobs.adapters[a, MOVE_AT]
        pool.registers[LOOKS] += moves + chosen


@entry
def expand(
    model: Model,
    pool: Pool,
    rows: Any,
    position: int,
    layer: int,
    width: int,
    few: int,
    work: int,
    slack: float,
) -> int:
    """Make the successors of collected labels, until all are done or it is time to look up.

    Args:
        model: The problem.
        pool: The labels.
        rows: Those collected.
        position: The first one that is not done.
        layer: Their layer.
        width: Labels in a layer's list from which on it is overfull.
        few: Batches tried for each label and adapter, the most promising ones; 0: all.
        work: Batches looked at before it returns.
        slack: Losses that differ by this are equal.

    Returns:
        The first position that is not done. It stops early where the pool may not hold a label's
        successors, or where a layer is overfull.
    """
    found = _scratch(model, pool.key.shape[1])
    registers = pool.registers
    enough = registers[LOOKS] + work
    for at in range(position, rows.shape[0]):
        room = pool.key.shape[0] - registers[USED] + registers[SPARES]
        if registers[LOOKS] >= enough or room < found.order.shape[0] or registers[OVERFULL] > 0:
            return at
        if pool.real[rows[at], PROMISE] < below(pool.bests[BEST]):
            _successors(model, pool, found, rows[at], at, layer, width, few, slack)
    return rows.shape[0]  # type: ignore[no-any-return]
