"""The compiled parts of the search over batch sequences: bound, moves, dominance.

Labels are rows of a :class:`Pool`. A label waits in the list of its layer (jobs dealt with) and in
the chain of its state's hash bucket until its layer is collected; it is then expanded, and stays to
tell its successors' story. A row is used again once its label is dominated or cut.

Arrays have their fields in columns, and inner functions get them one by one: a compiled function
takes long to compile, and to call, with many of them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

#: No row, no class, no move.
NONE = -1

#: Moves that are not batches: reject all that is left, or one job of class q (``REJECT - q``).
REJECT_ALL, REJECT = -1, -2

#: A pool's whole-number columns. ``HELD`` is :data:`NONE` in a dead row; of ``PENDING``, a class,
#: the next batch must serve a job; ``MOVE`` is a batch or a negative number as above; ``LINK`` is the
#: next row of the layer's list or of the free rows, ``CHAIN`` that of the bucket.
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


#: Columns of :attr:`Model.adapters`. An adapter's classes, moves and table classes end where the
#: next one's begin.
CLASS_AT, MOVE_AT, TABLE_AT, MERGED, BASE, SIZE = range(6)

#: Columns of :attr:`Model.classes`: where its count is in a key, its jobs, where they begin in
#: ``arrival`` (in ``arrivals`` each class before has one more), its class in the tables.
WORD, SHIFT, MASK, JOBS, ARRIVAL_AT, INTO = range(6)

#: Columns of :attr:`Model.losses`: rejecting a job (infinity: it must be served), what its tick
#: costs beyond what the tables say, what the tables say.
REJECTED, EXTRA, PRICE = range(3)

#: Columns of :attr:`Model.moves`: ticks, where the members with a priced deadline begin, and jobs
#: taken by class of the adapter. Of :attr:`Model.costs`: at the start, and by tick of the start.
DURATION, LATE_AT, TAKES = range(3)
FIXED, SLOPE = range(2)

#: Columns of :attr:`Model.tables`: backlogs told apart, stride, where ``skip`` and ``sums`` begin
#: (where none may be skipped: -1). Of :attr:`Model.table_costs`: a start's loss by grain and by tick
#: that it is later, and at 0.
DIM, STRIDE, SKIP_AT, SUMS_AT = range(4)
BY_GRAIN, BY_TICK, LEAST = range(3)

#: Entries of :attr:`Model.scalars`: ticks in a grain, last tick of all (or beyond all), whether
#: switching depends on the adapter held.
GRAIN, HORIZON, PAIRED = range(3)


class Model(NamedTuple):
    """A problem with one GPU and one resident adapter, and its bound, in arrays.

    Classes and moves (batches) are numbered through all adapters. The bound's *tables* have classes
    of their own, fewer where some were merged, and count time in *grains* of ticks.

    Attributes:
        adapters: ``(adapters + 1, 6)``.
        classes: ``(classes, 6)``.
        losses: ``(classes, 3)``.
        arrival: Arrival ticks of all jobs, classes after one another.
        arrivals: Sums of the class's arrivals before each job, and all of them.
        arrived: Jobs arrived by class and grain.
        moves: ``(moves + 1, 2 + most classes of an adapter)``.
        costs: ``(moves, 2)``.
        late_from: First start at which a member with a priced deadline is late.
        late_cost: What that costs.
        switch: Ticks of switching, by adapter held (last row: none) and target.
        switch_cost: Price of it.
        scalars: ``(3,)``.
        tables: ``(table classes, 4)``.
        table_costs: ``(table classes, 3)``.
        table_arrived: Jobs arrived by table class and grain.
        skip: Cost of rejecting each job in the tables.
        sums: Sums of arrivals by table class.
        values: Cost to go by adapter, grain and backlog: where it is not held, and where it is.
        paid: Price of the GPU summed up to each grain.
    """

    adapters: Any
    classes: Any
    losses: Any
    arrival: Any
    arrivals: Any
    arrived: Any
    moves: Any
    costs: Any
    late_from: Any
    late_cost: Any
    switch: Any
    switch_cost: Any
    scalars: Any
    tables: Any
    table_costs: Any
    table_arrived: Any
    skip: Any
    sums: Any
    values: Any
    paid: Any


# -- the bound -----------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def value(
    adapters: Any,
    classes: Any,
    losses: Any,
    arrivals: Any,
    arrived: Any,
    moves: Any,
    tables: Any,
    table_costs: Any,
    table_arrived: Any,
    skip: Any,
    sums: Any,
    values: Any,
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
    last = arrived.shape[1] - 1
    t = min(grain, last)
    merged = adapters[a, MERGED] > 0
    first, end = adapters[a, CLASS_AT], adapters[a + 1, CLASS_AT]
    tables_at, tables_end = adapters[a, TABLE_AT], adapters[a + 1, TABLE_AT]
    for k in range(tables_at, tables_end):
        backlogs[k] = 0
    cost = 0.0
    for q in range(first, end):
        done = counts[q]
        if move >= 0:
            done += moves[move, TAKES + q - first]
        waiting = arrived[q, t] - done
        k = classes[q, INTO]
        if waiting >= 0:
            backlogs[k] += waiting
        if waiting < 0 or (merged and tables[k, SKIP_AT] >= 0):
            # Jobs rejected before they came, which the tables reject again; or of merged classes, of
            # which the tables take the latest jobs to be left: those are dearer to reject.
            at = classes[q, ARRIVAL_AT] + q + done
            cost += losses[q, PRICE] * (arrivals[at + waiting] - arrivals[at])
            if waiting < 0:
                cost += losses[q, REJECTED] * waiting
    if merged:
        for k in range(tables_at, tables_end):
            if tables[k, SKIP_AT] >= 0:
                at = tables[k, SUMS_AT] + table_arrived[k, t]
                cost -= table_costs[k, BY_TICK] * (sums[at] - sums[at - backlogs[k]])
    index = 0
    for k in range(tables_at, tables_end):
        backlog = backlogs[k]
        over = backlog if grain > last else backlog - tables[k, DIM] + 1
        if over > 0:  # the oldest, beyond what the tables tell apart, are served for their least
            each = table_costs[k, BY_GRAIN] * grain + table_costs[k, LEAST]
            if tables[k, SKIP_AT] < 0:
                cost += over * each
            else:
                job = tables[k, SKIP_AT] + table_arrived[k, t] - backlog
                for i in range(job, job + over):
                    cost += min(each, skip[i])
            backlog -= over
        index += backlog * tables[k, STRIDE]
    size = adapters[a, SIZE]
    state = last + 1 if held else 0
    return cost + values[adapters[a, BASE] + (state + t) * size + index]  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def remaining(m: Model, held: int, tick: int, counts: Any) -> float:
    """The least that all that is left costs from ``tick`` on, the GPU's price taken off."""
    last = m.paid.shape[0] - 1
    grain = tick // m.scalars[GRAIN]
    backlogs = np.empty(m.tables.shape[0], dtype=np.int64)
    cost = m.paid[min(grain, last)] - m.paid[last]
    for a in range(m.adapters.shape[0] - 1):
        if m.adapters[a, CLASS_AT] < m.adapters[a + 1, CLASS_AT]:
            cost += value(
                m.adapters, m.classes, m.losses, m.arrivals, m.arrived, m.moves, m.tables,
                m.table_costs, m.table_arrived, m.skip, m.sums, m.values,
                grain, a, a == held, counts, NONE, backlogs,
            )  # fmt: skip
    return cost  # type: ignore[no-any-return]


