"""The arrays of one adapter's subproblem on one GPU, and what its decisions cost, compiled."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.arrays import fields
from pats_solvers.common.compiled import compiled, entry

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
