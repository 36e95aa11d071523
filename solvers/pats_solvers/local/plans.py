"""States of plans, and plans of states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pats_opt.model.plan import Members, Plan, PlannedBatch
from pats_opt.model.problem import Problem
from pats_solvers.common.loads import TimedLoad, with_evictions
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
    """Return the plan of a timed state."""
    gpus, loads = [], []
    for g in range(len(problem.site.gpus)):
        order = state.order[g, : state.count[g]].tolist()
        if problem.site.channels is not None:
            planned, loaded = with_evictions(
                problem,
                g,
                [(int(state.batches["start"][b]), _members(state, b)) for b in order],
                _loads(state, order),
            )
            gpus.append(planned)
            loads.append(loaded)
            continue
        gpus.append(tuple(_planned(state, b) for b in order))
    return Plan(tuple(gpus), tuple(loads))


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


def _loads(state: SearchState, order: Sequence[int]) -> list[TimedLoad]:
    """The loads for a GPU's batches, in order of start."""
    found = [
        TimedLoad(int(state.loading["start"][b, i]), int(a), p)
        for p, b in enumerate(order)
        for i, a in enumerate(state.need[b])
        if a >= 0 and state.loading["start"][b, i] >= 0
    ]
    return sorted(found, key=lambda load: load.start)
