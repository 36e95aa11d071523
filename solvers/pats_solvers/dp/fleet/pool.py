"""The labels of GPUs and caches, compiled: which of them another one beats, and which are needed.

They are kept as those of one GPU (:mod:`pats_solvers.dp.label_pool`), with an array of their GPUs
beside them. Layers are by time: by the tick at which a label's first GPU is free.
"""

# ruff: noqa: C901, PLR0911, PLR0917, PLR1714 - compiled: one function is one loop, and takes
# arrays; sets would be made anew each time

from __future__ import annotations

from typing import Any, NamedTuple

from pats_solvers.common.arrays import fields
from pats_solvers.common.compiled import entry, lean
from pats_solvers.dp.bound import NONE
from pats_solvers.dp.fleet.bound import COMMITTED, FIRST, NEVER, WAITED, FleetModel
from pats_solvers.dp.label_pool import bucket_of, new_row, same_key

#: Labels: 0 (:data:`.NONE` in a dead row), class of which the next batch must serve a job, row and
#: move that it came from (a batch; negative for all else), next row of the layer's list or of the
#: free rows, and next row of the bucket; loss so far (arrivals of the jobs to come are paid), the
#: promise, and the rank among its layer's.
LABELS = fields("held pending parent move link chain", "loss promise rank")

#: Rows of a bucket that a new label is compared with, at most.
COMPARED = 50


class FleetPool(NamedTuple):
    """Labels and what keeps track of them.

    Attributes:
        key: Jobs dealt with by class, packed into words: ``(rows, words)``.
        labels: :data:`LABELS`.
        gpus: :data:`.GPUS` by row, GPUs of a kind sorted.
        bucket: First row of each bucket; a power of two of them.
        layers: :data:`.LAYERS`.
        state: A row of :data:`.STATE`.
    """

    key: Any
    labels: Any
    gpus: Any
    bucket: Any
    layers: Any
    state: Any


class FleetLabel(NamedTuple):
    """A label's own numbers; its GPUs are apart."""

    loss: float
    promise: float
    rank: float
    pending: int


@lean
def _extra(model: FleetModel, one: Any, two: Any, left: Any) -> tuple[int, float]:
    """Return ticks and loss with which a GPU is at least as well off as another one.

    It then loads what the other one holds, and activates what is active there. ``left`` says which
    adapters have jobs left.
    """
    ticks, loss, count = 0, 0.0, left.shape[0]
    if model.paired:
        for a in range(count):
            if left[a]:
                now, then = model.loads[one.active, a], model.loads[two.active, a]
                ticks = max(ticks, now.ticks - then.ticks)
                loss = max(loss, now.loss - then.loss)
        return ticks, loss
    if not model.caching:
        if one.active != two.active and two.active < count and left[two.active]:
            return model.loads[count, two.active].ticks, model.loads[count, two.active].loss
        return ticks, loss
    missing = two.resident & ~one.resident
    if missing:
        for a in range(count):
            if missing & model.bits[a]:
                ticks += model.loads[count, a].ticks
                loss += model.loads[count, a].loss
    if one.active != two.active and one.active != FIRST:
        ready = two.resident & one.resident
        if two.active == FIRST:
            pays = ready != 0
        else:
            pays = two.active < count and (ready & model.bits[two.active]) != 0
        if pays:
            ticks += model.activation[0].ticks
            loss += model.activation[0].loss
    return ticks, loss


