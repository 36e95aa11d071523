"""Ranking every waiting job by a score: the queue as a score sees it, the leader, the followers.

Jobs that differ in nothing a score looks at but their arrival form a *kind*: only the earliest of
a kind needs a score, so a decision costs the number of kinds that wait, not the number of jobs.
Scores of one kind must not fall with waiting.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.dispatch.batch import BatchBuilder
from pats_solvers.online.dispatch.context import Leader, RunContext, RunSetup
from pats_solvers.online.dispatch.options import due_after, fewest_steps, service_s, steps_s

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Below every score: a row that cannot be served.
NEVER = -np.inf

#: What a score may look at besides adapter, demand and arrival.
Column = Literal["work_s", "service_s", "due_after", "weight"]


class ScoringRun(RunContext):
    """A run whose waiting jobs are ranked by a score.

    Args:
        setup: What every run starts from.
        columns: What the score looks at besides adapter, demand and arrival.
    """

    def __init__(self, setup: RunSetup, columns: Sequence[Column]) -> None:
        super().__init__(setup)
        self.kinds = Kinds(self, columns)
        self._loads: dict[int | None, Floats] = {}

    @cached_property
    def mean_load_s(self) -> float:
        """Mean seconds of loading over all transitions of the site."""
        return mean_load_s(self.site)

    def best_leader(self, score: Score, idle: Sequence[GpuState]) -> Leader | None:
        """Return the pair of idle GPU and job with the highest score; None where there is none.

        Ties on a GPU go to the earliest job; ties between GPUs to the one whose job pays the least
        switching, then to the first.
        """
        best, most, least_s = None, NEVER, 0.0
        for gpu in idle:
            queue = self._leaders(gpu)
            scores = score(queue)
            place = queue.best(scores)
            if place is None or scores[place] < most:
                continue
            job = queue.head(place)
            seconds = self.switching_s(job.adapter, gpu)
            if scores[place] > most or seconds < least_s:
                best, most, least_s = (gpu, job), scores[place], seconds
        return best

    def add_followers(self, score: Score, batch: BatchBuilder, adapters: Iterable[int]) -> None:
        """Add jobs of ``adapters`` to the batch while one fits, each time that of the best score.

        The adapters are ready in the batch, so no follower pays for switching. Scores are taken
        anew after each, with what the batch leaves free. Ties go to the earliest job.
        """
        queue = self._followers(batch, adapters)
        while not batch.full:
            queue.room = batch.free
            place = queue.best_fitting(score(queue))
            if place is None:
                return
            job = queue.head(place)
            if batch.add(job, self.option(job)):
                queue.take(place)
            else:  # it cannot end by the horizon, or would be an adapter too many
                queue.drop(place)

    def _leaders(self, gpu: GpuState) -> Queue:
        """All that could lead a batch on ``gpu``, with the switching that each would pay."""
        kinds, room = self.kinds, list(self.site.room(gpu.index, gpu.resident))
        switch_s = self._switch_s(gpu)[kinds.adapter]
        queue = Queue(self, slice(0, kinds.rows), gpu, switch_s, room)
        for index in self.waiting.hidden(gpu.index):
            queue.drop(kinds.row(index))
        return queue

    def _followers(self, batch: BatchBuilder, adapters: Iterable[int]) -> Queue:
        """All that could follow the leader of ``batch``, its adapters being ready."""
        kinds, gpu = self.kinds, batch.gpu
        chosen = np.logical_or.reduce([kinds.adapter == a for a in adapters])
        rows = np.flatnonzero(chosen & kinds.hosted[gpu.index])
        queue = Queue(self, rows, gpu, 0.0, batch.free)
        queue.take(int(np.searchsorted(rows, kinds.row(batch.jobs[0].index))))
        return queue

    def _switch_s(self, gpu: GpuState) -> Floats:
        """Seconds of loading or activation that each adapter would pay on ``gpu`` now."""
        site = self.site
        source = next(iter(gpu.resident), None) if site.pairs else None
        if source not in self._loads:
            before = frozenset() if source is None else frozenset((source,))
            count = len(site.adapter_ids)
            self._loads[source] = np.array([site.load_seconds(a, before) for a in range(count)])
        seconds = self._loads[source].copy()
        for a in gpu.resident:
            stays = gpu.active is None or gpu.active == {a}
            seconds[a] = 0.0 if stays else site.activate_s
        return seconds


class Kinds:
    """Waiting jobs by kind, one row per kind; the columns describe each kind's earliest job.

    Rows are used again, so some may be free; no GPU hosts these.

    Attributes:
        rows: Rows in use.
        heads: The waiting jobs of each row, in order of arrival.
    """

    def __init__(self, run: RunContext, columns: Sequence[Column]) -> None:
        self._hosts = run.waiting.hosts
        self._figures = [figure(column, run) for column in columns]
        self.columns = {column: i for i, column in enumerate(columns)}
        self._row_of: dict[Hashable, int] = {}
        self._kind_of: dict[int, Hashable] = {}  # by index of each waiting job
        self._free: list[int] = []
        self._sums, self._seen = [0.0] * len(columns), 0
        self.rows = 0
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

    @property
    def arrival(self) -> Ints:
        """Arrival tick of each row's earliest job."""
        return self._arrival[: self.rows]

    @property
    def index(self) -> Ints:
        """Index of each row's earliest job."""
        return self._index[: self.rows]

    @property
    def figure(self) -> Floats:
        """The columns that the score looks at, one per line."""
        return self._figure[:, : self.rows]

    @property
    def demand(self) -> Ints:
        """Demand of each row, one resource per line."""
        return self._demand[:, : self.rows]

    @property
    def hosted(self) -> Bools:
        """Rows that wait and that a GPU can hold, one GPU per line."""
        return self._hosted[:, : self.rows]

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
        # Jobs of a kind can also be served until the same tick.
        kind = job.adapter, job.demand, job.options[fewest_steps(job)].steps, figures
        row = self._row_of.get(kind)
        if row is None:
            row = self._row_of[kind] = self._new_row()
            self._adapter[row] = job.adapter
            self._arrival[row] = job.arrival
            self._index[row] = job.index
            self._figure[:, row] = figures
            self._demand[:, row] = job.demand
            self._hosted[list(self._hosts(job)), row] = True
        self.heads[row].append(job)
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


