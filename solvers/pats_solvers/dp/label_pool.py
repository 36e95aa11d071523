"""Labels of the search, compiled: where they are kept, and which of them another one beats.

Labels are rows of a :class:`LabelPool`. A label waits in the list of its layer (jobs dealt with)
and in the chain of its state's hash bucket until its layer is collected; it is then expanded, and
kept so that its successors can be traced. A row is used again once its label is dominated or cut.
"""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.arrays import fields
from pats_solvers.common.compiled import entry, lean
from pats_solvers.dp.bound import NONE, SearchModel

#: Moves that are not batches: reject all that is left, or one job of class q (``REJECT - q``).
REJECT_ALL, REJECT = -1, -2

#: Labels: adapter held (:data:`NONE` in a dead row), tick from which the GPU is free, class of
#: which the next batch must serve a job, row and move that it came from (a batch, or a negative
#: number as above), next row of the layer's list or of the free rows, and next row of the bucket;
#: loss so far (arrivals of the jobs to come are paid), and the promise.
LABELS = fields("held free pending parent move link chain", "loss promise")

#: Layers: first row of the list, and rows in it; promise from which on they take no more labels.
LAYERS = fields("first count", "worst")

#: A pool's state: first free row, free rows, rows ever used, where the best sequence ends and its
#: last move, batches looked at, whether a layer is overfull; the best loss, and the least promise
#: that was cut.
STATE = fields("spare spares used final final_move looks overfull", "best cut")


class LabelPool(NamedTuple):
    """Labels and what keeps track of them.

    Attributes:
        key: Jobs dealt with by class, packed into words: ``(rows, words)``.
        labels: :data:`LABELS`.
        bucket: First row of each bucket; a power of two of them.
        layers: :data:`LAYERS`.
        state: A row of :data:`STATE`.
    """

    key: Any
    labels: Any
    bucket: Any
    layers: Any
    state: Any


@lean
def bucket_of(key: Any, row: int, buckets: int) -> int:
    """Return the bucket of a key among so many, a power of two."""
    mixed = np.int64(0)
    for w in range(key.shape[1]):
        mixed = (mixed ^ key[row, w]) * np.int64(-7046029254386353131)
        mixed ^= (mixed >> np.int64(31)) & np.int64(0x1FFFFFFFF)
    return int(mixed & (buckets - 1))


class Label(NamedTuple):
    """A label's own numbers."""

    loss: float
    promise: float
    free: int
    held: int
    pending: int


@lean
def _beats(one: Any, other: Any, slack: float, left: Any, model: SearchModel) -> bool:
    """Return whether a label can do all that another one of its state can, no later and no dearer.

    Losses that differ by ``slack`` are equal; ``left`` says which adapters have jobs left.
    """
    if one.pending != NONE and one.pending != other.pending:  # noqa: PLR1714 - compiled
        return False
    free, loss = one.free, one.loss - slack
    if one.held == other.held:
        return free <= other.free and loss <= other.loss  # type: ignore[no-any-return]
    now, then = model.switches[one.held], model.switches[other.held]
    if not model.paired:  # what they hold matters where it is used again
        if other.held < left.shape[0] and left[other.held]:
            free += now[other.held].ticks
            loss += now[other.held].loss
        return free <= other.free and loss <= other.loss  # type: ignore[no-any-return]
    for a in range(left.shape[0]):
        if left[a] and (
            free + now[a].ticks > other.free + then[a].ticks
            or loss + now[a].loss > other.loss + then[a].loss
        ):
            return False
    return True


@lean
def same_key(key: Any, row: int, new: Any) -> bool:
    """Return whether a row's key is ``new[0]``."""
    same = True
    for w in range(key.shape[1]):
        same = same and key[row, w] == new[0, w]
    return same


@lean
def _beaten(
    pool: LabelPool, slot: int, new: Any, label: Label, left: Any, model: SearchModel, slack: float
) -> bool:
    """Return whether a row of the bucket beats a label."""
    row = pool.bucket[slot]
    while row >= 0:
        known = pool.labels[row]
        if (
            known.held >= 0
            and same_key(pool.key, row, new)
            and _beats(known, label, slack, left, model)
        ):
            return True
        row = known.chain
    return False


