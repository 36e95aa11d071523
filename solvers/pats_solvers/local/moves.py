"""Small moves of batches and jobs, and simulated annealing, which accepts changes or not."""

# ruff: noqa: PLR0911, PLR0917 - compiled: loops in place, arrays handed on
from __future__ import annotations

import math
from typing import Any

import numpy as np

from pats_solvers.common.compiled import NONE, compiled, entry, inlined
from pats_solvers.local.state import (
    anchor,
    displace,
    drop,
    join,
    leave,
    new_batch,
    place,
    shift,
    unite,
)
from pats_solvers.local.timing import copy, may_join, refresh, time_all, time_gpu, total

#: How many places a batch moves at most.
FAR = 10

#: Share of moves that change an adapter's fate, where loads run beside serving.
FATES = 0.15


@compiled
def decide(
    data: Any,
    current: Any,
    best: Any,
    trial: Any,
    losses: Any,
    rng: Any,
    temperature: float,
    made: bool,
) -> bool:
    """Go on with a trial state, or put it back to the current one.

    Args:
        data: The problem.
        current: The state the trial was made from; replaced where the trial is accepted.
        best: The best state so far; replaced where the trial is better.
        trial: The changed state, timed.
        losses: Loss of the current and of the best state.
        rng: Source of random numbers.
        temperature: A loss greater by this is accepted with probability 1 / e.
        made: Whether the trial is a state at all.

    Returns:
        Whether it was accepted.
    """
    loss = total(data, trial) if made else math.inf
    allowed = losses[0] - temperature * math.log(1.0 - rng.random())
    if loss == math.inf or loss > allowed:
        copy(trial, current)
        return False
    losses[0] = loss
    copy(current, trial)
    if loss < losses[1] - 1e-9:
        losses[1] = loss
        copy(best, trial)
    return True


@entry
def restart(data: Any, current: Any, best: Any, trial: Any, losses: Any) -> None:
    """Go back to the best state, with its loss summed up afresh."""
    losses[0] = losses[1] = time_all(data, best)
    copy(current, best)
    copy(trial, best)


@compiled
def near(state: Any, rng: Any, g: int, p: int) -> int:
    """Return another position of a GPU's sequence near ``p``, or -1."""
    far = 1 + int(rng.random() * FAR)
    target = p + far if rng.random() < 0.5 else p - far
    return target if 0 <= target < state.count[g] else -1


@compiled
def member(state: Any, rng: Any, b: int) -> int:
    """Return a random member of a batch."""
    j: int = state.batches[b].first
    for _ in range(int(rng.random() * state.batches[b].members)):
        j = state.jobs[j].follow
    return j


@compiled
def move_block(state: Any, rng: Any, g: int, p: int, touched: Any) -> bool:
    """Move some batches in a row to another place."""
    target = near(state, rng, g, p)
    if target < 0:
        return False
    length = 1
    if rng.random() < 0.5:  # the rest of the holding, or a part of it
        b = state.order[g, p]
        while p + length < state.count[g] and rng.random() < 0.8:
            if state.need[state.order[g, p + length], 0] != state.need[b, 0]:
                break
            length += 1
    if target > p and target + length > state.count[g]:
        return False
    for i in range(length):
        if target < p:
            shift(state, g, p + i, target + i)
        else:
            shift(state, g, p, target + length - 1)
    touched[0] = g
    return True


@compiled
def merge(data: Any, state: Any, rng: Any, g: int, p: int, touched: Any) -> bool:
    """Make one batch of two."""
    other = near(state, rng, g, p)
    if other < 0:
        return False
    b, gone = state.order[g, p], state.order[g, other]
    if not may_join(data, state, g, b, gone, NONE):
        return False
    unite(state, b, gone)
    touched[0], touched[2], touched[3] = g, b, gone
    return True


@compiled
def split(data: Any, state: Any, rng: Any, g: int, p: int, touched: Any) -> bool:
    """Move a random part of a batch into one of its own, before or after it."""
    b = state.order[g, p]
    if state.batches[b].members < 2:
        return False
    new = new_batch(state, g, p + int(rng.random() * 2))
    share = rng.random()
    by_arrival = rng.random() < 0.5
    limit = data.jobs[member(state, rng, b)].arrival
    j = state.batches[b].first
    while j >= 0:
        following = state.jobs[j].follow
        goes = rng.random() < share
        if by_arrival:
            goes = data.jobs[j].arrival >= limit
        if goes:
            leave(state, j)
            join(state, new, j, state.jobs[j].option)
        j = following
    touched[0], touched[2], touched[3] = g, b, new
    return True


@compiled
def move_job(data: Any, state: Any, rng: Any, g: int, p: int, touched: Any) -> bool:
    """Move a job to another batch, on any GPU, or to a new one there; or swap two jobs."""
    b = state.order[g, p]
    h, other = g, -1
    if state.count.shape[0] > 1 and rng.random() < 0.5:
        h, other = anchor(state, rng)
    else:
        other = near(state, rng, g, p)
    if other < 0 or (h == g and other == p):
        return False
    into = state.order[h, other]
    j, back = member(state, rng, b), -1
    leave(state, j)
    kind = rng.random()
    if kind < 0.2 and data.hosts[j, h]:
        into = new_batch(state, h, other + int(rng.random() * 2))
    elif kind < 0.5:
        back = member(state, rng, into)
        leave(state, back)
        if not may_join(data, state, g, b, NONE, back):
            return False
        join(state, b, back, state.jobs[back].option)
    if not may_join(data, state, h, into, NONE, j):
        return False
    join(state, into, j, state.jobs[j].option)
    touched[0], touched[1], touched[2], touched[3] = g, h, b, into
    return True