# -- labels --------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)  # type: ignore[misc]
def unpack(classes: Any, key: Any, row: int, counts: Any) -> None:
    """Counts by class of a row's key."""
    for q in range(counts.shape[0]):
        counts[q] = (key[row, classes[q, WORD]] >> classes[q, SHIFT]) & classes[q, MASK]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def pack(classes: Any, counts: Any, key: Any) -> None:
    """The key of counts."""
    key[:] = 0
    for q in range(counts.shape[0]):
        key[classes[q, WORD]] |= counts[q] << classes[q, SHIFT]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _bucket(key: Any, row: int, buckets: int) -> int:
    mixed = np.int64(0)
    for w in range(key.shape[1]):
        mixed = (mixed ^ key[row, w]) * np.int64(-7046029254386353131)
        mixed ^= (mixed >> np.int64(31)) & np.int64(0x1FFFFFFFF)
    return mixed & (buckets - 1)


@njit(cache=True, nogil=True)  # type: ignore[misc]
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
    paired: bool,
    switch: Any,
    switch_cost: Any,
) -> bool:
    """Whether a label can do all that another one of its state can, no later and no dearer.

    ``left`` says which adapters have jobs left.
    """
    if pending != NONE and pending != other_pending:  # noqa: PLR1714 - compiled
        return False
    if held == other_held:
        return free <= other_free and loss <= other_loss
    if not paired:  # what they hold matters where it is used again
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


