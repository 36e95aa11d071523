"""The documents' MILP as unit flows through a time-expanded network (one resident adapter).

Every GPU is a unit of flow through the nodes *free(l, t)*: adapter l resident, nothing running at tick
t. From there it idles to free(l, t+1), stays for a batch of l that starts at t, or switches to
another adapter m, whose batch starts when the switch ends. The batch arc leads to free(l, t + duration).
"Stay or switch, then a batch" makes a second layer of nodes *ready(l, t)*: nothing switches twice without
a batch between, so pairs that break the triangle inequality are right as they are. Flow conservation is
all that GPU time and the documents' switching indicators need: the flow on a switch arc is the
indicator I(y_t != y_{t-1}), its cost is tau.

GPUs of equal capacity share one network with several units wherever what fits is decided by the modes
alone; otherwise each GPU has a network, and its own joins, of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pats_opt.loss import switching_loss
from pats_opt.problem import Problem, Site
from pats_solvers.milp.family import Choice, Family, family_of
from pats_solvers.milp.model import INF, Builder, Ints

#: A resident adapter, or None where there is none.
State = int | None


@dataclass(slots=True)
class Joins:
    """Columns of one choice: column ``first + i`` joins the batch of tick ``choice.first + i``."""

    choice: Choice
    columns: Ints


@dataclass(slots=True)
class FamilyColumns:
    """Columns of one adapter in a network; index i is the batch start ``family.first + i``.

    Attributes:
        stay: Flow from free(l, t) to ready(l, t).
        batch: Flow on the batch arc of each mode; rows follow ``family.modes.modes``.
        joins: Members.
    """

    family: Family
    stay: Ints
    batch: list[Ints]
    joins: list[Joins]
    ready: Ints
    linked: Ints
    packed: list[Ints]


@dataclass(slots=True)
class Network:
    """The columns of one group of GPUs.

    Attributes:
        gpus: The GPUs that share it.
        adapters: Columns by adapter.
        idle: Flow from free(s, t) to free(s, t+1) by state, index t.
        leave: Flow from free(s, t) to the hub by state, index t (no pairs).
        switch: Flow into ready(m, t) by switching: by (state or hub "*", m), index as ``stay``.
    """

    gpus: tuple[int, ...]
    adapters: dict[int, FamilyColumns]
    idle: dict[State, Ints]
    leave: dict[State, Ints]
    switch: dict[tuple[State | str, int], Ints]
    ticks: dict[tuple[State | str, int], int]


def groups(problem: Problem) -> list[tuple[int, ...]]:
    """GPUs by capacity: those that may share a network."""
    by_capacity: dict[tuple[int | None, ...], list[int]] = {}
    for gpu in problem.site.gpus:
        by_capacity.setdefault(gpu.capacity, []).append(gpu.index)
    return [tuple(gpus) for gpus in by_capacity.values()]


def families(
    problem: Problem, gpu: int, latest: Sequence[Sequence[int | None]], end: int
) -> dict[int, Family]:
    """The families that can run on ``gpu``, by adapter."""
    found = {}
    for adapter in range(len(problem.site.adapter_ids)):
        jobs = [job for job in problem.jobs if job.adapter == adapter]
        family = family_of(problem, gpu, frozenset((adapter,)), jobs, latest, end)
        if family is not None:
            found[adapter] = family
    return found


def shareable(family: Family) -> bool:
    """Whether several batches of a family may start at one tick in one network.

    Members are then told apart by their counts alone: all sets within the counts fit, and a member's
    completion says which modes it may be in.
    """
    return family.uniform and (
        not family.modes.capped
        or all(len(family.modes.offsets(i)) <= 1 for i in range(len(family.modes.levels)))
    )


@dataclass(slots=True)
class Flow:
    """The columns of the whole model, by what they mean."""

    networks: list[Network]
    rejected: dict[int, int]


def build_flow(
    problem: Problem, latest: Sequence[Sequence[int | None]], end: int, builder: Builder
) -> Flow:
    """Add the flow model of a problem to ``builder``."""
    networks = []
    for gpus in groups(problem):
        members = families(problem, gpus[0], latest, end)
        together = len(gpus) == 1 or all(shareable(f) for f in members.values())
        for share in [gpus] if together else [(gpu,) for gpu in gpus]:
            networks.append(_network(problem, share, members, builder))
    return Flow(networks, serve_once(problem, [n.adapters.values() for n in networks], builder))


def serve_once(problem, parts, builder: Builder) -> dict[int, int]:  # noqa
    """Rule 1's rows: every job joins once or is rejected."""
    row = builder.rows(len(problem.jobs), 1.0, 1.0)
    for part in parts:
        for columns in part:
            for joins in columns.joins:
                builder.add(row[joins.choice.job.index], joins.columns)
    open_jobs = [job for job in problem.jobs if job.reject_loss is not None]
    columns = builder.columns(len(open_jobs), cost=[job.reject_loss for job in open_jobs])
    builder.add(row[[job.index for job in open_jobs]] if open_jobs else [], columns)
    return {job.index: int(c) for job, c in zip(open_jobs, columns, strict=True)}


