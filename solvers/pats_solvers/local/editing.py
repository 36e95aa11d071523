"""Putting batches in and out of a sequence, compiled. Callers refresh and time what they change."""

from __future__ import annotations

from typing import Any

from pats_solvers.common.compiled import compiled, entry


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
    """An empty batch before ``position`` of a GPU's sequence."""
    last = state.unused.shape[0] - 1  # the stack's height
    state.unused[last] -= 1
    b: int = state.unused[state.unused[last]]
    state.batches[b].first = -1
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
