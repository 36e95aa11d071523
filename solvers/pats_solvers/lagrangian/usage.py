"""Use of priced things by a plan: ticks, slots, and the jobs that it leaves to others."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pats_solvers.common.arrays import Floats, Ints
from pats_solvers.lagrangian.costs import (
    CUT,
    LOAD_BESIDE,
    RESERVE,
    SERVE,
    SKIP,
    WAIT,
    SubproblemArrays,
    served_cost,
)

#: By what a row of a plan says: whether it holds the GPU, a place in the cache, and the loader.
_ROWS = np.arange(RESERVE + 1)
HOLDS = (_ROWS != WAIT) & (_ROWS != LOAD_BESIDE)
KEEPS, LOADS = _ROWS != RESERVE, _ROWS == LOAD_BESIDE


class JobUse(NamedTuple):
    """The jobs of a chain that its batches do not serve.

    Attributes:
        skipped: Places in ``skip`` of those that are left to others, or rejected.
        cut: Class and tick of those that are served for nothing but their least loss.
    """

    skipped: Ints
    cut: list[tuple[int, int]]


def job_use(arrays: SubproblemArrays, rows: Ints) -> JobUse:
    """Return what becomes of the jobs that a plan does not serve."""
    if not len(arrays.skip):
        cut = rows[rows[:, 0] == CUT]
        return JobUse(np.empty(0, dtype=np.int64), list(map(tuple, cut[:, [3, 1]].tolist())))
    done = np.zeros(len(arrays.classes), dtype=np.int64)
    places, cuts = list[int](), list[tuple[int, int]]()
    for what, tick, _, which in rows.tolist():
        if what == SERVE:
            done += arrays.takes[which]
        elif what in {SKIP, CUT}:
            kind = arrays.classes[which]
            place = int(kind["skip_at"] + done[which]) if kind["skip_at"] >= 0 else -1
            served = served_cost(arrays, which, tick, done[which])
            if what == SKIP or (place >= 0 and arrays.skip[place] < served):
                places.append(place)
            else:
                cuts.append((which, tick))
            done[which] += 1
    return JobUse(np.array(places, dtype=np.int64), cuts)


def slot_use(arrays: SubproblemArrays, rows: Ints) -> tuple[Floats, Floats]:
    """Return the slots of a plan's batches: by priced option and start, by class and completion."""
    taken, done = np.zeros_like(arrays.taken), np.zeros_like(arrays.done)
    last = done.shape[1] - 1
    for _, start, _, move in rows[rows[:, 0] == SERVE].tolist():
        for part in arrays.parts[arrays.part_at[move] : arrays.part_at[move + 1]]:
            taken[part["way"], start] += part["count"]
            done[part["kind"], min(start + part["ticks"], last)] += part["count"]
    return taken, done


def covered(rows: Ints, ticks: int) -> Floats:
    """Return how often each tick is covered by the rows' intervals."""
    change = np.zeros(ticks + 1)
    np.add.at(change, rows[:, 1], 1.0)
    np.add.at(change, rows[:, 2], -1.0)
    return np.cumsum(change)[:ticks]
