"""Levels of approximate caching: how many steps a request, a batch and a GPU skip, over time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pats_opt.model.problem import Problem
from pats_opt.tables.schedule_table import ScheduleTable
from pats_opt.tables.statistics import commonest

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Floats, Ints

#: A level (steps skipped), and how many requests are served at it.
LevelCount = tuple[int, int]


def levels_of(problem: Problem) -> tuple[int, ...]:
    """Return all levels of an instance's options, rising; nothing where none skips a step."""
    levels = {option.skip for job in problem.jobs for option in job.options}
    return tuple(sorted(levels)) if any(levels) else ()


def request_levels(table: ScheduleTable) -> Ints:
    """Return the level at which each request is served."""
    import numpy as np

    chosen = zip(table.jobs, table.requests.option.tolist(), strict=True)
    return np.array([job.options[o].skip for job, o in chosen], dtype=np.int64)


def batch_levels(table: ScheduleTable) -> Ints:
    """Return the level of most members of each batch; -1 where it has none."""
    return commonest(request_levels(table), table.requests.batch, len(table.batches.size))


def level_counts(table: ScheduleTable) -> tuple[LevelCount, ...]:
    """Return how many requests are served at each level, shallowest first."""
    return tuple(sorted(Counter(request_levels(table).tolist()).items()))


def allocation_steps(table: ScheduleTable, levels: tuple[int, ...]) -> tuple[Floats, Ints]:
    """Return how many GPUs are at each of ``levels`` over time, as a step function.

    A GPU is at the level of its batch, from the batch's start until that of its next one at another
    level; before its first batch it is at none.

    Returns:
        Rising times from 0 on the table's clock, and from each on, in a row, the GPUs by level.
    """
    import numpy as np

    batches, found = table.batches, batch_levels(table)
    some = np.flatnonzero(found >= 0)
    order = some[np.lexsort((batches.start[some], batches.gpu[some]))]
    gpu, place = batches.gpu[order], np.searchsorted(levels, found[order])
    same = gpu[1:] == gpu[:-1]  # the batch before is of the same GPU
    entered = np.append([True], ~same | (place[1:] != place[:-1])) if len(order) else same
    times = np.unique(np.append(batches.start[order[entered]], 0.0))
    change = np.zeros((len(times), len(levels)), dtype=np.int64)
    row = np.searchsorted(times, batches.start[order])
    np.add.at(change, (row[entered], place[entered]), 1)
    left = np.flatnonzero(entered[1:] & same) + 1
    np.add.at(change, (row[left], place[left - 1]), -1)
    return times, np.cumsum(change, axis=0)


def quality_steps(table: ScheduleTable, spans: int) -> tuple[Floats, Floats]:
    """Return the mean quality of the requests completed in each of so many equal spans of time.

    Returns:
        The start of each span that has any, on the table's clock, and the mean from there on.
    """
    import numpy as np

    requests, makespan = table.requests, table.makespan
    if not len(requests.job):
        return np.zeros(0), np.zeros(0)
    chosen = zip(table.jobs, requests.option.tolist(), strict=True)
    quality = np.array([job.options[o].quality for job, o in chosen])
    span = np.minimum((requests.completion / makespan * spans).astype(np.int64), spans - 1)
    counts = np.bincount(span, minlength=spans)
    some = counts > 0
    sums = np.bincount(span, weights=quality, minlength=spans)
    starts: Floats = np.flatnonzero(some) * np.float64(makespan / spans)
    return starts, sums[some] / counts[some]
