"""Formulation ``flow``: GPUs as unit flows through a time-expanded network (one resident adapter).

Every GPU is a unit of flow through the nodes *free(l, t)*: adapter l resident, nothing running at
tick t. From there it idles to free(l, t+1), stays for a batch of l that starts at t, or switches
to another adapter m, whose batch starts when the switch ends. The batch leads to free(l, t +
duration). "Stay or switch, then a batch" is a second layer of nodes *ready(l, t)*: nothing
switches twice without a batch between, so pairs that break the triangle inequality are right as
they are. Flow conservation is all that GPU time and the documents' switching indicators need: the
flow on a switch arc is the indicator I(y_t != y_{t-1}), its cost is tau.

GPUs of equal capacity share one network with several units wherever what fits is decided by the
modes alone; otherwise each GPU has a network, with joins of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from pats_opt.model.loss import switching_loss
from pats_opt.model.plan import Plan, PlannedBatch, plan_of
from pats_opt.model.problem import Job, Problem
from pats_solvers.milp.family import BatchFamily, TimeWindows, family_of
from pats_solvers.milp.formulation import BatchColumns, Formulation, UnmodelledPlanError, column_at
from pats_solvers.milp.model import INF, Floats, Ints, ModelSize

#: Where a switch comes from: the adapter resident, None where there is none, or the hub.
SwitchSource = int | str | None

#: A node of the time-expanded network: layer, state or hub, tick.
Node = tuple[str, int | str | None, int]


@dataclass(frozen=True, slots=True)
class SwitchArcs:
    """Flow into ready(l, t) from elsewhere: ``columns[i]`` ends at tick ``first + i``."""

    first: int
    ticks: int
    columns: Ints


@dataclass(frozen=True, slots=True)
class PathVisit:
    """A batch on an adapter's path; ``switched`` is whether a switch led to it."""

    start: int
    members: int
    duration: int
    switched: bool


