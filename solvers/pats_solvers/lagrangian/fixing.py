"""Latest starts by reduced costs: until when a job may wait in a schedule that beats a known one.

Costs to go say how well a plan of an adapter can end, costs to come how well it can begin. Their
sum at a tick and a backlog is the best plan through it. Where all plans in which a job still waits
then lose so much that the bound would pass the best known loss, every better schedule has started
it before (or rejected it). This is variable fixing by reduced costs, here for adapters in lanes on
one GPU with one resident adapter.
"""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.arrays import UNLIMITED, Floats, Ints
from pats_solvers.common.compiled import compiled, entry
from pats_solvers.lagrangian.costs import (
    ABSENT,
    ACTIVE,
    AS_ACTIVE,
    TO_LOAD,
    SubproblemArrays,
    cut_cost,
    move_cost,
    option_cost,
    wait_cost,
)
from pats_solvers.lagrangian.subproblem import AdapterSubproblem


@compiled
def _arrive(
    data: SubproblemArrays, come: Any, values: Any, left: Any, now: int, then: int, cut: Any
) -> None:
    """Improve what comes at tick ``then`` by what it cost to leave backlogs at ``now``.

    Args:
        data: The subproblem.
        come: Costs to come in the state then, by tick and backlog.
        values: Costs to go in it.
        left: Costs by backlog that is left, arrivals since ``now`` aside.
        now: When what leads to it begins.
        then: When the state begins.
        cut: Improved by job: the best plan in which it is cut.
    """
    classes, arrived = data.classes, data.arrived
    for b in range(left.shape[0]):
        if left[b] == np.inf:
            continue
        index, total = 0, left[b]
        for q in range(classes.shape[0]):
            backlog = arrived[q, then] - arrived[q, now]
            if b & classes[q].stride:
                backlog += 1
            if backlog > 1:
                total += cut_cost(data, q, then, backlog)
                backlog = 1
            index += backlog * classes[q].stride
        come[then, index] = min(come[then, index], total)
        for q in range(classes.shape[0]):
            if b & classes[q].stride and arrived[q, then] > arrived[q, now]:
                job = classes[q].job_at + arrived[q, now] - 1
                cut[job] = min(cut[job], total + values[then, index])


@compiled
def _serve(
    data: SubproblemArrays, paid: Any, values: Any, come: Any, t: int, left: Any, cut: Any
) -> None:
    """Improve what comes after the batches that start at tick ``t``; ``left`` is scratch."""
    last, size, here = come.shape[0] - 1, come.shape[1], come[t]
    groups = data.groups.shape[0] - 1
    for g in range(groups):
        move = data.moves[data.groups[g]]
        end = t + move.duration
        if end > last:
            if data.hard:
                break
            end = last
        if g == 0 or data.moves[data.groups[g - 1]].duration != move.duration:
            left[:] = np.inf
        cost = np.inf
        for m in range(data.groups[g], data.groups[g + 1]):
            cost = min(cost, move_cost(data, m, t) + option_cost(data, m, t))
        cost += paid[AS_ACTIVE, end] - paid[AS_ACTIVE, t]
        rest = size - 1 - move.offset
        b = rest  # every backlog without the batch's jobs
        while b >= 0:
            left[b] = min(left[b], here[b + move.offset] + cost)
            b = (b - 1) & rest if b > 0 else -1
        if g == groups - 1 or data.moves[data.groups[g + 1]].duration != move.duration:
            _arrive(data, come, values, left, t, end, cut)


@compiled
def _skip(data: SubproblemArrays, here: Any, t: int) -> None:
    """Improve what comes at tick ``t`` by skipping jobs."""
    for q in range(data.classes.shape[0]):
        kind = data.classes[q]
        if kind.skip_at >= 0 and data.arrived[q, t] > 0:
            skip = data.skip[kind.skip_at + data.arrived[q, t] - 1]
            for b in range(here.shape[0]):
                if b & kind.stride:
                    here[b - kind.stride] = min(here[b - kind.stride], here[b] + skip)


