"""Rules that rank every waiting request by a score.

Jobs that differ in nothing a score looks at but their arrival form a *kind*: only the earliest of
a kind needs a score, so a decision costs the number of kinds that wait, not the number of jobs.
Scores of one kind must not fall with waiting.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.dispatch.options import fewest_steps
from pats_solvers.online.dispatch.packing import BatchBuilder, switching_seconds
from pats_solvers.online.dispatch.rule import Desk, Rule
from pats_solvers.online.dispatch.waiting import Waiting

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Below every score: a row that cannot be served.
NEVER = -np.inf


class Rows(Protocol):
    """Kinds of jobs, one row each."""

    @property
    def arrival(self) -> Ints:
        """Arrival tick of each row's earliest job."""
        ...

    @property
    def feature(self) -> Floats:
        """What the rule looks at, one line a feature."""
        ...


class Candidates:
    """Waiting jobs by kind, one row a kind; the columns describe each kind's earliest job.

    Attributes:
        rows: Rows in use; some of them may be free (no GPU hosts them then).
        heads: The waiting jobs of each row, in order of arrival.
    """

    def __init__(
        self, site: Site, waiting: Waiting, features: Callable[[Job], tuple[float, ...]], count: int
    ) -> None:
        self._hosts, self._features = waiting.hosts, features
        self._row_of: dict[Hashable, int] = {}
        self._kind_of: dict[int, Hashable] = {}  # by index of each waiting job
        self._free: list[int] = []
        self.rows = 0
        self.heads: list[deque[Job]] = []
        size = 64
        self._adapter: Ints = np.zeros(size, np.int64)
        self._arrival: Ints = np.zeros(size, np.int64)
        self._index: Ints = np.zeros(size, np.int64)
        self._feature: Floats = np.ones((count, size))
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
    def index(self) -> Ints:
        """Index of each row's earliest job."""
        return self._index[: self.rows]

    @property
    def feature(self) -> Floats:
        """What the rule looks at, one line a feature."""
        return self._feature[:, : self.rows]

    @property
    def demand(self) -> Ints:
        """Demand of each row, one line a resource."""
        return self._demand[:, : self.rows]

    def hosted(self, gpu: int) -> Bools:
        """Rows that wait and that ``gpu`` can hold."""
        return self._hosted[gpu, : self.rows]

    def row(self, index: int) -> int:
        """The row of a waiting job."""
        return self._row_of[self._kind_of[index]]

    def add(self, job: Job) -> None:
        """A job arrives."""
        features = self._features(job)
        # Jobs of a kind can also be served until the same tick.
        kind = job.adapter, job.demand, job.options[fewest_steps(job)].steps, features
        row = self._row_of.get(kind)
        if row is None:
            row = self._row_of[kind] = self._new_row()
            self._adapter[row] = job.adapter
            self._arrival[row] = job.arrival
            self._index[row] = job.index
            self._feature[:, row] = features
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
            self._index[row] = heads[0].index
        else:
            self._hosted[:, row] = False
            self._free.append(row)
            del self._row_of[kind]

    def _new_row(self) -> int:
        if self._free:
            return self._free.pop()
        if self.rows == len(self._adapter):
            for name in ("_adapter", "_arrival", "_index", "_feature", "_demand", "_hosted"):
                column = getattr(self, name)
                setattr(self, name, np.concatenate((column, np.zeros_like(column)), axis=-1))
        self.heads.append(deque())
        self.rows += 1
        return self.rows - 1


class Followers:
    """The rows that may follow a leader, without what the batch has taken.

    Args:
        waiting: All rows.
        batch: Holds its leader.
        adapters: Only rows of these may follow; the leader's is one of them.

    Attributes:
        rows: Their rows among the candidates.
        arrival: Arrival tick of the earliest job of each that is not taken.
        index: Its index.
        feature: What the rule looks at, one line a feature.
        demand: Their demand, one line a resource.
    """

    def __init__(self, waiting: Candidates, batch: BatchBuilder, adapters: Iterable[int]) -> None:
        leader = batch.jobs[0]
        chosen = np.logical_or.reduce([waiting.adapter == a for a in adapters])
        self.rows: Ints = np.flatnonzero(chosen & waiting.hosted(batch.gpu.index))
        self.arrival: Ints = waiting.arrival[self.rows]
        self.index: Ints = waiting.index[self.rows]
        self.feature: Floats = waiting.feature[:, self.rows]
        self.demand: Ints = waiting.demand[:, self.rows]
        self._heads = [waiting.heads[row] for row in self.rows]
        self._taken = [0] * len(self.rows)
        self._out: Bools = np.zeros(len(self.rows), np.bool_)
        self.take(int(np.searchsorted(self.rows, waiting.row(leader.index))))

    def head(self, place: int) -> Job:
        """The earliest job of a row that is not taken."""
        return self._heads[place][self._taken[place]]

    def take(self, place: int) -> None:
        """Its earliest job joins the batch."""
        self._taken[place] += 1
        if self._taken[place] < len(self._heads[place]):
            head = self.head(place)
            self.arrival[place], self.index[place] = head.arrival, head.index
        else:
            self._out[place] = True

    def drop(self, place: int) -> None:
        """A row does not fit the batch any more."""
        self._out[place] = True

    def best(self, scores: Floats, batch: BatchBuilder) -> int | None:
        """The place of the best that fits; ties go to the earliest job. None: nothing fits."""
        scores[self._out] = NEVER
        for i, room in enumerate(batch.free):
            if room is not None:
                scores[self.demand[i] > room] = NEVER
        return best(scores, self.index)


