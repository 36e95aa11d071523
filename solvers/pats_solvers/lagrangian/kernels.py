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
#: begin in ``skip`` (-1 where none may be skipped) and in ``jobs``, loss for each tick that a start
#: is later, and least loss of a start at tick 0 alone on the GPU.
CLASSES = fields("dim stride skip_at job_at", "price least")

#: Jobs of lanes: last tick that is not late; arrival, least loss of a start at tick 0 and for each
#: tick later, loss for each tick of latency beyond the class's, and loss of being late.
JOBS = fields("due", "arrival least price extra late")

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
        groups: The first of those that take the same jobs as long; a last entry ends them.
        takes: Jobs taken by move and class.
        late: Members with a priced deadline, :data:`.LATE`.
        part_at: Where a move's members with priced options begin in ``parts``; a last entry ends
            them.
        parts: :data:`PARTS`.
        taken: Price of a priced option by tick of the start; of a lane what its job then loses.
        done: Price of completion by class and tick; 0 where it has none.
        dated: Whether any has one.
        served: Least loss of a start by class and tick from which it may be; arrivals apart.
        lanes: Whether the classes are lanes: backlogs of 0 or 1, of the lane's latest job.
        uneven: Whether jobs of a lane differ in weight or in a priced deadline.
        jobs: :data:`JOBS` of lanes, one lane after another.
        grain: Ticks of the problem in one here.
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
    groups: Any
    takes: Any
    late: Any
    part_at: Any
    parts: Any
    taken: Any
    done: Any
    dated: bool
    served: Any
    lanes: bool
    uneven: bool
    jobs: Any
    grain: int
    switches: Any
    caching: bool
    overlap: bool
    hard: bool


@entry
def served_cost(data: SubproblemArrays, q: int, tick: int, job: int) -> float:
    """Return the least that the ``job``-th of class ``q`` loses by a start from ``tick`` on."""
    if not data.lanes:
        return data.served[q, tick]  # type: ignore[no-any-return]
    row = data.jobs[data.classes[q].job_at + job]
    return row.least + row.price * tick  # type: ignore[no-any-return]


@compiled
def cut_cost(data: SubproblemArrays, q: int, tick: int, backlog: int) -> float:
    """Return the least that the jobs beyond the cap of class ``q`` can add, from ``tick`` on."""
    kind = data.classes[q]
    over = backlog - kind.dim + 1
    if kind.skip_at < 0 and not data.lanes:
        return over * data.served[q, tick]  # type: ignore[no-any-return]
    cost = 0.0
    first = data.arrived[q, tick] - backlog
    for job in range(first, first + over):
        each = served_cost(data, q, tick, job)
        cost += min(each, data.skip[kind.skip_at + job]) if kind.skip_at >= 0 else each
    return cost


@compiled
def cost_at_end(data: SubproblemArrays, q: int, backlog: int) -> tuple[float, bool]:
    """Return the cost of the oldest of ``backlog`` jobs at the end, and whether it is skipped."""
    kind, last = data.classes[q], data.arrived.shape[1] - 1
    job = data.arrived[q, last] - backlog
    cost = np.inf if data.hard else served_cost(data, q, last, job)
    if kind.skip_at >= 0:
        other = data.skip[kind.skip_at + job]
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
    """Return the prices of the options of move ``m`` at tick ``t``, or what its jobs lose."""
    cost = 0.0
    for i in range(data.part_at[m], data.part_at[m + 1]):
        part = data.parts[i]
        cost += part.count * data.taken[part.way, t]
        job = data.arrived[part.kind, t] - 1
        if data.uneven and job >= 0:
            row = data.jobs[data.classes[part.kind].job_at + job]
            end = (t + part.ticks) * data.grain
            cost += row.extra * (end - row.arrival)
            if end > row.due:
                cost += row.late
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
