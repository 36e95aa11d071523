"""An optimal plan of one adapter, read off the values of its dynamic program; compiled."""

# ruff: noqa: C901, PLR0912, PLR0917 - compiled: one function is one loop, and takes arrays
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.compiled import ZERO, compiled, entry
from pats_solvers.lagrangian.costs import (
    ABSENT,
    ACTIVATE,
    ACTIVE,
    AS_ACTIVE,
    AS_LOADED,
    CUT,
    HOLD,
    LOAD,
    LOAD_BESIDE,
    PREFETCH,
    RESERVE,
    RESIDENT,
    SERVE,
    SKIP,
    TO_ACTIVATE,
    TO_PREFETCH,
    WAIT,
    SubproblemArrays,
    cost_at_end,
    move_cost,
    option_cost,
    wait_cost,
)
from pats_solvers.lagrangian.kernels import after, first_use, has_switch, load_beside


class PlanStep(NamedTuple):
    """The best step found so far: its cost, what it does, until when, and the state after it."""

    cost: float
    what: int
    end: int
    which: int
    state: int


@compiled
def _best_wait(
    data: SubproblemArrays, paid: Any, values: Any, backlog: Any, state: int, t: int
) -> PlanStep:
    """Return the best way to wait or switch; leaving a state is waiting in a lower one."""
    last = values.shape[1] - 1
    best, what, end, then_state = np.inf, -1, t, state
    for lower in range(state + 1):
        if lower == RESIDENT and not data.caching:
            continue
        cost = after(data, values[lower], backlog, t, t + 1) + wait_cost(paid, lower, t)
        if cost < best:
            best, end, then_state = cost, t + 1, lower
            what = HOLD if lower == ACTIVE else WAIT
    for kind in range(3):
        if not has_switch(data, kind) or (kind == TO_ACTIVATE and state == ABSENT):
            continue
        then = t + data.switches[kind].ticks
        if then > last:
            if data.hard:
                continue
            then = last
        goal = RESIDENT if kind == TO_PREFETCH else ACTIVE
        if data.switches[kind].ticks == 0 and goal <= state:
            continue
        row = AS_LOADED if kind == TO_PREFETCH else AS_ACTIVE
        cost = data.switches[kind].loss + paid[row, then] - paid[row, t]
        cost += after(data, values[goal], backlog, t, then)
        if cost < best:
            best, end, then_state = cost, then, goal
            what = LOAD
            if kind > 0:
                what = ACTIVATE if kind == TO_ACTIVATE else PREFETCH
    best_step = PlanStep(best, what, end, ZERO, then_state)
    for late in range(data.switches[TO_ACTIVATE].ticks if data.overlap else 0):
        _, then, cost = load_beside(data, paid, t, late)
        if then > last:
            if data.hard:
                break
            then = last
        cost += after(data, values[ACTIVE], backlog, t, then)
        if cost < best_step.cost:
            best_step = PlanStep(cost, RESERVE, then, late, ACTIVE)
    return best_step


@compiled
def _best_batch(
    data: SubproblemArrays, paid: Any, values: Any, backlog: Any, best: PlanStep, t: int
) -> PlanStep:
    """Return the best batch to start, where it beats the best step so far."""
    last, number = values.shape[1] - 1, data.classes.shape[0]
    for m in range(data.takes.shape[0]):
        then = t + data.moves[m].duration
        if then > last:
            if data.hard:
                break
            then = last
        possible = True
        for q in range(number):
            possible &= data.takes[m, q] <= backlog[q]
        if not possible:
            continue
        for q in range(number):
            backlog[q] -= data.takes[m, q]
        cost = move_cost(data, m, t) + option_cost(data, m, t)
        cost += paid[AS_ACTIVE, then] - paid[AS_ACTIVE, t]
        cost += after(data, values[ACTIVE], backlog, t, then)
        for q in range(number):
            backlog[q] += data.takes[m, q]
        if cost < best.cost:
            best = PlanStep(cost, SERVE, then, m, ACTIVE)
    return best


