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

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.arrays import fields
from pats_solvers.common.compiled import ZERO, compiled, entry, inlined

#: What a plan does, as written in the rows of :func:`.follow`. The last two are those of loads
#: beside serving: to load in a place of the cache, and to hold the GPU alone, without a place.
WAIT, LOAD, ACTIVATE, HOLD, SERVE, SKIP, CUT, PREFETCH, LOAD_BESIDE, RESERVE = range(10)

#: How the adapter is.
ABSENT, RESIDENT, ACTIVE = range(3)

#: Switches: to load before serving, to activate, to load ahead.
TO_LOAD, TO_ACTIVATE, TO_PREFETCH = range(3)

#: Rows of the prices, summed up from tick 0: of being active (holding the GPU included), resident,
#: and loaded ahead.
AS_ACTIVE, AS_RESIDENT, AS_LOADED = range(3)

#: Classes: backlogs told apart (the cap and 0), stride of the flattened backlog, where the jobs
#: begin in ``skip`` (-1 where none may be skipped), loss for each tick that a start is later, and
#: least loss of a start at tick 0 alone on the GPU.
CLASSES = fields("dim stride skip_at", "price least")

#: Members of a batch with a priced option: row of ``taken``, class, how many, ticks to completion.
PARTS = fields("way kind count ticks")


class SubproblemArrays(NamedTuple):
    """One adapter's jobs, batches and switches.

    Between the rows of the flattened backlog lie *guards*, backlogs that do not exist and cost
    infinity, so that a move is one pass over all backlogs: one that takes more than there is leads
    to a guard.

    Attributes:
        classes: By class, :data:`CLASSES`.
        digits: Backlog by flattened index and class; -1 in guards.
        arrived: Jobs arrived by class and tick.
        skip: Cost of not serving each job, classes after one another.
        moves: Batches by duration, :data:`.MOVES`; a last row ends them.
        takes: Jobs taken by move and class.
        late: Members with a priced deadline, :data:`.LATE`.
        part_at: Where a move's members with priced options begin in ``parts``; a last entry ends
            them.
        parts: :data:`PARTS`.
        taken: Price of a priced option by tick of the start.
        done: Price of completion by class and tick; 0 where it has none.
        dated: Whether any has one.
        served: Least loss of a start by class and tick from which it may be; arrivals apart.
        switches: The switches above, :data:`.SWITCHES`.
        caching: Whether adapters may be resident beside the active one.
        overlap: Whether adapters are loaded beside serving.
        hard: Whether everything must have ended by the last tick.
    """

    classes: Any
    digits: Any
    arrived: Any
    skip: Any
    moves: Any
    takes: Any
    late: Any
    part_at: Any
    parts: Any
    taken: Any
    done: Any
    dated: bool
    served: Any
    switches: Any
    caching: bool
    overlap: bool
    hard: bool


@compiled
def cut_cost(data: SubproblemArrays, q: int, tick: int, backlog: int) -> float:
    """Return the least that the jobs beyond the cap of class ``q`` can add, from ``tick`` on."""
    kind, skip = data.classes[q], data.skip
    over = backlog - kind.dim + 1
    served = data.served[q, tick]
    if kind.skip_at < 0:
        return over * served  # type: ignore[no-any-return]
    cost = 0.0
    first = kind.skip_at + data.arrived[q, tick] - backlog
    for i in range(first, first + over):
        cost += min(served, skip[i])
    return cost


@compiled
def cost_at_end(data: SubproblemArrays, q: int, backlog: int) -> tuple[float, bool]:
    """Return the cost of the oldest of ``backlog`` jobs at the end, and whether it is skipped."""
    kind, last = data.classes[q], data.arrived.shape[1] - 1
    cost = np.inf if data.hard else data.served[q, last]
    if kind.skip_at >= 0:
        other = data.skip[kind.skip_at + data.arrived[q, last] - backlog]
        if other <= cost:
            return other, True
    return cost, False


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
def move_cost(data: SubproblemArrays, m: int, t: int) -> float:
    """Return the loss of move ``m`` at tick ``t`` and the prices of its completions.

    Those of holding the GPU and of its options are apart.
    """
    moves, last = data.moves, data.arrived.shape[1] - 1
    cost = moves[m].fixed + moves[m].slope * t
    for i in range(moves[m].late_at, moves[m + 1].late_at):
        if t >= data.late[i].start:
            cost += data.late[i].loss
    if data.dated:
        for i in range(data.part_at[m], data.part_at[m + 1]):
            part = data.parts[i]
            cost += part.count * data.done[part.kind, min(t + part.ticks, last)]
    return cost  # type: ignore[no-any-return]


@compiled
def option_cost(data: SubproblemArrays, m: int, t: int) -> float:
    """Return the prices of the options of move ``m`` at tick ``t``."""
    cost = 0.0
    for i in range(data.part_at[m], data.part_at[m + 1]):
        cost += data.parts[i].count * data.taken[data.parts[i].way, t]
    return cost


@compiled
def wait_cost(paid: Any, state: int, t: int) -> float:
    """Return the price of staying in a state for tick ``t``."""
    if state == ABSENT:
        return 0.0
    row = AS_ACTIVE if state == ACTIVE else AS_RESIDENT
    return paid[row, t + 1] - paid[row, t]  # type: ignore[no-any-return]


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


@inlined
def _serve(
    data: SubproblemArrays, paid: Any, values: Any, options: Any, buffer: Any, t: int
) -> None:
    """Improve the values of the active state at tick ``t`` by starting a batch."""
    last, size = values.shape[1] - 1, values.shape[2]
    here, source, busy, ticks = values[ACTIVE, t], buffer, 0.0, -1
    cost, count = np.inf, data.takes.shape[0]
    for m in range(count):
        if data.moves[m].duration != ticks:
            ticks = data.moves[m].duration
            end = t + ticks
            if end > last:
                if data.hard:
                    break
                end = last
            source = _shift(data, values[ACTIVE, end], buffer, t, end)
            busy = paid[AS_ACTIVE, end] - paid[AS_ACTIVE, t]
        offset = data.moves[m].offset
        cost = min(cost, move_cost(data, m, t) + options[m] + busy)
        following = data.moves[m + 1]
        if m + 1 < count and following.offset == offset and following.duration == ticks:
            continue  # of batches that take the same jobs as long, the cheapest
        into, found = here[offset:], source[: size - offset]
        for b in range(into.shape[0]):
            into[b] = min(into[b], found[b] + cost)
        cost = np.inf


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
    for t in range(last - 1, -1, -1):
        for state in range(3):
            for b in range(size):
                values[state, t, b] = np.inf
        changed = t == last - 1
        for w in range(data.taken.shape[0]):
            changed |= data.taken[w, t] != data.taken[w, t + 1]
        if changed:  # at arrivals only
            for m in range(options.shape[0]):
                options[m] = option_cost(data, m, t)
        _serve(data, paid, values, options, buffer, t)
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
