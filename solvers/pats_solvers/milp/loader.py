"""Formulation ``indicator`` with loads beside serving (section 5a).

Per GPU and tick t the load indicators u_{l,t} and evictions v_{l,t} are no longer tied to batches,
and r_{l,t} are the residents after what happens in t. A load of d ticks is in progress at t if
u_{l,s} is 1 for some s with t - d < s <= t; at most ``channels`` loads are, and what is being
loaded is resident but not usable. A switch is its activations alone. A member is present, p_{j,t},
from its batch's start to the end of the batch:

    p_{j,t} >= sum_s x_{j,s,t},    p_{j,t} >= p_{j,t-1} - ended_t,    p_{j,t} <= r_{l(j),t}

and residents and all who are present fit the memory at every tick. A plan's evictions are those of
:mod:`pats_solvers.common.loading`, which shows that who has left in the model can leave when the
room is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from typing_extensions import override

from pats_opt.model.plan import Plan, PlannedLoad, plan_of
from pats_opt.model.problem import GpuSite
from pats_solvers.common.loading import timed_beside_loads
from pats_solvers.milp.family import BatchFamily, scaled
from pats_solvers.milp.formulation import JoinColumns
from pats_solvers.milp.indicator import GpuTimeline, IndicatorFormulation
from pats_solvers.milp.model import INF, Floats, Ints, ModelSize


class LoaderFormulation(IndicatorFormulation):
    """The indicator model of a problem whose GPUs load beside serving."""

    @override
    def _timeline(
        self, gpu: GpuSite, families: Sequence[BatchFamily], model: ModelSize, margin: float
    ) -> GpuTimeline:
        return LoaderTimeline(self.problem, gpu, families, model, margin)

    @override
    def plan(self, x: Floats) -> Plan:
        loads: list[list[PlannedLoad]] = [[] for _ in self.problem.site.gpus]
        for gpu, line in self.timelines.items():
            for a, columns in line.load.items():
                loads[gpu] += [PlannedLoad(a, int(t)) for t in np.flatnonzero(x[columns] > 0.5)]
        return timed_beside_loads(self.problem, plan_of(super().plan(x).gpus, loads))

    @override
    def point(self, plan: Plan, columns: int) -> Floats | None:
        """Return None: a search from a plan finds its own point."""
        return None


class LoaderTimeline(GpuTimeline):
    """Columns and rows of one GPU and its loader.

    Attributes:
        present: Whether a job is a member of the batch in progress, by job, from its first tick on.
    """

    @override
    def _columns(self, families: Sequence[BatchFamily]) -> None:
        super()._columns(families)
        model, count = self._model, self._count
        self.usable = {a: model.add_columns(count, integer=False) for a in self.resident}
        self.blocking = {}
        self._ended = model.add_columns(count, integer=False)
        self.present: dict[int, tuple[int, Ints]] = {}
        jobs: dict[int, list[JoinColumns]] = {}
        for b in self.batches:
            for j in b.joins:
                jobs.setdefault(j.way.job.index, []).append(j)
        self._in_progress()
        for joins in jobs.values():
            self._members(joins)
        self._channels()

    @override
    def _switch_durations(self, adapters: Sequence[int]) -> list[int]:
        ticks = self._site.switching_ticks(self._site.activate_s) if self.activates else 0
        return sorted({n * ticks for n in range(self._site.max_per_batch + 1)})

    @override
    def _switching_indicators(self, a: int) -> None:
        """Residents change by loads and evictions at any tick; a load has to end first."""
        self._residents_change(a)
        model, ticks = self._model, self._site.load_ticks(a)
        rows = model.add_rows(self._count, -INF, 0.0)
        model.add(rows, self.usable[a])
        model.add(rows, self.resident[a], -1.0)
        self._add_loads(rows, a, ticks)

    def _add_loads(self, rows: Ints, a: int, ticks: int) -> None:
        """Add the loads of an adapter that are in progress at t to row t."""
        for late in range(min(ticks, self._count)):
            self._model.add(rows[late:], self.load[a][: self._count - late])

    def _channels(self) -> None:
        model, site = self._model, self._site
        rows = model.add_rows(self._count, -INF, float(site.channels or 0))
        for a in self.load:
            self._add_loads(rows, a, site.load_ticks(a))

    def _in_progress(self) -> None:
        """A batch ends when its mode does."""
        model = self._model
        rows = model.add_rows(self._count, 0.0, 0.0)
        model.add(rows, self._ended, -1.0)
        for b in self.batches:
            for mode, z in zip(b.family.modes.modes, b.modes, strict=True):
                ends = rows[b.family.first + mode.duration :][: len(z)]
                model.add(ends, z[: len(ends)])

    def _members(self, joins: Sequence[JoinColumns]) -> None:
        """A member is present to its batch's end, and so is its adapter."""
        model, job = self._model, joins[0].way.job
        first = min(j.way.first for j in joins)
        present = model.add_columns(self._count - first, integer=False)
        begins = model.add_rows(len(present), 0.0, INF)
        model.add(begins, present)
        for j in joins:
            model.add(begins[j.way.first - first :][: len(j.columns)], j.columns, -1.0)
        stays = model.add_rows(len(present) - 1, 0.0, INF)
        model.add(stays, present[1:])
        model.add(stays, present[:-1], -1.0)
        model.add(stays, self._ended[first + 1 :])
        held = model.add_rows(len(present), -INF, 0.0)
        model.add(held, present)
        model.add(held, self.resident[job.adapter][first:], -1.0)
        self.present[job.index] = first, present

    @override
    def _vram_bin_packing(self) -> None:
        """Base model, residents and members of the batch in progress fit at every tick."""
        model, site, jobs = self._model, self._site, self._problem.jobs
        room = site.room(self._gpu.index, frozenset())[0]
        needs = [site.adapter_vram[a] for a in self.resident]
        needs += [jobs[j].demand[0] for j in self.present]
        if room is None or sum(needs) <= room:
            return
        coefficients, limit = scaled(needs, room)
        rows = model.add_rows(self._count, -INF, limit * (1.0 - self._margin))
        for columns, need in zip(self.resident.values(), coefficients, strict=False):
            model.add(rows, columns, need)
        for (first, columns), need in zip(
            self.present.values(), coefficients[len(self.resident) :], strict=True
        ):
            model.add(rows[first:], columns, need)
