"""Ranking every waiting job by a score: the queue as a score sees it, the leader, the followers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import numpy as np

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunContext, RunSetup
from pats_solvers.online.common.kinds import Bools, Column, Floats, Ints, Kinds

#: Below every score: a row that cannot be served.
NEVER = -np.inf


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
        self._cosines: dict[tuple[int | None, ...], tuple[int, CosineSimilarity]] = {}

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
        queue = Queue(self, None, gpu, switch_s, room)
        for index in self.waiting.hidden(gpu.index):
            queue.drop(kinds.row(index))
        for a in self.waiting.hidden_adapters(gpu.index):
            queue.drop(kinds.adapter == a)
        return queue

    def _followers(self, batch: BatchBuilder, adapters: Iterable[int]) -> Queue:
        """All that could follow the leader of ``batch``, its adapters being ready."""
        kinds, gpu = self.kinds, batch.gpu
        chosen = np.logical_or.reduce([kinds.adapter == a for a in adapters])
        rows = np.flatnonzero(chosen & kinds.hosted(gpu.index))
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
        seconds[list(gpu.resident)] = 0.0 if gpu.active is None else site.activate_s
        if gpu.active:
            seconds[list(gpu.active & gpu.resident)] = 0.0
        return seconds

    def cosines(self, gpu: int) -> CosineSimilarity:
        """Cosines with the demands of all kinds on a GPU, made anew once there are new kinds."""
        capacity = self.site.gpus[gpu].capacity
        made, known = self._cosines.get(capacity, (-1, None))
        if known is None or made != self.kinds.made:
            demand = self.kinds.view(gpu)[3]
            made, known = self.kinds.made, CosineSimilarity(demand, capacity)
            self._cosines[capacity] = made, known
        return known


class Queue:
    """Jobs that could be served next, as a score sees them: one row per kind, its earliest job.

    Args:
        run: The run.
        rows: Rows of those that could follow a leader; None for all that could lead.
        gpu: The GPU that serves them.
        switch_s: See below.
        room: See below.

    Attributes:
        switch_s: Seconds of switching that each would pay now; 0 for followers.
        room: What is free of each resource: on the idle GPU beside its residents or, for
            followers, beside the members of the batch. None where it is unlimited.
    """

    def __init__(
        self,
        run: ScoringRun,
        rows: Ints | None,
        gpu: GpuState,
        switch_s: Floats | float,
        room: list[int | None],
    ) -> None:
        self._run, self._kinds, self._rows = run, run.kinds, rows
        self._tick, self._tick_s = run.tick, run.site.tick_s
        self._gpu, self._capacity = gpu.index, run.site.gpus[gpu.index].capacity
        arrival, index, hosted, demand, figure = run.kinds.view(gpu.index)
        if rows is None:
            self._arrival, self._index, self._out = arrival, index, ~hosted
        else:
            self._arrival, self._index = arrival[rows], index[rows]
            self._out = np.zeros(len(rows), np.bool_)
            demand, figure = demand[:, rows], figure[:, rows]
        self._demand, self._figure = demand, figure
        self._angles: CosineSimilarity | None = None
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
        seconds: Floats = np.multiply(self._tick - self._arrival, self._tick_s)
        return seconds

    @property
    def due(self) -> Floats:
        """Tick of the due date; that of the arrival without a deadline."""
        tick: Floats = self._column("due_after") + self._arrival
        return tick

    @property
    def due_in_s(self) -> Floats:
        """Seconds until the due date, below 0 after it."""
        seconds: Floats = (self.due - self._tick) * self._tick_s
        return seconds

    @property
    def mean_load_s(self) -> float:
        """Mean seconds of loading over all transitions of the site."""
        return self._run.mean_load_s

    @property
    def cosine(self) -> Floats:
        """Cosine between each demand and ``room``, both as shares of the GPU's capacity."""
        if self._angles is None:  # the demands' part of it does not change
            if self._rows is None:
                self._angles = self._run.cosines(self._gpu)
            else:
                self._angles = CosineSimilarity(self._demand, self._capacity)
        return self._angles.cosine(self.room)

    def _column(self, name: Column) -> Floats:
        column: Floats = self._figure[self._kinds.columns[name]]
        return column

    def _heads(self, place: int) -> deque[Job]:
        return self._kinds.heads[place if self._rows is None else self._rows[place]]

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

    def drop(self, place: int | Bools) -> None:
        """Leave out a row that cannot be served, or several."""
        self._out[place] = True

    def best(self, scores: Floats) -> int | None:
        """Return the row of the highest score; ties go to the earliest job. None: all are out."""
        return self._best(self._open(scores))

    def best_fitting(self, scores: Floats) -> int | None:
        """Return the best row among those that fit into ``room``."""
        scores = self._open(scores)
        for i, room in enumerate(self.room):
            if room is not None:
                np.putmask(scores, self._demand[i] > room, NEVER)
        return self._best(scores)

    def _open(self, scores: Floats) -> Floats:
        """The scores of the rows that can be served."""
        if scores.base is not None:  # a column itself
            scores = scores.copy()
        np.putmask(scores, self._out, NEVER)
        return scores

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


class CosineSimilarity:
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
        np.putmask(self._length, self._none, 1.0)

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
        np.putmask(dot, self._none, 1.0)
        return np.minimum(dot, 1.0, out=dot)


def mean_load_s(site: Site) -> float:
    """Mean seconds of loading over every transition to an adapter from another or from none."""
    count = len(site.load_s)
    if not count:
        return 0.0
    pairs = math.fsum(seconds - site.load_s[to] for (_, to), seconds in site.pairs.items())
    return math.fsum(site.load_s) / count + pairs / count**2
