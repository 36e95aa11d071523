"""Table of a schedule: columns per served request, batch, switch and load beside serving.

It is made from a replay (:meth:`ScheduleTable.from_replay`; a simulation's result is replayed too)
or from an execution (:meth:`ScheduleTable.from_execution`). Metrics, pictures, comparisons and
pages read it and nothing else, so they cannot contradict each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from pats_opt.model.checker import ReplayedBatch, ReplayedLoad
from pats_opt.model.loss import LossTerms, switching_loss
from pats_opt.model.problem import Job, Problem
from pats_opt.tables.columns import BatchTable, LoadTable, RequestTable, SwitchTable
from pats_opt.tables.statistics import commonest

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Flags, Floats, Ints


class TimedMember(Struct, frozen=True, kw_only=True):
    """One request of a batch on a clock; ``completion_s`` is None where it has no image."""

    id: str
    option: int
    completion_s: float | None


class TimedBatch(Struct, frozen=True, kw_only=True):
    """One batch on a clock in seconds, with the switch before it, as comparisons store it.

    Attributes:
        gpu: Id of its GPU.
        index: Its place in the GPU's list of batches.
        adapters: Ids of the adapters that its members use.
        load: Ids of the adapters that its switch loads.
        paid_s: Seconds of loading and activation, which the loss prices.
        switch_end_s: End of its switch, which may be well before the batch starts.
        estimated: Whether its duration is not its own but estimated from its prediction.
    """

    gpu: str
    index: int
    adapters: tuple[str, ...]
    load: tuple[str, ...] = ()
    paid_s: float = 0.0
    switch_start_s: float
    switch_end_s: float
    start_s: float
    end_s: float
    members: tuple[TimedMember, ...]
    estimated: bool = False


class RequestLosses(NamedTuple):
    """Loss of each served request, by term."""

    quality: Floats
    latency: Floats
    late: Floats

    @property
    def total(self) -> Floats:
        """Loss of each request."""
        return self.quality + self.latency + self.late


@dataclass(frozen=True)
class ScheduleTable:
    """Columns of a schedule per served request, batch, switch and load beside serving.

    Attributes:
        problem: The instance on the grid.
        unit_s: Seconds per unit of the table's clock: the tick of a replay, 1 of an execution.
            Ticks are floats: exact up to 2 ** 53.
        loads: The loads beside serving; None where there are none by the instance, or where those
            of an execution are not known.
    """

    problem: Problem
    unit_s: float
    requests: RequestTable
    batches: BatchTable
    loads: LoadTable | None = None

    @classmethod
    def from_replay(
        cls,
        problem: Problem,
        replayed: Sequence[ReplayedBatch],
        loads: Sequence[ReplayedLoad] = (),
    ) -> ScheduleTable:
        """Return the table of a replayed schedule, in ticks, with its loads beside serving."""
        members = list(chain.from_iterable([b.members for b in replayed]))
        switch_start = _floats([b.batch.switch_start for b in replayed])
        batches = BatchTable(
            gpu=_ints([b.gpu for b in replayed]),
            size=_ints([len(b.members) for b in replayed]),
            switch_start=switch_start,
            switch_end=switch_start + _floats([b.switch.ticks for b in replayed]),
            start=_floats([b.batch.start for b in replayed]),
            end=_floats([b.end for b in replayed]),
            switch_s=_floats([b.switch.seconds for b in replayed]),
            load=[b.switch.load for b in replayed],
            evict=[b.switch.evict for b in replayed],
            activate=[b.switch.activate for b in replayed],
            resident=[b.resident for b in replayed],
        )
        table = cls._joined(
            problem,
            problem.site.tick_s,
            batches,
            job=_ints([job.index for job, _, _ in members]),
            option=_ints([option for _, option, _ in members]),
            completion=_floats([completion for _, _, completion in members]),
            deadlines=[job.deadline for job in problem.jobs],
        )
        if problem.site.channels is None:
            return table
        beside = LoadTable(
            gpu=_ints([load.gpu for load in loads]),
            adapter=_ints([load.adapter for load in loads]),
            start=_floats([load.start for load in loads]),
            end=_floats([load.end for load in loads]),
            seconds=_floats([problem.site.load_s[load.adapter] for load in loads]),
            evict=[load.evict for load in loads],
        )
        return replace(table, loads=beside)

    @classmethod
    def from_execution(cls, problem: Problem, batches: Sequence[TimedBatch]) -> ScheduleTable:
        """Return the table of executed batches, in seconds; only members with an image count."""
        gpus = {gpu.id: gpu.index for gpu in problem.site.gpus}
        adapters, index = problem.site.adapter_index, problem.job_index()
        done = [[m for m in b.members if m.completion_s is not None] for b in batches]
        members = list(chain.from_iterable(done))
        requests = problem.instance.requests
        columns = BatchTable(
            gpu=_ints([gpus[b.gpu] for b in batches]),
            size=_ints([len(some) for some in done]),
            switch_start=_floats([b.switch_start_s for b in batches]),
            switch_end=_floats([b.switch_end_s for b in batches]),
            start=_floats([b.start_s for b in batches]),
            end=_floats([b.end_s for b in batches]),
            switch_s=_floats([b.paid_s for b in batches]),
            load=[frozenset([adapters[a] for a in b.load if a in adapters]) for b in batches],
            evict=[frozenset()] * len(batches),
            activate=[frozenset()] * len(batches),
            resident=[()] * len(batches),
        )
        return cls._joined(
            problem,
            1.0,
            columns,
            job=_ints([index[m.id] for m in members]),
            option=_ints([m.option for m in members]),
            completion=_floats([m.completion_s for m in members]),
            deadlines=[requests[job.position].deadline_s for job in problem.jobs],
        )

    @classmethod
    def _joined(
        cls,
        problem: Problem,
        unit_s: float,
        batches: BatchTable,
        *,
        job: Ints,
        option: Ints,
        completion: Floats,
        deadlines: Sequence[float | None],
    ) -> ScheduleTable:
        """Give each request what follows from its batch and its job; ``deadlines`` by job."""
        import numpy as np

        batch = np.repeat(np.arange(len(batches.size)), batches.size)
        tick = problem.site.tick_s / unit_s
        arrival = _floats([j.arrival for j in problem.jobs])[job] * tick
        allowed = _floats([math.inf if limit is None else limit for limit in deadlines])[job]
        requests = RequestTable(
            job=job,
            option=option,
            batch=batch,
            adapter=_ints([j.adapter for j in problem.jobs])[job],
            arrival=arrival,
            start=batches.start[batch],
            completion=completion,
            late=completion - arrival > allowed + 1e-9 * tick,  # the slack of the grid
        )
        return cls(problem, unit_s, requests, batches)

    def by_start(self) -> ScheduleTable:
        """Return the same table, batches and loads by start, then by GPU, requests as before."""
        import numpy as np

        requests, batches, loads = self.requests, self.batches, self.loads
        order = _by_start(batches)
        batch = np.argsort(order)[requests.batch]
        members = np.argsort(batch, kind="stable")
        moved = {name: getattr(requests, name)[members] for name in RequestTable.__slots__}
        return ScheduleTable(
            self.problem,
            self.unit_s,
            RequestTable(**moved | {"batch": batch[members]}),
            BatchTable(**_rows(batches, BatchTable.__slots__, order)),
            loads and LoadTable(**_rows(loads, LoadTable.__slots__, _by_start(loads))),
        )

    def in_seconds(self) -> ScheduleTable:
        """Return the same table with a clock in seconds."""

        def scaled(columns: Any, *names: str) -> Any:
            times = {name: getattr(columns, name) * self.unit_s for name in names}
            return replace(columns, **times)

        return ScheduleTable(
            self.problem,
            1.0,
            scaled(self.requests, "arrival", "start", "completion"),
            scaled(self.batches, "switch_start", "switch_end", "start", "end"),
            self.loads and scaled(self.loads, "start", "end"),
        )

    @property
    def latency_s(self) -> Floats:
        """Seconds from each request's arrival to its completion."""
        return (self.requests.completion - self.requests.arrival) * self.unit_s

    @property
    def wait(self) -> Floats:
        """Time from each request's arrival to the start of its batch, on the table's clock."""
        return self.requests.start - self.requests.arrival

    @property
    def makespan(self) -> float:
        """Time from 0 to the last batch's end, on the table's clock."""
        return float(self.batches.end.max()) if len(self.batches.end) else 0.0

    @property
    def paid_s(self) -> list[float]:
        """Seconds of loading and activation paid, by each switch and each load beside serving."""
        beside = () if self.loads is None else self.loads.seconds.tolist()
        return [*self.batches.switch_s.tolist(), *beside]

    @property
    def jobs(self) -> list[Job]:
        """The served requests."""
        jobs = self.problem.jobs
        return [jobs[j] for j in self.requests.job.tolist()]

    @cached_property
    def used(self) -> Ints:
        """Rows of two, by batch, with each adapter that the batch's members use."""
        import numpy as np

        many = max(1, len(self.problem.site.adapter_ids))
        pairs = np.unique(self.requests.batch * many + self.requests.adapter)
        return np.stack((pairs // many, pairs % many), axis=1)

    @cached_property
    def loaded(self) -> Flags:
        """True of a request whose adapter is loaded for its batch.

        That is by the switch right before it; where loads run beside serving, the batch is the
        first to use the adapter after a load of it.
        """
        import numpy as np

        many = len(self.problem.site.adapter_ids)
        if self.loads is None:
            loads = _ints([b * many + a for b, some in enumerate(self.batches.load) for a in some])
        else:
            batch, adapter = self.used[np.argsort(self.batches.start[self.used[:, 0]])].T
            load, first = np.unique(self.last_load(batch, adapter), return_index=True)
            loads = (batch * many + adapter)[first[load >= 0]]
        return np.isin(self.requests.batch * many + self.requests.adapter, loads)

    @cached_property
    def missed(self) -> Flags:
        """True of a batch with a request whose adapter is loaded for it."""
        import numpy as np

        many = len(self.batches.size)
        return np.bincount(self.requests.batch, weights=self.loaded, minlength=many) > 0

    def last_load(self, batch: Ints, adapter: Ints) -> Ints:
        """Return the row of the last load of an adapter by the start of a batch; -1 without one.

        Of loads that start at once, a GPU's later row is the last.
        """
        import numpy as np

        loads, batches = self.loads, self.batches
        if loads is None or not len(loads.gpu):
            return np.full(len(batch), -1)
        many, known = len(self.problem.site.adapter_ids), len(loads.gpu)
        place = np.concatenate(
            (loads.gpu * many + loads.adapter, batches.gpu[batch] * many + adapter)
        )
        time = np.concatenate((loads.start, batches.start[batch]))
        order = np.lexsort((time, place))  # stable: loads come before batches of their tick
        is_load = order < known
        last = np.maximum.accumulate(np.where(is_load, np.arange(len(order)), -1))
        same = (last >= 0) & (place[order[last]] == place[order])
        found = np.where(same, order[last], -1)
        back = np.empty(len(batch), dtype=np.int64)
        back[order[~is_load] - known] = found[~is_load]
        return back

    @cached_property
    def main_adapter(self) -> Ints:
        """Adapter that most members of each batch use, -1 where it has none."""
        return commonest(self.requests.adapter, self.requests.batch, len(self.batches.size))

    @cached_property
    def switches(self) -> SwitchTable:
        """The switches."""
        import numpy as np

        batches = self.batches
        taken = batches.switch_end - batches.switch_start
        changed = [bool(load or out) for load, out in zip(batches.load, batches.evict, strict=True)]
        rows = np.flatnonzero((batches.switch_s > 0) | (taken > 0) | np.array(changed, dtype=bool))
        start = np.where(taken > 0, batches.switch_start, batches.start)[rows]
        order = np.argsort(start, kind="stable")
        rows, start = rows[order], start[order]
        return SwitchTable(
            batch=rows,
            start=start,
            end=start + taken[rows],
            seconds=batches.switch_s[rows],
            **_rows(batches, ("gpu", "load", "evict"), rows),
        )

    @cached_property
    def losses(self) -> RequestLosses:
        """Loss of each served request, by term."""
        import numpy as np

        site, jobs, requests = self.problem.site, self.jobs, self.requests
        weight = _floats([job.weight for job in jobs])
        chosen = zip(jobs, requests.option.tolist(), strict=True)
        took = requests.completion - requests.arrival
        return RequestLosses(
            quality=_floats([job.options[o].quality_loss for job, o in chosen]),
            latency=site.latency_price_per_s * weight * took * self.unit_s,
            late=np.where(requests.late, site.late_price * weight, 0.0),
        )

    def loss_terms(self, unserved: Iterable[Job]) -> LossTerms:
        """Return the loss, term by term (PROBLEM.md section 6).

        ``unserved`` are charged as rejected; those of them that must be served count nothing.
        """
        site, losses = self.problem.site, self.losses
        return LossTerms(
            quality=math.fsum(losses.quality),
            latency=math.fsum(losses.latency),
            late=math.fsum(losses.late),
            switching=math.fsum([switching_loss(site, s) for s in self.paid_s]),
            rejection=math.fsum([job.reject_loss or 0.0 for job in unserved]),
        )


def _by_start(columns: BatchTable | LoadTable) -> Ints:
    """The rows by start, then by GPU, and as they are."""
    import numpy as np

    return np.lexsort((columns.gpu, columns.start))


def _rows(columns: Any, names: Iterable[str], rows: Ints) -> dict[str, Any]:
    """Some rows of some columns, arrays and lists alike."""
    places = rows.tolist()
    chosen = ((name, getattr(columns, name)) for name in names)
    return {
        name: [column[k] for k in places] if isinstance(column, list) else column[rows]
        for name, column in chosen
    }


def _floats(values: Sequence[Any]) -> Floats:
    import numpy as np

    return np.array(values, dtype=np.float64)


def _ints(values: Sequence[int]) -> Ints:
    import numpy as np

    return np.array(values, dtype=np.int64)