def switch_of(site: Site, source: State, target: int) -> tuple[int, float]:
    """Ticks and price of a switch between two resident adapters."""
    before = frozenset() if source is None else frozenset((source,))
    after = frozenset((target,))
    switch = site.switch(before, after, after, None)
    return switch.ticks, switching_loss(site, switch.seconds)


def _network(
    problem: Problem, gpus: tuple[int, ...], members: dict[int, Family], builder: Builder
) -> Network:
    site, units = problem.site, float(len(gpus))
    at_start: list[State] = [next(iter(site.gpus[g].resident), None) for g in gpus]
    states: list[State] = [None, *sorted({a for a in at_start if a is not None} | set(members))]
    last = max((f.last for f in members.values()), default=0)
    adapters = {a: _family(problem, f, units, builder) for a, f in members.items()}
    idle, free = {}, {}
    for s in states:
        supply = np.zeros(last + 1)
        supply[0] = -at_start.count(s)
        free[s] = builder.rows(last + 1, supply, INF)
        idle[s] = builder.columns(last, upper=units)
        builder.add(free[s][:-1], idle[s], -1.0)
        builder.add(free[s][1:], idle[s], 1.0)
    for a, columns in adapters.items():
        family = columns.family
        builder.add(free[a][family.first : family.last + 1], columns.stay, -1.0)
        for mode, z in zip(family.modes.modes, columns.batch, strict=True):
            z = z[: max(0, last + 1 - family.first - mode.duration)]
            builder.add(free[a][family.first + mode.duration :][: len(z)], z)
    network = Network(gpus, adapters, idle, {}, {}, {})
    if site.pairs:
        _pairs(site, network, free, units, builder)
    else:
        _hub(site, network, free, units, builder)
    return network


def _hub(
    site: Site, network: Network, free: dict[State, Ints], units: float, builder: Builder
) -> None:
    """Switches whose cost depends on the target alone: through one node per tick."""
    last = max(len(rows) for rows in free.values())
    hub = builder.rows(last, 0.0, INF)
    for s, rows in free.items():
        network.leave[s] = leave = builder.columns(last, upper=units)
        builder.add(rows, leave, -1.0)
        builder.add(hub, leave, 1.0)
    for a, columns in network.adapters.items():
        ticks, price = switch_of(site, None, a)
        into = _switch(columns, ticks, price, units, builder)
        network.switch["*", a], network.ticks["*", a] = into, ticks
        starts = columns.family.last + 1 - np.arange(len(into), 0, -1)
        builder.add(hub[starts - ticks], into, -1.0)


def _pairs(
    site: Site, network: Network, free: dict[State, Ints], units: float, builder: Builder
) -> None:
    """Switches whose cost depends on both ends: an arc each."""
    for s, rows in free.items():
        for a, columns in network.adapters.items():
            if s != a:
                ticks, price = switch_of(site, s, a)
                into = _switch(columns, ticks, price, units, builder)
                network.switch[s, a], network.ticks[s, a] = into, ticks
                starts = columns.family.last + 1 - np.arange(len(into), 0, -1)
                builder.add(rows[starts - ticks], into, -1.0)


