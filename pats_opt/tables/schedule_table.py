"""Table of a schedule: columns per served request, per batch and per switch.

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

from pats_opt.model.checker import ReplayedBatch
from pats_opt.model.loss import LossTerms, switching_loss
from pats_opt.model.problem import Adapters, Job, Problem
from pats_opt.tables.timed_batch import TimedBatch

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Flags, Floats, Ints


@dataclass(frozen=True, slots=True)
class RequestTable:
    """One entry per served request, in the order of the batches; times on the table's clock.

    Attributes:
        job: Index of the request.
        option: Index of the option that it is run with.
        batch: Row of its batch in :class:`BatchTable`.
        adapter: Index of its adapter.
        arrival: Its arrival on the tick grid.
        start: Start of its batch.
        completion: Its completion.
        late: Whether it misses its deadline.
    """

    job: Ints
    option: Ints
    batch: Ints
    adapter: Ints
    arrival: Floats
    start: Floats
    completion: Floats
    late: Flags


@dataclass(frozen=True, slots=True)
class BatchTable:
    """One entry per batch; times on the table's clock.

    Attributes:
        gpu: Index of its GPU.
        size: Its served members.
        switch_start: Start of the switch before it.
        switch_end: End of that switch, which may be well before the batch starts.
        start: Start of its members.
        end: When the GPU is free again.
        switch_s: Seconds of loading and activation paid, before rounding to ticks.
        load: Adapters that its switch loads.
        evict: Adapters that its switch evicts; not known of an execution.
        resident: Adapters resident while it runs; not known of an execution.
    """

    gpu: Ints
    size: Ints
    switch_start: Floats
    switch_end: Floats
    start: Floats
    end: Floats
    switch_s: Floats
    load: list[Adapters]
    evict: list[Adapters]
    resident: list[Adapters]


@dataclass(frozen=True, slots=True)
class SwitchTable:
    """One entry per switch that loads, evicts or costs time, by start; times on the table's clock.

    Attributes:
        batch: Row of the batch that it is for.
        gpu: Index of its GPU.
        start: Its start; where it takes no time, the start of its batch.
        end: Its end.
        seconds: Seconds of loading and activation paid, before rounding to ticks.
        load: Adapters loaded.
        evict: Adapters evicted.
    """

    batch: Ints
    gpu: Ints
    start: Floats
    end: Floats
    seconds: Floats
    load: list[Adapters]
    evict: list[Adapters]


class RequestLosses(NamedTuple):
    """Loss of each served request, by term."""

    quality: Floats
    latency: Floats
    late: Floats

    @property
    def total(self) -> Floats:
        """Their sum."""
        return self.quality + self.latency + self.late


@dataclass(frozen=True)
class ScheduleTable:
    """Columns of a schedule per served request, per batch and per switch.

    Attributes:
        problem: The instance on the grid.
        unit_s: Seconds per unit of the table's clock: the tick of a replay, 1 of an execution.
            Ticks are floats: exact up to 2 ** 53.
        requests: The served requests.
        batches: The batches.
    """

    problem: Problem
    unit_s: float
    requests: RequestTable
    batches: BatchTable

    @classmethod
    def from_replay(cls, problem: Problem, replayed: Sequence[ReplayedBatch]) -> ScheduleTable:
        """Return the table of a replayed schedule, in ticks.

        Args:
            problem: The instance on the grid.
            replayed: The batches in their order (see :func:`pats_opt.model.checker.check`); of a
                schedule that breaks rules, those that can be read.
        """
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
            resident=[b.resident for b in replayed],
        )
        return cls._joined(
            problem,
            problem.site.tick_s,
            batches,
            job=_ints([job.index for job, _, _ in members]),
            option=_ints([option for _, option, _ in members]),
            arrivals=_floats([job.arrival for job in problem.jobs]),
            completion=_floats([completion for _, _, completion in members]),
            deadlines=[job.deadline for job in problem.jobs],
        )

    @classmethod
    def from_execution(cls, problem: Problem, batches: Sequence[TimedBatch]) -> ScheduleTable:
        """Return the table of batches on a clock, in seconds.

        Args:
            problem: The instance on the grid.
            batches: The batches; of their members, those with a completion are served.
        """
        site, index = problem.site, problem.job_index()
        gpus, adapters = {gpu.id: gpu.index for gpu in site.gpus}, site.adapter_index
        done = [[m for m in b.members if m.completion_s is not None] for b in batches]
        members = list(chain.from_iterable(done))
        deadlines = [r.deadline_s for r in problem.instance.requests]
        nothing: list[Adapters] = [frozenset()] * len(batches)
        columns = BatchTable(
            gpu=_ints([gpus[b.gpu] for b in batches]),
            size=_ints([len(some) for some in done]),
            switch_start=_floats([b.switch_start_s for b in batches]),
            switch_end=_floats([b.switch_end_s for b in batches]),
            start=_floats([b.start_s for b in batches]),
            end=_floats([b.end_s for b in batches]),
            switch_s=_floats([b.paid_s for b in batches]),
            load=[frozenset([adapters[a] for a in b.load if a in adapters]) for b in batches],
            evict=nothing,
            resident=nothing,
        )
        return cls._joined(
            problem,
            1.0,
            columns,
            job=_ints([index[m.id] for m in members]),
            option=_ints([m.option for m in members]),
            arrivals=_floats([job.arrival for job in problem.jobs]) * site.tick_s,
            completion=_floats([m.completion_s for m in members]),
            deadlines=[deadlines[job.position] for job in problem.jobs],
            slack=1e-9 * site.tick_s,  # that of the grid
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
        arrivals: Floats,
        completion: Floats,
        deadlines: Sequence[float | None],
        slack: float = 0.0,
    ) -> ScheduleTable:
        """Give each request what follows from its batch, and from its job (``arrivals`` ...)."""
        import numpy as np

        batch, arrival = np.repeat(np.arange(len(batches.size)), batches.size), arrivals[job]
        allowed = _floats([math.inf if limit is None else limit for limit in deadlines])[job]
        requests = RequestTable(
            job=job,
            option=option,
            batch=batch,
            adapter=_ints([j.adapter for j in problem.jobs])[job],
            arrival=arrival,
            start=batches.start[batch],
            completion=completion,
            late=completion - arrival > allowed + slack,
        )
        return cls(problem, unit_s, requests, batches)

    def by_start(self) -> ScheduleTable:
        """Return the same table with batches by start, then by GPU, and requests in their order."""
        import numpy as np

        requests, batches = self.requests, self.batches
        order = np.lexsort((batches.gpu, batches.start))
        row = np.empty(len(order), dtype=np.int64)
        row[order] = np.arange(len(order))
        batch = row[requests.batch]
        members = np.argsort(batch, kind="stable")
        moved = {name: getattr(requests, name)[members] for name in RequestTable.__slots__}
        return ScheduleTable(
            self.problem,
            self.unit_s,
            RequestTable(**moved | {"batch": batch[members]}),
            BatchTable(**_rows(batches, BatchTable.__slots__, order)),
        )

    def in_seconds(self) -> ScheduleTable:
        """Return the same table with a clock in seconds."""
        requests, batches = self.requests, self.batches
        times = ("switch_start", "switch_end", "start", "end")
        return ScheduleTable(
            self.problem,
            1.0,
            replace(requests, **_scaled(requests, ("arrival", "start", "completion"), self.unit_s)),
            replace(batches, **_scaled(batches, times, self.unit_s)),
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
    def jobs(self) -> list[Job]:
        """The served requests."""
        jobs = self.problem.jobs
        return [jobs[j] for j in self.requests.job.tolist()]

    @cached_property
    def loaded(self) -> Flags:
        """True of a request whose adapter is loaded by the switch right before its batch."""
        import numpy as np

        many = len(self.problem.site.adapter_ids)
        loads = [b * many + a for b, some in enumerate(self.batches.load) for a in some]
        own = self.requests.batch * many + self.requests.adapter
        return np.isin(own, _ints(loads))

    @cached_property
    def main_adapter(self) -> Ints:
        """Adapter that most members of each batch use, -1 where it has none."""
        import numpy as np

        many = len(self.problem.site.adapter_ids)
        own = self.requests.batch * many + self.requests.adapter
        pairs, first, counts = np.unique(own, return_index=True, return_counts=True)
        batch = pairs // max(1, many)
        order = np.lexsort((first, -counts, batch))  # of several, the first member's
        batch, most = batch[order], (pairs % max(1, many))[order]
        found = np.full(len(self.batches.size), -1, dtype=np.int64)
        found[batch[::-1]] = most[::-1]
        return found

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

        Args:
            unserved: Requests to charge as rejected; those that must be served count nothing.
        """
        site, losses = self.problem.site, self.losses
        return LossTerms(
            quality=math.fsum(losses.quality),
            latency=math.fsum(losses.latency),
            late=math.fsum(losses.late),
            switching=math.fsum([switching_loss(site, s) for s in self.batches.switch_s.tolist()]),
            rejection=math.fsum([job.reject_loss or 0.0 for job in unserved]),
        )


def _rows(columns: Any, names: Iterable[str], rows: Ints) -> dict[str, Any]:
    """Some rows of some columns, arrays and lists alike."""
    places = rows.tolist()
    found = {}
    for name in names:
        column = getattr(columns, name)
        found[name] = [column[k] for k in places] if isinstance(column, list) else column[rows]
    return found


def _scaled(columns: Any, names: Iterable[str], factor: float) -> dict[str, Any]:
    return {name: getattr(columns, name) * factor for name in names}


def _floats(values: Sequence[Any]) -> Floats:
    import numpy as np

    return np.array(values, dtype=np.float64)


def _ints(values: Sequence[int]) -> Ints:
    import numpy as np

    return np.array(values, dtype=np.int64)