class GpuNetwork:
    """Columns and rows of one group of GPUs.

    Attributes:
        gpus: The GPUs that share it.
        supply: GPUs that start in a state: a fixed column by state.
        batches: Columns by adapter.
        stay: Flow from free(l, t) to ready(l, t) by adapter, index as ``batches[l].start``.
        idle: Flow from free(s, t) to free(s, t+1) by state, index t.
        leave: Flow from free(s, t) to the tick's hub by state, index t (empty with pairs).
        switch: Flow into ready by (source, adapter); without pairs the hub replaces all sources.
    """

    def __init__(
        self,
        problem: Problem,
        gpus: tuple[int, ...],
        families: Mapping[int, BatchFamily],
        model: ModelSize,
        margin: float,
    ) -> None:
        self.problem, self.gpus, self._model = problem, gpus, model
        self.supply: dict[SwitchSource, int] = {}
        self.batches: dict[int, BatchColumns] = {}
        self.stay: dict[int, Ints] = {}
        self.idle: dict[SwitchSource, Ints] = {}
        self.leave: dict[SwitchSource, Ints] = {}
        self.switch: dict[tuple[SwitchSource, int], SwitchArcs] = {}
        free = self._idling(families)
        ready = {a: self._batches(a, family, free[a], margin) for a, family in families.items()}
        self._switches(free, ready)

    def _idling(self, families: Mapping[int, BatchFamily]) -> dict[SwitchSource, Ints]:
        """Add the rows of free(s, t), the supply and idling; return the rows by state."""
        model = self._model
        held = [resident_of(self.problem, gpu) for gpu in self.gpus]
        last = max((f.last for f in families.values()), default=0)
        free: dict[SwitchSource, Ints] = {}
        for state in [None, *sorted({s for s in held if s is not None} | set(families))]:
            free[state] = model.add_rows(last + 1, 0.0, INF)
            supply = model.add_columns(1, lower=held.count(state), upper=held.count(state))
            self.supply[state] = int(supply[0])
            model.add(free[state][:1], supply)
            self.idle[state] = idle = model.add_columns(last, upper=len(self.gpus))
            model.add(free[state][:-1], idle, -1.0)
            model.add(free[state][1:], idle)
        return free

    def _batches(self, adapter: int, family: BatchFamily, free: Ints, margin: float) -> Ints:
        """Add an adapter's batches and the rows of ready(l, t); return these rows."""
        model, units = self._model, len(self.gpus)
        batches = self.batches[adapter] = BatchColumns(self.problem, family, units, model, margin)
        stay = self.stay[adapter] = model.add_columns(len(batches.start), upper=units)
        ready = model.add_rows(len(stay), 0.0, 0.0)
        model.add(ready, batches.start, -1.0)
        model.add(ready, stay)
        model.add(free[family.first : family.last + 1], stay, -1.0)
        for mode, z in zip(family.modes.modes, batches.modes, strict=True):
            back = free[family.first + mode.duration :][: len(z)]
            model.add(back, z[: len(back)])
        if self.problem.site.pairs:
            batches.no_empty_batch()
        return ready

    def _switches(self, free: Mapping[SwitchSource, Ints], ready: Mapping[int, Ints]) -> None:
        """Add the switching indicators: from each state with pairs, else from one hub a tick."""
        sources = dict(free) if self.problem.site.pairs else {"hub": self._hub(free)}
        for source, rows in sources.items():
            for adapter, ready_rows in ready.items():
                if source != adapter:
                    into = self._switch_arcs(source, adapter)
                    self.switch[source, adapter] = into
                    first, count = into.first, len(into.columns)
                    since = first - self.batches[adapter].family.first
                    self._model.add(ready_rows[since:][:count], into.columns)
                    self._model.add(rows[first - into.ticks :][:count], into.columns, -1.0)

    def _hub(self, free: Mapping[SwitchSource, Ints]) -> Ints:
        """Add a node per tick for all switches, whose cost depends on the target alone."""
        count = max(len(rows) for rows in free.values())
        hub = self._model.add_rows(count, 0.0, INF)
        for state, rows in free.items():
            self.leave[state] = leave = self._model.add_columns(count, upper=len(self.gpus))
            self._model.add(rows, leave, -1.0)
            self._model.add(hub, leave)
        return hub

    def _switch_arcs(self, source: SwitchSource, adapter: int) -> SwitchArcs:
        """Add the switches that end where a batch of the adapter may start."""
        site, after = self.problem.site, frozenset((adapter,))
        before = frozenset((source,)) if isinstance(source, int) else frozenset[int]()
        switch = site.switch(before, after, after, None)
        family = self.batches[adapter].family
        first = max(family.first, switch.ticks)
        columns = self._model.add_columns(
            max(0, family.last - first + 1),
            cost=switching_loss(site, switch.seconds),
            upper=len(self.gpus),
        )
        return SwitchArcs(first, switch.ticks, columns)

    # -- plans -----------------------------------------------------------------------------------

    def paths(self, counts: Ints) -> Iterator[tuple[int, list[PlannedBatch]]]:
        """Yield each GPU and the batches on the path of its unit of flow, at an integral point."""
        arcs: dict[Node, dict[Node, dict[int, int]]] = {}  # units by tail, head and mode
        for tail, head, mode, column in self._flow(counts):
            arcs.setdefault(tail, {}).setdefault(head, {})[mode] = int(counts[column])
        members = {a: batches.members(counts) for a, batches in self.batches.items()}
        for gpu in self.gpus:
            node: Node = ("free", resident_of(self.problem, gpu), 0)
            planned = []
            while heads := arcs.get(node):
                head, units = next(iter(heads.items()))
                mode = next(iter(units))
                layer, state, tick = node
                if layer == "ready":
                    assert isinstance(state, int)
                    group = members[state][tick, mode].pop()
                    if group:  # an empty batch is of no use
                        planned.append(PlannedBatch(tick, tuple(group), frozenset((state,))))
                units[mode] -= 1
                if not units[mode]:
                    del units[mode]
                    if not units:
                        del heads[head]
                node = head
            yield gpu, planned

    def _flow(self, counts: Ints) -> Iterator[tuple[Node, Node, int, int]]:
        """Yield tail, head, mode (0 where it is no batch) and column of every arc with flow."""
        for state, columns in self.idle.items():
            for t in map(int, np.flatnonzero(counts[columns])):
                yield ("free", state, t), ("free", state, t + 1), 0, columns[t]
        for state, columns in self.leave.items():
            for t in map(int, np.flatnonzero(counts[columns])):
                yield ("free", state, t), ("free", "hub", t), 0, columns[t]
        for (source, adapter), switches in self.switch.items():
            for i in map(int, np.flatnonzero(counts[switches.columns])):
                end = switches.first + i
                tail: Node = ("free", source, end - switches.ticks)
                yield tail, ("ready", adapter, end), 0, switches.columns[i]
        for adapter in self.batches:
            yield from self._batch_flow(adapter, counts)

    def _batch_flow(self, adapter: int, counts: Ints) -> Iterator[tuple[Node, Node, int, int]]:
        """Yield the arcs of :meth:`_flow` for staying with an adapter and for its batches."""
        batches, stay = self.batches[adapter], self.stay[adapter]
        first = batches.family.first
        for i in map(int, np.flatnonzero(counts[stay])):
            yield ("free", adapter, first + i), ("ready", adapter, first + i), 0, stay[i]
        for k, (mode, z) in enumerate(zip(batches.family.modes.modes, batches.modes, strict=True)):
            for i in map(int, np.flatnonzero(counts[z])):
                end = first + i + mode.duration
                yield ("ready", adapter, first + i), ("free", adapter, end), k, z[i]

    def add_to_point(
        self, gpu: int, planned: Sequence[PlannedBatch], x: Floats
    ) -> dict[int, list[PathVisit]]:
        """Send a GPU's unit of flow along its batches, and return these by adapter.

        Raises:
            UnmodelledPlanError: The model has no column for them.
        """
        state, tick = resident_of(self.problem, gpu), 0
        visits: dict[int, list[PathVisit]] = {}
        for batch in planned:
            (adapter,) = batch.resident
            if adapter not in self.batches:
                raise UnmodelledPlanError
            batches = self.batches[adapter]
            if adapter == state:
                leaving = batch.start
                x[column_at(self.stay[adapter], batch.start - batches.family.first)] += 1
            else:
                switches = self.switch["hub" if self.leave else state, adapter]
                leaving = batch.start - switches.ticks
                x[column_at(switches.columns, batch.start - switches.first)] += 1
                if self.leave:
                    x[column_at(self.leave[state], leaving)] += 1
            if leaving > tick:
                column_at(self.idle[state], leaving - 1)
                x[self.idle[state][tick:leaving]] += 1
            duration = batches.add_to_point(self.problem, batch, x)
            visit = PathVisit(batch.start, len(batch.members), duration, adapter != state)
            visits.setdefault(adapter, []).append(visit)
            state, tick = adapter, batch.start + duration
        return visits


