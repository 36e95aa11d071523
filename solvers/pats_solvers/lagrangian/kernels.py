"""The dynamic program of one adapter on one GPU, compiled.

A state is a tick, the *backlog* (jobs of each class that have arrived and are neither started nor
skipped, flattened to one index) and how the adapter is: *absent*, *resident* or *active* (it holds
the GPU: switching, serving, or waiting to serve). Values are costs to go, worked out from the last
tick to the first; :mod:`.trace` reads a plan off them.

A start of n jobs of a class at tick t costs n x price x t; the arrivals are a constant of the
subproblem. Backlogs above a class's cap are cut by serving the oldest jobs at once, for nothing but
their own least loss: no real plan does better, so the value stays a lower bound.
"""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: one function is one loop, and takes arrays
from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled, entry, inlined
from pats_solvers.lagrangian.costs import (
    ABSENT,
    ACTIVE,
    AS_ACTIVE,
    AS_LOADED,
    AS_RESIDENT,
    RESIDENT,
    TO_ACTIVATE,
    TO_LOAD,
    TO_PREFETCH,
    SubproblemArrays,
    cost_at_end,
    cut_cost,
    move_cost,
    option_cost,
    wait_cost,
)


@compiled
def _shift(data: SubproblemArrays, target: Any, buffer: Any, now: int, then: int) -> Any:
    """Return the values of ``target``, at tick ``then``, by the backlog at ``now``."""
    classes, digits, arrived = data.classes, data.digits, data.arrived
    size, last = target.shape[0], classes.shape[0] - 1
    total = 0
    for q in range(last + 1):
        total += arrived[q, then] - arrived[q, now]
    if total == 0:
        return target
    inner, row = classes[last].dim, classes[last - 1].stride if last > 0 else size
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
            if backlog >= classes[q].dim:
                cost += cut_cost(data, q, then, backlog)
                backlog = classes[q].dim - 1
            index += backlog * classes[q].stride
        for b in range(free):
            buffer[block + b] = target[index + joining + b] + cost
        top = target[index + inner - 1] + cost
        for b in range(free, inner):
            over = cut_cost(data, last, then, b + joining)
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
def _skips(data: SubproblemArrays, here: Any, t: int) -> None:
    """Improve values by skipping the oldest job of a class, as often as it pays."""
    for q in range(data.classes.shape[0]):
        kind = data.classes[q]
        if kind.skip_at < 0:
            continue
        for b in range(here.shape[0]):
            if data.digits[b, q] > 0:
                job = kind.skip_at + data.arrived[q, t] - data.digits[b, q]
                here[b] = min(here[b], here[b - kind.stride] + data.skip[job])


@compiled
def has_switch(data: SubproblemArrays, kind: int) -> bool:
    """Return whether there are switches of a kind."""
    return not data.overlap if kind == TO_LOAD else data.caching


@compiled
def load_beside(data: SubproblemArrays, paid: Any, t: int, late: int) -> tuple[int, int, float]:
    """A load beside serving, the activation in part beside it; what begins first begins at ``t``.

    Returns:
        The load's end, ``late`` ticks after which the adapter is active, that tick, and the cost.
        Ticks may be after the last one.
    """
    last = paid.shape[1] - 1
    load, activate = data.switches[TO_PREFETCH], data.switches[TO_ACTIVATE]
    loaded = t + max(load.ticks, activate.ticks - late)
    end = loaded + late
    start, ready = min(loaded - load.ticks, last), min(loaded, last)
    reserved, active = min(end - activate.ticks, last), min(end, last)
    cost = load.loss + activate.loss
    cost += paid[AS_LOADED, ready] - paid[AS_LOADED, start]
    cost += paid[AS_RESIDENT, active] - paid[AS_RESIDENT, ready]
    cost += paid[AS_ACTIVE, active] - paid[AS_ACTIVE, reserved]
    cost -= paid[AS_RESIDENT, active] - paid[AS_RESIDENT, reserved]
    return loaded, end, cost


@compiled
def _cheapest(data: SubproblemArrays, options: Any, cheapest: Any, t: int) -> None:
    """Fill in the cost of each group's cheapest batch at tick ``t``."""
    for g in range(cheapest.shape[0]):
        cheapest[g] = np.inf
        for m in range(data.groups[g], data.groups[g + 1]):
            cheapest[g] = min(cheapest[g], move_cost(data, m, t) + options[m])


@inlined
def _serve(
    data: SubproblemArrays, paid: Any, values: Any, cheapest: Any, since: int, buffer: Any, t: int
) -> None:
    """Improve the values of the active state at tick ``t`` by starting a batch.

    ``cheapest`` is what a group's best batch costs at the tick ``since``.
    """
    last, size = values.shape[1] - 1, values.shape[2]
    here, source, busy, ticks = values[ACTIVE, t], buffer, 0.0, -1
    for g in range(cheapest.shape[0]):
        move = data.moves[data.groups[g]]
        if move.duration != ticks:
            ticks = move.duration
            end = t + ticks
            if end > last:
                if data.hard:
                    break
                end = last
            source = _shift(data, values[ACTIVE, end], buffer, t, end)
            busy = paid[AS_ACTIVE, end] - paid[AS_ACTIVE, t]
        cost = cheapest[g] + move.slope * (t - since) + busy
        if data.lanes:
            rest = size - 1 - move.offset
            left = rest  # every backlog without the batch's jobs
            while left >= 0:
                here[left + move.offset] = min(here[left + move.offset], source[left] + cost)
                left = (left - 1) & rest if left > 0 else -1
        else:
            into, found = here[move.offset :], source[: size - move.offset]
            for b in range(into.shape[0]):
                into[b] = min(into[b], found[b] + cost)