class Scoring(Rule):
    """The best score leads, then the best of those that need no load follow, one after another.

    These are of the leader's adapter; in batches that may mix adapters (``max_per_batch`` above 1)
    of any that the batch holds resident. Ties go to the earliest request. Several idle GPUs: the
    pair of request and GPU with the highest score goes first. Of equal ones, each GPU's best
    request, that which pays the least switching goes first; then the first GPU's.

    Where scores need no more than switching and time, :class:`PlainScoring` asks for less.
    """

    #: Whether other residents' requests may follow where batches may mix adapters.
    mixes = True

    def __init__(self, desk: Desk, features: int) -> None:
        super().__init__(desk)
        self.candidates = Candidates(desk.site, desk.waiting, self.features, features)
        self._loads: dict[int | None, Floats] = {}

    @abstractmethod
    def features(self, job: Job) -> tuple[float, ...]:
        """What the score looks at besides adapter, demand and arrival."""

    @abstractmethod
    def leader_scores(self, gpu: GpuState, tick: int) -> Floats:
        """A fresh score for every row of ``candidates``, for leading a batch on ``gpu``."""

    @abstractmethod
    def follower_scores(
        self, followers: Followers, batch: BatchBuilder, tick: int
    ) -> Callable[[], Floats]:
        """Gives fresh scores of the followers as the batch grows; their adapter is ready."""

    def arrived(self, job: Job, tick: int) -> None:  # noqa: ARG002 - for other rules
        """A job waits."""
        self.candidates.add(job)

    def left(self, job: Job) -> None:
        """A job is served or withdrawn."""
        self.candidates.remove(job)

    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:
        """The pair of idle GPU and request with the best score."""
        found, most, least_s = None, NEVER, 0.0
        heads = self.candidates.heads
        for gpu in idle:
            scores = self.leader_scores(gpu, tick)
            scores[~self.candidates.hosted(gpu.index)] = NEVER
            for index in self.waiting.hidden(gpu.index):
                scores[self.candidates.row(index)] = NEVER
            place = best(scores, self.candidates.index)
            if place is None or scores[place] < most:
                continue
            job = heads[place][0]
            seconds = switching_seconds(self.site, job.adapter, gpu)
            if scores[place] > most or seconds < least_s:
                found, most, least_s = (gpu, job), scores[place], seconds
        return found

    def fill(self, batch: BatchBuilder, tick: int) -> None:
        """Add followers, best first."""
        mixed = self.mixes and self.site.max_per_batch > 1
        followers = Followers(self.candidates, batch, batch.resident if mixed else batch.active)
        scores = self.follower_scores(followers, batch, tick)
        while not batch.full:
            place = followers.best(scores(), batch)
            if place is None:
                return
            job = followers.head(place)
            if batch.add(job, self.option(job)):
                followers.take(place)
            else:  # it cannot end by the horizon, or would be an adapter too many
                followers.drop(place)

    def switching_s(self, gpu: GpuState) -> Floats:
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


class PlainScoring(Scoring):
    """Scores of leaders and followers alike, by what their adapters pay for switching."""

    @abstractmethod
    def scores(self, rows: Rows, switching_s: Floats | float, tick: int) -> Floats:
        """A fresh score of each row whose adapter needs ``switching_s`` seconds of switching."""

    def leader_scores(self, gpu: GpuState, tick: int) -> Floats:
        """With the switching that each adapter would pay now."""
        waiting = self.candidates
        return self.scores(waiting, self.switching_s(gpu)[waiting.adapter], tick)

    def follower_scores(
        self,
        followers: Followers,
        batch: BatchBuilder,  # noqa: ARG002 - for other rules
        tick: int,
    ) -> Callable[[], Floats]:
        """Without switching."""
        return lambda: self.scores(followers, 0.0, tick)


def best(scores: Floats, index: Ints) -> int | None:
    """The place of the highest score; ties go to the least index. None where all are NEVER."""
    if not len(scores):
        return None
    place = int(scores.argmax())
    if scores[place] == NEVER:
        return None
    ties = (scores == scores[place]).nonzero()[0]
    if len(ties) == 1:
        return place
    return int(ties[index[ties].argmin()])