@compiled
def change_options(data: Any, state: Any, rng: Any, g: int, p: int, touched: Any) -> bool:
    """Change the option of a job, or of all jobs of its batch that have such steps."""
    b = state.order[g, p]
    j = member(state, rng, b)
    option = int(rng.random() * data.jobs[j].options)
    if option == state.jobs[j].option:
        return False
    state.jobs[j].option = option
    if rng.random() < 0.5:
        level = data.modes[j, option].level
        i = state.batches[b].first
        while i >= 0:
            for o in range(data.jobs[i].options):
                if data.modes[i, o].level == level:
                    state.jobs[i].option = o
            i = state.jobs[i].follow
    touched[0], touched[2] = g, b
    return True


@compiled
def change_gpu(data: Any, state: Any, rng: Any, g: int, p: int, touched: Any) -> bool:
    """Move a batch to about the same time on another GPU."""
    h = int(rng.random() * state.count.shape[0])
    b = state.order[g, p]
    if h == g or not may_join(data, state, h, b, NONE, NONE):
        return False
    q = 0
    while q < state.count[h] and state.batches[state.order[h, q]].start < state.batches[b].start:
        q += 1
    displace(state, g, p)
    place(state, h, q, b)
    touched[0], touched[1] = g, h
    return True


@compiled
def change_fate(state: Any, rng: Any, g: int, p: int, touched: Any) -> bool:
    """Change what is to become of an adapter after a batch, where loads run beside serving."""
    b = state.order[g, p]
    i = int(rng.random() * state.need.shape[1])
    if state.need[b, i] < 0:
        return False
    fate = int(rng.random() * 3)
    if fate == state.loading[b, i].fate:
        return False
    state.loading[b, i].fate = fate
    touched[0] = g
    return True


@compiled
def reject_or_serve(data: Any, state: Any, rng: Any, g: int, p: int, touched: Any) -> bool:
    """Serve a rejected job, in batch ``p`` or alone beside it; or reject a member of that batch."""
    n = data.jobs.shape[0]
    j = int(rng.random() * n)
    for _ in range(min(n, 50)):
        if state.jobs[j].batch < 0:
            break
        j = j + 1 if j + 1 < n else 0
    touched[0] = g
    b = state.order[g, p] if p >= 0 else -1
    if state.jobs[j].batch >= 0:
        j = member(state, rng, b)
        leave(state, j)
        touched[2] = b
        optional: bool = data.jobs[j].reject < np.inf
        return optional
    if b < 0 or rng.random() < 0.5 or not may_join(data, state, g, b, NONE, j):
        if not data.hosts[j, g]:
            return False
        b = new_batch(state, g, p + int(rng.random() * 2) if p >= 0 else 0)
    join(state, b, j, int(rng.random() * data.jobs[j].options))
    touched[2] = b
    return True


@inlined
def _change(data: Any, state: Any, rng: Any, touched: Any) -> bool:
    """Make a random small move, not yet timed; ``touched`` is set to its GPUs and batches."""
    for i in range(4):
        touched[i] = -1
    g, p = anchor(state, rng)
    if data.channels > 0 and g >= 0 and rng.random() < FATES:
        return change_fate(state, rng, g, p, touched)
    if g < 0:  # nothing is served yet
        return reject_or_serve(
            data, state, rng, int(rng.random() * state.count.shape[0]), NONE, touched
        )
    kind = rng.random()
    if kind < 0.3:
        return move_block(state, rng, g, p, touched)
    if kind < 0.45:
        return merge(data, state, rng, g, p, touched)
    if kind < 0.55:
        return split(data, state, rng, g, p, touched)
    if kind < 0.8:
        return move_job(data, state, rng, g, p, touched)
    if kind < 0.9:
        return change_options(data, state, rng, g, p, touched)
    if kind < 0.95:
        return change_gpu(data, state, rng, g, p, touched)
    return reject_or_serve(data, state, rng, g, p, touched)


@entry
def small_moves(
    data: Any,
    current: Any,
    best: Any,
    trial: Any,
    losses: Any,
    rng: Any,
    temperature: float,
    moves: int,
) -> None:
    """Try some small moves; states and losses are those of :func:`decide`."""
    touched = np.empty(4, dtype=np.int64)
    for _ in range(moves):
        made = _change(data, trial, rng, touched)
        if made:
            for i in range(2, 4):
                b = touched[i]
                if b >= 0 and trial.batches[b].first >= 0:
                    refresh(data, trial, b)
                elif b >= 0:
                    _drop_empty(trial, b, touched)
            for i in range(2):
                if touched[i] >= 0 and (i == 0 or touched[1] != touched[0]):
                    time_gpu(data, trial, touched[i])
        decide(data, current, best, trial, losses, rng, temperature, made)


@compiled
def _drop_empty(state: Any, b: int, touched: Any) -> None:
    """Take a batch without members out of the touched GPU that it is on."""
    for i in range(2):
        g = touched[i]
        if g >= 0:
            for p in range(state.count[g]):
                if state.order[g, p] == b:
                    drop(state, g, p)
                    return