@inlined
def _wait_or_switch(
    data: SubproblemArrays, paid: Any, values: Any, buffer: Any, state: int, t: int
) -> None:
    """Improve the values of a state at tick ``t`` by waiting, switching and skipping."""
    last, here = values.shape[1] - 1, values[state, t]
    if data.overlap and state == ABSENT:
        for late in range(data.switches[TO_ACTIVATE].ticks):
            _, end, cost = load_beside(data, paid, t, late)
            if end > last:
                if data.hard:
                    break
                end = last
            goal = values[ACTIVE, end]
            _lower(
                here,
                _shift(data, goal, buffer, t, end),
                cost,
            )
    wait = wait_cost(paid, state, t)
    _lower(
        here,
        _shift(data, values[state, t + 1], buffer, t, t + 1),
        wait,
    )
    for kind in range(3 if state != ACTIVE else 0):
        if (kind == TO_ACTIVATE) != (state == RESIDENT) or not has_switch(data, kind):
            continue
        end = t + data.switches[kind].ticks
        if end > last:
            if data.hard:
                continue
            end = last
        row = AS_LOADED if kind == TO_PREFETCH else AS_ACTIVE
        busy = paid[row, end] - paid[row, t] + data.switches[kind].loss
        goal = values[RESIDENT if kind == TO_PREFETCH else ACTIVE, end]
        _lower(
            here,
            _shift(data, goal, buffer, t, end),
            busy,
        )
    for b in range(here.shape[0]):
        if data.digits[b, 0] < 0:
            here[b] = np.inf
    _skips(data, here, t)


@entry
def backward(data: SubproblemArrays, paid: Any, values: Any) -> None:
    """Fill ``values[state, tick, backlog]``, ``(3, ticks + 1, size)``, with costs to go.

    Args:
        data: The subproblem.
        paid: Prices summed up: ``(3, ticks + 1)``.
        values: Filled here.
    """
    last, size = values.shape[1] - 1, values.shape[2]
    for b in range(size):  # whatever is left at the last tick
        cost = np.inf if data.digits[b, 0] < 0 else 0.0
        for q in range(data.classes.shape[0]):
            for left in range(data.digits[b, q], 0, -1):
                cost += cost_at_end(data, q, left)[0]
        for state in range(3):
            values[state, last, b] = cost
    buffer, options = np.empty(size), np.zeros(data.takes.shape[0])
    cheapest, since = np.empty(data.groups.shape[0] - 1), last
    for t in range(last - 1, -1, -1):
        for state in range(3):
            for b in range(size):
                values[state, t, b] = np.inf
        changed = t == last - 1 or data.uneven
        for w in range(data.taken.shape[0]):
            changed |= data.taken[w, t] != data.taken[w, t + 1]
        if changed:  # at arrivals only
            for m in range(options.shape[0]):
                options[m] = option_cost(data, m, t)
        if changed or data.dated or data.late.shape[0] > 0:
            _cheapest(data, options, cheapest, t)
            since = t
        _serve(data, paid, values, cheapest, since, buffer, t)
        for state in range(ACTIVE, -1, -1):
            if state != RESIDENT or data.caching:
                _wait_or_switch(data, paid, values, buffer, state, t)
        if data.caching:
            _lower(values[RESIDENT, t], values[ABSENT, t], 0.0)
            _lower(values[ACTIVE, t], values[RESIDENT, t], 0.0)
        else:
            _lower(values[ACTIVE, t], values[ABSENT, t], 0.0)


@compiled
def after(data: SubproblemArrays, values: Any, backlog: Any, now: int, then: int) -> float:
    """Return the value at tick ``then`` of a backlog at ``now``."""
    classes, arrived = data.classes, data.arrived
    index, cost = 0, 0.0
    for q in range(classes.shape[0]):
        left = backlog[q] + arrived[q, then] - arrived[q, now]
        if left >= classes[q].dim:
            cost += cut_cost(data, q, then, left)
            left = classes[q].dim - 1
        index += left * classes[q].stride
    return values[then, index] + cost  # type: ignore[no-any-return]


@compiled
def first_use(data: SubproblemArrays, paid: Any, values: Any) -> tuple[float, int, int]:
    """Return the best way to be loaded beside serving for the GPU's first batch.

    That batch pays no activation, and nobody else holds the GPU before it.

    Returns:
        The value, and from when until when the adapter is loaded.
    """
    last, backlog = values.shape[1] - 1, data.arrived[:, 0].copy()
    load, best, start, loaded = data.switches[TO_PREFETCH], np.inf, ZERO, ZERO
    for t in range(last):
        end = t + load.ticks
        if end > last:
            if data.hard:
                break
            end = last
        cost = load.loss + paid[AS_LOADED, end] - paid[AS_LOADED, t]
        cost += paid[AS_ACTIVE, end] - paid[AS_RESIDENT, end]
        cost += after(data, values[ACTIVE], backlog, ZERO, end)
        if cost < best:
            best, start, loaded = cost, t, end
    return best, start, loaded


@entry
def at_first(data: SubproblemArrays, paid: Any, values: Any, state: int) -> float:
    """Return the value at tick 0 of what has arrived then."""
    value = after(data, values[state], data.arrived[:, 0].copy(), ZERO, ZERO)
    if data.overlap and state == ABSENT:
        value = min(value, first_use(data, paid, values)[0])
    return value
