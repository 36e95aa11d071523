"""States to start from: a plan's, or one of batches that serve a job each."""

from __future__ import annotations

import numpy as np

from pats_opt.model.plan import Plan
from pats_solvers.local.arrays import Data, SearchState, empty_state
from pats_solvers.local.editing import join, new_batch
from pats_solvers.local.timing import refresh, time_all


def state_of(data: Data, plan: Plan) -> SearchState:
    """The state with a plan's batches in their order; it starts them as early as can be."""
    state = empty_state(data)
    for g, planned in enumerate(plan.gpus):
        for p, batch in enumerate(sorted(planned, key=lambda b: b.start)):
            b = new_batch(state, g, p)
            for j, option in batch.members:
                join(state, b, j, option)
            refresh(data, state, b)
    time_all(data, state)
    return state


def one_by_one(data: Data) -> SearchState:
    """Each job alone with its quickest option by arrival, on the GPU that is free first."""
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
