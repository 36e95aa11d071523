"""Formulation ``counting``: the flow model with a strong bound on switching.

The LP of :mod:`pats_solvers.milp.flow` keeps a quarter of the GPU with each of four adapters for
ever, and so pays for no switch. What it lacks is the lot-sizing structure of one adapter. This
adds, per adapter, the path of its state (i jobs started, GPU held or not) through time,

    off(t, i) -> off(t+1, i)            the GPU is elsewhere
    off(t, i) -> ready(t + tau, i)      it switches to the adapter
    on(t, i) -> on(t+1, i)              it waits with the adapter
    on(t, i) -> ready(t, i)             it stays for a batch
    on(t, i) -> off(t, i)               it leaves
    ready(t, i) -> on(t + D, i + n)     a batch of n members and D ticks

and ties it to the network's switches, waits, batches and members. Every schedule has such paths,
so none is lost. The LP can now only mix whole paths, each with switches of its own: where an
adapter's jobs differ in their arrivals alone, its bound is that of Lagrangian relaxation of the
GPU's time with one lot-sizing problem per adapter, for one state per job, tick and adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from pats_opt.model.problem import Problem
from pats_solvers.milp.family import BatchFamily, TimeWindows
from pats_solvers.milp.flow import FlowFormulation, GpuNetwork, PathVisit, resident_of
from pats_solvers.milp.formulation import UnmodelledPlanError
from pats_solvers.milp.model import INF, Floats, Ints, ModelSize

#: Paths of more arcs than this, over all adapters, cost more time than their bound saves.
MOST_ARCS = 250_000


class CountingFormulation(FlowFormulation):
    """The flow model with the paths of all adapters, where they are not too large.

    GPUs that share a network have no path: it would have to know the place of each.

    Attributes:
        paths: By GPU and adapter.
    """

    @override
    def __init__(
        self, problem: Problem, windows: TimeWindows, model: ModelSize, margin: float = 0.0
    ) -> None:
        super().__init__(problem, windows, model, margin)
        self.paths: dict[tuple[int, int], CountingPath] = {}
        single = [network for network in self.networks if len(network.gpus) == 1]
        arcs = sum(_most_arcs(b.family) for network in single for b in network.batches.values())
        if arcs <= MOST_ARCS:
            alone = len(problem.site.gpus) == 1
            for network in single:
                for adapter in network.batches:
                    path = CountingPath(network, adapter, alone, model)
                    self.paths[network.gpus[0], adapter] = path

    @override
    def _add_paths_to_point(
        self, network: GpuNetwork, visits: Mapping[int, Sequence[PathVisit]], x: Floats
    ) -> None:
        for (gpu, adapter), path in self.paths.items():
            if gpu == network.gpus[0]:
                path.add_to_point(visits.get(adapter, ()), x)


@dataclass(frozen=True, slots=True)
class PathArcs:
    """Arcs of one kind: ``columns[k]`` leaves (``ticks[k]``, ``counts[k]``)."""

    ticks: Ints
    counts: Ints
    columns: Ints

    def column(self, tick: int, count: int) -> int:
        """Return the column that leaves a state.

        Raises:
            UnmodelledPlanError: There is none.
        """
        found = np.flatnonzero((self.ticks == tick) & (self.counts == count))
        if not len(found):
            raise UnmodelledPlanError
        return int(self.columns[found[0]])


class CountingPath:
    """Columns and rows of one adapter's path in a network of one GPU.

    States are numbered tick by tick, their counts from ``low`` to ``high``.

    Attributes:
        arcs: Arcs by kind; ``enter`` by the state it reaches.
        batches: Arcs by (members, duration).
    """

    def __init__(self, network: GpuNetwork, adapter: int, alone: bool, model: ModelSize) -> None:
        """Add the path of an adapter to a complete network.

        Args:
            network: A network of one GPU.
            adapter: The adapter.
            alone: Whether no other GPU can serve the adapter's jobs.
            model: The model to add to.
        """
        self._network, self._adapter, self._model = network, adapter, model
        self._columns = network.batches[adapter]
        self._family = family = self._columns.family
        self._first, self._last = family.first, family.last
        self._held = resident_of(network.problem, network.gpus[0]) == adapter
        into = [s for (_, target), s in network.switch.items() if target == adapter]
        self._into = [s for s in into if len(s.columns)]
        self._lag = min((s.ticks for s in self._into), default=0)
        self._supply = int(model.add_columns(1, lower=1.0, integer=False)[0])
        self.arcs: dict[str, PathArcs] = {}
        self.batches: dict[tuple[int, int], PathArcs] = {}
        self._number_states(alone)
        self._conserve_flow()
        self._enter_where_the_gpu_switches()
        self._wait_where_the_gpu_idles()
        self._count_members()
        self._run_batches_of_the_network()

    def _number_states(self, alone: bool) -> None:
        """Number the states: at tick t, from those that must to those that may have started."""
        family = self._family
        longest = max(mode.duration for mode in family.modes.modes)
        ticks = np.arange(self._first, self._last + longest + 2)
        latest = dict.fromkeys((job.index for job in family.jobs), 0)
        for way in family.ways:
            latest[way.job.index] = max(latest[way.job.index], way.last)
        due = [latest[j.index] for j in family.jobs if alone and j.reject_loss is None]
        arrivals = np.sort([job.arrival for job in family.jobs])
        self._high = np.searchsorted(arrivals, ticks, side="left")
        self._low = np.minimum(np.searchsorted(np.sort(due), ticks, side="left"), self._high)
        width = self._high - self._low + 1
        self._base = np.concatenate(([0], np.cumsum(width)))
        self._ticks = np.repeat(ticks, width)
        self._counts = np.arange(self._base[-1]) - np.repeat(self._base[:-1] - self._low, width)
        after = np.minimum(self._ticks + 1 - self._first, len(self._high) - 1)
        self._arrived: Ints = self._high[after]  # jobs that have arrived by each state's tick

    def _conserve_flow(self) -> None:
        """Add all arcs and the balance of every state."""
        model = self._model
        off, on, ready = (model.add_rows(len(self._ticks), 0.0, INF) for _ in range(3))
        model.add((on if self._held else off)[:1], self._supply)
        open_ = self._counts < len(self._family.jobs)
        early = open_ & (self._ticks < self._last)
        waiting = (self._ticks <= self._last) & (self._counts < self._arrived)
        self.arcs["off"] = self._arcs(off, off, 1, 0, early)
        self.arcs["on"] = self._arcs(on, on, 1, 0, early)
        self.arcs["leave"] = self._arcs(on, off, 0, 0, open_ & (self._ticks <= self._last))
        self.arcs["stay"] = self._arcs(on, ready, 0, 0, waiting)
        self.arcs["enter"] = self._enter(off, ready, waiting)
        for duration, sizes in sorted(_sizes(self._family).items()):
            for n in sorted(sizes):
                fits = (self._ticks <= min(self._last, self._family.end - duration)) & (
                    self._counts + n <= self._arrived
                )
                self.batches[n, duration] = self._arcs(ready, on, duration, n, fits)

    def _is_state(self, ticks: Ints, counts: Ints) -> NDArray[np.bool_]:
        inside = ticks - self._first < len(self._high)
        at = np.where(inside, ticks - self._first, 0)
        found: NDArray[np.bool_] = inside & (counts >= self._low[at]) & (counts <= self._high[at])
        return found

    def _state(self, ticks: Ints, counts: Ints) -> Ints:
        """Return the numbers of states."""
        at = ticks - self._first
        numbers: Ints = self._base[at] + counts - self._low[at]
        return numbers

    def _arcs(
        self, tails: Ints, heads: Ints, ticks: int, members: int, allowed: NDArray[np.bool_]
    ) -> PathArcs:
        """Add arcs from every allowed state to the one ``ticks`` and ``members`` further."""
        tick, count = self._ticks + ticks, self._counts + members
        chosen = np.flatnonzero(allowed & self._is_state(tick, count))
        columns = self._model.add_columns(len(chosen), integer=False)
        self._model.add(tails[chosen], columns, -1.0)
        self._model.add(heads[self._state(tick[chosen], count[chosen])], columns)
        return PathArcs(self._ticks[chosen], self._counts[chosen], columns)

    def _enter(self, off: Ints, ready: Ints, waiting: NDArray[np.bool_]) -> PathArcs:
        """Add arcs that end a switch, by the state they reach."""
        tails = np.maximum(self._ticks - self._lag, self._first)
        soonest = min((s.first for s in self._into), default=self._last + 1)
        allowed = waiting & (self._ticks >= soonest) & self._is_state(tails, self._counts)
        chosen = np.flatnonzero(allowed)
        columns = self._model.add_columns(len(chosen), integer=False)
        self._model.add(off[self._state(tails[chosen], self._counts[chosen])], columns, -1.0)
        self._model.add(ready[chosen], columns)
        return PathArcs(self._ticks[chosen], self._counts[chosen], columns)

    def _sum(self, rows: Ints, arcs: Iterable[PathArcs]) -> None:
        """Add arcs to the rows of their ticks."""
        for some in arcs:
            self._model.add(rows[some.ticks - self._first], some.columns)

    def _enter_where_the_gpu_switches(self) -> None:
        rows = self._model.add_rows(len(self._columns.start), 0.0, 0.0)
        self._sum(rows, [self.arcs["enter"]])
        for s in self._into:
            self._model.add(rows[s.first - self._first :][: len(s.columns)], s.columns, -1.0)

    def _wait_where_the_gpu_idles(self) -> None:
        rows = self._model.add_rows(len(self._columns.start) - 1, -INF, 0.0)
        self._sum(rows, [self.arcs["on"]])
        idle = self._network.idle[self._adapter][self._first : self._last]
        self._model.add(rows, idle, -1.0)

    def _count_members(self) -> None:
        """Add the rows that a path's batches have as many members as the network's."""
        members = self._model.add_rows(len(self._columns.start), 0.0, 0.0)
        for j in self._columns.joins:
            self._model.add(members[self._columns.span(j)], j.columns, -1.0)
        for (n, _), arcs in self.batches.items():
            self._model.add(members[arcs.ticks - self._first], arcs.columns, float(n))

    def _run_batches_of_the_network(self) -> None:
        """Add the rows that a path's batches are the network's, by duration (and exact size)."""
        modes = self._family.modes
        ties: dict[tuple[int, int], Ints] = {}
        for mode, z in zip(modes.modes, self._columns.modes, strict=True):
            kind = (0 if modes.capped else sum(mode.counts), mode.duration)
            if kind not in ties:
                ties[kind] = self._model.add_rows(len(self._columns.start), 0.0, 0.0)
            self._model.add(ties[kind][: len(z)], z, -1.0)
        for (n, duration), arcs in self.batches.items():
            self._sum(ties[0 if modes.capped else n, duration], [arcs])

    def add_to_point(self, visits: Iterable[PathVisit], x: Floats) -> None:
        """Set the columns along the adapter's batches.

        Raises:
            UnmodelledPlanError: A column is missing.
        """
        x[self._supply] = 1.0
        tick, count, held = self._first, 0, self._held
        taken: list[int] = []
        for visit in visits:
            until = visit.start
            if visit.switched:
                if held:
                    taken.append(self.arcs["leave"].column(tick, count))
                until = max(tick, visit.start - self._lag)
            waiting = self.arcs["off" if visit.switched else "on"]
            taken += [waiting.column(t, count) for t in range(tick, until)]
            step = self.arcs["enter" if visit.switched else "stay"]
            taken.append(step.column(visit.start, count))
            arcs = self.batches.get((visit.members, visit.duration))
            if arcs is None:
                raise UnmodelledPlanError
            taken.append(arcs.column(visit.start, count))
            tick, count, held = visit.start + visit.duration, count + visit.members, True
        x[taken] = 1.0


def _most_arcs(family: BatchFamily) -> int:
    """Upper bound on the arcs of a family's path."""
    longest = max(mode.duration for mode in family.modes.modes)
    states = (family.last - family.first + longest + 2) * (len(family.jobs) + 1)
    kinds = sum(len(sizes) for sizes in _sizes(family).values())
    return states * (5 + kinds)


def _sizes(family: BatchFamily) -> dict[int, set[int]]:
    """Return the numbers of members that batches may have, by duration."""
    found: dict[int, set[int]] = {}
    for mode in family.modes.modes:
        members = sum(mode.counts)
        sizes = range(1, mode.counts[0] + 1) if family.modes.capped else (members,)
        found.setdefault(mode.duration, set()).update(sizes)
    return found
