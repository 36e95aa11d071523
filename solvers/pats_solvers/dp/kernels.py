"""The compiled parts of the search over batch sequences: bound, moves, dominance, beam.

Labels are rows of a :class:`Pool`. A label waits in the list of its layer (jobs dealt with) and in
the chain of its state's hash bucket until its layer is collected; it is then expanded, and stays to
tell its successors' story. A row is used again once its label is dominated or cut.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from pats_solvers.lagrangian.kernels import cut_cost

#: Places in the pool's whole-number registers.
FREE, SPARE, USED, FINAL, FINAL_MOVE, WORK = range(6)
REGISTERS = 6

#: Places in the pool's real registers: the best loss, and the least promise that was cut.
BEST, CUT = range(2)

#: Moves that are not batches: reject one job of class q (``REJECT - q``), or all that are left.
REJECT, REJECT_ALL = -2, -1

#: A whole number that no label's promise threshold, tick or count reaches.
NONE = -1


class Pool(NamedTuple):
    """Labels and what keeps track of them.

    Attributes:
        key: Jobs dealt with by class, packed into words: ``(rows, words)``.
        loss: Loss so far; arrivals of the jobs to come are already paid.
        promise: Lower bound on the loss of every schedule that goes on from here.
        free: Tick from which the GPU is free.
        held: Adapter held (the number of adapters: none); -1 where the row is dead.
        pending: Class of which the next batch must serve a job, or -1.
        parent: Row it was made from.
        move: What made it: a batch, or a negative number (see :data:`REJECT`).
        link: Next row of the layer's list, or of the list of free rows.
        chain: Next row of the hash bucket.
        bucket: First row of each bucket.
        first: First row of each layer's list.
        count: Rows in each layer's list.
        worst: Promise from which on a layer takes no more labels.
        whole: Registers, see :data:`FREE` to :data:`WORK`.
        real: Registers, see :data:`BEST` and :data:`CUT`.
    """

    key: Any
    loss: Any
    promise: Any
    free: Any
    held: Any
    pending: Any
    parent: Any
    move: Any
    link: Any
    chain: Any
    bucket: Any
    first: Any
    count: Any
    worst: Any
    whole: Any
    real: Any


class Model(NamedTuple):
    """A problem with one GPU and one resident adapter, in arrays; see :mod:`.model`.

    Classes and moves are numbered through all adapters; ``x_at[a]`` is where those of adapter a
    begin. *Grains* are the ticks of the bound's tables.

    Attributes:
        word: Word of a class's count in a key.
        shift: Bits below the count.
        mask: The count's bits, shifted down.
        class_at: Where an adapter's classes begin.
        jobs: Jobs of each class.
        arrival: Arrival ticks of all jobs, classes after one another.
        arrivals: Sums of the class's arrivals before each job (one more entry a class).
        arrival_at: Where a class begins in ``arrival``; in ``arrivals`` it is ``q`` further.
        reject: Loss of rejecting a job of each class; infinity where it must be served.
        extra: What a job's tick costs beyond what the bound's tables say, by class.
        move_at: Where an adapter's moves begin; a move is a batch.
        takes: Jobs taken, by move and class of the adapter.
        fixed: Loss by move that does not depend on its start.
        slope: Loss by move for each tick that it starts later.
        duration: Ticks by move.
        late_at: Where a move's members with a priced deadline begin in the two below.
        late_from: First start at which they are late.
        late_cost: What that costs.
        switch: Ticks of switching, by adapter held (last row: none) and target.
        switch_cost: Price of it.
        paired: Whether switching depends on the adapter held.
        horizon: Tick by which all must have ended, or a number beyond all ticks.
        grain: Ticks in a grain.
        arrived: Jobs arrived by class and grain.
        into: The tables' class that a class belongs to.
        table_at: Where an adapter's classes of the tables begin.
        merged: Whether the tables' classes of an adapter are fewer than its own.
        dims: Backlogs that the tables tell apart, by class of the tables.
        strides: Of the flattened backlog.
        table_arrived: Jobs arrived by class of the tables and grain.
        price: Loss by class of the tables for each grain that a start is later.
        least: Loss of a start at grain 0.
        skip: Cost of rejecting each job; arrivals are paid there.
        skip_at: Where a class of the tables begins in ``skip``, or -1.
        sums: Sums of arrivals by class of the tables, for merged ones; see ``sums_at``.
        sums_at: Where a class of the tables begins in ``sums``.
        base: Where an adapter begins in ``absent`` and ``active``.
        size: Backlogs by adapter.
        absent: Cost to go where the adapter is not held, by grain and backlog.
        active: The same where it is held.
        paid: Price of the GPU summed up to each grain.
    """

    word: Any
    shift: Any
    mask: Any
    class_at: Any
    jobs: Any
    arrival: Any
    arrivals: Any
    arrival_at: Any
    reject: Any
    extra: Any
    move_at: Any
    takes: Any
    fixed: Any
    slope: Any
    duration: Any
    late_at: Any
    late_from: Any
    late_cost: Any
    switch: Any
    switch_cost: Any
    paired: bool
    horizon: int
    grain: int
    arrived: Any
    into: Any
    table_at: Any
    merged: Any
    dims: Any
    strides: Any
    table_arrived: Any
    price: Any
    least: Any
    skip: Any
    skip_at: Any
    sums: Any
    sums_at: Any
    base: Any
    size: Any
    absent: Any
    active: Any
    paid: Any


# -- the bound -----------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def value(
    m: Model, table: Any, a: int, tick: int, counts: Any, move: int, backlogs: Any
) -> float:
    """Least that adapter ``a`` still costs from ``tick`` on, after ``move`` (-1: none) as well.

    ``backlogs`` is scratch, one entry for each class of the tables.
    """
    last = m.paid.shape[0] - 1
    t = min(tick // m.grain, last)
    first = m.class_at[a]
    for k in range(m.table_at[a], m.table_at[a + 1]):
        backlogs[k] = 0
    cost, actual = 0.0, 0.0
    for q in range(first, m.class_at[a + 1]):
        done = counts[q]
        if move >= 0:
            done += m.takes[move, q - first]
        waiting = m.arrived[q, t] - done
        k = m.into[q]
        at = m.arrival_at[q] + q
        if waiting < 0:  # some were rejected before they came: the tables reject them again
            rejected = m.reject[q] * -waiting
            sums = m.arrivals[at + done] - m.arrivals[at + done + waiting]
            cost -= rejected + m.price[k] / m.grain * sums
        else:
            backlogs[k] += waiting
            if m.merged[a] and m.skip_at[k] >= 0:
                sums = m.arrivals[at + done + waiting] - m.arrivals[at + done]
                actual += m.price[k] / m.grain * sums
    if m.merged[a]:  # the tables take the jobs left for the latest, which are dearer to reject
        for k in range(m.table_at[a], m.table_at[a + 1]):
            if m.skip_at[k] >= 0:
                end = m.sums_at[k] + m.table_arrived[k, t]
                latest = m.sums[end] - m.sums[end - backlogs[k]]
                cost -= m.price[k] / m.grain * latest
        cost += actual
    if tick // m.grain > last:
        return cost + _beyond(m, a, tick // m.grain, backlogs)
    index = 0
    for k in range(m.table_at[a], m.table_at[a + 1]):
        backlog = backlogs[k]
        if backlog >= m.dims[k]:
            cost += cut_cost(
                k, t, backlog, m.dims, m.table_arrived, m.price, m.least, m.skip, m.skip_at
            )
            backlog = m.dims[k] - 1
        index += backlog * m.strides[k]
    return cost + table[m.base[a] + t * m.size[a] + index]  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def _beyond(m: Model, a: int, grain: int, backlogs: Any) -> float:
    """The least that backlogs cost past the tables' end."""
    cost, last = 0.0, m.paid.shape[0] - 1
    for k in range(m.table_at[a], m.table_at[a + 1]):
        each = m.price[k] * grain + m.least[k]
        if m.skip_at[k] < 0:
            cost += 0.0 if backlogs[k] == 0 else each * backlogs[k]
        else:
            end = m.skip_at[k] + m.table_arrived[k, last]
            for i in range(end - backlogs[k], end):
                cost += min(each, m.skip[i])
    return cost


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def paid(m: Model, tick: int) -> float:
    """Price of the GPU up to ``tick``."""
    return m.paid[min(tick // m.grain, m.paid.shape[0] - 1)]  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def remaining(m: Model, held: int, tick: int, counts: Any, backlogs: Any) -> float:
    """The least that all that is left costs from ``tick`` on."""
    cost = paid(m, tick) - m.paid[m.paid.shape[0] - 1]
    for a in range(m.size.shape[0]):
        if m.class_at[a] < m.class_at[a + 1]:
            table = m.active if a == held else m.absent
            cost += value(m, table, a, tick, counts, NONE, backlogs)
    return cost  # type: ignore[no-any-return]


# -- labels --------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)  # type: ignore[misc]
def unpack(m: Model, key: Any, counts: Any) -> int:
    """Counts by class of a key; their sum."""
    total = 0
    for q in range(counts.shape[0]):
        counts[q] = (key[m.word[q]] >> m.shift[q]) & m.mask[q]
        total += counts[q]
    return total


@njit(cache=True, nogil=True)  # type: ignore[misc]
def pack(m: Model, counts: Any, key: Any) -> None:
    """The key of counts."""
    key[:] = 0
    for q in range(counts.shape[0]):
        key[m.word[q]] |= counts[q] << m.shift[q]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _bucket(key: Any, buckets: int) -> int:
    mixed = np.int64(0)
    for w in range(key.shape[0]):
        mixed = (mixed ^ key[w]) * np.int64(-7046029254386353131)
        mixed ^= (mixed >> np.int64(31)) & np.int64(0x1FFFFFFFF)
    return mixed & (buckets - 1)


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _same(one: Any, other: Any) -> bool:
    for w in range(one.shape[0]):
        if one[w] != other[w]:
            return False
    return True


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _beats(
    m: Model,
    held: int,
    free: int,
    loss: float,
    pending: int,
    other_held: int,
    other_free: int,
    other_loss: float,
    other_pending: int,
    open_: Any,
    slack: float,
) -> bool:
    """Whether a label can do all that another one of its state can, no later and no dearer.

    ``open_`` says which adapters have jobs left.
    """
    if pending not in (NONE, other_pending):
        return False
    if held == other_held:
        return free <= other_free and loss <= other_loss + slack
    if not m.paired:  # what they hold matters where it is used again
        ticks, cost = 0, 0.0
        if other_held < open_.shape[0] and open_[other_held]:
            ticks, cost = m.switch[held, other_held], m.switch_cost[held, other_held]
        return free + ticks <= other_free and loss + cost <= other_loss + slack
    for a in range(open_.shape[0]):
        if open_[a]:
            if free + m.switch[held, a] > other_free + m.switch[other_held, a]:
                return False
            dearer = m.switch_cost[held, a] - m.switch_cost[other_held, a]
            if loss + dearer > other_loss + slack:
                return False
    return True


@njit(cache=True, nogil=True)  # type: ignore[misc]
def insert(
    m: Model,
    pool: Pool,
    layer: int,
    key: Any,
    loss: float,
    promise: float,
    free: int,
    held: int,
    pending: int,
    parent: int,
    move: int,
    open_: Any,
    width: int,
    slack: float,
) -> None:
    """File a label, unless it is dominated or its layer is full of better ones."""
    if promise >= pool.worst[layer]:
        pool.real[CUT] = min(pool.real[CUT], promise)
        return
    slot = _bucket(key, pool.bucket.shape[0])
    row = pool.bucket[slot]
    while row >= 0:
        if (
            pool.held[row] >= 0
            and _same(pool.key[row], key)
            and _beats(
                m, pool.held[row], pool.free[row], pool.loss[row], pool.pending[row],
                held, free, loss, pending, open_, slack,
            )
        ):  # fmt: skip
            return
        row = pool.chain[row]
    into = NONE
    row = pool.bucket[slot]
    while row >= 0:
        if (
            pool.held[row] >= 0
            and _same(pool.key[row], key)
            and _beats(
                m, held, free, loss, pending,
                pool.held[row], pool.free[row], pool.loss[row], pool.pending[row], open_, slack,
            )
        ):  # fmt: skip
            if into == NONE:
                into = row
            else:
                pool.held[row] = NONE
        row = pool.chain[row]
    if into == NONE:
        into = pool.whole[FREE]
        if into == NONE:
            into = pool.whole[USED]
            pool.whole[USED] += 1
        else:
            pool.whole[FREE] = pool.link[into]
            pool.whole[SPARE] -= 1
        pool.key[into] = key
        pool.chain[into] = pool.bucket[slot]
        pool.bucket[slot] = into
        pool.link[into] = pool.first[layer]
        pool.first[layer] = into
        pool.count[layer] += 1
    pool.loss[into], pool.promise[into] = loss, promise
    pool.free[into], pool.held[into], pool.pending[into] = free, held, pending
    pool.parent[into], pool.move[into] = parent, move
    if pool.count[layer] >= 2 * width + 16:
        trim(pool, layer, width)


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _drop(pool: Pool, row: int) -> None:
    """Take a row out of its bucket and free it; it is in no layer's list any more."""
    _unchain(pool, row)
    pool.link[row] = pool.whole[FREE]
    pool.whole[FREE] = row
    pool.whole[SPARE] += 1


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _unchain(pool: Pool, row: int) -> None:
    slot = _bucket(pool.key[row], pool.bucket.shape[0])
    at = pool.bucket[slot]
    if at == row:
        pool.bucket[slot] = pool.chain[row]
        return
    while pool.chain[at] != row:
        at = pool.chain[at]
    pool.chain[at] = pool.chain[row]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def below(best: float) -> float:
    """Promises from here on beat nothing: rounding must not pass for an improvement."""
    return best - 1e-9 * max(1.0, abs(best)) if best < np.inf else np.inf  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def _sweep(pool: Pool, layer: int, width: int) -> Any:
    """Rows of a layer worth keeping, the best ``width``; the others are freed, its list too."""
    limit = below(pool.real[BEST])
    rows = np.empty(pool.count[layer], dtype=np.int64)
    kept, row = 0, pool.first[layer]
    while row >= 0:
        after = pool.link[row]
        if pool.held[row] >= 0 and pool.promise[row] < limit:
            rows[kept] = row
            kept += 1
        else:
            _drop(pool, row)
        row = after
    pool.first[layer], pool.count[layer] = NONE, 0
    rows = rows[:kept]
    order = np.argsort(pool.promise[rows], kind="mergesort")
    rows = rows[order]
    if kept > width:
        pool.worst[layer] = pool.promise[rows[width]]
        pool.real[CUT] = min(pool.real[CUT], pool.worst[layer])
        for i in range(width, kept):
            _drop(pool, rows[i])
        rows = rows[:width]
    return rows


@njit(cache=True, nogil=True)  # type: ignore[misc]
def trim(pool: Pool, layer: int, width: int) -> None:
    """Keep a layer's best ``width`` labels."""
    rows = _sweep(pool, layer, width)
    for i in range(rows.shape[0] - 1, -1, -1):
        pool.link[rows[i]] = pool.first[layer]
        pool.first[layer] = rows[i]
    pool.count[layer] = rows.shape[0]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def collect(pool: Pool, layer: int, width: int) -> Any:
    """A layer's best labels, the best first, to be expanded."""
    rows = _sweep(pool, layer, width)
    for i in range(rows.shape[0]):
        _unchain(pool, rows[i])
    return rows


@njit(cache=True, nogil=True)  # type: ignore[misc]
def rehash(pool: Pool) -> None:
    """Fill empty buckets with the labels of all layers."""
    for layer in range(pool.first.shape[0]):
        row = pool.first[layer]
        while row >= 0:
            slot = _bucket(pool.key[row], pool.bucket.shape[0])
            pool.chain[row] = pool.bucket[slot]
            pool.bucket[slot] = row
            row = pool.link[row]


@njit(cache=True, nogil=True)  # type: ignore[misc]
def least_promise(pool: Pool) -> float:
    """The least promise of the labels in layers' lists."""
    least = np.inf
    for layer in range(pool.first.shape[0]):
        row = pool.first[layer]
        while row >= 0:
            if pool.held[row] >= 0:
                least = min(least, pool.promise[row])
            row = pool.link[row]
    return least


# -- moves ---------------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def start_of(m: Model, move: int, a: int, free: int, held: int, counts: Any) -> int:
    """First tick at which a batch can start: the GPU is free and switched, its members are in."""
    start = free + m.switch[held, a]
    first = m.class_at[a]
    for q in range(first, m.class_at[a + 1]):
        n = m.takes[move, q - first]
        if n > 0:
            start = max(start, m.arrival[m.arrival_at[q] + counts[q] + n - 1])
    return start  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def cost_of(m: Model, move: int, a: int, start: int, held: int, counts: Any) -> float:
    """What a batch adds to a label's loss."""
    cost = m.fixed[move] + m.slope[move] * start + m.switch_cost[held, a]
    for i in range(m.late_at[move], m.late_at[move + 1]):
        if start >= m.late_from[i]:
            cost += m.late_cost[i]
    if m.merged[a]:
        first = m.class_at[a]
        for q in range(first, m.class_at[a + 1]):
            n = m.takes[move, q - first]
            if n > 0 and m.extra[q] != 0.0:
                at = m.arrival_at[q] + q + counts[q]
                cost -= m.extra[q] * (m.arrivals[at + n] - m.arrivals[at])
    return cost  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def rejecting(m: Model, q: int, first: int, last: int) -> float:
    """What rejecting the jobs from ``first`` to before ``last`` of a class adds to the loss."""
    at = m.arrival_at[q] + q
    sums = m.arrivals[at + last] - m.arrivals[at + first]
    k = m.into[q]
    return m.reject[q] * (last - first) + m.price[k] / m.grain * sums  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def expand(
    m: Model,
    pool: Pool,
    order: Any,
    position: int,
    layer: int,
    width: int,
    few: int,
    work: int,
    slack: float,
) -> int:
    """Make the successors of collected labels, until all are done or it is time to look up.

    Args:
        m: The problem.
        pool: The labels.
        order: Rows collected.
        position: The first one that is not done.
        layer: Their layer.
        width: Labels a layer keeps.
        few: Batches tried for each label and adapter, the most promising ones; 0: all.
        work: Batches looked at before it returns.
        slack: Losses that differ by this are equal.

    Returns:
        The first position that is not done. It stops early where the pool may not hold a label's
        successors.
    """
    classes, adapters = m.jobs.shape[0], m.size.shape[0]
    most = m.fixed.shape[0] + classes
    counts = np.empty(classes, dtype=np.int64)
    after = np.empty(classes, dtype=np.int64)
    key = np.empty(pool.key.shape[1], dtype=np.int64)
    open_ = np.empty(adapters, dtype=np.bool_)
    then_open = np.empty(adapters, dtype=np.bool_)
    backlogs = np.empty(m.dims.shape[0], dtype=np.int64)
    waiting = np.empty(adapters)  # what each adapter costs from the label on
    last = m.paid.shape[0] - 1
    stamp = np.full(last + 1, NONE, dtype=np.int64)
    others = np.empty(last + 1)  # what all adapters cost from a grain on, if none is held
    beyond = np.empty(last + 1, dtype=np.int64)  # how many of them cost infinity
    moves = np.empty(most, dtype=np.int64)
    starts = np.empty(most, dtype=np.int64)
    costs = np.empty(most)
    reduced = np.empty(most)
    owns = np.empty(most)
    layers, looked = pool.first.shape[0] - 1, 0
    capacity = pool.loss.shape[0]
    for position_ in range(position, order.shape[0]):
        room = capacity - pool.whole[USED] + pool.whole[SPARE]
        if looked >= work or room < most:
            pool.whole[WORK] += looked
            return position_
        row = order[position_]
        limit = below(pool.real[BEST])
        if pool.promise[row] >= limit:
            continue
        held, free, loss = pool.held[row], pool.free[row], pool.loss[row]
        promise, pending = pool.promise[row], pool.pending[row]
        unpack(m, pool.key[row], counts)
        all_rejectable = pending == NONE
        rejected = 0.0
        for a in range(adapters):
            open_[a] = False
            for q in range(m.class_at[a], m.class_at[a + 1]):
                if counts[q] < m.jobs[q]:
                    open_[a] = True
                    if m.reject[q] == np.inf:
                        all_rejectable = False
                    elif all_rejectable:
                        rejected += rejecting(m, q, counts[q], m.jobs[q])
        if all_rejectable and loss + rejected < limit:
            pool.real[BEST], limit = loss + rejected, below(loss + rejected)
            pool.whole[FINAL], pool.whole[FINAL_MOVE] = row, REJECT_ALL
        for a in range(adapters):
            if not open_[a]:
                continue
            first = m.class_at[a]
            if pending != NONE and not first <= pending < m.class_at[a + 1]:
                continue
            table = m.active if a == held else m.absent
            now = value(m, table, a, free, counts, NONE, backlogs)
            waiting[a] = now
            for q in range(first, m.class_at[a + 1]):
                if counts[q] == m.jobs[q] or m.reject[q] == np.inf or q < pending:
                    continue
                early = m.arrival[m.arrival_at[q] + counts[q]] > free
                if pending != NONE and not early:
                    continue
                counts[q] += 1
                then = loss + rejecting(m, q, counts[q] - 1, counts[q])
                least = then - loss - now + value(m, table, a, free, counts, NONE, backlogs)
                least = max(promise, promise + least)
                if counts[q] < m.jobs[q] and early and a != held:
                    into = m.arrival[m.arrival_at[q] + counts[q]] - m.switch[held, a]
                    least += max(0.0, paid(m, into) - paid(m, free))
                if least < limit and (counts[q] < m.jobs[q] or not early):
                    pack(m, counts, key)
                    if layer + 1 == layers:
                        if then >= limit:
                            counts[q] -= 1
                            continue
                        pool.real[BEST], limit = then, below(then)
                        pool.whole[FINAL], pool.whole[FINAL_MOVE] = row, REJECT - q
                    else:
                        for b in range(adapters):
                            then_open[b] = open_[b]
                        then_open[a] = False
                        for p in range(first, m.class_at[a + 1]):
                            if counts[p] < m.jobs[p]:
                                then_open[a] = True
                        insert(
                            m, pool, layer + 1, key, then, least, free, held,
                            q if early else NONE, row, REJECT - q, then_open, width, slack,
                        )  # fmt: skip
                counts[q] -= 1
            found = 0
            soonest = free + m.switch[held, a]
            for move in range(m.move_at[a], m.move_at[a + 1]):
                possible = pending == NONE or m.takes[move, pending - first] > 0
                start = soonest
                for q in range(first, m.class_at[a + 1]):
                    n = m.takes[move, q - first]
                    if n > 0:
                        if n > m.jobs[q] - counts[q]:
                            possible = False
                            break
                        start = max(start, m.arrival[m.arrival_at[q] + counts[q] + n - 1])
                looked += 1
                if not possible or start + m.duration[move] > m.horizon:
                    continue
                # Until the switch the GPU stands idle. (Waiting with the adapter held is paid for.)
                if a != held:
                    idle = paid(m, start - m.switch[held, a]) - paid(m, free)
                    if promise + idle >= limit:
                        continue
                end = start + m.duration[move]
                cost = cost_of(m, move, a, start, held, counts)
                own = value(m, m.active, a, end, counts, move, backlogs)
                least = promise + (cost + own - now) + (paid(m, end) - paid(m, free))
                if least < limit:
                    moves[found], starts[found], costs[found] = move, start, cost
                    reduced[found], owns[found] = max(promise, least), own
                    found += 1
            looked += found
            if few > 0 and found > few:
                chosen = np.argsort(reduced[:found], kind="mergesort")
                pool.real[CUT] = min(pool.real[CUT], reduced[chosen[few]])
                chosen = np.sort(chosen[:few])
            else:
                chosen = np.arange(found)
            for i in chosen:
                if reduced[i] >= limit:
                    continue
                move, start = moves[i], starts[i]
                end = start + m.duration[move]
                taken = 0
                for q in range(classes):
                    after[q] = counts[q]
                for q in range(first, m.class_at[a + 1]):
                    after[q] += m.takes[move, q - first]
                    taken += m.takes[move, q - first]
                then = loss + costs[i]
                if layer + taken == layers:
                    if then < limit:
                        pool.real[BEST], limit = then, below(then)
                        pool.whole[FINAL], pool.whole[FINAL_MOVE] = row, move
                    continue
                grain = min(end // m.grain, last)
                if end // m.grain > last:
                    least = then + remaining(m, a, end, after, backlogs)
                else:
                    if stamp[grain] != position_:
                        stamp[grain], others[grain], beyond[grain] = position_, 0.0, 0
                        for b in range(adapters):
                            if not open_[b]:
                                continue
                            each = value(m, m.absent, b, end, counts, NONE, backlogs)
                            if each == np.inf:
                                beyond[grain] += 1
                            else:
                                others[grain] += each
                    each = value(m, m.absent, a, end, counts, NONE, backlogs)
                    if beyond[grain] > (1 if each == np.inf else 0):
                        continue
                    rest = others[grain] - (0.0 if each == np.inf else each)
                    least = then + rest + owns[i] + paid(m, end) - m.paid[last]
                least = max(least, reduced[i])
                if least >= limit:
                    continue
                pack(m, after, key)
                for b in range(adapters):
                    then_open[b] = open_[b]
                then_open[a] = False
                for q in range(first, m.class_at[a + 1]):
                    if after[q] < m.jobs[q]:
                        then_open[a] = True
                insert(
                    m, pool, layer + taken, key, then, least, end, a, NONE, row, move,
                    then_open, width, slack,
                )  # fmt: skip
    pool.whole[WORK] += looked
    return order.shape[0]  # type: ignore[no-any-return]
