"""The search's model as structured arrays, and the priced bound on what is left, compiled."""

# ruff: noqa: C901, PLR0917 - compiled: one function is one loop, and takes arrays

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pats_solvers.common.arrays import fields
from pats_solvers.common.compiled import entry, lean

#: No row, no class, no move.
NONE = -1

#: Adapters: where their classes, moves and table classes begin (they end where the next adapter's
#: begin), whether classes were merged in the tables, or are lanes there, where their values begin,
#: and the backlogs told apart.
ADAPTERS = fields("class_at move_at table_at merged lanes base size")

#: Classes: where the count is in a key (word, shift, mask), jobs, where these begin in ``arrival``
#: (in ``arrivals`` each class before has one more), and the class in the tables; loss of rejecting
#: a job (infinity: it must be served), what its tick costs beyond what the tables say, and what the
#: tables say.
CLASSES = fields("word shift mask jobs arrival_at into", "rejected extra price")

#: Classes of the tables: backlogs told apart, stride, where ``skip`` (-1: none may be skipped) and
#: ``sums`` begin; loss by grain and by tick that a start is later.
TABLES = fields("dim stride skip_at sums_at", "by_grain by_tick")

#: Jobs of lanes: the lane in the tables and the place in it; least loss of a start at grain 0 and
#: for each grain later.
LANE_JOBS = fields("lane place", "least price")


class SearchModel(NamedTuple):
    """A problem with one GPU and one resident adapter, and its bound.

    Classes and moves (batches) are numbered through all adapters. The tables have classes of their
    own, fewer where some were merged, and count time in *grains* of ticks.

    Attributes:
        adapters: :data:`ADAPTERS`; a last row ends them.
        classes: :data:`CLASSES`.
        arrival: Arrival ticks of all jobs, classes after one another.
        arrivals: Sums of the class's arrivals before each job, and all of them.
        beyond: Sums of what the class's jobs lose beyond the tables, from each job on, and 0.
        moves: :data:`.MOVES`; a last row ends them.
        takes: Jobs taken by move and class of its adapter.
        late: Members with a priced deadline, :data:`.LATE`.
        switches: :data:`.SWITCHES` by adapter held (last row: none) and target.
        paired: Whether switching depends on the adapter held.
        horizon: Tick by which all must have ended, or beyond all ticks.
        grain: Ticks in a grain.
        arrived: Jobs arrived by class and grain.
        tables: :data:`TABLES`.
        table_arrived: Jobs arrived by table class and grain.
        skip: Cost of rejecting each job in the tables.
        served: Least loss of a start by table class and grain from which it may be.
        sums: Sums of arrivals by table class.
        lane_jobs: :data:`LANE_JOBS` of all jobs, classes after one another.
        values: Cost to go by adapter, whether it is held, grain and backlog, in a row.
        paid: Price of the GPU summed up to each grain.
    """

    adapters: Any
    classes: Any
    arrival: Any
    arrivals: Any
    beyond: Any
    moves: Any
    takes: Any
    late: Any
    switches: Any
    paired: bool
    horizon: int
    grain: int
    arrived: Any
    tables: Any
    table_arrived: Any
    skip: Any
    served: Any
    sums: Any
    lane_jobs: Any
    values: Any
    paid: Any


