"""The dynamic program of one adapter on one GPU, compiled.

A state is a tick, the *backlog* (jobs of each class that have arrived and are neither started nor
skipped, flattened to one index) and how the adapter is: *absent*, *resident* or *active* (it holds
the GPU: switching, serving, or waiting to serve). Values are costs to go, worked out from the last
tick to the first; a plan is then read off from the first to the last.

A start of n jobs of a class at tick t costs n x price x t; the arrivals are a constant of the
chain. Backlogs above a class's cap are cut by serving the oldest jobs at once, for nothing but
their own least loss: no real plan does better, so the value stays a lower bound.

Functions are small and called, not inlined, and arrays have their fields in columns: that takes a
fraction of the time to compile, and runs as fast.
"""

# ruff: noqa: C901, PLR0912, PLR0915, PLR0917 - compiled: one function is one loop, and takes arrays
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import compiled, entry

#: What a plan does, as written in the rows of :func:`follow`.
WAIT, LOAD, ACTIVATE, HOLD, SERVE, SKIP, CUT, PREFETCH = range(8)
ABSENT, RESIDENT, ACTIVE = range(3)

#: Columns of :attr:`Tables.classes`: backlogs told apart (the cap and 0), stride of the flattened
#: backlog, and where its jobs begin in ``skip`` (-1 where none may be skipped).
DIM, STRIDE, SKIP_AT = range(3)

#: Columns of :attr:`Tables.rates`: loss for each tick that a start is later, and of a start at tick
#: 0 alone on the GPU.
PRICE, LEAST = range(2)

#: Entries of :attr:`Tables.switch_ticks` and ``switch_costs``: to load before serving, to activate,
#: to load ahead. ``switch_ticks`` goes on with whether adapters may be resident beside the active
#: one, and whether everything must have ended by the last tick.
TO_LOAD, TO_ACTIVATE, TO_PREFETCH, CACHING, HARD = range(5)

#: Rows of the prices, summed up from tick 0: of being active (holding the GPU included), and
#: resident.
AS_ACTIVE, AS_RESIDENT = range(2)

#: Tick 0 for the compiler: as a literal it would be a type of its own, with functions of its own.
ZERO: Any = np.int64(0)

#: Columns of :attr:`Tables.late`: the first start that is late, and what that costs.
FROM, COST = range(2)


class Tables(NamedTuple):
    """The data of a chain.

    Between the rows of the flattened backlog lie *guards*, backlogs that do not exist and cost
    infinity, so that a move is one pass over all backlogs: one that takes more than there is leads
    to a guard.

    Attributes:
        classes: ``(classes, 3)``.
        rates: ``(classes, 2)``.
        digits: Backlog by flattened index and class; -1 in guards.
        arrived: Jobs arrived by class and tick.
        skip: Cost of not serving each job, classes after one another.
        spans: Different durations of batches, in ticks, and where the moves of each begin; they are
            sorted by it. A last row ends them.
        takes: Jobs taken by move and class; the last column is where the move's members with a
            priced deadline begin in ``late``. A last row ends them.
        costs: ``(fixed, by tick of the start)`` by move.
        late: ``(members with a priced deadline, 2)``.
        switch_ticks: Of a switch of each kind, and two conditions.
        switch_costs: What each costs apart from ticks.
    """

    classes: Any
    rates: Any
    digits: Any
    arrived: Any
    skip: Any
    spans: Any
    takes: Any
    costs: Any
    late: Any
    switch_ticks: Any
    switch_costs: Any


@compiled
def cut_cost(
    classes: Any, rates: Any, arrived: Any, skip: Any, q: int, tick: int, backlog: int
) -> float:
    """The least that the oldest jobs beyond the cap of class ``q`` can add, from ``tick`` on."""
    over = backlog - classes[q, DIM] + 1
    served = rates[q, PRICE] * tick + rates[q, LEAST]
    if classes[q, SKIP_AT] < 0:
        return over * served  # type: ignore[no-any-return]
    cost = 0.0
    first = classes[q, SKIP_AT] + arrived[q, tick] - backlog
    for i in range(first, first + over):
        cost += min(served, skip[i])
    return cost


@compiled
def _left(
    classes: Any, rates: Any, arrived: Any, skip: Any, hard: int, q: int, backlog: int
) -> tuple[float, bool]:
    """What the oldest of ``backlog`` jobs costs at the last tick, and whether it is skipped."""
    last = arrived.shape[1] - 1
    cost = np.inf if hard else rates[q, PRICE] * last + rates[q, LEAST]
    if classes[q, SKIP_AT] >= 0:
        other = skip[classes[q, SKIP_AT] + arrived[q, last] - backlog]
        if other <= cost:
            return other, True
    return cost, False