class Queue:
    """Jobs that could be served next, as a score sees them: one row per kind, its earliest job.

    Attributes:
        switch_s: Seconds of switching that each would pay now; 0 for followers.
        room: What is free of each resource: on the idle GPU beside its residents or, for
            followers, beside the members of the batch. None where it is unlimited.
    """

    def __init__(
        self,
        run: ScoringRun,
        rows: Ints | slice,
        gpu: GpuState,
        switch_s: Floats | float,
        room: list[int | None],
    ) -> None:
        kinds = run.kinds
        self._run, self._kinds, self._gpu, self._rows = run, kinds, gpu, rows
        self._arrival: Ints = kinds.arrival[rows]
        self._index: Ints = kinds.index[rows]
        self._out: Bools = ~kinds.hosted[gpu.index, rows]
        self._taken: dict[int, int] = {}
        self.switch_s, self.room = switch_s, room

    @property
    def work_s(self) -> Floats:
        """Seconds of steps alone (the whole tick of a ``slot`` batch)."""
        return self._column("work_s")

    @property
    def service_s(self) -> Floats:
        """Seconds of service alone: overhead and steps (the whole tick of a ``slot`` batch)."""
        return self._column("service_s")

    @property
    def mean_service_s(self) -> float:
        """Mean of ``service_s`` over all jobs that have arrived."""
        return self._kinds.mean("service_s")

    @property
    def weight(self) -> Floats:
        """Weight of each request."""
        return self._column("weight")

    @property
    def wait_s(self) -> Floats:
        """Seconds since arrival."""
        ticks: Ints = self._run.tick - self._arrival
        return ticks * np.float64(self._run.site.tick_s)

    @property
    def due_in_s(self) -> Floats:
        """Seconds until the due date, below 0 after it; due at arrival without a deadline."""
        due: Floats = self._arrival + self._column("due_after")
        seconds: Floats = (due - self._run.tick) * self._run.site.tick_s
        return seconds

    @property
    def mean_load_s(self) -> float:
        """Mean seconds of loading over all transitions of the site."""
        return self._run.mean_load_s

    @property
    def cosine(self) -> Floats:
        """Cosine between each demand and ``room``, both as shares of the GPU's capacity."""
        return self._angles.cosine(self.room)

    @cached_property
    def _angles(self) -> Angles:
        return Angles(self._demand, self._run.site.gpus[self._gpu.index].capacity)

    @cached_property
    def _demand(self) -> Ints:
        return self._kinds.demand[:, self._rows]

    @cached_property
    def _figure(self) -> Floats:
        return self._kinds.figure[:, self._rows]

    def _column(self, name: Column) -> Floats:
        column: Floats = self._figure[self._kinds.columns[name]]
        return column

    def _heads(self, place: int) -> deque[Job]:
        return self._kinds.heads[place if isinstance(self._rows, slice) else self._rows[place]]

    def head(self, place: int) -> Job:
        """Return the earliest job of a row that is not taken."""
        return self._heads(place)[self._taken.get(place, 0)]

    def take(self, place: int) -> None:
        """Take the earliest job of a row: it joins the batch."""
        taken = self._taken[place] = self._taken.get(place, 0) + 1
        if taken < len(self._heads(place)):
            head = self.head(place)
            self._arrival[place], self._index[place] = head.arrival, head.index
        else:
            self._out[place] = True

    def drop(self, place: int) -> None:
        """Leave out a row that cannot be served."""
        self._out[place] = True

    def best(self, scores: Floats) -> int | None:
        """Return the row of the highest score; ties go to the earliest job. None: all are out."""
        return self._best(np.where(self._out, NEVER, scores))

    def best_fitting(self, scores: Floats) -> int | None:
        """Return the best row among those that fit into ``room``."""
        scores = np.where(self._out, NEVER, scores)
        for i, room in enumerate(self.room):
            if room is not None:
                scores[self._demand[i] > room] = NEVER
        return self._best(scores)

    def _best(self, scores: Floats) -> int | None:
        if not len(scores):
            return None
        place = int(scores.argmax())
        if scores[place] == NEVER:
            return None
        ties = (scores == scores[place]).nonzero()[0]
        return place if len(ties) == 1 else int(ties[self._index[ties].argmin()])