class FlowFormulation(Formulation):
    """The flow model of a problem with one resident adapter; ``networks`` by group of GPUs."""

    @override
    def __init__(
        self, problem: Problem, windows: TimeWindows, model: ModelSize, margin: float = 0.0
    ) -> None:
        self.problem = problem
        self.networks: list[GpuNetwork] = []
        for gpus in _gpus_by_capacity(problem):
            families = families_of(problem, gpus[0], windows)
            together = len(gpus) == 1 or all(shareable(f) for f in families.values())
            self.networks += [
                GpuNetwork(problem, share, families, model, margin)
                for share in ([gpus] if together else [(gpu,) for gpu in gpus])
            ]
        batches = [batches for network in self.networks for batches in network.batches.values()]
        self.rejected = self._serve_once(batches, model)

    @override
    def plan(self, x: Floats) -> Plan:
        counts = np.rint(x).astype(np.int64)
        planned: list[list[PlannedBatch]] = [[] for _ in self.problem.site.gpus]
        for network in self.networks:
            for gpu, batches in network.paths(counts):
                planned[gpu] = batches
        return plan_of(planned)

    @override
    def point(self, plan: Plan, columns: int) -> Floats | None:
        x = self._rejections(plan, columns)
        try:
            for network in self.networks:
                for state, column in network.supply.items():
                    held = [resident_of(self.problem, gpu) for gpu in network.gpus]
                    x[column] = held.count(state)  # type: ignore[arg-type]
                for gpu in network.gpus:
                    visits = network.add_to_point(gpu, plan.gpus[gpu], x)
                    self._add_paths_to_point(network, visits, x)
        except UnmodelledPlanError:
            return None
        return x

    def _add_paths_to_point(
        self, network: GpuNetwork, visits: Mapping[int, Sequence[PathVisit]], x: Floats
    ) -> None:
        """Set what an extended model adds to a network, along a GPU's batches by adapter."""


def families_of(problem: Problem, gpu: int, windows: TimeWindows) -> dict[int, BatchFamily]:
    """Return the family of each adapter on ``gpu`` that has one."""
    jobs: dict[int, list[Job]] = {}
    for job in problem.jobs:
        jobs.setdefault(job.adapter, []).append(job)
    found = {}
    for adapter, mine in sorted(jobs.items()):
        family = family_of(problem, gpu, frozenset((adapter,)), mine, windows)
        if family is not None:
            found[adapter] = family
    return found


def shareable(family: BatchFamily) -> bool:
    """Return whether several batches of a family may start at one tick in one network.

    Members are then assigned by their counts alone: all sets within the counts must fit, and the
    counts of several batches must split into those of each. That holds for exact counts by offset,
    and for caps on "this level or above", as they are nested, where a level has one offset.
    """
    modes = family.modes
    single = all(len(modes.offsets(level)) <= 1 for level in range(len(modes.levels)))
    return family.uniform and (single or not modes.capped)


def resident_of(problem: Problem, gpu: int) -> int | None:
    """Return the adapter resident at tick 0, or None."""
    return next(iter(problem.site.gpus[gpu].resident), None)


def _gpus_by_capacity(problem: Problem) -> list[tuple[int, ...]]:
    """Return the groups of GPUs that may share a network."""
    by_capacity: dict[tuple[int | None, ...], list[int]] = {}
    for gpu in problem.site.gpus:
        by_capacity.setdefault(gpu.capacity, []).append(gpu.index)
    return [tuple(gpus) for gpus in by_capacity.values()]
