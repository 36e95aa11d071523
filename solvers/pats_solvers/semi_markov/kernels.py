"""Kernels: expectations over arrivals, the best decision of each state, and a policy's values.

A queue state is a number: the counts of the kinds in mixed radix. Values of a mode are a row.
"""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pats_solvers.common.compiled import compiled, entry

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class QueueSpace(NamedTuple):
    """The queues.

    Attributes:
        counts: Number waiting of each kind, by queue state.
        strides: Difference of the states that differ by one of each kind.
        limits: Largest number of each kind.
        waiting: Loss per tick of all that wait, by queue state.
        ahead: 1 for each mode that has switched ahead, else 0.
        idle: Loss per tick of waiting in each mode, besides that of all that wait.
        wait: Mode after a tick of waiting in each mode.
    """

    counts: NDArray[np.int16]
    strides: Ints
    limits: Ints
    waiting: Floats
    ahead: Ints
    idle: Floats
    wait: Ints


class Counts(NamedTuple):
    """Arrivals within a number of ticks: see ``CountTable``; and their loss.

    Attributes:
        stay: Probability that nobody arrives within a tick.
        arriving: Loss of the arrivals' waiting within each number of ticks.
        over: Loss where arrivals find no place: first where the GPU has not switched ahead, then
            where it has; by ticks, kind and free places.
    """

    ticks: Ints
    share: Floats
    beyond: Floats
    longest: Ints
    stay: float
    arriving: Floats
    over: Floats


class Decisions(NamedTuple):
    """Decisions but for the waits, grouped by ticks and mode afterwards.

    Attributes:
        group: First decision of each group; the end is last.
        time: Index of each group's number of ticks.
        after: Mode after each group.
        mode: Mode before each decision.
        served: Number of each kind that it serves.
        cost: Its loss.
    """

    group: Ints
    time: Ints
    after: Ints
    mode: Ints
    served: NDArray[np.int16]
    cost: Floats


@entry
def expected(space: QueueSpace, counts: Counts, time: int, values: Floats, out: Floats) -> None:
    """Fill ``out`` with the expected values after the arrivals, by the state before them."""
    states, kinds = space.counts.shape
    spare = np.empty(states)
    now = values
    for i in range(kinds):
        to = out if (kinds - 1 - i) % 2 == 0 else spare
        stride, most, longest = space.strides[i], space.limits[i], counts.longest[time, i]
        share, beyond = counts.share[time, i], counts.beyond[time, i]
        for s in range(states):
            room = most - space.counts[s, i]
            last = min(room, longest + 1)
            total = 0.0
            for k in range(last):
                total += share[k] * now[s + k * stride]
            if last == room:
                total += beyond[room] * now[s + room * stride]
            to[s] = total
        now = to


@compiled
def loss_meanwhile(
    space: QueueSpace, counts: Counts, time: int, after: int, s: int, ticks: float
) -> float:
    """Loss until the next epoch of those that are not served, and of the arrivals."""
    loss = float(ticks * space.waiting[s] + counts.arriving[time])
    for i in range(len(space.limits)):
        loss += counts.over[space.ahead[after], time, i, space.limits[i] - space.counts[s, i]]
    return loss


@entry
def improve(
    space: QueueSpace,
    counts: Counts,
    decisions: Decisions,
    values: Floats,
    best: Ints,
    rate: Floats,
) -> None:
    """Choose in each state the decision with the least loss per tick, given the values.

    Args:
        space: The queues.
        counts: The arrivals; the first time is one tick.
        decisions: The decisions.
        values: Value of each mode and queue state.
        best: The decision chosen, or -1 to wait: filled.
        rate: Its loss per tick with the change of value: filled.
    """
    modes, states = values.shape
    ahead = np.empty(states)
    for m in range(modes):
        after = space.wait[m]
        expected(space, counts, 0, values[after], ahead)
        for s in range(states):
            best[m, s] = -1
            meanwhile = loss_meanwhile(space, counts, 0, after, s, 1.0)
            rate[m, s] = meanwhile + space.idle[m] + ahead[s] - values[m, s]
    for g in range(len(decisions.time)):
        time = decisions.time[g]
        ticks = float(counts.ticks[time])
        after = decisions.after[g]
        expected(space, counts, time, values[after], ahead)
        for s in range(states):
            ahead[s] += loss_meanwhile(space, counts, time, after, s, ticks)
        for d in range(decisions.group[g], decisions.group[g + 1]):
            _offer(space, decisions, d, ticks, values, ahead, best, rate)


@compiled
def _offer(
    space: QueueSpace,
    decisions: Decisions,
    d: int,
    ticks: float,
    values: Floats,
    ahead: Floats,
    best: Ints,
    rate: Floats,
) -> None:
    """Take a decision wherever it is possible and better than the best so far."""
    m, served, cost = decisions.mode[d], decisions.served[d], decisions.cost[d]
    kinds = len(served)
    back = 0
    for i in range(kinds):
        back += served[i] * space.strides[i]
    for s in range(back, len(ahead)):
        possible = True
        for i in range(kinds):
            if space.counts[s, i] < served[i]:
                possible = False
                break
        if possible:
            found = (cost + ahead[s - back] - values[m, s]) / ticks
            if found < rate[m, s] - 1e-13 * abs(found):
                rate[m, s] = found
                best[m, s] = d


class PolicyDecisions(NamedTuple):
    """A policy, its states in the order of what follows: waits by mode, then groups of decisions.

    Attributes:
        first: First state of each group in ``state``; the end is last.
        time: Index of each group's number of ticks.
        after: Mode after each group.
        waits: Number of groups that wait, which come first.
        mode: Mode of each state.
        state: Queue state of each.
        left: Queue state right after its decision.
        cost: Loss of its decision.
    """

    first: Ints
    time: Ints
    after: Ints
    waits: int
    mode: Ints
    state: Ints
    left: Ints
    cost: Floats


@entry
def sweep(
    space: QueueSpace,
    counts: Counts,
    chosen: PolicyDecisions,
    loss: Floats,
    time: Floats,
    new_loss: Floats,
    new_time: Floats,
) -> None:
    """Fill in the losses and ticks of one decision and of the values after it."""
    states = loss.shape[1]
    ahead_loss, ahead_time = np.empty(states), np.empty(states)
    for g in range(len(chosen.time)):
        t, after = chosen.time[g], chosen.after[g]
        ticks = float(counts.ticks[t])
        expected(space, counts, t, loss[after], ahead_loss)
        expected(space, counts, t, time[after], ahead_time)
        # A wait is one tick, repeated while nobody arrives if the mode stays as it is.
        stays = g < chosen.waits and after == chosen.mode[chosen.first[g]]
        stay = counts.stay if stays else 0.0
        for k in range(chosen.first[g], chosen.first[g + 1]):
            m, s, x = chosen.mode[k], chosen.state[k], chosen.left[k]
            meanwhile = loss_meanwhile(space, counts, t, after, x, ticks)
            found = chosen.cost[k] + meanwhile + ahead_loss[x]
            new_loss[m, s] = (found - stay * loss[m, s]) / (1.0 - stay)
            new_time[m, s] = (ticks + ahead_time[x] - stay * time[m, s]) / (1.0 - stay)