@lean
def _beats(
    model: FleetModel,
    ones: Any,
    one: FleetLabel,
    others: Any,
    other: FleetLabel,
    left: Any,
    slack: float,
) -> bool:
    """Return whether a label can do all that another one of its counts can, no later, no dearer.

    Losses that differ by ``slack`` are equal; ``left`` says which adapters have jobs left.
    """
    if one.pending != NONE and one.pending != other.pending:
        return False
    loss = one.loss - slack
    if loss > other.loss:
        return False
    for g in range(ones.shape[0]):
        mine, theirs = ones[g], others[g]
        if mine.free > theirs.free or mine.reach < theirs.reach:
            return False
        if mine.mode == COMMITTED or theirs.mode == COMMITTED:
            # Its batch starts when the switch ends: neither earlier nor later.
            if mine.mode != theirs.mode or mine.active != theirs.active:
                return False
            if mine.free != theirs.free:
                return False
            if theirs.resident & ~mine.resident:
                return False
        elif theirs.free < NEVER:
            # Having waited, a GPU loads nothing ahead any more.
            if mine.mode == WAITED and (
                theirs.mode != WAITED or (theirs.resident & ~mine.resident) != 0
            ):
                return False
            ticks, more = _extra(model, mine, theirs, left)
            loss += more
            if mine.free + ticks > theirs.free or loss > other.loss:
                return False
    return True


@lean
def _label(pool: FleetPool, row: int) -> FleetLabel:
    found = pool.labels[row]
    return FleetLabel(found.loss, found.promise, found.rank, found.pending)


@entry
def insert(
    pool: FleetPool,
    layer: int,
    new: Any,
    label: FleetLabel,
    gpus: Any,
    parent: int,
    move: int,
    left: Any,
    model: FleetModel,
    slack: float,
) -> None:
    """File a label with key ``new[0]``, unless another one beats it; drop those that it beats.

    ``left`` says which adapters have jobs left.
    """
    slot = bucket_of(new, 0, pool.bucket.shape[0])
    at, row, compared = pool.bucket[slot], NONE, 0
    while at >= 0 and compared < COMPARED:
        known = pool.labels[at]
        if known.held >= 0 and same_key(pool.key, at, new):
            compared += 1
            if _beats(model, pool.gpus[at], _label(pool, at), gpus, label, left, slack):
                return
        at = known.chain
    at, compared = pool.bucket[slot], 0
    while at >= 0 and compared < COMPARED:
        known = pool.labels[at]
        if known.held >= 0 and same_key(pool.key, at, new):
            compared += 1
            if _beats(model, gpus, label, pool.gpus[at], _label(pool, at), left, slack):
                known.held = NONE
        at = known.chain
    row = new_row(pool, slot, layer, new)
    filed = pool.labels[row]
    filed.held, filed.pending, filed.parent, filed.move = 0, label.pending, parent, move
    filed.loss, filed.promise, filed.rank = label.loss, label.promise, label.rank
    for g in range(gpus.shape[0]):
        copy_gpu(gpus[g], pool.gpus[row, g])


@lean
def copy_gpu(source: Any, target: Any) -> None:
    """Copy a row of :data:`.GPUS`."""
    target.free, target.active, target.resident = source.free, source.active, source.resident
    target.mode, target.reach, target.was = source.mode, source.reach, source.was


@entry
def needless(pool: FleetPool, rows: Any) -> Any:
    """Return the rows in use that are in no list and lead to no label.

    Args:
        pool: The labels.
        rows: Labels that are in no list, but still to be looked at.
    """
    marked = pool.labels["held"][: pool.state[0].used] * 0
    row = pool.state[0].spare
    while row >= 0:
        marked[row] = 1
        row = pool.labels[row].link
    for i in range(rows.shape[0]):
        _mark(pool, rows[i], marked)
    _mark(pool, pool.state[0].final, marked)
    for layer in range(pool.layers.shape[0]):
        row = pool.layers[layer].first
        while row >= 0:
            _mark(pool, row, marked)
            row = pool.labels[row].link
    count = 0
    for i in range(marked.shape[0]):
        count += 1 - marked[i]
    found = marked[:count].copy()
    count = 0
    for i in range(marked.shape[0]):
        if marked[i] == 0:
            found[count] = i
            count += 1
    return found


@lean
def _mark(pool: FleetPool, row: int, marked: Any) -> None:
    """Mark a row and those that it came from."""
    at = row
    while at >= 0 and marked[at] == 0:
        marked[at] = 1
        at = pool.labels[at].parent
