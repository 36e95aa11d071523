"""Ranking every waiting job by a score: the queue as a score sees it, the leader, the followers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Adapters, Job, Site
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunContext, RunSetup
from pats_solvers.online.common.kinds import Column, Floats, Ints, Kinds

#: Below every score: a row that cannot be served.
NEVER = -np.inf

#: Above every index of a job.
NEVER_CAME = np.iinfo(np.int64).max


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
        # The residents and adapters of the last batch that each GPU's seconds were taken for.
        self._cached: list[tuple[Adapters | None, Adapters | None]] = [
            (None, None) for _ in self.site.gpus
        ]
        self._switching_s: Floats = np.zeros((len(self.site.gpus), len(self.site.adapter_ids)))
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
        queue = Leaders(self, idle)
        best, least_s = None, math.inf
        for gpu, job in queue.best(score(queue)):
            seconds = self.switching_s(job.adapter, gpu)
            if seconds < least_s:
                best, least_s = (gpu, job), seconds
        return best

    def add_followers(self, score: Score, batch: BatchBuilder, adapters: Collection[int]) -> None:
        """Add jobs of ``adapters`` to the batch while one fits, each time that of the best score.

        The adapters are ready in the batch, so no follower pays for switching. Scores are taken
        anew after each, with what the batch leaves free. Ties go to the earliest job.
        """
        if sum([self.waiting.count(a) for a in adapters]) == 1:  # the leader alone
            return
        queue = Followers(self, batch, adapters)
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

    def switch_s(self, idle: Sequence[GpuState]) -> Floats:
        """Seconds of loading or activation that each kind's adapter would pay on each GPU now."""
        for gpu in idle:
            resident, active = self._cached[gpu.index]
            if resident is not gpu.resident or active is not gpu.active:
                self._cached[gpu.index] = gpu.resident, gpu.active
                self._switching_s[gpu.index] = self._switching_on(gpu)
        gpus = np.array([gpu.index for gpu in idle])
        seconds: Floats = self._switching_s[gpus[:, None], self.kinds.adapter]
        return seconds

    def _switching_on(self, gpu: GpuState) -> Floats:
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
            made, known = self.kinds.made, CosineSimilarity(self.kinds.view()[2], capacity)
            self._cosines[capacity] = made, known
        return known


class Queue(ABC):
    """Jobs that could be served next, as a score sees them: one row per kind, its earliest job.

    A figure of a row may have several lines, one per GPU.

    Args:
        run: The run.
        view: Arrival tick and index of each row's earliest job, its demand and its figures.
        switch_s: See below.

    Attributes:
        switch_s: Seconds of switching that each would pay now; 0 for followers.
    """

    def __init__(
        self, run: ScoringRun, view: tuple[Ints, Ints, Ints, Floats], switch_s: Floats | float
    ) -> None:
        self._run, self._kinds = run, run.kinds
        self._tick, self._tick_s = run.tick, run.site.tick_s
        self._arrival, self._index, self._demand, self._figure = view
        self.switch_s = switch_s

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
    @abstractmethod
    def cosine(self) -> Floats:
        """Cosine between each demand and what is free, both as shares of the GPU's capacity."""

    def _column(self, name: Column) -> Floats:
        column: Floats = self._figure[self._kinds.columns[name]]
        return column


class Leaders(Queue):
    """All that could lead a batch: one line per idle GPU, beside whose residents it must fit."""

    def __init__(self, run: ScoringRun, idle: Sequence[GpuState]) -> None:
        super().__init__(run, run.kinds.view(), run.switch_s(idle))
        kinds, waiting = self._kinds, run.waiting
        self._idle = idle
        self._out = ~kinds.hosted([gpu.index for gpu in idle])
        for out, gpu in zip(self._out, idle, strict=True):
            for index in waiting.hidden(gpu.index):
                out[kinds.row(index)] = True
            for a in waiting.hidden_adapters(gpu.index):
                out[kinds.adapter == a] = True

    @property
    @override
    def cosine(self) -> Floats:
        known: dict[tuple[tuple[int | None, ...], ...], Floats] = {}
        lines = []
        for gpu in self._idle:
            site = self._run.site
            room = site.room(gpu.index, gpu.resident)
            key = site.gpus[gpu.index].capacity, room
            if key not in known:
                known[key] = self._run.cosines(gpu.index).cosine(room)
            lines.append(known[key])
        return lines[0] if len(known) == 1 else np.stack(lines)

    def best(self, scores: Floats) -> Iterator[Leader]:
        """Yield the GPUs that have the highest score of all, each with its earliest job of it."""
        scores = np.where(self._out, NEVER, scores)
        highest = scores.max(initial=NEVER)
        if highest == NEVER:
            return
        best = scores == highest
        places = np.where(best, self._index, NEVER_CAME).argmin(axis=1)
        for line in best.any(axis=1).nonzero()[0].tolist():
            yield self._idle[line], self._kinds.heads[places[line]][0]


class Followers(Queue):
    """All that could follow the leader of a batch, their adapters being ready.

    Attributes:
        room: What is free of each resource beside the members; None where it is unlimited.
    """

    def __init__(self, run: ScoringRun, batch: BatchBuilder, adapters: Iterable[int]) -> None:
        kinds, self._gpu = run.kinds, batch.gpu.index
        chosen = np.logical_or.reduce([kinds.adapter == a for a in adapters])
        rows = self._rows = np.flatnonzero(chosen & kinds.hosted(self._gpu))
        arrival, index, demand, figure = kinds.view()
        super().__init__(
            run, (arrival[rows], index[rows], demand[:, rows], figure[:, rows]), switch_s=0.0
        )
        self.room: Sequence[int | None] = batch.free
        self._out = np.zeros(len(rows), np.bool_)
        self._taken: dict[int, int] = {}
        self._angles: CosineSimilarity | None = None
        self.take(int(np.searchsorted(rows, kinds.row(batch.jobs[0].index))))

    @property
    @override
    def cosine(self) -> Floats:
        if self._angles is None:  # the demands' part of it does not change
            capacity = self._run.site.gpus[self._gpu].capacity
            self._angles = CosineSimilarity(self._demand, capacity)
        return self._angles.cosine(self.room)

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

    def best_fitting(self, scores: Floats) -> int | None:
        """Return the row of the highest score that fits into ``room``; ties: the earliest job.

        None where none does.
        """
        scores = np.where(self._out, NEVER, scores)
        for i, room in enumerate(self.room):
            if room is not None:
                np.putmask(scores, self._demand[i] > room, NEVER)
        if not len(scores):
            return None
        place = int(scores.argmax())
        if scores[place] == NEVER:
            return None
        ties = (scores == scores[place]).nonzero()[0]
        return place if len(ties) == 1 else int(ties[self._index[ties].argmin()])

    def _heads(self, place: int) -> deque[Job]:
        return self._kinds.heads[int(self._rows[place])]


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

    def cosine(self, residual: Sequence[int | None]) -> Floats:
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
