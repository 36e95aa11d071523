"""The dynamic program of one adapter on one GPU, compiled.

A state is a tick, the *backlog* (jobs of each class that have arrived and are neither started nor
skipped, flattened to one index) and how the adapter is: *absent*, *resident* or *active* (it holds
the GPU: switching, serving, or waiting to serve). Values are costs to go, worked out from the last
tick to the first; a plan is then read off from the first to the last.

A start of n jobs of a class at tick t costs n x price x t; the arrivals are a constant of the chain.
Backlogs above a class's cap are cut by serving the oldest jobs at once, for nothing but their
own least loss: no real plan does better, so the value stays a lower bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

#: What a plan does, as written in the rows of :func:`follow`.
WAIT, LOAD, ACTIVATE, HOLD, SERVE, SKIP, CUT, PREFETCH = range(8)
ABSENT, RESIDENT, ACTIVE = range(3)


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def _shift(
    target: Any,
    buffer: Any,
    now: int,
    then: int,
    dims: Any,
    strides: Any,
    arrived: Any,
    digits: Any,
    price: Any,
    least: Any,
    skip: Any,
    skip_at: Any,
) -> Any:
    """Values of ``target`` (at tick ``then``) by the backlog at ``now``: arrivals between join it."""
    classes, size = dims.shape[0], target.shape[0]
    total = 0
    for q in range(classes):
        total += arrived[q, then] - arrived[q, now]
    if total == 0:
        return target
    last = classes - 1
    inner, row = dims[last], strides[last - 1] if last > 0 else size
    joining = arrived[last, then] - arrived[last, now]
    free = max(0, inner - joining)  # backlogs of the last class that stay below its cap
    for block in range(0, size, row):
        if digits[block, 0] < 0:
            buffer[block : block + row] = np.inf
            continue
        index, cost = 0, 0.0
        for q in range(last):
            backlog = digits[block, q] + arrived[q, then] - arrived[q, now]
            if backlog >= dims[q]:
                cost += cut_cost(q, then, backlog, dims, arrived, price, least, skip, skip_at)
                backlog = dims[q] - 1
            index += backlog * strides[q]
        into = buffer[block : block + free]
        found = target[index + joining : index + joining + free]
        for b in range(free):
            into[b] = found[b] + cost
        top = target[index + inner - 1] + cost
        for b in range(free, inner):
            buffer[block + b] = top + cut_cost(
                last, then, b + joining, dims, arrived, price, least, skip, skip_at
            )
        buffer[block + inner : block + row] = np.inf
    return buffer


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def cut_cost(
    q: int,
    tick: int,
    backlog: int,
    dims: Any,
    arrived: Any,
    price: Any,
    least: Any,
    skip: Any,
    skip_at: Any,
) -> float:
    """The least that the oldest jobs beyond the cap of class ``q`` can add, from ``tick`` on."""
    over = backlog - dims[q] + 1
    served = price[q] * tick + least[q]
    if skip_at[q] < 0:
        return over * served  # type: ignore[no-any-return]
    cost = 0.0
    first = skip_at[q] + arrived[q, tick] - backlog
    for i in range(first, first + over):
        cost += min(served, skip[i])
    return cost


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def backward(
    hold: Any,
    keep: Any,
    dims: Any,
    strides: Any,
    digits: Any,
    arrived: Any,
    price: Any,
    least: Any,
    skip: Any,
    skip_at: Any,
    durations: Any,
    duration_at: Any,
    offsets: Any,
    costs: Any,
    late_at: Any,
    late_from: Any,
    late_cost: Any,
    switches: Any,
    switch_costs: Any,
    caching: bool,
    hard: bool,
    values: Any,
) -> None:
    """Fill ``values[state, tick, backlog]`` with costs to go.

    Args:
        hold: Price of holding the GPU in each tick, summed up from 0: ``(ticks + 1,)``.
        keep: The same for a place among the residents.
        dims: Backlogs told apart, by class (the cap and 0).
        strides: Of the flattened backlog. Between its rows lie *guards*, backlogs that do not exist
            and cost infinity, so that a move is one pass over all backlogs: one that takes more
            than there is leads to a guard.
        digits: Backlog by flattened index and class; -1 in guards.
        arrived: Jobs arrived by class and tick.
        price: Loss by class for each tick a start is later.
        least: Loss by class of a start at tick 0 alone on the GPU.
        skip: Cost of not serving each job, classes after one another.
        skip_at: Where a class's jobs begin in ``skip``; -1 where none may be skipped.
        durations: Different durations of batches, in ticks.
        duration_at: Where the moves of a duration begin; they are sorted by it.
        offsets: Flattened jobs that each move takes.
        costs: ``(fixed, by tick of the start)`` by move.
        late_at: Where a move's members with a priced deadline begin in the two below.
        late_from: First start at which they are late.
        late_cost: What that costs.
        switches: Ticks to load before serving, to activate, and to load ahead.
        switch_costs: What each costs apart from ticks.
        caching: Whether the adapter may be resident while another one is active.
        hard: Whether everything must have ended by the last tick.
        values: ``(3, ticks + 1, size)``, filled here.
    """
    last, size, classes = values.shape[1] - 1, values.shape[2], dims.shape[0]
    absent, resident, active = values[0], values[1], values[2]
    for b in range(size):  # whatever is left at the last tick
        cost = np.inf if digits[b, 0] < 0 else 0.0
        for q in range(classes):
            for i in range(digits[b, q]):
                each = np.inf if hard else price[q] * last + least[q]
                if skip_at[q] >= 0:
                    each = min(each, skip[skip_at[q] + arrived[q, last] - digits[b, q] + i])
                cost += each
        absent[last, b] = resident[last, b] = active[last, b] = cost
    buffer = np.empty(size)
    for t in range(last - 1, -1, -1):
        here = active[t]
        source = _shift(
            active[t + 1],
            buffer,
            t,
            t + 1,
            dims,
            strides,
            arrived,
            digits,
            price,
            least,
            skip,
            skip_at,
        )
        step = hold[t + 1] - hold[t] + keep[t + 1] - keep[t]
        for b in range(size):
            here[b] = source[b] + step
        for d in range(durations.shape[0]):
            end = t + durations[d]
            if end > last:
                if hard:
                    break
                end = last
            source = _shift(
                active[end],
                buffer,
                t,
                end,
                dims,
                strides,
                arrived,
                digits,
                price,
                least,
                skip,
                skip_at,
            )
            busy = hold[end] - hold[t] + keep[end] - keep[t]
            for m in range(duration_at[d], duration_at[d + 1]):
                cost = costs[m, 0] + costs[m, 1] * t + busy
                for i in range(late_at[m], late_at[m + 1]):
                    if t >= late_from[i]:
                        cost += late_cost[i]
                into = here[offsets[m] :]
                found = source[: size - offsets[m]]
                for b in range(into.shape[0]):
                    into[b] = min(into[b], cost + found[b])
        for b in range(size):
            if digits[b, 0] < 0:
                here[b] = np.inf
        _skips(here, t, dims, strides, digits, arrived, skip, skip_at)
        source = _shift(
            absent[t + 1],
            buffer,
            t,
            t + 1,
            dims,
            strides,
            arrived,
            digits,
            price,
            least,
            skip,
            skip_at,
        )
        for b in range(size):
            absent[t, b] = source[b]
        if caching:
            source = _shift(
                resident[t + 1],
                buffer,
                t,
                t + 1,
                dims,
                strides,
                arrived,
                digits,
                price,
                least,
                skip,
                skip_at,
            )
            step = keep[t + 1] - keep[t]
            for b in range(size):
                resident[t, b] = source[b] + step
            _enter(
                resident[t], active, buffer, t, last, switches[1], switch_costs[1], hold, keep,
                dims, strides, arrived, digits, price, least, skip, skip_at, hard,
            )  # fmt: skip
            _enter(
                absent[t], resident, buffer, t, last, switches[2], switch_costs[2], hold, keep,
                dims, strides, arrived, digits, price, least, skip, skip_at, hard,
            )  # fmt: skip
        _enter(
            absent[t], active, buffer, t, last, switches[0], switch_costs[0], hold, keep,
            dims, strides, arrived, digits, price, least, skip, skip_at, hard,
        )  # fmt: skip
        _skips(absent[t], t, dims, strides, digits, arrived, skip, skip_at)
        if caching:
            _skips(resident[t], t, dims, strides, digits, arrived, skip, skip_at)
            for b in range(size):
                resident[t, b] = min(resident[t, b], absent[t, b])
                here[b] = min(here[b], resident[t, b])
        else:
            for b in range(size):
                here[b] = min(here[b], absent[t, b])


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def _enter(
    into: Any,
    values: Any,
    buffer: Any,
    t: int,
    last: int,
    ticks: int,
    cost: float,
    hold: Any,
    keep: Any,
    dims: Any,
    strides: Any,
    arrived: Any,
    digits: Any,
    price: Any,
    least: Any,
    skip: Any,
    skip_at: Any,
    hard: bool,
) -> None:
    """Improve ``into`` by a switch from tick ``t`` that leads to ``values``."""
    end = t + ticks
    if end > last:
        if hard:
            return
        end = last
    source = _shift(
        values[end], buffer, t, end, dims, strides, arrived, digits, price, least, skip, skip_at
    )
    busy = cost + hold[end] - hold[t] + keep[end] - keep[t]
    for b in range(into.shape[0]):
        into[b] = min(into[b], source[b] + busy)


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def _skips(
    here: Any,
    t: int,
    dims: Any,
    strides: Any,
    digits: Any,
    arrived: Any,
    skip: Any,
    skip_at: Any,
) -> None:
    """Improve values by skipping the oldest job of a class, as often as it pays."""
    for q in range(dims.shape[0]):
        if skip_at[q] < 0:
            continue
        for b in range(here.shape[0]):
            if digits[b, q] > 0:
                job = skip_at[q] + arrived[q, t] - digits[b, q]
                here[b] = min(here[b], here[b - strides[q]] + skip[job])


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def follow(
    hold: Any,
    keep: Any,
    dims: Any,
    strides: Any,
    digits: Any,
    arrived: Any,
    price: Any,
    least: Any,
    skip: Any,
    skip_at: Any,
    durations: Any,
    duration_at: Any,
    takes: Any,
    costs: Any,
    late_at: Any,
    late_from: Any,
    late_cost: Any,
    switches: Any,
    switch_costs: Any,
    caching: bool,
    hard: bool,
    values: Any,
    state: int,
    rows: Any,
) -> int:
    """Read an optimal plan off ``values``, from tick 0.

    Args:
        takes: Jobs taken by move and class.
        state: How the adapter is at tick 0.
        rows: ``(room, 4)``: what is done, from which tick, until which, and the move, class or 0.

    Returns:
        Rows written, or -1 where there is no plan or no room.
    """
    last, classes = values.shape[1] - 1, dims.shape[0]
    backlog = np.zeros(classes, dtype=np.int64)
    scratch = np.zeros(classes, dtype=np.int64)
    count, t = 0, 0
    for q in range(classes):
        backlog[q] = arrived[q, 0]
    while True:
        for q in range(classes):  # cut what is above the cap, as the values do
            while backlog[q] >= dims[q]:
                if count == rows.shape[0]:
                    return -1
                rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = CUT, t, t, q
                count += 1
                backlog[q] -= 1
        if t == last:
            for q in range(classes):
                for i in range(backlog[q]):
                    each = np.inf if hard else price[q] * last + least[q]
                    what = CUT
                    if skip_at[q] >= 0:
                        other = skip[skip_at[q] + arrived[q, last] - backlog[q] + i]
                        if other <= each:
                            each, what = other, SKIP
                    if each == np.inf or count == rows.shape[0]:
                        return -1
                    rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = what, t, t, q
                    count += 1
            return count
        here = 0
        left = 0
        for q in range(classes):
            here += backlog[q] * strides[q]
            left += backlog[q] + arrived[q, last] - arrived[q, t]
        if left == 0:
            return count
        best, what, end, which, after = np.inf, -1, t, 0, state
        # Waiting in any state; leaving it is waiting in a lower one.
        for lower in range(state + 1):
            if lower == RESIDENT and not caching:
                continue
            busy = 0.0
            if lower >= RESIDENT:
                busy += keep[t + 1] - keep[t]
            if lower == ACTIVE:
                busy += hold[t + 1] - hold[t]
            cost = busy + _after(
                values[lower], t, t + 1, backlog, scratch, dims, strides, arrived, price, least,
                skip, skip_at,
            )  # fmt: skip
            if cost < best:
                best, end, which, after = cost, t + 1, 0, lower
                what = HOLD if lower == ACTIVE else WAIT
        for kind in range(3):
            if (kind > 0 and not caching) or (kind == 1 and state == ABSENT):
                continue
            if state == ACTIVE and kind != 0 and not caching:
                continue
            then = t + switches[kind]
            if then > last:
                if hard:
                    continue
                then = last
            goal = RESIDENT if kind == 2 else ACTIVE
            if switches[kind] == 0 and goal <= state:
                continue
            cost = (
                switch_costs[kind] + hold[then] - hold[t] + keep[then] - keep[t]
            ) + _after(
                values[goal], t, then, backlog, scratch, dims, strides, arrived, price, least,
                skip, skip_at,
            )  # fmt: skip
            if cost < best:
                best, end, which, after = cost, then, 0, goal
                what = PREFETCH if kind == 2 else ACTIVATE if kind == 1 else LOAD
        if state == ACTIVE:
            for d in range(durations.shape[0]):
                then = t + durations[d]
                if then > last:
                    if hard:
                        break
                    then = last
                for m in range(duration_at[d], duration_at[d + 1]):
                    possible = True
                    for q in range(classes):
                        if takes[m, q] > backlog[q]:
                            possible = False
                            break
                    if not possible:
                        continue
                    cost = costs[m, 0] + costs[m, 1] * t
                    cost += hold[then] - hold[t] + keep[then] - keep[t]
                    for i in range(late_at[m], late_at[m + 1]):
                        if t >= late_from[i]:
                            cost += late_cost[i]
                    for q in range(classes):
                        backlog[q] -= takes[m, q]
                    cost += _after(
                        values[ACTIVE], t, then, backlog, scratch, dims, strides, arrived, price,
                        least, skip, skip_at,
                    )  # fmt: skip
                    for q in range(classes):
                        backlog[q] += takes[m, q]
                    if cost < best:
                        best, what, end, which, after = cost, SERVE, then, m, ACTIVE
        for q in range(classes):
            if skip_at[q] >= 0 and backlog[q] > 0:
                job = skip_at[q] + arrived[q, t] - backlog[q]
                cost = values[state, t, here - strides[q]] + skip[job]
                if cost <= best:
                    best, what, end, which, after = cost, SKIP, t, q, state
        if what < 0 or count == rows.shape[0]:
            return -1
        if what == SKIP:
            backlog[which] -= 1
        if what == SERVE:
            for q in range(classes):
                backlog[q] -= takes[which, q]
        for q in range(classes):
            backlog[q] += arrived[q, end] - arrived[q, t]
        if what != WAIT:
            rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = what, t, end, which
            count += 1
        elif after == RESIDENT:
            rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = WAIT, t, end, 1
            count += 1
        t, state = end, after


@njit(cache=True, nogil=True, inline="always")  # type: ignore[misc]
def _after(
    values: Any,
    now: int,
    then: int,
    backlog: Any,
    scratch: Any,
    dims: Any,
    strides: Any,
    arrived: Any,
    price: Any,
    least: Any,
    skip: Any,
    skip_at: Any,
) -> float:
    """The value at tick ``then`` of a backlog at ``now``."""
    index, cost = 0, 0.0
    for q in range(dims.shape[0]):
        scratch[q] = backlog[q] + arrived[q, then] - arrived[q, now]
        if scratch[q] >= dims[q]:
            cost += cut_cost(q, then, scratch[q], dims, arrived, price, least, skip, skip_at)
            scratch[q] = dims[q] - 1
        index += scratch[q] * strides[q]
    return values[then, index] + cost  # type: ignore[no-any-return]


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[misc]
def at_first(
    values: Any,
    state: int,
    dims: Any,
    strides: Any,
    arrived: Any,
    price: Any,
    least: Any,
    skip: Any,
    skip_at: Any,
) -> float:
    """The value at tick 0 of what has arrived then."""
    backlog = np.zeros(dims.shape[0], dtype=np.int64)
    scratch = np.zeros(dims.shape[0], dtype=np.int64)
    for q in range(dims.shape[0]):
        backlog[q] = arrived[q, 0]
    return _after(  # type: ignore[no-any-return]
        values[state], 0, 0, backlog, scratch, dims, strides, arrived, price, least, skip, skip_at
    )