@njit(cache=True, nogil=True)  # type: ignore[misc]
def insert(
    key: Any,
    whole: Any,
    real: Any,
    bucket: Any,
    layers: Any,
    registers: Any,
    layer: int,
    new: Any,
    loss: float,
    promise: float,
    free: int,
    held: int,
    pending: int,
    parent: int,
    move: int,
    left: Any,
    paired: bool,
    switch: Any,
    switch_cost: Any,
    slack: float,
) -> None:
    """File a label with key ``new[0]``, unless another one beats it; drop those that it beats."""
    slot = _bucket(new, 0, bucket.shape[0])
    into = NONE
    for beaten in range(2):
        row = bucket[slot]
        while row >= 0:
            same = whole[row, HELD] >= 0
            for w in range(key.shape[1]):
                same = same and key[row, w] == new[0, w]
            if same and beaten == 0:
                if _beats(
                    whole[row, HELD], whole[row, FREE], real[row, LOSS] - slack,
                    whole[row, PENDING], held, free, loss, pending,
                    left, paired, switch, switch_cost,
                ):  # fmt: skip
                    return
            elif same and _beats(
                held, free, loss - slack, pending,
                whole[row, HELD], whole[row, FREE], real[row, LOSS], whole[row, PENDING],
                left, paired, switch, switch_cost,
            ):  # fmt: skip
                if into == NONE:
                    into = row
                else:
                    whole[row, HELD] = NONE
            row = whole[row, CHAIN]
    if into == NONE:
        into = registers[SPARE]
        if into == NONE:
            into = registers[USED]
            registers[USED] += 1
        else:
            registers[SPARE] = whole[into, LINK]
            registers[SPARES] -= 1
        for w in range(key.shape[1]):
            key[into, w] = new[0, w]
        whole[into, CHAIN] = bucket[slot]
        bucket[slot] = into
        whole[into, LINK] = layers[layer, FIRST]
        layers[layer, FIRST] = into
        layers[layer, COUNT] += 1
    real[into, LOSS], real[into, PROMISE] = loss, promise
    whole[into, FREE], whole[into, HELD], whole[into, PENDING] = free, held, pending
    whole[into, PARENT], whole[into, MOVE] = parent, move


@njit(cache=True, nogil=True)  # type: ignore[misc]
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


@njit(cache=True, nogil=True)  # type: ignore[misc]
def listed(whole: Any, layers: Any, layer: int) -> Any:
    """The rows of a layer's list, the dead ones too."""
    rows = np.empty(layers[layer, COUNT], dtype=np.int64)
    row = layers[layer, FIRST]
    for i in range(rows.shape[0]):
        rows[i] = row
        row = whole[row, LINK]
    return rows