@compiled
def _best_step(
    data: SubproblemArrays, paid: Any, values: Any, backlog: Any, state: int, t: int
) -> PlanStep:
    """Return the best step from a state and backlog at tick ``t``; nothing is above a cap."""
    best = _best_wait(data, paid, values, backlog, state, t)
    if state == ACTIVE:
        best = _best_batch(data, paid, values, backlog, best, t)
    here = 0
    for q in range(backlog.shape[0]):
        here += backlog[q] * data.classes[q].stride
    for q in range(backlog.shape[0]):
        kind = data.classes[q]
        if kind.skip_at >= 0 and backlog[q] > 0:
            job = kind.skip_at + data.arrived[q, t] - backlog[q]
            cost = values[state, t, here - kind.stride] + data.skip[job]
            if cost <= best.cost:
                best = PlanStep(cost, SKIP, t, q, state)
    return best


@compiled
def _write(rows: Any, count: int, what: int, start: int, end: int, which: int) -> int:
    """Write a row, and return how many there are."""
    rows[count, 0], rows[count, 1], rows[count, 2], rows[count, 3] = what, start, end, which
    return count + 1


@entry
def follow(data: SubproblemArrays, paid: Any, values: Any, state: int, rows: Any) -> int:
    """Read an optimal plan off ``values``, from tick 0.

    Args:
        data: The subproblem.
        paid: Prices summed up, as in :func:`backward`.
        values: What :func:`backward` filled.
        state: How the adapter is at tick 0.
        rows: ``(room, 4)``: what is done, from which tick, until which, and the move, class or 0.
            Of a load beside serving and what is done beside it the rows are not in order; the GPU
            is reserved for an activation (1), or to be the first there (0).

    Returns:
        Rows written, or -1 where there is no plan or no room.
    """
    last, number = values.shape[1] - 1, data.classes.shape[0]
    load, backlog = data.switches[TO_PREFETCH], data.arrived[:, 0].copy()
    count, t = ZERO, ZERO
    if data.overlap and state == ABSENT:
        value, start, loaded = first_use(data, paid, values)
        if value < after(data, values[state], backlog, t, t):
            count = _write(rows, count, RESERVE, ZERO, loaded, ZERO)
            count = _write(rows, count, LOAD_BESIDE, start, loaded, ZERO)
            t, state, backlog = loaded, ACTIVE, data.arrived[:, loaded].copy()
    while True:
        waiting, over, first = 0, -1, number
        for q in range(number):
            waiting += backlog[q] + data.arrived[q, last] - data.arrived[q, t]
            if backlog[q] >= data.classes[q].dim:
                over = q
            if backlog[q] > 0 and first == number:
                first = q
        if waiting == 0:
            return count  # type: ignore[no-any-return]
        if over >= 0:  # cut what is above the cap, as the values do
            step = PlanStep(0.0, CUT, t, over, state)
        elif t == last:
            cost, skipped = cost_at_end(data, first, backlog[first])
            what = -1 if cost == np.inf else SKIP if skipped else CUT
            step = PlanStep(cost, what, t, first, state)
        else:
            step = _best_step(data, paid, values, backlog, state, t)
        if step.what < 0 or count + 3 > rows.shape[0]:
            return -1
        for q in range(number):
            if step.what == SERVE:
                backlog[q] -= data.takes[step.which, q]
            if q == step.which and step.what in (SKIP, CUT):
                backlog[q] -= 1
            backlog[q] += data.arrived[q, step.end] - data.arrived[q, t]
        if step.what == RESERVE:
            loaded, end, _ = load_beside(data, paid, t, step.which)
            start, reserved = loaded - load.ticks, end - data.switches[TO_ACTIVATE].ticks
            loaded = min(loaded, last)
            count = _write(rows, count, RESERVE, min(reserved, last), step.end, ZERO + 1)
            count = _write(rows, count, LOAD_BESIDE, min(start, last), loaded, ZERO)
            count = _write(rows, count, WAIT, loaded, step.end, ZERO)
        elif step.what != WAIT or step.state == RESIDENT:
            what = LOAD_BESIDE if data.overlap and step.what == PREFETCH else step.what
            count = _write(rows, count, what, t, step.end, step.which)
        t, state = step.end, step.state