def _switch(
    columns: FamilyColumns, ticks: int, price: float, units: float, builder: Builder
) -> Ints:
    """Flow into ready by a switch, at the batch starts that leave it time (the last ones)."""
    family = columns.family
    count = max(0, family.last - max(family.first, ticks) + 1)
    into = builder.columns(count, cost=price, upper=units)
    builder.add(columns.ready[len(columns.ready) - count :], into)
    if len(columns.linked):
        builder.add(columns.linked[:, len(columns.ready) - count :], into)
    for packing, rows in zip(family.packings, columns.packed, strict=True):
        builder.add(rows[len(rows) - count :], into, packing.room)
    return into


def _family(problem: Problem, family: Family, units: float, builder: Builder) -> FamilyColumns:
    """Batches and members of one adapter: everything but its place in the network."""
    count = family.last - family.first + 1
    level_of = range(len(family.modes.levels))
    stay = builder.columns(count, upper=units)
    ready = builder.rows(count, 0.0, 0.0)
    builder.add(ready, stay)
    batch = []
    for mode in family.modes.modes:
        starts = (
            count
            if family.last + mode.duration <= family.end
            else max(0, family.end - mode.duration - family.first + 1)
        )
        offsets = sum(
            n * o for n, o in zip(mode.counts, mode.offsets, strict=True) if o is not None
        )
        cost = family.unit_price * offsets if family.priced else 0.0
        z = builder.columns(starts, cost=cost, upper=units)
        builder.add(ready[:starts], z, -1.0)
        batch.append(z)
    joins = [
        Joins(c, builder.columns(c.last - c.first + 1, cost=c.costs(problem)))
        for c in family.choices
    ]

    # members against the modes' counts
    def at(j):
        lo = j.choice.first - family.first
        return slice(lo, lo + len(j.columns))

    if family.modes.capped:
        for r in level_of:
            row = builder.rows(count, -INF, 0.0)
            for mode, z in zip(family.modes.modes, batch):
                if mode.counts[r]:
                    builder.add(row[: len(z)], z, -float(mode.counts[r]))
            for j in joins:
                if j.choice.level >= r:
                    builder.add(row[at(j)], j.columns)
            offs = family.modes.offsets(r)
            if len(offs) > 1:
                for o in offs:
                    row = builder.rows(count, -INF, 0.0)
                    for mode, z in zip(family.modes.modes, batch):
                        if mode.offsets[r] == o:
                            builder.add(row[: len(z)], z, -float(mode.counts[r]))
                    for j in joins:
                        if j.choice.level == r and j.choice.offset == o:
                            builder.add(row[at(j)], j.columns)
    else:
        for r in level_of:
            for o in [None] if family.priced else family.modes.offsets(r):
                row = builder.rows(count, 0.0, 0.0)
                for mode, z in zip(family.modes.modes, batch):
                    if mode.counts[r] and (o is None or mode.offsets[r] == o):
                        builder.add(row[: len(z)], z, -float(mode.counts[r]))
                for j in joins:
                    if j.choice.level == r and j.choice.offset == o:
                        builder.add(row[at(j)], j.columns)
    places = len(family.jobs)
    linked = builder.rows(places * count, 0.0, INF).reshape(places, count)
    builder.add(linked, stay)
    for j in joins:
        builder.add(linked[j.choice.place, at(j)], j.columns, -1.0)
    packed = []
    for packing in family.packings:
        row = builder.rows(count, 0.0, INF)
        packed.append(row)
        builder.add(row, stay, packing.room)
        for j in joins:
            builder.add(row[at(j)], j.columns, -packing.demands[j.choice.place])
    if family.modes.capped and problem.site.pairs:
        row = builder.rows(count, -INF, 0.0)
        for z in batch:
            builder.add(row[: len(z)], z)
        for j in joins:
            builder.add(row[at(j)], j.columns, -1.0)
    return FamilyColumns(family, stay, batch, joins, ready, linked, packed)
