"""Formulation ``indicator``: the MILP of the PATS documents, for any number of residents.

The documents maximise, over requests j, ticks t and the adapter y_t that is active at t,

    sum_{t,j} x_{j,t} Q(s_j, c_j)                 quality
    - lambda sum_{j,t} x_{j,t} (t - a_j)          latency
    - sum_t I(y_t != y_{t-1}) tau_switch          switching

subject to vector bin packing of the memory, ``sum_j x_{j,t} Mem(j) <= M``, and to the switching
constraint ``I(y_t != y_{t-1}) => tau_switch``. Here, per GPU and tick t,

* quality and latency are the cost of the columns x_{j,s,t} of
  :mod:`pats_solvers.milp.formulation`: job j joins, with s steps, the batch that starts at t;
* I is a load indicator u_{l,t} per adapter, at the cost of its loading time, and an activation
  indicator act_{l,t} (:meth:`GpuTimeline._activation`), for which the documents have no term;
* bin packing is :meth:`GpuTimeline._vram_bin_packing`, residents included, and the capacity of
  other resources in :mod:`pats_solvers.milp.formulation`;
* the switching constraint is :meth:`GpuTimeline._switching_indicators` and
  :meth:`GpuTimeline._switching_takes_time`.

Residents r_{l,t} are those that a batch starting at t finds. They change only where a batch starts,
in the switch right before it: ``r_{l,t} - r_{l,t-1} = u_{l,t} - v_{l,t}`` with eviction indicators
v. What is resident cannot be loaded, and nothing is loaded and evicted at once: it would be a way
around activation. A switch of d ticks ends at the batch's start; ``sum of load ticks u + activation
ticks act <= d`` picks d, and batches and switches in progress are at most one per GPU and tick. act
is 1 where the batch uses an adapter, a_{l,t}, that is not loaded for it and that the GPU's batch
before did not use, p_{l,t}; a GPU's first batch is exempt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import override

from pats_opt.model.loss import switching_loss
from pats_opt.model.plan import Plan, PlannedBatch, plan_of
from pats_opt.model.problem import Adapters, GpuSite, Problem, Site
from pats_solvers.milp.family import BatchFamily, TimeWindows, family_of, scaled
from pats_solvers.milp.flow import families_of
from pats_solvers.milp.formulation import (
    BatchColumns,
    Formulation,
    JoinColumns,
    UnmodelledPlanError,
    column_at,
)
from pats_solvers.milp.model import INF, Floats, Ints, ModelSize

#: Sums of loading times beyond which every duration up to the longest is offered.
MOST_SUMS = 5_000


class IndicatorFormulation(Formulation):
    """The indicator model of a problem without pairs; ``timelines`` by GPU."""

    @override
    def __init__(
        self, problem: Problem, windows: TimeWindows, model: ModelSize, margin: float = 0.0
    ) -> None:
        self.problem = problem
        self.timelines: dict[int, GpuTimeline] = {}
        for gpu in problem.site.gpus:
            families = self._families(gpu.index, windows)
            if families:
                self.timelines[gpu.index] = self._timeline(gpu, families, model, margin)
        batches = [batches for line in self.timelines.values() for batches in line.batches]
        self.rejected = self._serve_once(batches, model)

    def _timeline(
        self, gpu: GpuSite, families: Sequence[BatchFamily], model: ModelSize, margin: float
    ) -> GpuTimeline:
        """Return a GPU's columns and rows."""
        return GpuTimeline(self.problem, gpu, families, model, margin)

    def _families(self, gpu: int, windows: TimeWindows) -> list[BatchFamily]:
        """Return one family per adapter, or, where batches mix adapters, one of all jobs."""
        if self.problem.site.max_per_batch > 1:
            family = family_of(self.problem, gpu, frozenset(), self.problem.jobs, windows)
            return [] if family is None else [family]
        return list(families_of(self.problem, gpu, windows).values())

    @override
    def plan(self, x: Floats) -> Plan:
        counts = np.rint(x).astype(np.int64)
        planned: list[list[PlannedBatch]] = [[] for _ in self.problem.site.gpus]
        for gpu, line in self.timelines.items():
            for batches in line.batches:
                for (tick, _), groups in batches.members(counts).items():
                    held = frozenset(a for a, r in line.resident.items() if counts[r[tick]])
                    planned[gpu] += [PlannedBatch(tick, tuple(g), held) for g in groups if g]
        return plan_of(planned)

    @override
    def point(self, plan: Plan, columns: int) -> Floats | None:
        x = self._rejections(plan, columns)
        try:
            for gpu, planned in enumerate(plan.gpus):
                if gpu in self.timelines:
                    self.timelines[gpu].add_to_point(planned, x)
                elif planned:
                    return None
        except UnmodelledPlanError:
            return None
        return x


