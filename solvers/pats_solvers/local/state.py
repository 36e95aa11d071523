"""A sequence of batches for each GPU, and how it is edited.

Start times, residents and costs follow from it (:mod:`pats_solvers.local.timing`). Callers that
edit a state refresh the batches and time the GPUs that they change.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.arrays import fields
from pats_solvers.common.compiled import compiled, entry
from pats_solvers.local.arrays import SearchArrays

SERVED = np.dtype([(name, np.int64) for name in ("batch", "option", "follow", "offset")])
BATCHES = np.dtype(
    [
        (name, np.int64)
        for name in (
            "first", "members", "memory", "duration", "ready", "start", "switch", "loads",
            "activations", "live", "live_memory",
        )
    ]
    + [(name, np.float64) for name in ("fixed", "slope", "paid")]
)  # fmt: skip

#: Loads beside serving: start of an adapter's load for a batch (or -1), and what is to become of
#: the adapter after the batch (:mod:`pats_solvers.local.loading`).
LOADS = fields("start fate")


class SearchState(NamedTuple):
    """Batches in sequence, and what follows from it.

    Attributes:
        jobs: By job: its batch (or -1), option, next member of the same batch (or -1), ticks from
            the batch's start to its completion.
        batches: By batch: first member (or -1), members, their memory; ticks it takes, when its
            members have arrived, start, ticks of the switch before it, adapters loaded there;
            residents that it or a later batch uses before they are loaded again, and what those
            and the members take of memory; loss that does not depend on the start, what a tick
            later adds, loss of the switch.
        need: Adapters of each batch, rising, filled up with -1.
        resident: Residents during each batch, filled up with -1 (where they follow from a rule).
        loading: By batch and place in ``need``, where loads run beside serving.
        order: Batches of each GPU, in order.
        count: Batches of each GPU.
        unused: Batch numbers not in use; the last cell says how many.
        loss: Loss of each GPU.
    """

    jobs: Any
    batches: Any
    need: Any
    resident: Any
    loading: Any
    order: Any
    count: Any
    unused: Any
    loss: Any


def empty_state(data: SearchArrays) -> SearchState:
    """Return a state without batches."""
    gpus = len(data.capacity)
    n = len(data.jobs) + 1  # one may be empty while its last member moves into a new one
    state = SearchState(
        jobs=np.zeros(n - 1, dtype=SERVED),
        batches=np.zeros(n, dtype=BATCHES),
        need=np.full((n, data.max_per_batch), -1, dtype=np.int64),
        resident=np.full((n, data.max_resident if data.several else 0), -1),
        loading=np.zeros((n, data.max_per_batch if data.channels else 0), dtype=LOADS),
        order=np.full((gpus, n), -1, dtype=np.int64),
        count=np.zeros(gpus, dtype=np.int64),
        unused=np.append(np.arange(n, dtype=np.int64), n),
        loss=np.zeros(gpus),
    )
    state.jobs["batch"] = state.jobs["follow"] = state.batches["first"] = -1
    return state


@compiled
def place(state: Any, g: int, position: int, b: int) -> None:
    """Put a batch before ``position`` of a GPU's sequence."""
    for p in range(state.count[g], position, -1):
        state.order[g, p] = state.order[g, p - 1]
    state.order[g, position] = b
    state.count[g] += 1


@compiled
def displace(state: Any, g: int, position: int) -> None:
    """Take a batch out of a sequence."""
    state.count[g] -= 1
    for p in range(position, state.count[g]):
        state.order[g, p] = state.order[g, p + 1]


@entry
def new_batch(state: Any, g: int, position: int) -> int:
    """Insert an empty batch before ``position`` of a GPU's sequence."""
    last = state.unused.shape[0] - 1  # the stack's height
    state.unused[last] -= 1
    b: int = state.unused[state.unused[last]]
    state.batches[b].first = -1
    for k in range(state.loading.shape[1]):
        state.loading[b, k].fate = 0
    place(state, g, position, b)
    return b


@compiled
def drop(state: Any, g: int, position: int) -> None:
    """Take a batch that has no members any more out of a sequence, and give its number back."""
    last = state.unused.shape[0] - 1
    state.unused[state.unused[last]] = state.order[g, position]
    state.unused[last] += 1
    displace(state, g, position)


@entry
def join(state: Any, b: int, j: int, option: int) -> None:
    """Make a job that is in no batch a member of ``b``."""
    state.jobs[j].batch, state.jobs[j].option = b, option
    state.jobs[j].follow = state.batches[b].first
    state.batches[b].first = j


@compiled
def leave(state: Any, j: int) -> None:
    """Take a job out of its batch."""
    b = state.jobs[j].batch
    if state.batches[b].first == j:
        state.batches[b].first = state.jobs[j].follow
    else:
        i = state.batches[b].first
        while state.jobs[i].follow != j:
            i = state.jobs[i].follow
        state.jobs[i].follow = state.jobs[j].follow
    state.jobs[j].batch = state.jobs[j].follow = -1


@compiled
def unite(state: Any, b: int, other: int) -> None:
    """Move all members of ``other`` to ``b``."""
    while state.batches[other].first >= 0:
        j = state.batches[other].first
        leave(state, j)
        join(state, b, j, state.jobs[j].option)


@compiled
def shift(state: Any, g: int, source: int, target: int) -> None:
    """Move the batch at position ``source`` to position ``target``."""
    b = state.order[g, source]
    step = 1 if target > source else -1
    for p in range(source, target, step):
        state.order[g, p] = state.order[g, p + step]
    state.order[g, target] = b


@compiled
def anchor(state: Any, rng: Any) -> Any:
    """Return the GPU and position of a random batch; -1 where there is none."""
    total = state.count.sum()
    if total == 0:
        return -1, -1
    p = int(rng.random() * total)
    g = 0
    while p >= state.count[g]:
        p -= state.count[g]
        g += 1
    return g, p
