"""Labels of the search, compiled: where they are kept, and which of them another one beats.

Labels are rows of a :class:`Pool`. A label waits in the list of its layer (jobs dealt with) and in
the chain of its state's hash bucket until its layer is collected; it is then expanded, and stays to
tell its successors' story. A row is used again once its label is dominated or cut.
"""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import compiled, entry
from pats_solvers.dp.bound import NONE, Batches

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