@lean
def paid_until(model: SearchModel, tick: int) -> float:
    """Return the price of the GPU summed up to a tick."""
    return model.paid[min(tick // model.grain, model.paid.shape[0] - 1)]  # type: ignore[no-any-return]


# -- the bound -----------------------------------------------------------------------------------


@lean
def lane_backlog(model: Any, row: Any, grain: int, last: int, backlogs: Any, first: int) -> float:
    """Add a job of a lane, waiting at a grain, to its backlog, or return the least that it loses.

    Only the latest job of a lane has a backlog, and only up to the ``last`` grain. Backlogs are
    those of table classes from ``first`` on.
    """
    if grain <= last and row.place == model.table_arrived[row.lane, grain] - 1:
        backlogs[row.lane - first] += 1
        return 0.0
    cost = row.least + row.price * grain
    skip_at = model.tables[row.lane].skip_at
    return min(cost, model.skip[skip_at + row.place]) if skip_at >= 0 else cost  # type: ignore[no-any-return]


@lean
def _backlogs(
    model: SearchModel, grain: int, a: int, counts: Any, move: int, backlogs: Any
) -> float:
    """Fill in backlogs by table class, after ``move`` (or none); what corrects their value."""
    adapter, following = model.adapters[a], model.adapters[a + 1]
    lanes, merged = adapter.lanes > 0, adapter.merged > 0
    last = model.paid.shape[0] - 1
    t = min(grain, last)
    for k in range(adapter.table_at, following.table_at):
        backlogs[k] = 0
    cost = 0.0
    for q in range(adapter.class_at, following.class_at):
        kind, done = model.classes[q], counts[q]
        if move >= 0:
            done += model.takes[move, q - adapter.class_at]
        waiting = model.arrived[q, t] - done
        if lanes:
            for i in range(kind.arrival_at + done, kind.arrival_at + done + waiting):
                cost += lane_backlog(model, model.lane_jobs[i], grain, last, backlogs, 0)
        elif waiting >= 0:
            backlogs[kind.into] += waiting
        cost += model.beyond[kind.arrival_at + q + done + min(waiting, 0)]
        if waiting < 0 or (merged and model.tables[kind.into].skip_at >= 0):
            # Jobs rejected before they came, which the tables reject again; or of merged classes,
            # of which the tables take the latest jobs to be left: those are dearer to reject.
            at = kind.arrival_at + q + done
            cost += kind.price * (model.arrivals[at + waiting] - model.arrivals[at])
            if waiting < 0:
                cost += kind.rejected * waiting
    if merged:
        for k in range(adapter.table_at, following.table_at):
            table = model.tables[k]
            if table.skip_at >= 0:
                at = table.sums_at + model.table_arrived[k, t]
                latest = model.sums[at] - model.sums[at - backlogs[k]]
                cost -= table.by_tick * latest
    return cost


@lean
def oldest_cost(model: Any, k: int, grain: int, t: int, backlog: int, over: int) -> float:
    """Return the least that the oldest ``over`` jobs of a backlog cost from ``grain`` on.

    This and the like below take a model of GPUs with caches (:mod:`.fleet`) as well.
    """
    table = model.tables[k]
    last = model.served.shape[1] - 1
    each = model.served[k, min(grain, last)] + table.by_grain * max(0, grain - last)
    if table.skip_at < 0:
        return over * each  # type: ignore[no-any-return]
    cost = 0.0
    job = table.skip_at + model.table_arrived[k, t] - backlog
    for i in range(job, job + over):
        cost += min(each, model.skip[i])
    return cost


@lean
def value(
    model: SearchModel, grain: int, a: int, held: bool, counts: Any, move: int, backlogs: Any
) -> float:
    """Return the least that adapter ``a`` still costs from ``grain`` on, after ``move`` (or none).

    ``backlogs`` is scratch, one entry for each table class.
    """
    adapter = model.adapters[a]
    last = model.paid.shape[0] - 1
    t = min(grain, last)
    cost = _backlogs(model, grain, a, counts, move, backlogs)
    index = 0
    for k in range(adapter.table_at, model.adapters[a + 1].table_at):
        backlog = backlogs[k]
        over = backlog if grain > last else backlog - model.tables[k].dim + 1
        if over > 0:  # beyond what the tables tell apart
            cost += oldest_cost(model, k, grain, t, backlog, over)
            backlog -= over
        index += backlog * model.tables[k].stride
    row = t + last + 1 if held else t
    index += adapter.base + row * adapter.size
    return cost + model.values[index]  # type: ignore[no-any-return]


@entry
def remaining(model: SearchModel, held: int, tick: int, counts: Any) -> float:
    """Return the least that all that is left costs from ``tick`` on, less the GPU's price."""
    grain = tick // model.grain
    backlogs = np.empty(model.tables.shape[0], dtype=np.int64)
    cost = paid_until(model, tick) - model.paid[-1]
    for a in range(model.adapters.shape[0] - 1):
        if model.adapters[a].class_at < model.adapters[a + 1].class_at:
            cost += value(model, grain, a, a == held, counts, NONE, backlogs)
    return cost  # type: ignore[no-any-return]


# -- labels --------------------------------------------------------------------------------------


@entry
def unpack(classes: Any, key: Any, row: int, counts: Any) -> None:
    """Fill in the counts by class of a row's key."""
    for q in range(counts.shape[0]):
        counts[q] = (key[row, classes[q].word] >> classes[q].shift) & classes[q].mask


@entry
def pack(classes: Any, counts: Any, key: Any) -> None:
    """Fill in the key of counts."""
    key[:] = 0
    for q in range(counts.shape[0]):
        key[classes[q].word] |= counts[q] << classes[q].shift


@entry
def start_of(model: SearchModel, move: int, a: int, ready: int, counts: Any) -> int:
    """Return the first tick from ``ready`` at which a batch's members are in; -1: too few are."""
    first = model.adapters[a].class_at
    for q in range(first, model.adapters[a + 1].class_at):
        n = model.takes[move, q - first]
        if n > 0:
            kind = model.classes[q]
            if counts[q] + n > kind.jobs:
                return -1
            ready = max(ready, model.arrival[kind.arrival_at + counts[q] + n - 1])
    return ready


@lean
def batch_cost(model: Any, move: int, a: int, start: int, counts: Any) -> float:
    """Return what a batch adds to a label's loss, its switch aside."""
    cost = model.moves[move].fixed + model.moves[move].slope * start
    for i in range(model.moves[move].late_at, model.moves[move + 1].late_at):
        if start >= model.late[i].start:
            cost += model.late[i].loss
    if model.adapters[a].merged > 0 or model.adapters[a].lanes > 0:
        first = model.adapters[a].class_at
        for q in range(first, model.adapters[a + 1].class_at):
            n = model.takes[move, q - first]
            if n > 0:
                at = model.classes[q].arrival_at + q + counts[q]
                cost -= model.classes[q].extra * (model.arrivals[at + n] - model.arrivals[at])
    return cost  # type: ignore[no-any-return]


@lean
def rejection_cost(model: Any, q: int, first: int, last: int) -> float:
    """Return what rejecting the jobs from ``first`` to before ``last`` of a class adds."""
    kind = model.classes[q]
    at = kind.arrival_at + q
    ahead = kind.price * (model.arrivals[at + last] - model.arrivals[at + first])
    return kind.rejected * (last - first) + ahead  # type: ignore[no-any-return]
