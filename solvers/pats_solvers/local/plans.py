"""States of plans, and plans of states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pats_opt.model.plan import Members, Plan, PlannedBatch
from pats_opt.model.problem import Problem
from pats_solvers.common.loading import Event, earliest_beside_loads
from pats_solvers.local.arrays import SearchArrays
from pats_solvers.local.state import SearchState, empty_state, join, new_batch
from pats_solvers.local.timing import refresh, time_all


def state_of(data: SearchArrays, plan: Plan) -> SearchState:
    """Return the state with a plan's batches in their order; it starts them as early as can be."""
    state = empty_state(data)
    for g, planned in enumerate(plan.gpus):
        for p, batch in enumerate(sorted(planned, key=lambda b: b.start)):
            b = new_batch(state, g, p)
            for j, option in batch.members:
                join(state, b, j, option)
            refresh(data, state, b)
    time_all(data, state)
    return state


def one_by_one(data: SearchArrays) -> SearchState:
    """Return each job alone with its quickest option by arrival, on the GPU that is free first."""
    state = empty_state(data)
    free = np.zeros(len(data.capacity), dtype=np.int64)
    for j, job in enumerate(data.jobs):
        able = np.flatnonzero(data.hosts[j])
        if not len(able):
            continue
        g = int(able[np.argmin(free[able])])
        b = new_batch(state, g, int(state.count[g]))
        join(state, b, j, int(np.argmin(data.modes["level"][j, : job["options"]])))
        refresh(data, state, b)
        length = state.batches["duration"][b] + data.adapters["slowest"][job["adapter"]]
        free[g] = max(free[g], job["arrival"]) + length
    time_all(data, state)
    return state


def plan_of_state(problem: Problem, state: SearchState) -> Plan:
    """Return the plan of a timed state.

    Where loads run beside serving, each event is as early as their order allows, so that the plan
    may be better than the state.
    """
    orders = [state.order[g, :n].tolist() for g, n in enumerate(state.count.tolist())]
    if problem.site.channels is None:
        return Plan(tuple(tuple(_planned(state, b) for b in order) for order in orders))
    rows = [earliest_beside_loads(problem, g, _events(state, o)) for g, o in enumerate(orders)]
    return Plan(tuple(batches for batches, _ in rows), tuple(loads for _, loads in rows))


def _planned(state: SearchState, b: int) -> PlannedBatch:
    """A batch of a state without loads beside serving."""
    held = state.resident[b] if state.resident.shape[1] else state.need[b]
    resident = frozenset(a for a in held.tolist() if a >= 0)
    return PlannedBatch(int(state.batches["start"][b]), _members(state, b), resident)


def _members(state: SearchState, b: int) -> Members:
    """The jobs of a batch, and their options."""
    members, j = [], int(state.batches["first"][b])
    while j >= 0:
        members.append((j, int(state.jobs["option"][j])))
        j = int(state.jobs["follow"][j])
    return tuple(sorted(members))


def _events(state: SearchState, order: Sequence[int]) -> list[Event]:
    """The loads and batches of a GPU in their order; within a tick, loads come first."""
    found: list[tuple[int, int, Event]] = []
    for b in order:
        needed = zip(state.loading["start"][b].tolist(), state.need[b].tolist(), strict=True)
        found += [(start, 0, a) for start, a in needed if a >= 0 and start >= 0]
        found.append((int(state.batches["start"][b]), 1, _members(state, b)))
    return [event for *_, event in sorted(found, key=lambda x: x[:2])]
