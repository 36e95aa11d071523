"""Waiting jobs by kind, in columns.

Jobs that differ in nothing a score looks at but their arrival form a *kind*: only the earliest of
a kind needs a score, so a decision costs the number of kinds that wait, not the number of jobs.
Scores of one kind must not fall with waiting.
"""

from __future__ import annotations

from bisect import bisect
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pats_opt.model.problem import Job
from pats_solvers.online.common.context import RunContext
from pats_solvers.online.common.options import due_after, service_s, steps_s
from pats_solvers.online.common.queue import ARRIVAL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Names of the figures that a score may look at besides adapter, demand and arrival.
Column = Literal["work_s", "service_s", "due_after", "weight"]


class Kinds:
    """Waiting jobs by kind, one row per kind; the columns describe each kind's earliest job.

    Rows are used again, so some may be free; no GPU hosts these.

    Attributes:
        rows: Rows in use.
        made: Kinds so far; one that comes again counts again.
        heads: The waiting jobs of each row, in order of arrival.
    """

    def __init__(self, run: RunContext, columns: Sequence[Column]) -> None:
        self._hosts, self._horizon = run.waiting.hosts, run.site.horizon is not None
        self._figures = [figure(column, run) for column in columns]
        self.columns = {column: i for i, column in enumerate(columns)}
        self._row_of: dict[Hashable, int] = {}
        self._kind_of: dict[int, Hashable] = {}  # by index of each waiting job
        self._free: list[int] = []
        self._sums, self._seen = [0.0] * len(columns), 0
        self.rows = self.made = 0
        self.heads: list[deque[Job]] = []
        size = 64
        self._adapter: Ints = np.zeros(size, np.int64)
        self._arrival: Ints = np.zeros(size, np.int64)
        self._index: Ints = np.zeros(size, np.int64)
        self._figure: Floats = np.ones((len(columns), size))
        self._demand: Ints = np.zeros((len(run.site.resources), size), np.int64)
        self._hosted: Bools = np.zeros((len(run.site.gpus), size), np.bool_)
        run.waiting.followers.append(self)

    @property
    def adapter(self) -> Ints:
        """Adapter of each row."""
        return self._adapter[: self.rows]

    def hosted(self, gpu: int | list[int]) -> Bools:
        """Rows that wait and that ``gpu`` can hold; of several GPUs, one line each."""
        return self._hosted[gpu, : self.rows]

    def view(self) -> tuple[Ints, Ints, Ints, Floats]:
        """Return the columns of all rows, for reading.

        These are the arrival tick and the index of each row's earliest job, its demand, one
        resource per line, and its figures, one per line.
        """
        n = self.rows
        return (
            self._arrival[:n],
            self._index[:n],
            self._demand[:, :n],
            self._figure[:, :n],
        )

    def mean(self, column: Column) -> float:
        """Mean of a column over all jobs that have arrived."""
        return self._sums[self.columns[column]] / self._seen

    def row(self, index: int) -> int:
        """Row of a waiting job."""
        return self._row_of[self._kind_of[index]]

    def add(self, job: Job) -> None:
        """Add a job that has arrived."""
        figures = tuple([figure(job) for figure in self._figures])
        self._seen += 1
        for i, value in enumerate(figures):
            self._sums[i] += value
        kind: Hashable = job.adapter, job.demand, figures
        if self._horizon:  # jobs of a kind can then be served until the same tick
            kind = kind, min([option.steps for option in job.options])
        row = self._row_of.get(kind)
        if row is None:
            row = self._row_of[kind] = self._new_row()
            self.made += 1
            self._adapter[row] = job.adapter
            self._arrival[row] = job.arrival
            self._index[row] = job.index
            self._figure[:, row] = figures
            self._demand[:, row] = job.demand
            self._hosted[list(self._hosts(job)), row] = True
        heads = self.heads[row]
        if not heads or heads[-1].index < job.index:
            heads.append(job)
        else:  # it comes from another GPU
            heads.insert(bisect(heads, job.index, key=ARRIVAL), job)
            self._arrival[row], self._index[row] = heads[0].arrival, heads[0].index
        self._kind_of[job.index] = kind

    def remove(self, job: Job) -> None:
        """Remove a job, mostly the earliest of its kind, that is served or withdrawn."""
        kind = self._kind_of.pop(job.index)
        row = self._row_of[kind]
        heads = self.heads[row]
        heads.remove(job)
        if heads:
            self._arrival[row] = heads[0].arrival
            self._index[row] = heads[0].index
        else:
            self._hosted[:, row] = False
            self._free.append(row)
            del self._row_of[kind]

    def _new_row(self) -> int:
        if self._free:
            return self._free.pop()
        if self.rows == len(self._adapter):
            for name in ("_adapter", "_arrival", "_index", "_figure", "_demand", "_hosted"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate((column, np.zeros_like(column)), axis=-1))
        self.heads.append(deque())
        self.rows += 1
        return self.rows - 1


def figure(column: Column, run: RunContext) -> Callable[[Job], float]:
    """Return the function that gives a job's figure in a column."""
    site, option = run.site, run.option
    figures: dict[Column, Callable[[Job], float]] = {
        "work_s": lambda job: steps_s(site, job, option(job)),
        "service_s": lambda job: service_s(site, job, option(job)),
        "due_after": due_after,
        "weight": lambda job: job.weight,
    }
    return figures[column]
