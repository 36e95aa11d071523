"""How many of an adapter's jobs have started: what makes the flow model's bound strong.

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

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pats_opt.model.problem import Problem
from pats_solvers.milp.batches import Batches
from pats_solvers.milp.family import Family, Windows
from pats_solvers.milp.flow import Flow, Network, resident_of, write_flow
from pats_solvers.milp.model import INF, Ints, Sheet
from pats_solvers.milp.paths import Arcs, Path

#: Paths of more arcs than this, over all adapters, cost more time than their bound saves.
MOST_ARCS = 250_000


def write_counting(problem: Problem, windows: Windows, sheet: Sheet, margin: float = 0.0) -> Flow:
    """Write the flow model with the paths of all adapters, where they are not too large.

    GPUs that share a network have no path: it would have to know where each of them is. For the
    arguments see :func:`pats_solvers.milp.flow.write_flow`.
    """
    flow = write_flow(problem, windows, sheet, margin)
    single = [network for network in flow.networks if len(network.gpus) == 1]
    arcs = sum(most_arcs(b.family) for network in single for b in network.batches.values())
    if arcs <= MOST_ARCS:
        for network in single:
            held = resident_of(problem, network.gpus[0])
            for adapter in network.batches:
                alone = len(problem.site.gpus) == 1
                path = add_path(network, adapter, held == adapter, alone, sheet)
                network.paths[adapter] = path
    return flow


def most_arcs(family: Family) -> int:
    """More arcs than the path of a family has."""
    longest = max(mode.duration for mode in family.modes.modes)
    states = (family.last - family.first + longest + 2) * (len(family.jobs) + 1)
    kinds = sum(len(sizes) for sizes in _sizes(family).values())
    return states * (5 + kinds)


def _sizes(family: Family) -> dict[int, set[int]]:
    """The numbers of members that batches may have, by duration."""
    found: dict[int, set[int]] = {}
    for mode in family.modes.modes:
        members = sum(mode.counts)
        sizes = range(1, mode.counts[0] + 1) if family.modes.capped else (members,)
        found.setdefault(mode.duration, set()).update(sizes)
    return found


def add_path(network: Network, adapter: int, held: bool, alone: bool, sheet: Sheet) -> Path:
    """Add the path of one adapter to a network of one GPU.

    Args:
        network: The network, complete.
        adapter: Whose path.
        held: Whether the GPU holds the adapter at tick 0.
        alone: Whether no other GPU can serve the adapter's jobs.
        sheet: Where to write it.
    """
    return _Writer(network, adapter, held, alone, sheet).write()


class _Writer:
    """Writes one path. States are numbered tick by tick, counts from ``low`` to ``high``."""

    def __init__(
        self, network: Network, adapter: int, held: bool, alone: bool, sheet: Sheet
    ) -> None:
        self.network, self.adapter, self.sheet = network, adapter, sheet
        self.batches: Batches = network.batches[adapter]
        self.family = family = self.batches.family
        self.first, self.last = family.first, family.last
        into = [s for (_, target), s in network.switch.items() if target == adapter]
        self.into = [s for s in into if len(s.columns)]
        lag = min((s.ticks for s in self.into), default=0)
        supply = int(sheet.columns(1, lower=1.0, integer=False)[0])
        self.path = Path(self.first, held, lag, supply)
        self._states(alone)

    def _states(self, alone: bool) -> None:
        """Number the states: at tick t, from those that must to those that may have started."""
        family = self.family
        longest = max(mode.duration for mode in family.modes.modes)
        ticks = np.arange(self.first, self.last + longest + 2)
        latest = dict.fromkeys((job.index for job in family.jobs), 0)
        for c in family.choices:
            latest[c.job.index] = max(latest[c.job.index], c.last)
        due = [latest[j.index] for j in family.jobs if alone and j.reject_loss is None]
        arrivals = np.sort([job.arrival for job in family.jobs])
        self.high = np.searchsorted(arrivals, ticks, side="left")
        self.low = np.minimum(np.searchsorted(np.sort(due), ticks, side="left"), self.high)
        width = self.high - self.low + 1
        self.base = np.concatenate(([0], np.cumsum(width)))
        self.ticks = np.repeat(ticks, width)
        self.counts = np.arange(self.base[-1]) - np.repeat(self.base[:-1] - self.low, width)

    def write(self) -> Path:
        """Write columns, balance rows and ties."""
        sheet, path = self.sheet, self.path
        off, on, ready = (sheet.rows(len(self.ticks), 0.0, INF) for _ in range(3))
        sheet.add((on if path.held else off)[:1], path.supply)
        open_ = self.counts < len(self.family.jobs)
        early = open_ & (self.ticks < self.last)
        waiting = (self.ticks <= self.last) & (self.counts < self._arrived())
        path.arcs["off"] = self._arcs(off, off, 1, 0, early)
        path.arcs["on"] = self._arcs(on, on, 1, 0, early)
        path.arcs["leave"] = self._arcs(on, off, 0, 0, open_ & (self.ticks <= self.last))
        path.arcs["stay"] = self._arcs(on, ready, 0, 0, waiting)
        path.arcs["enter"] = self._enter(off, ready, waiting)
        for duration, sizes in sorted(_sizes(self.family).items()):
            for n in sorted(sizes):
                fits = (self.ticks <= min(self.last, self.family.end - duration)) & (
                    self.counts + n <= self._arrived()
                )
                path.batches[n, duration] = self._arcs(ready, on, duration, n, fits)
        self._tie_switches()
        self._tie_batches()
        return path

    def _arrived(self) -> Ints:
        """Jobs that have arrived by each state's tick."""
        after = np.minimum(self.ticks + 1 - self.first, len(self.high) - 1)
        arrived: Ints = self.high[after]
        return arrived

    def _within(self, ticks: Ints, counts: Ints) -> NDArray[np.bool_]:
        """Which (tick, count) are states."""
        inside = ticks - self.first < len(self.high)
        at = np.where(inside, ticks - self.first, 0)
        found: NDArray[np.bool_] = inside & (counts >= self.low[at]) & (counts <= self.high[at])
        return found

    def _state(self, ticks: Ints, counts: Ints) -> Ints:
        """Numbers of states."""
        at = ticks - self.first
        numbers: Ints = self.base[at] + counts - self.low[at]
        return numbers

    def _arcs(
        self, tails: Ints, heads: Ints, ticks: int, members: int, allowed: NDArray[np.bool_]
    ) -> Arcs:
        """Arcs from every allowed state to the one ``ticks`` and ``members`` further."""
        tick, count = self.ticks + ticks, self.counts + members
        chosen = np.flatnonzero(allowed & self._within(tick, count))
        columns = self.sheet.columns(len(chosen), integer=False)
        self.sheet.add(tails[chosen], columns, -1.0)
        self.sheet.add(heads[self._state(tick[chosen], count[chosen])], columns)
        return Arcs(self.ticks[chosen], self.counts[chosen], columns)

    def _enter(self, off: Ints, ready: Ints, waiting: NDArray[np.bool_]) -> Arcs:
        """Arcs that end a switch, by the state they reach."""
        tails = np.maximum(self.ticks - self.path.lag, self.first)
        soonest = min((s.first for s in self.into), default=self.last + 1)
        allowed = waiting & (self.ticks >= soonest) & self._within(tails, self.counts)
        chosen = np.flatnonzero(allowed)
        columns = self.sheet.columns(len(chosen), integer=False)
        self.sheet.add(off[self._state(tails[chosen], self.counts[chosen])], columns, -1.0)
        self.sheet.add(ready[chosen], columns)
        return Arcs(self.ticks[chosen], self.counts[chosen], columns)

    def _sum(self, rows: Ints, arcs: Iterable[Arcs]) -> None:
        """Add arcs to the rows of their ticks."""
        for some in arcs:
            self.sheet.add(rows[some.ticks - self.first], some.columns)

    def _tie_switches(self) -> None:
        """Entering is switching; waiting is idling with the adapter."""
        count = len(self.batches.start)
        rows = self.sheet.rows(count, 0.0, 0.0)
        self._sum(rows, [self.path.arcs["enter"]])
        for s in self.into:
            self.sheet.add(rows[s.first - self.first :][: len(s.columns)], s.columns, -1.0)
        rows = self.sheet.rows(count - 1, -INF, 0.0)
        self._sum(rows, [self.path.arcs["on"]])
        idle = self.network.idle[self.adapter][self.first : self.last]
        self.sheet.add(rows, idle, -1.0)

    def _tie_batches(self) -> None:
        """The path's batches are the network's, with the same members."""
        sheet, family, batches, path = self.sheet, self.family, self.batches, self.path
        count = len(batches.start)
        members = sheet.rows(count, 0.0, 0.0)
        for j in batches.joins:
            sheet.add(members[batches.span(j)], j.columns, -1.0)
        for (n, _), arcs in path.batches.items():
            sheet.add(members[arcs.ticks - self.first], arcs.columns, float(n))
        ties: dict[tuple[int, int], Ints] = {}
        for mode, z in zip(family.modes.modes, batches.modes, strict=True):
            kind = (0 if family.modes.capped else sum(mode.counts), mode.duration)
            if kind not in ties:
                ties[kind] = sheet.rows(count, 0.0, 0.0)
            sheet.add(ties[kind][: len(z)], z, -1.0)
        for (n, duration), arcs in path.batches.items():
            self._sum(ties[0 if family.modes.capped else n, duration], [arcs])