#: A score of each row of a queue; the highest is served first.
Score = Callable[[Queue], Floats]


class Angles:
    """Cosines between demands, one per column, and a residual, all as shares of a capacity.

    Unlimited resources, and those of which there is nothing, are left out; zeros give 1.
    """

    def __init__(self, demand: Ints, capacity: tuple[int | None, ...]) -> None:
        self._limited = [(i, most) for i, most in enumerate(capacity) if most]
        self._count = demand.shape[1]
        self._shares: list[Floats] = [demand[i] / most for i, most in self._limited]
        square = np.zeros(self._count)
        for share in self._shares:  # one after another, so that a column's place cannot matter
            square += share * share
        self._length = np.sqrt(square)
        self._none = self._length == 0.0
        self._length[self._none] = 1.0

    def cosine(self, residual: list[int | None]) -> Floats:
        """Return the cosine of each demand with ``residual``."""
        left = [(residual[i] or 0) / most for i, most in self._limited]
        length = math.sqrt(sum([x * x for x in left]))
        if len(left) < 2 or length == 0.0:
            return np.ones(self._count)
        dot = np.zeros(self._count)
        for share, x in zip(self._shares, left, strict=True):
            dot += share * x
        dot /= self._length * length
        dot[self._none] = 1.0
        return np.minimum(dot, 1.0, out=dot)


def figure(column: Column, run: RunContext) -> Callable[[Job], float]:
    """Return what gives a job's figure in a column."""
    site, option = run.site, run.option
    figures: dict[Column, Callable[[Job], float]] = {
        "work_s": lambda job: steps_s(site, job, option(job)),
        "service_s": lambda job: service_s(site, job, option(job)),
        "due_after": due_after,
        "weight": lambda job: job.weight,
    }
    return figures[column]


def mean_load_s(site: Site) -> float:
    """Mean seconds of loading over every transition to an adapter from another or from none."""
    count = len(site.load_s)
    if not count:
        return 0.0
    pairs = math.fsum(seconds - site.load_s[to] for (_, to), seconds in site.pairs.items())
    return math.fsum(site.load_s) / count + pairs / count**2