@compiled
def _shift(
    classes: Any,
    rates: Any,
    digits: Any,
    arrived: Any,
    skip: Any,
    target: Any,
    buffer: Any,
    now: int,
    then: int,
) -> Any:
    """Values of ``target``, at tick ``then``, by the backlog at ``now``: arrivals join it."""
    size, last = target.shape[0], classes.shape[0] - 1
    total = 0
    for q in range(last + 1):
        total += arrived[q, then] - arrived[q, now]
    if total == 0:
        return target
    inner, row = classes[last, DIM], classes[last - 1, STRIDE] if last > 0 else size
    joining = arrived[last, then] - arrived[last, now]
    free = max(0, inner - joining)  # backlogs of the last class that stay below its cap
    for block in range(0, size, row):
        if digits[block, 0] < 0:
            for b in range(block, block + row):
                buffer[b] = np.inf
            continue
        index, cost = 0, 0.0
        for q in range(last):
            backlog = digits[block, q] + arrived[q, then] - arrived[q, now]
            if backlog >= classes[q, DIM]:
                cost += cut_cost(classes, rates, arrived, skip, q, then, backlog)
                backlog = classes[q, DIM] - 1
            index += backlog * classes[q, STRIDE]
        for b in range(free):
            buffer[block + b] = target[index + joining + b] + cost
        top = target[index + inner - 1] + cost
        for b in range(free, inner):
            over = cut_cost(classes, rates, arrived, skip, last, then, b + joining)
            buffer[block + b] = top + over
        for b in range(block + inner, block + row):
            buffer[b] = np.inf
    return buffer


@compiled
def _lower(into: Any, found: Any, cost: float) -> None:
    """Improve ``into`` by what was found at a cost."""
    for b in range(into.shape[0]):
        into[b] = min(into[b], found[b] + cost)


@compiled
def _go(
    classes: Any,
    rates: Any,
    digits: Any,
    arrived: Any,
    skip: Any,
    into: Any,
    values: Any,
    buffer: Any,
    now: int,
    then: int,
    cost: float,
) -> None:
    """Improve ``into``, at tick ``now``, by being in the state of ``values`` from ``then`` on."""
    _lower(
        into, _shift(classes, rates, digits, arrived, skip, values[then], buffer, now, then), cost
    )


@compiled
def _skips(classes: Any, digits: Any, arrived: Any, skip: Any, here: Any, t: int) -> None:
    """Improve values by skipping the oldest job of a class, as often as it pays."""
    for q in range(classes.shape[0]):
        if classes[q, SKIP_AT] < 0:
            continue
        for b in range(here.shape[0]):
            if digits[b, q] > 0:
                job = classes[q, SKIP_AT] + arrived[q, t] - digits[b, q]
                here[b] = min(here[b], here[b - classes[q, STRIDE]] + skip[job])


@compiled
def _move_cost(costs: Any, takes: Any, late: Any, m: int, t: int) -> float:
    """Loss of move ``m`` at tick ``t``, holding apart."""
    cost, at = costs[m, 0] + costs[m, 1] * t, takes.shape[1] - 1
    for i in range(takes[m, at], takes[m + 1, at]):
        if t >= late[i, FROM]:
            cost += late[i, COST]
    return cost  # type: ignore[no-any-return]


