"""Scratch arrays of the kernels for one label and its children."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.arrays import fields
from pats_solvers.common.compiled import compiled, lean
from pats_solvers.dp.bound import NONE
from pats_solvers.dp.fleet.bound import GPUS, QUEUED, FleetModel

#: Children: the move (a batch; negative for all else), the class whose rejection it is, the
#: acting GPU after it (see :data:`.GPUS`); the loss and the promise.
CHILDREN = fields("move rejected free active resident mode reach", "loss promise")

#: Jobs that wait for an adapter, the earliest first (class and arrival, and what the fewest steps
#: lose beyond the most).
QUEUE = fields("kind arrival", "gain")

#: Choices of residents to keep that are looked at beside a batch or a load, at most.
KEPT = 1000


class LabelBounds(NamedTuple):
    """A label that is looked at, what its bound consists of, and its children by one adapter.

    Attributes:
        counts: Its jobs dealt with by class.
        left: Whether an adapter has jobs left.
        gpus: Its GPUs.
        now: What each adapter costs each GPU: ``(GPUs, adapters)``.
        rows: :data:`CHILDREN`.
        order: Places in them, those chosen first.
        after: Jobs dealt with after a child.
        still: Whether an adapter has jobs left then.
        then: A child's GPUs.
        spare: One more.
        new: Its key.
        backlogs: Scratch of :func:`.chain_value`.
        kept: Choices of residents to keep, as bits.
        stamp: The label that a grain's numbers below are of.
        apart: What each adapter costs the acting GPU from a grain on, residents not active; in the
            last column all of them together.
        endless: How many of them cost infinity.
        rest: The least that one of the other GPUs serves all of an adapter for.
        near_stamp: The label that a grain's numbers below are of.
        near: The same for the acting GPU from a grain on, residents not active; in the last column
            the sum of the less of it and ``rest``.
        queue: :data:`QUEUE`, of the adapter whose patterns are filled.
        by_gain: Places in it, the least gain first.
        used: What the members of a pattern use of each resource.
    """

    counts: Any
    left: Any
    gpus: Any
    now: Any
    rows: Any
    order: Any
    after: Any
    still: Any
    then: Any
    spare: Any
    new: Any
    backlogs: Any
    kept: Any
    stamp: Any
    apart: Any
    endless: Any
    rest: Any
    near_stamp: Any
    near: Any
    queue: Any
    by_gain: Any
    used: Any


class GpuTurn(NamedTuple):
    """The turn of the GPU of a label that acts.

    Attributes:
        at: Which label it is of.
        g: Its place.
        kind: Its kind.
        free: The tick at which it acts.
        others: What all else costs: the loss so far is apart.
        promise: The label's promise.
        loss: The label's loss.
        pending: Class of which the next batch must serve a job, or :data:`.NONE`.
        limit: Promise from which on nothing is beaten.
    """

    at: int
    g: int
    kind: int
    free: int
    others: float
    promise: float
    loss: float
    pending: int
    limit: float


@compiled
def label_bounds(model: FleetModel, words: int, room: int) -> LabelBounds:
    """Return room for a label and its children."""
    adapters, classes = model.bits.shape[0], model.classes.shape[0]
    grains, gpus = model.paid.shape[1], model.gpus.shape[0]
    return LabelBounds(
        np.empty(classes, dtype=np.int64),
        np.empty(adapters, dtype=np.bool_),
        np.empty(gpus, dtype=GPUS),
        np.empty((gpus, adapters)),
        np.empty(room, dtype=CHILDREN),
        np.empty(room, dtype=np.int64),
        np.empty(classes, dtype=np.int64),
        np.empty(adapters, dtype=np.bool_),
        np.empty(gpus, dtype=GPUS),
        np.empty(1, dtype=GPUS),
        np.empty((1, words), dtype=np.int64),
        np.empty(max(1, model.tables.shape[0]), dtype=np.int64),
        np.empty(KEPT, dtype=np.int64),
        np.full(grains, NONE),
        np.empty((grains, adapters + 1)),
        np.empty(grains, dtype=np.int64),
        np.empty(adapters),
        np.full(grains, NONE),
        np.empty((grains, adapters + 1)),
        np.empty(QUEUED, dtype=QUEUE),
        np.empty(QUEUED, dtype=np.int64),
        np.empty(model.demands.shape[1], dtype=np.int64),
    )


@lean
def arrived_by(model: FleetModel, q: int, done: int, tick: int) -> int:
    """Return the jobs of a class that have arrived by a tick, at least ``done`` of them."""
    at = model.classes[q].arrival_at
    low, high = done, model.classes[q].jobs
    while low < high:
        middle = (low + high) // 2
        if model.arrival[at + middle] <= tick:
            low = middle + 1
        else:
            high = middle
    return low