@entry
def forward(
    data: SubproblemArrays, paid: Any, values: Any, state: int, come: Any, cut: Any
) -> None:
    """Fill ``come[state, tick, backlog]``, ``(2, ticks + 1, size)``, with costs to come.

    Args:
        data: The subproblem, of lanes.
        paid: Prices summed up, as in :func:`.backward`.
        values: Costs to go.
        state: How the adapter is at tick 0: absent or active.
        come: Filled here: absent, active.
        cut: Filled here, by job: the best plan in which it waits and is cut.
    """
    last, size, load = come.shape[1] - 1, come.shape[2], data.switches[TO_LOAD]
    absent, active = values[ABSENT], values[ACTIVE]
    come[:], cut[:] = np.inf, np.inf
    left = np.empty(size)
    index, cost = 0, 0.0
    for q in range(data.classes.shape[0]):
        backlog = data.arrived[q, 0]
        if backlog > 1:
            cost += cut_cost(data, q, 0, backlog)
            backlog = 1
        index += backlog * data.classes[q].stride
    come[0 if state == ABSENT else 1, 0, index] = cost
    for t in range(last):
        end = t + load.ticks
        if load.ticks == 0:
            for b in range(size):
                come[1, t, b] = min(come[1, t, b], come[0, t, b] + load.loss)
        for b in range(size):
            come[0, t, b] = min(come[0, t, b], come[1, t, b])
        _skip(data, come[0, t], t)
        _skip(data, come[1, t], t)
        left[:] = come[0, t] + wait_cost(paid, ABSENT, t)
        _arrive(data, come[0], absent, left, t, t + 1, cut)
        left[:] = come[1, t] + wait_cost(paid, ACTIVE, t)
        _arrive(data, come[1], active, left, t, t + 1, cut)
        if load.ticks > 0 and (end <= last or not data.hard):
            end = min(end, last)
            left[:] = come[0, t] + (load.loss + paid[AS_ACTIVE, end] - paid[AS_ACTIVE, t])
            _arrive(data, come[1], active, left, t, end, cut)
        _serve(data, paid, active, come[1], t, left, cut)


@entry
def last_waiting(
    data: SubproblemArrays, come: Any, values: Any, cut: Any, most: float, until: Any
) -> None:
    """Fill in the last tick at which each job of a lane waits in plans of at most a value.

    Args:
        data: The subproblem.
        come: Costs to come.
        values: Costs to go.
        cut: The best plan by job in which it waits and is cut.
        most: The value.
        until: Filled here, by job: the tick, -1 where there is none, and one beyond all where the
            job may be left at the end, or be cut.
    """
    last, size = come.shape[1] - 1, come.shape[2]
    for job in range(until.shape[0]):
        until[job] = last + 1 if cut[job] <= most else -1
    for q in range(data.classes.shape[0]):
        kind, before = data.classes[q], 0
        for t in range(last + 1):
            # Of jobs of a lane that come at once all but the latest are cut then.
            for job in range(before, data.arrived[q, t] - 1):
                until[kind.job_at + job] = last + 1
            before = data.arrived[q, t]
            job = kind.job_at + before - 1
            least = np.inf
            for b in range(size):
                if b & kind.stride:
                    least = min(least, come[0, t, b] + values[ABSENT, t, b])
                    least = min(least, come[1, t, b] + values[ACTIVE, t, b])
            if before > 0 and least <= most:
                until[job] = max(until[job], t if t < last else last + 1)


def latest_starts(
    part: AdapterSubproblem,
    arrays: SubproblemArrays,
    paid: Floats,
    values: Floats,
    state: int,
    slack: float,
) -> Ints:
    """Return by job of the lanes the last tick at which a better schedule may start it.

    Args:
        part: The subproblem.
        arrays: Its arrays at these prices.
        paid: Prices summed up.
        values: Costs to go by state, tick and backlog.
        state: How the adapter is at first: absent or active.
        slack: By how much the plan may be worse than the best one.
    """
    come, cut = np.empty((2, part.ticks + 1, part.size)), np.empty(len(arrays.jobs))
    forward(arrays, paid, values, state, come, cut)
    best = min(
        float((come[0, 0] + values[ABSENT, 0]).min()),
        float((come[1, 0] + values[ACTIVE, 0]).min()),
    )
    until = np.empty(len(arrays.jobs), dtype=np.int64)
    last_waiting(arrays, come, values, cut, best + slack, until)
    return np.where(until > part.ticks, UNLIMITED, (until + 1) * part.grain - 1)
