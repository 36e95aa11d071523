"""The waiting jobs in columns, so that a policy scores them all at once.

Jobs that differ in nothing a score looks at but their arrival form a *kind*: only the earliest of a
kind needs a score, so a decision costs the number of kinds that wait, not the number of jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable

import numpy as np
from numpy.typing import NDArray

from pats_opt.problem import Job, Site
from pats_solvers.online.packing import Hosts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Candidates:
    """Waiting jobs by kind, one row a kind; the columns describe each kind's earliest job.

    Attributes:
        rows: Rows in use; some of them may be free (no GPU hosts them then).
        heads: The waiting jobs of each row, in order of arrival.
    """

    def __init__(
        self, site: Site, kind: Callable[[Job], Hashable], work_s: Callable[[Job], float]
    ) -> None:
        self._kind, self._work_s = kind, work_s
        self._hosts = Hosts(site)
        self._row_of: dict[Hashable, int] = {}
        self._kind_of: dict[int, Hashable] = {}  # by index of each waiting job
        self._free: list[int] = []
        self.rows = 0
        self.heads: list[deque[Job]] = []
        size = 64
        self._adapter: Ints = np.zeros(size, np.int64)
        self._arrival: Ints = np.zeros(size, np.int64)
        self._work: Floats = np.ones(size)
        self._demand: Ints = np.zeros((len(site.resources), size), np.int64)
        self._hosted: Bools = np.zeros((len(site.gpus), size), np.bool_)

    @property
    def adapter(self) -> Ints:
        """Adapter of each row."""
        return self._adapter[: self.rows]

    @property
    def arrival(self) -> Ints:
        """Arrival tick of each row's earliest job."""
        return self._arrival[: self.rows]

    @property
    def work_s(self) -> Floats:
        """Seconds of work, as the policy counts them."""
        return self._work[: self.rows]

    @property
    def demand(self) -> Ints:
        """Demand of each row, one line a resource."""
        return self._demand[:, : self.rows]

    def hosted(self, gpu: int) -> Bools:
        """Rows that wait and that ``gpu`` can hold."""
        return self._hosted[gpu, : self.rows]

    def add(self, job: Job) -> None:
        """A job arrives."""
        kind = self._kind(job)
        row = self._row_of.get(kind)
        if row is None:
            row = self._row_of[kind] = self._new_row()
            self._adapter[row] = job.adapter
            self._arrival[row] = job.arrival
            self._work[row] = self._work_s(job)
            self._demand[:, row] = job.demand
            self._hosted[list(self._hosts(job)), row] = True
        self.heads[row].append(job)
        self._kind_of[job.index] = kind

    def remove(self, job: Job) -> None:
        """A job, mostly the earliest of its kind, is served or withdrawn."""
        kind = self._kind_of.pop(job.index)
        row = self._row_of[kind]
        heads = self.heads[row]
        heads.remove(job)
        if heads:
            self._arrival[row] = heads[0].arrival
        else:
            self._hosted[:, row] = False
            self._free.append(row)
            del self._row_of[kind]

    def best(self, scores: Floats, rows: Ints | None = None) -> int | None:
        """The place of the highest score, None where all are below 0; ties go to the earliest job.

        Args:
            scores: One a row.
            rows: The rows that are scored; None for all of them.
        """
        place = int(scores.argmax())
        if scores[place] < 0.0:
            return None
        ties = (scores == scores[place]).nonzero()[0]
        if len(ties) == 1:
            return place
        tied = ties if rows is None else rows[ties]
        earliest = min(range(len(ties)), key=lambda i: self.heads[tied[i]][0].index)
        return int(ties[earliest])

    def _new_row(self) -> int:
        if self._free:
            return self._free.pop()
        if self.rows == len(self._work):
            for name in ("_adapter", "_arrival", "_work", "_demand", "_hosted"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate((column, np.zeros_like(column)), axis=-1))
        self.heads.append(deque())
        self.rows += 1
        return self.rows - 1