@lean
def _beat(
    pool: LabelPool, slot: int, new: Any, label: Label, left: Any, model: SearchModel, slack: float
) -> int:
    """Mark the rows of the bucket that a label beats as dead; return the first one, for reuse."""
    found = NONE
    row = pool.bucket[slot]
    while row >= 0:
        known = pool.labels[row]
        if (
            known.held >= 0
            and same_key(pool.key, row, new)
            and _beats(label, known, slack, left, model)
        ):
            known.held = NONE
            if found == NONE:
                found = row
        row = known.chain
    return found


@lean
def new_row(pool: Any, slot: int, layer: int, new: Any) -> int:
    """Return a row of a pool that was not in use, filed in a bucket and a layer's list."""
    state, into = pool.state[0], pool.layers[layer]
    row = state.spare
    if row == NONE:
        row = state.used
        state.used += 1
    else:
        state.spare = pool.labels[row].link
        state.spares -= 1
    for w in range(pool.key.shape[1]):
        pool.key[row, w] = new[0, w]
    pool.labels[row].chain = pool.bucket[slot]
    pool.bucket[slot] = row
    pool.labels[row].link = into.first
    into.first = row
    into.count += 1
    return row  # type: ignore[no-any-return]


@entry
def insert(
    pool: LabelPool,
    layer: int,
    new: Any,
    label: Label,
    parent: int,
    move: int,
    left: Any,
    model: SearchModel,
    slack: float,
) -> None:
    """File a label with key ``new[0]``, unless another one beats it; drop those that it beats.

    ``left`` says which adapters have jobs left.
    """
    slot = bucket_of(new, 0, pool.bucket.shape[0])
    if _beaten(pool, slot, new, label, left, model, slack):
        return
    row = _beat(pool, slot, new, label, left, model, slack)
    if row == NONE:
        row = new_row(pool, slot, layer, new)
    filed = pool.labels[row]
    filed.loss, filed.promise, filed.free = label.loss, label.promise, label.free
    filed.held, filed.pending = label.held, label.pending
    filed.parent, filed.move = parent, move


@entry
def unchain(pool: LabelPool, rows: Any) -> None:
    """Take rows out of their buckets."""
    for row in rows:
        slot = bucket_of(pool.key, row, pool.bucket.shape[0])
        at = pool.bucket[slot]
        if at == row:
            pool.bucket[slot] = pool.labels[row].chain
        else:
            while pool.labels[at].chain != row:
                at = pool.labels[at].chain
            pool.labels[at].chain = pool.labels[row].chain


@entry
def listed(pool: LabelPool, layer: int) -> Any:
    """Return the rows of a layer's list, the dead ones too."""
    rows = np.empty(pool.layers[layer].count, dtype=np.int64)
    row = pool.layers[layer].first
    for i in range(rows.shape[0]):
        rows[i] = row
        row = pool.labels[row].link
    return rows


@entry
def relist(pool: LabelPool, layer: int, rows: Any) -> None:
    """Make these rows a layer's list."""
    into = pool.layers[layer]
    into.first, into.count = NONE, rows.shape[0]
    for i in range(rows.shape[0] - 1, -1, -1):
        pool.labels[rows[i]].link = into.first
        into.first = rows[i]


@entry
def release(pool: LabelPool, rows: Any) -> None:
    """Make rows that are in no list and no bucket free to be used again."""
    state = pool.state[0]
    for row in rows:
        pool.labels[row].link = state.spare
        state.spare = row
    state.spares += rows.shape[0]


@entry
def rehash(pool: LabelPool) -> None:
    """Fill empty buckets with the labels of all layers."""
    for layer in range(pool.layers.shape[0]):
        row = pool.layers[layer].first
        while row >= 0:
            slot = bucket_of(pool.key, row, pool.bucket.shape[0])
            pool.labels[row].chain = pool.bucket[slot]
            pool.bucket[slot] = row
            row = pool.labels[row].link


@entry
def least_promise(pool: LabelPool) -> float:
    """Return the least promise of the labels in layers' lists."""
    least = np.inf
    for layer in range(pool.layers.shape[0]):
        row = pool.layers[layer].first
        while row >= 0:
            label = pool.labels[row]
            if label.held >= 0:
                least = min(least, label.promise)
            row = label.link
    return least


@entry
def below(best: float) -> float:
    """Return the promise from which on nothing is beaten: rounding is no improvement."""
    return best - 1e-9 * abs(best) if best < np.inf else np.inf