@njit(cache=True, nogil=True)  # type: ignore[misc]
def relist(whole: Any, layers: Any, layer: int, rows: Any) -> None:
    """Make these rows a layer's list."""
    layers[layer, FIRST], layers[layer, COUNT] = NONE, rows.shape[0]
    for i in range(rows.shape[0] - 1, -1, -1):
        whole[rows[i], LINK] = layers[layer, FIRST]
        layers[layer, FIRST] = rows[i]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def release(whole: Any, registers: Any, rows: Any) -> None:
    """Make rows that are in no list and no bucket free to be used again."""
    for row in rows:
        whole[row, LINK] = registers[SPARE]
        registers[SPARE] = row
    registers[SPARES] += rows.shape[0]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def rehash(key: Any, whole: Any, bucket: Any, layers: Any) -> None:
    """Fill empty buckets with the labels of all layers."""
    for layer in range(layers.shape[0]):
        row = layers[layer, FIRST]
        while row >= 0:
            slot = _bucket(key, row, bucket.shape[0])
            whole[row, CHAIN] = bucket[slot]
            bucket[slot] = row
            row = whole[row, LINK]


@njit(cache=True, nogil=True)  # type: ignore[misc]
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


@njit(cache=True, nogil=True)  # type: ignore[misc]
def below(best: float) -> float:
    """Promises from here on beat nothing: rounding must not pass for an improvement."""
    return best - 1e-9 * max(1.0, abs(best)) if best < np.inf else np.inf  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def start_of(
    adapters: Any,
    classes: Any,
    arrival: Any,
    moves: Any,
    move: int,
    a: int,
    ready: int,
    counts: Any,
) -> int:
    """First tick from ``ready`` at which a batch's members are in; -1: there are not enough."""
    first = adapters[a, CLASS_AT]
    for q in range(first, adapters[a + 1, CLASS_AT]):
        n = moves[move, TAKES + q - first]
        if n > 0:
            if counts[q] + n > classes[q, JOBS]:
                return -1
            ready = max(ready, arrival[classes[q, ARRIVAL_AT] + counts[q] + n - 1])
    return ready


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _cost_of(
    adapters: Any,
    classes: Any,
    losses: Any,
    arrivals: Any,
    moves: Any,
    costs: Any,
    late_from: Any,
    late_cost: Any,
    move: int,
    a: int,
    start: int,
    counts: Any,
) -> float:
    """What a batch adds to a label's loss, its switch aside."""
    cost = costs[move, FIXED] + costs[move, SLOPE] * start
    for i in range(moves[move, LATE_AT], moves[move + 1, LATE_AT]):
        if start >= late_from[i]:
            cost += late_cost[i]
    if adapters[a, MERGED] > 0:
        first = adapters[a, CLASS_AT]
        for q in range(first, adapters[a + 1, CLASS_AT]):
            n = moves[move, TAKES + q - first]
            if n > 0:
                at = classes[q, ARRIVAL_AT] + q + counts[q]
                cost -= losses[q, EXTRA] * (arrivals[at + n] - arrivals[at])
    return cost  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _rejecting(
    classes: Any, losses: Any, arrivals: Any, q: int, first: int, last: int
) -> float:
    """What rejecting the jobs from ``first`` to before ``last`` of a class adds to the loss."""
    at = classes[q, ARRIVAL_AT] + q
    ahead = losses[q, PRICE] * (arrivals[at + last] - arrivals[at + first])
    return losses[q, REJECTED] * (last - first) + ahead  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _best_first(reduced: Any, found: int, few: int, order: Any) -> None:
    """Move the places of the ``few`` least to the front of ``order``."""
    for i in range(min(few, found)):
        best = i
        for j in range(i + 1, found):
            if reduced[order[j]] < reduced[order[best]]:
                best = j
        order[i], order[best] = order[best], order[i]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
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
    (
        adapters, classes, losses, arrival, arrivals, arrived, moves, costs, late_from, late_cost,
        switch, switch_cost, scalars, tables, table_costs, table_arrived, skip, sums, values, paid,
    ) = model  # fmt: skip
    key, whole, real, bucket, layers, worst, registers, bests = pool
    count, number = adapters.shape[0] - 1, classes.shape[0]
    most, last, final = costs.shape[0] + number, paid.shape[0] - 1, layers.shape[0] - 1
    grain, horizon, paired = scalars[GRAIN], scalars[HORIZON], scalars[PAIRED] > 0
    counts = np.empty(number, dtype=np.int64)
    after = np.empty(number, dtype=np.int64)
    new = np.empty((1, key.shape[1]), dtype=np.int64)
    left = np.empty(count, dtype=np.bool_)
    backlogs = np.empty(tables.shape[0], dtype=np.int64)
    stamp = np.full(last + 1, NONE)
    apart = np.empty((last + 1, count + 1))  # each adapter's cost from a grain on, not held; all's
    endless = np.empty(last + 1, dtype=np.int64)  # how many of them cost infinity
    # Successors of one label by one adapter: move, class pending, start, order; loss, least promise
    # and what the adapter costs from then on.
    found_whole = np.empty((most, 4), dtype=np.int64)
    found_real = np.empty((most, 3))
    order = np.empty(most, dtype=np.int64)
    reduced = np.empty(most)
    looked = 0
    for at in range(position, rows.shape[0]):
        room = key.shape[0] - registers[USED] + registers[SPARES]
        if looked >= work or room < most or registers[OVERFULL] > 0:
            registers[LOOKS] += looked
            return at
        row = rows[at]
        limit = below(bests[BEST])
        promise = real[row, PROMISE]
        if promise >= limit:
            continue
        loss, held = real[row, LOSS], whole[row, HELD]
        free, pending = whole[row, FREE], whole[row, PENDING]
        now_paid = paid[min(free // grain, last)]
        unpack(classes, key, row, counts)
        # Reject all that is left.
        total = loss if pending == NONE else np.inf
        for a in range(count):
            left[a] = False
            for q in range(adapters[a, CLASS_AT], adapters[a + 1, CLASS_AT]):
                if counts[q] < classes[q, JOBS]:
                    left[a] = True
                    total += _rejecting(classes, losses, arrivals, q, counts[q], classes[q, JOBS])
        if total < limit:
            bests[BEST], limit = total, below(total)
            registers[FINAL], registers[FINAL_MOVE] = row, REJECT_ALL
        for a in range(count):
            first, end = adapters[a, CLASS_AT], adapters[a + 1, CLASS_AT]
            if not left[a] or (pending != NONE and not first <= pending < end):
                continue
            now = value(
                adapters, classes, losses, arrivals, arrived, moves, tables, table_costs,
                table_arrived, skip, sums, values,
                free // grain, a, a == held, counts, NONE, backlogs,
            )  # fmt: skip
            ready = free + switch[held, a]
            found = 0
            # Reject a job. Before it has arrived that is of use only where a later one of its class
            # is served next, at the earliest when that one arrives.
            for q in range(first, end):
                if counts[q] == classes[q, JOBS] or losses[q, REJECTED] == np.inf or q < pending:
                    continue
                job = classes[q, ARRIVAL_AT] + counts[q]
                early = arrival[job] > free
                if early and counts[q] + 1 == classes[q, JOBS] or pending != NONE and not early:
                    continue
                then = loss + _rejecting(classes, losses, arrivals, q, counts[q], counts[q] + 1)
                counts[q] += 1
                own = value(
                    adapters, classes, losses, arrivals, arrived, moves, tables, table_costs,
                    table_arrived, skip, sums, values,
                    free // grain, a, a == held, counts, NONE, backlogs,
                )  # fmt: skip
                counts[q] -= 1
                least = max(promise, promise + (then - loss + own - now))
                if early and a != held:
                    begin = max(free, arrival[job + 1] - switch[held, a])
                    least += paid[min(begin // grain, last)] - now_paid
                if least < limit:
                    found_whole[found, 0] = REJECT - q
                    found_whole[found, 1] = q if early else NONE
                    found_whole[found, 2] = free
                    found_real[found, 0], reduced[found] = then, least
                    found += 1
            rejections = found
            # Serve a batch.
            for move in range(adapters[a, MOVE_AT], adapters[a + 1, MOVE_AT]):
                looked += 1
                if pending != NONE and moves[move, TAKES + pending - first] == 0:
                    continue
                start = start_of(adapters, classes, arrival, moves, move, a, ready, counts)
                stop = start + moves[move, DURATION]
                if start < 0 or stop > horizon:
                    continue
                # Until the switch the GPU stands idle. (Waiting with the adapter held is paid for.)
                if a != held:
                    begin = min((start - switch[held, a]) // grain, last)
                    if promise + (paid[begin] - now_paid) >= limit:
                        continue
                cost = switch_cost[held, a] + _cost_of(
                    adapters, classes, losses, arrivals, moves, costs, late_from, late_cost,
                    move, a, start, counts,
                )  # fmt: skip
                own = value(
                    adapters, classes, losses, arrivals, arrived, moves, tables, table_costs,
                    table_arrived, skip, sums, values,
                    stop // grain, a, True, counts, move, backlogs,
                )  # fmt: skip
                # No other adapter costs less later on.
                least = promise + (cost + own - now) + (paid[min(stop // grain, last)] - now_paid)
                if least < limit:
                    found_whole[found, 0], found_whole[found, 1] = move, NONE
                    found_whole[found, 2] = stop
                    found_real[found, 0], found_real[found, 1] = loss + cost, own
                    reduced[found] = max(promise, least)
                    found += 1
            for i in range(found):
                order[i] = i
            chosen = found
            if 0 < few < found - rejections:
                _best_first(reduced, found, few + rejections, order)
                chosen = few + rejections
                for i in range(chosen, found):
                    bests[CUT] = min(bests[CUT], reduced[order[i]])
            for i in range(chosen):
                one = order[i]
                move, stop, then = found_whole[one, 0], found_whole[one, 2], found_real[one, 0]
                least = reduced[one]
                if least >= limit:
                    continue
                looked += 1
                into = layer
                for q in range(number):
                    after[q] = counts[q]
                if move < 0:
                    after[REJECT - move] += 1
                    into += 1
                else:
                    for q in range(first, end):
                        after[q] += moves[move, TAKES + q - first]
                        into += moves[move, TAKES + q - first]
                if into == final:
                    if then < limit:
                        bests[BEST], limit = then, below(then)
                        registers[FINAL], registers[FINAL_MOVE] = row, move
                    continue
                if move >= 0:
                    place = min(stop // grain, last)
                    if stamp[place] != at or stop // grain > last:
                        stamp[place] = at if stop // grain <= last else NONE
                        apart[place, count], endless[place] = 0.0, 0
                        for b in range(count):
                            if not left[b]:
                                continue
                            each = value(
                                adapters, classes, losses, arrivals, arrived, moves, tables,
                                table_costs, table_arrived, skip, sums, values,
                                stop // grain, b, False, counts, NONE, backlogs,
                            )  # fmt: skip
                            apart[place, b] = each
                            if each == np.inf:
                                endless[place] += 1
                            else:
                                apart[place, count] += each
                    each = apart[place, a]
                    rest = apart[place, count] - (0.0 if each == np.inf else each)
                    if endless[place] > (1 if each == np.inf else 0):
                        continue
                    exact = then + rest + found_real[one, 1] + paid[place] - paid[last]
                    least = max(least, exact)
                    if least >= limit:
                        continue
                if least >= worst[into]:
                    bests[CUT] = min(bests[CUT], least)
                    continue
                pack(classes, after, new[0])
                left[a] = False
                for q in range(first, end):
                    if after[q] < classes[q, JOBS]:
                        left[a] = True
                insert(
                    key, whole, real, bucket, layers, registers, into, new, then, least, stop,
                    held if move < 0 else a, found_whole[one, 1], row, move, left, paired,
                    switch, switch_cost, slack,
                )  # fmt: skip
                left[a] = True
                if layers[into, COUNT] >= width:
                    registers[OVERFULL] = 1
    registers[LOOKS] += looked
    return rows.shape[0]  # type: ignore[no-any-return]