@entry
def backward(
    paid: Any,
    classes: Any,
    rates: Any,
    digits: Any,
    arrived: Any,
    skip: Any,
    spans: Any,
    takes: Any,
    costs: Any,
    late: Any,
    switch_ticks: Any,
    switch_costs: Any,
    values: Any,
) -> None:
    """Fill ``values[state, tick, backlog]``, ``(3, ticks + 1, size)``, with costs to go.

    Args:
        paid: Prices summed up: ``(2, ticks + 1)``.
        classes: This and all up to ``values`` are :class:`Tables`.
        rates: And so on.
        digits: Of each flattened backlog.
        arrived: By class and tick.
        skip: By job.
        spans: By duration.
        takes: By move.
        costs: By move.
        late: By member with a deadline.
        switch_ticks: By kind of switch.
        switch_costs: By kind of switch.
        values: Filled here.
    """
    last, size, count = values.shape[1] - 1, values.shape[2], classes.shape[0]
    hard, caching = switch_ticks[HARD], switch_ticks[CACHING]
    for b in range(size):  # whatever is left at the last tick
        cost = np.inf if digits[b, 0] < 0 else 0.0
        for q in range(count):
            for left in range(digits[b, q], 0, -1):
                cost += _left(classes, rates, arrived, skip, hard, q, left)[0]
        for state in range(3):
            values[state, last, b] = cost
    buffer = np.empty(size)
    for t in range(last - 1, -1, -1):
        for state in range(3):
            for b in range(size):
                values[state, t, b] = np.inf
        active, here = values[ACTIVE], values[ACTIVE, t]
        for d in range(spans.shape[0] - 1):
            end = t + spans[d, 0]
            if end > last:
                if hard:
                    break
                end = last
            source = _shift(classes, rates, digits, arrived, skip, active[end], buffer, t, end)
            busy = paid[AS_ACTIVE, end] - paid[AS_ACTIVE, t]
            for m in range(spans[d, 1], spans[d + 1, 1]):
                offset = 0
                for q in range(count):
                    offset += takes[m, q] * classes[q, STRIDE]
                cost = _move_cost(costs, takes, late, m, t) + busy
                into, found = here[offset:], source[: size - offset]
                for b in range(into.shape[0]):
                    into[b] = min(into[b], found[b] + cost)
        for state in range(ACTIVE, -1, -1):
            if state == RESIDENT and not caching:
                continue
            goes, wait = values[state, t], 0.0
            if state != ABSENT:
                row = AS_ACTIVE if state == ACTIVE else AS_RESIDENT
                wait = paid[row, t + 1] - paid[row, t]
            _go(classes, rates, digits, arrived, skip, goes, values[state], buffer, t, t + 1, wait)
            for kind in range(3 if state != ACTIVE else 0):
                if (kind == TO_ACTIVATE) != (state == RESIDENT) or (kind > 0 and not caching):
                    continue
                end = t + switch_ticks[kind]
                if end > last:
                    if hard:
                        continue
                    end = last
                busy = paid[AS_ACTIVE, end] - paid[AS_ACTIVE, t] + switch_costs[kind]
                goal = values[RESIDENT if kind == TO_PREFETCH else ACTIVE]
                _go(classes, rates, digits, arrived, skip, goes, goal, buffer, t, end, busy)
            for b in range(size):
                if digits[b, 0] < 0:
                    goes[b] = np.inf
            _skips(classes, digits, arrived, skip, goes, t)
        if caching:
            _lower(values[RESIDENT, t], values[ABSENT, t], 0.0)
            _lower(here, values[RESIDENT, t], 0.0)
        else:
            _lower(here, values[ABSENT, t], 0.0)


@compiled
def _after(
    classes: Any,
    rates: Any,
    arrived: Any,
    skip: Any,
    values: Any,
    backlog: Any,
    now: int,
    then: int,
) -> float:
    """The value at tick ``then`` of a backlog at ``now``."""
    index, cost = 0, 0.0
    for q in range(classes.shape[0]):
        after = backlog[q] + arrived[q, then] - arrived[q, now]
        if after >= classes[q, DIM]:
            cost += cut_cost(classes, rates, arrived, skip, q, then, after)
            after = classes[q, DIM] - 1
        index += after * classes[q, STRIDE]
    return values[then, index] + cost  # type: ignore[no-any-return]


@entry
def at_first(classes: Any, rates: Any, arrived: Any, skip: Any, values: Any, state: int) -> float:
    """The value at tick 0 of what has arrived then."""
    backlog = np.empty(classes.shape[0], dtype=np.int64)
    for q in range(classes.shape[0]):
        backlog[q] = arrived[q, 0]
    return _after(classes, rates, arrived, skip, values[state], backlog, ZERO, ZERO)