class GpuTimeline:
    """Columns and rows of one GPU; those by adapter are indexed by tick.

    Attributes:
        batches: Its families' columns.
        supply: A column fixed at 1: the GPU itself.
        resident: Residents that a batch starting at t finds.
        usable: Those that its members can use.
        load: Loaded in the switch before it.
        blocking: Loads that take the GPU's time.
        evict: Evicted in that switch.
        used: Adapters of the batch that starts at t; empty where nothing depends on them.
        switch: By duration d: a switch of d ticks ends at tick ``d + i``, where a batch starts.
        idle: Nothing runs from t to t + 1.
        activates: Whether activation can cost anything; only then there are:
        before: Adapters of the last batch that started before t.
        first: No batch has started before t.
        activate: Activated in the switch before the batch that starts at t.
    """

    def __init__(
        self,
        problem: Problem,
        gpu: GpuSite,
        families: Sequence[BatchFamily],
        model: ModelSize,
        margin: float,
    ) -> None:
        self._problem, self._site, self._gpu = problem, problem.site, gpu
        self._model, self._margin = model, margin
        self._count = max(f.last for f in families) + 1
        self._columns(families)
        for a in self.resident:
            self._switching_indicators(a)
        self._most_residents()
        self._vram_bin_packing()
        self._one_activity_at_a_time()
        self._switching_takes_time()
        self._batches_use_residents()
        if self.activates:
            self._activation()

    def _columns(self, families: Sequence[BatchFamily]) -> None:
        site, model, count = self._site, self._model, self._count
        served = sorted({job.adapter for f in families for job in f.jobs})
        self.activates = site.activate_s > 0 and len(served) > 1
        adapters = sorted({*served, *self._gpu.resident})
        self.batches = tuple(
            BatchColumns(self._problem, f, 1, model, self._margin) for f in families
        )
        self.resident = {a: model.add_columns(count) for a in adapters}
        price = {a: switching_loss(site, site.load_s[a]) for a in adapters}
        self.load = {a: model.add_columns(count, cost=price[a]) for a in adapters}
        self.usable, self.blocking = self.resident, self.load
        self.evict = {a: model.add_columns(count) for a in adapters}
        self.supply = int(model.add_columns(1, lower=1.0)[0])
        counted = site.max_per_batch < min(len(served), site.max_resident)
        named = served if self.activates or counted else []
        self.used = {a: model.add_columns(count) for a in named}
        self.switch = {
            d: model.add_columns(max(0, count - d)) for d in self._switch_durations(adapters)
        }
        self.idle = model.add_columns(count - 1)
        if self.activates:
            self.before = {a: model.add_columns(count) for a in served}
            self.first = model.add_columns(count)
            cost = switching_loss(site, site.activate_s)
            self.activate = {a: model.add_columns(count, cost=cost) for a in served}

    def _switch_durations(self, adapters: Sequence[int]) -> list[int]:
        return _switch_ticks(self._site, adapters)

    def _add_starts(self, rows: Ints, value: float) -> None:
        """Add the batches that start at t to row t."""
        for b in self.batches:
            span = rows[b.family.first : b.family.last + 1]
            self._model.add(span, b.start[: len(span)], value)

    def _switching_indicators(self, a: int) -> None:
        """Residents change by loads and evictions alone, and those need a batch."""
        self._residents_change(a)
        needs = self._model.add_rows(self._count, -INF, 0.0)
        self._model.add(needs, self.load[a])
        self._model.add(needs, self.evict[a])
        self._add_starts(needs, -1.0)

    def _residents_change(self, a: int) -> None:
        """Loads and evictions change who is resident; what is there is not loaded again."""
        model = self._model
        r, u, v = self.resident[a], self.load[a], self.evict[a]
        change = model.add_rows(len(r), 0.0, 0.0)
        absent = model.add_rows(len(r), -INF, 1.0)
        model.add(change, r)
        model.add(change[1:], r[:-1], -1.0)
        model.add(change, u, -1.0)
        model.add(change, v)
        model.add(absent, u)
        model.add(absent[1:], r[:-1])
        if a in self._gpu.resident:
            model.add(change[:1], self.supply, -1.0)
            model.add(absent[:1], self.supply)
        stays = model.add_rows(len(r), -INF, 0.0)
        model.add(stays, u)
        model.add(stays, r, -1.0)

    def _most_residents(self) -> None:
        rows = self._model.add_rows(self._count, -INF, float(self._site.max_resident))
        for resident in self.resident.values():
            self._model.add(rows, resident)

    def _vram_bin_packing(self) -> None:
        """Rule 3 for memory: base model, residents and members fit, at every tick."""
        model, site = self._model, self._site
        room = site.room(self._gpu.index, frozenset())[0]
        if room is None:
            return
        jobs = {j.way.job.index: j.way.job for b in self.batches for j in b.joins}
        needs = [site.adapter_vram[a] for a in self.resident] + [j.demand[0] for j in jobs.values()]
        if sum(needs) <= room:
            return
        coefficients, limit = scaled(needs, room)
        rows = model.add_rows(self._count, -INF, limit * (1.0 - self._margin))
        for a, need in zip(self.resident, coefficients, strict=False):
            model.add(rows, self.resident[a], need)
        need_of = dict(zip(jobs, coefficients[len(self.resident) :], strict=True))
        for b in self.batches:
            for j in b.joins:
                span = rows[j.way.first : j.way.last + 1]
                model.add(span, j.columns, need_of[j.way.job.index])

    def _one_activity_at_a_time(self) -> None:
        """Rules 4 and 6: the GPU's unit of time flows through idling, switches and batches."""
        model = self._model
        free = model.add_rows(self._count, 0.0, INF)
        model.add(free[:1], self.supply)
        model.add(free[:-1], self.idle, -1.0)
        model.add(free[1:], self.idle)
        ready = model.add_rows(len(free), 0.0, 0.0)
        for d, columns in self.switch.items():
            model.add(free[: len(columns)], columns, -1.0)
            model.add(ready[d:], columns)
        self._add_starts(ready, -1.0)
        for b in self.batches:
            for mode, z in zip(b.family.modes.modes, b.modes, strict=True):
                back = free[b.family.first + mode.duration :][: len(z)]
                model.add(back, z[: len(back)])

    def _switching_takes_time(self) -> None:
        """Rule 4: a switch is at least as long as its loads and activations take."""
        model, site = self._model, self._site
        rows = model.add_rows(self._count, -INF, 0.0)
        for d, columns in self.switch.items():
            model.add(rows[d:], columns, -float(d))
        for a, columns in self.blocking.items():
            model.add(rows, columns, float(site.switching_ticks(site.load_s[a])))
        if self.activates:
            for columns in self.activate.values():
                model.add(rows, columns, float(site.switching_ticks(site.activate_s)))

    def _batches_use_residents(self) -> None:
        """Rule 2: a batch's adapters are resident, and at most ``max_per_batch``."""
        model, site = self._model, self._site
        for a, used in self.used.items():
            rows = model.add_rows(len(used), -INF, 0.0)
            model.add(rows, used)
            model.add(rows, self.usable[a], -1.0)
        if self.used:
            most = model.add_rows(self._count, -INF, 0.0)
            self._add_starts(most, -float(site.max_per_batch))
            for used in self.used.values():
                model.add(most, used)
        for b in self.batches:
            ways: dict[int, list[JoinColumns]] = {}
            for j in b.joins:
                ways.setdefault(j.way.job.index, []).append(j)
            for mine in ways.values():
                needed = (self.used or self.usable)[mine[0].way.job.adapter]
                first = min(j.way.first for j in mine)
                count = max(j.way.last for j in mine) + 1 - first
                rows = model.add_rows(count, -INF, 0.0)
                model.add(rows, needed[first : first + count], -1.0)
                for j in mine:
                    model.add(rows[j.way.first - first :][: len(j.columns)], j.columns)
            if site.max_per_batch == 1:  # the batches of one adapter: tighter than its members
                a = b.family.jobs[0].adapter
                rows = model.add_rows(len(b.start), -INF, 0.0)
                model.add(rows, b.start)
                model.add(rows, self.usable[a][b.family.first : b.family.last + 1], -1.0)

    def _activation(self) -> None:
        """Rule 4: a batch activates what was resident and the batch before did not use.

        A batch without members could evict an adapter that the next one loads, where loading is
        cheaper than activating.
        """
        model, count = self._model, self._count
        for b in self.batches:
            b.no_empty_batch()
        for a, used in self.used.items():
            joined = model.add_rows(count, -INF, 0.0)
            model.add(joined, used)
            for b in self.batches:
                for j in b.joins:
                    if j.way.job.adapter == a:
                        span = joined[j.way.first : j.way.last + 1]
                        model.add(span, j.columns, -1.0)
            before = self.before[a]
            none = model.add_rows(1, 0.0, 0.0)
            model.add(none, before[:1])
            # before_{t+1} is used_t where a batch starts at t, else before_t
            for source, low, high, weight in (
                (used, 0.0, INF, 0.0),
                (used, -INF, 1.0, 1.0),
                (before, 0.0, INF, 1.0),
                (before, -INF, 0.0, -1.0),
            ):
                rows = model.add_rows(count - 1, low, high)
                model.add(rows, before[1:])
                model.add(rows, source[:-1], -1.0)
                if weight:
                    self._add_starts(rows, weight)
            ready = model.add_rows(count, -INF, 0.0)
            model.add(ready, used)
            reasons = [before, self.activate[a], self.first]
            if a in self.blocking:
                reasons.append(self.blocking[a])
            for reason in reasons:
                model.add(ready, reason, -1.0)
        later = model.add_rows(count - 1, -INF, 0.0)
        model.add(later, self.first[1:])
        model.add(later, self.first[:-1], -1.0)
        begun = model.add_rows(count - 1, -INF, 1.0)
        model.add(begun, self.first[1:])
        self._add_starts(begun, 1.0)

    def add_to_point(self, planned: Sequence[PlannedBatch], x: Floats) -> None:
        """Set the columns along the GPU's batches.

        Raises:
            UnmodelledPlanError: The model has no column for them.
        """
        problem, site = self._problem, self._site
        held, before, free, since = self._gpu.resident, None, 0, 0
        x[self.supply] = 1.0
        for batch in planned:
            active = frozenset(problem.jobs[j].adapter for j, _ in batch.members)
            switch = site.switch(held, batch.resident, active, before)
            if switch.ticks not in self.switch or not batch.resident <= self.resident.keys():
                raise UnmodelledPlanError
            x[column_at(self.switch[switch.ticks], batch.start - switch.ticks)] = 1.0
            self._hold(x, held, since, batch.start)
            for change, adapters in ((self.load, switch.load), (self.evict, switch.evict)):
                for a in adapters:
                    x[column_at(change[a], batch.start)] = 1.0
            if self.activates:
                for a in switch.activate:
                    x[column_at(self.activate[a], batch.start)] = 1.0
            self._activate(x, before, since, batch.start)
            for a in active & self.used.keys():
                x[column_at(self.used[a], batch.start)] = 1.0
            idle = self.idle[free : batch.start - switch.ticks]
            x[idle] = 1.0
            family = next(b for b in self.batches if active <= {j.way.job.adapter for j in b.joins})
            held, before, since = batch.resident, active, batch.start
            free = batch.start + family.add_to_point(problem, batch, x)
        self._hold(x, held, since, self._count)
        self._activate(x, before, since, len(self.idle))

    def _hold(self, x: Floats, held: Adapters, first: int, end: int) -> None:
        """Set the residents at the ticks from ``first`` to before ``end``."""
        for a in held:
            x[self.resident[a][first:end]] = 1.0

    def _activate(self, x: Floats, before: Adapters | None, since: int, until: int) -> None:
        """Set the last batch's adapters at the ticks after ``since`` up to ``until``."""
        if not self.activates:
            return
        if before is None:
            x[self.first[since : until + 1]] = 1.0
        for a in before or ():
            x[self.before[a][since + 1 : until + 1]] = 1.0


def _switch_ticks(site: Site, adapters: Sequence[int]) -> list[int]:
    """Return every duration that a switch among ``adapters`` may have, in ticks."""
    sums = {(0, 0)}
    for a in adapters:
        ways = {site.switching_ticks(s) for s in (site.load_s[a], site.activate_s)}
        sums |= {(n + 1, total + t) for n, total in sums if n < site.max_resident for t in ways}
        if len(sums) > MOST_SUMS:
            most = [max(site.load_s[a], site.activate_s) for a in adapters]
            longest = sorted(map(site.switching_ticks, most), reverse=True)[: site.max_resident]
            return list(range(sum(longest) + 1))
    return sorted({total for _, total in sums})