@entry
def follow(
    paid: Any,
    classes: Any,
    rates: Any,
    arrived: Any,
    skip: Any,
    spans: Any,
    takes: Any,
    costs: Any,
    late: Any,
    switch_ticks: Any,
    switch_costs: Any,
    values: Any,
    state: int,
    rows: Any,
) -> int:
    """Read an optimal plan off ``values``, from tick 0.

    Args:
        paid: Prices summed up, as in :func:`backward`.
        classes: This and all up to ``values`` are :class:`Tables`, without ``digits``.
        rates: And so on.
        arrived: By class and tick.
        skip: By job.
        spans: By duration.
        takes: By move.
        costs: By move.
        late: By member with a deadline.
        switch_ticks: By kind of switch.
        switch_costs: By kind of switch.
        values: What :func:`backward` filled.
        state: How the adapter is at tick 0.
        rows: ``(room, 4)``: what is done, from which tick, until which, and the move, class or 0.

    Returns:
        Rows written, or -1 where there is no plan or no room.
    """
    last, number = values.shape[1] - 1, classes.shape[0]
    hard, caching = switch_ticks[HARD], switch_ticks[CACHING]
    backlog = np.empty(number, dtype=np.int64)
    for q in range(number):
        backlog[q] = arrived[q, 0]
    count, t = ZERO, ZERO
    while True:
        here, waiting, over = 0, 0, -1
        for q in range(number):
            here += backlog[q] * classes[q, STRIDE]
            waiting += backlog[q] + arrived[q, last] - arrived[q, t]
            if backlog[q] >= classes[q, DIM]:
                over = q
        if waiting == 0:
            return count  # type: ignore[no-any-return]
        best, what, end, which, after = np.inf, -1, t, 0, state
        if over >= 0:  # cut what is above the cap, as the values do
            what, which = CUT, over
        elif t == last:
            while backlog[which] == 0:
                which += 1
            cost, skipped = _left(classes, rates, arrived, skip, hard, which, backlog[which])
            if cost < np.inf:
                what = SKIP if skipped else CUT
        else:
            # Waiting in any state; leaving it is waiting in a lower one.
            for lower in range(state + 1):
                if lower == RESIDENT and not caching:
                    continue
                cost = _after(classes, rates, arrived, skip, values[lower], backlog, t, t + 1)
                if lower != ABSENT:
                    row = AS_ACTIVE if lower == ACTIVE else AS_RESIDENT
                    cost += paid[row, t + 1] - paid[row, t]
                if cost < best:
                    best, end, which, after = cost, t + 1, 0, lower
                    what = HOLD if lower == ACTIVE else WAIT
            for kind in range(3):
                if (kind > 0 and not caching) or (kind == TO_ACTIVATE and state == ABSENT):
                    continue
                then = t + switch_ticks[kind]
                if then > last:
                    if hard:
                        continue
                    then = last
                goal = RESIDENT if kind == TO_PREFETCH else ACTIVE
                if switch_ticks[kind] == 0 and goal <= state:
                    continue
                cost = switch_costs[kind] + paid[AS_ACTIVE, then] - paid[AS_ACTIVE, t]
                cost += _after(classes, rates, arrived, skip, values[goal], backlog, t, then)
                if cost < best:
                    best, end, which, after = cost, then, 0, goal
                    what = LOAD
                    if kind > 0:
                        what = ACTIVATE if kind == TO_ACTIVATE else PREFETCH
            for d in range(spans.shape[0] - 1 if state == ACTIVE else 0):
                then = t + spans[d, 0]
                if then > last:
                    if hard:
                        break
                    then = last
                for m in range(spans[d, 1], spans[d + 1, 1]):
                    possible = True
                    for q in range(number):
                        possible &= takes[m, q] <= backlog[q]
                    if not possible:
                        continue
                    cost = _move_cost(costs, takes, late, m, t)
                    cost += paid[AS_ACTIVE, then] - paid[AS_ACTIVE, t]
                    for q in range(number):
                        backlog[q] -= takes[m, q]
                    cost += _after(classes, rates, arrived, skip, values[ACTIVE], backlog, t, then)
                    for q in range(number):
                        backlog[q] += takes[m, q]
                    if cost < best:
                        best, what, end, which, after = cost, SERVE, then, m, ACTIVE
            for q in range(number):
                if classes[q, SKIP_AT] >= 0 and backlog[q] > 0:
                    job = classes[q, SKIP_AT] + arrived[q, t] - backlog[q]
                    cost = values[state, t, here - classes[q, STRIDE]] + skip[job]
                    if cost <= best:
                        best, what, end, which, after = cost, SKIP, t, q, state
        if what < 0 or count == rows.shape[0]:
            return -1
        for q in range(number):
            if what == SERVE:
                backlog[q] -= takes[which, q]
            if q == which and what in (SKIP, CUT):
                backlog[q] -= 1
            backlog[q] += arrived[q, end] - arrived[q, t]
        if what != WAIT or after == RESIDENT:
            rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = what, t, end, which
            count += 1
        t, state = end, after
