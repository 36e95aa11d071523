"""The documents' MILP as unit flows through a time-expanded network (one resident adapter).

Every GPU is a unit of flow through the nodes *free(l, t)*: adapter l resident, nothing running at
tick t. From there it idles to free(l, t+1), stays for a batch of l that starts at t, or switches
to another adapter m, whose batch starts when the switch ends. The batch leads to free(l, t +
duration). "Stay or switch, then a batch" is a second layer of nodes *ready(l, t)*: nothing
switches twice without a batch between, so pairs that break the triangle inequality are right as
they are. Flow conservation is all that GPU time and the documents' switching indicators need: the
flow on a switch arc is the indicator I(y_t != y_{t-1}), its cost is tau.

GPUs of equal capacity share one network with several units wherever what fits is decided by the
modes alone; otherwise each GPU has a network, and its own joins, of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from pats_opt.model.loss import switching_loss
from pats_opt.model.problem import Job, Problem, Site
from pats_solvers.milp.batches import Batches, add_batches, add_members, serve_once
from pats_solvers.milp.family import Family, Windows, family_of
from pats_solvers.milp.model import INF, Ints, Sheet
from pats_solvers.milp.paths import Path

#: A resident adapter, or None where there is none.
State = int | None

#: Where a switch comes from: a state, or the hub.
Source = int | str | None


@dataclass(frozen=True, slots=True)
class Switches:
    """Flow into ready(l, t) from elsewhere: ``columns[i]`` ends at tick ``first + i``."""

    first: int
    ticks: int
    columns: Ints


@dataclass(frozen=True, slots=True)
class Network:
    """The columns of one group of GPUs.

    Attributes:
        gpus: The GPUs that share it.
        supply: GPUs that start in a state: a fixed column by state.
        batches: Columns by adapter.
        stay: Flow from free(l, t) to ready(l, t) by adapter, index as ``batches[l].start``.
        idle: Flow from free(s, t) to free(s, t+1) by state, index t.
        leave: Flow from free(s, t) to the tick's hub by state, index t (empty with pairs).
        switch: Flow into ready by (source, adapter); one source "hub" stands for all without pairs.
        paths: What :mod:`pats_solvers.milp.counting` adds, by adapter.
    """

    gpus: tuple[int, ...]
    supply: dict[Source, int]
    batches: dict[int, Batches]
    stay: dict[int, Ints]
    idle: dict[Source, Ints]
    leave: dict[Source, Ints]
    switch: dict[tuple[Source, int], Switches]
    paths: dict[int, Path]


@dataclass(frozen=True, slots=True)
class Flow:
    """The columns of the whole model; ``rejected`` by job."""

    networks: tuple[Network, ...]
    rejected: dict[int, int]


def write_flow(problem: Problem, windows: Windows, sheet: Sheet, margin: float = 0.0) -> Flow:
    """Write the flow model of a problem with one resident adapter.

    Args:
        problem: The problem.
        windows: The ticks worth considering.
        sheet: Where to write it.
        margin: Share of the room that every batch leaves unused, so that a solver's tolerance
            cannot break a rule. With 0 the bound is a bound.
    """
    networks = []
    for gpus in groups(problem):
        members = families(problem, gpus[0], windows)
        together = len(gpus) == 1 or all(shareable(f) for f in members.values())
        networks += [
            _network(problem, share, members, sheet, margin)
            for share in ([gpus] if together else [(gpu,) for gpu in gpus])
        ]
    everything = [batches for network in networks for batches in network.batches.values()]
    return Flow(tuple(networks), serve_once(problem, everything, sheet))


def groups(problem: Problem) -> list[tuple[int, ...]]:
    """GPUs by capacity: those that may share a network."""
    by_capacity: dict[tuple[int | None, ...], list[int]] = {}
    for gpu in problem.site.gpus:
        by_capacity.setdefault(gpu.capacity, []).append(gpu.index)
    return [tuple(gpus) for gpus in by_capacity.values()]


def families(problem: Problem, gpu: int, windows: Windows) -> dict[int, Family]:
    """The jobs of each adapter on ``gpu``, by adapter, where any can run."""
    jobs: dict[int, list[Job]] = {}
    for job in problem.jobs:
        jobs.setdefault(job.adapter, []).append(job)
    found = {}
    for adapter, mine in sorted(jobs.items()):
        family = family_of(problem, gpu, frozenset((adapter,)), mine, windows)
        if family is not None:
            found[adapter] = family
    return found


def shareable(family: Family) -> bool:
    """Whether several batches of a family may start at one tick in one network.

    Members are then told apart by their counts alone: all sets within the counts must fit, and the
    counts of several batches must split into those of each. That holds for exact counts by offset,
    and for caps on "this level or above", as they are nested, where a level has one offset.
    """
    modes = family.modes
    single = all(len(modes.offsets(level)) <= 1 for level in range(len(modes.levels)))
    return family.uniform and (single or not modes.capped)


def resident_of(problem: Problem, gpu: int) -> State:
    """The adapter resident at tick 0."""
    return next(iter(problem.site.gpus[gpu].resident), None)


def _network(
    problem: Problem,
    gpus: tuple[int, ...],
    members: dict[int, Family],
    sheet: Sheet,
    margin: float,
) -> Network:
    units = len(gpus)
    held = [resident_of(problem, gpu) for gpu in gpus]
    last = max((f.last for f in members.values()), default=0)
    network = Network(gpus, {}, {}, {}, {}, {}, {}, {})
    free: dict[Source, Ints] = {}
    for state in [None, *sorted({s for s in held if s is not None} | set(members))]:
        free[state] = sheet.rows(last + 1, 0.0, INF)
        supply = sheet.columns(1, lower=held.count(state), upper=held.count(state))
        network.supply[state] = int(supply[0])
        sheet.add(free[state][:1], supply)
        network.idle[state] = idle = sheet.columns(last, upper=units)
        sheet.add(free[state][:-1], idle, -1.0)
        sheet.add(free[state][1:], idle)
    ready = {}
    for adapter, family in members.items():
        batches = network.batches[adapter] = add_batches(problem, family, units, sheet, margin)
        stay = network.stay[adapter] = sheet.columns(len(batches.start), upper=units)
        ready[adapter] = sheet.rows(len(stay), 0.0, 0.0)
        sheet.add(ready[adapter], batches.start, -1.0)
        sheet.add(ready[adapter], stay)
        sheet.add(free[adapter][family.first : family.last + 1], stay, -1.0)
        for mode, z in zip(family.modes.modes, batches.modes, strict=True):
            back = free[adapter][family.first + mode.duration :][: len(z)]
            sheet.add(back, z[: len(back)])
        if problem.site.pairs:
            add_members(batches, sheet)
    pairs = problem.site.pairs
    sources = dict(free) if pairs else {"hub": _hub(network, free, units, sheet)}
    for source, rows in sources.items():
        for adapter, ready_rows in ready.items():
            if source != adapter:
                into = _switch(problem.site, network, source, adapter, sheet)
                first, count = into.first, len(into.columns)
                sheet.add(ready_rows[first - members[adapter].first :][:count], into.columns)
                sheet.add(rows[first - into.ticks :][:count], into.columns, -1.0)
    return network


def _hub(network: Network, free: dict[Source, Ints], units: int, sheet: Sheet) -> Ints:
    """One node per tick through which all switches go whose cost depends on the target alone."""
    count = max(len(rows) for rows in free.values())
    hub = sheet.rows(count, 0.0, INF)
    for state, rows in free.items():
        network.leave[state] = leave = sheet.columns(count, upper=units)
        sheet.add(rows, leave, -1.0)
        sheet.add(hub, leave)
    return hub


def _switch(
    site: Site,
    network: Network,
    source: Source,
    adapter: int,
    sheet: Sheet,
) -> Switches:
    """The switches from a source to an adapter, ending at each batch start they have time for."""
    after = frozenset((adapter,))
    before = frozenset((source,)) if isinstance(source, int) else frozenset[int]()
    switch = site.switch(before, after, after, None)
    family = network.batches[adapter].family
    first = max(family.first, switch.ticks)
    count = max(0, family.last - first + 1)
    into = sheet.columns(count, cost=switching_loss(site, switch.seconds), upper=len(network.gpus))
    switches = Switches(first, switch.ticks, into)
    network.switch[source, adapter] = switches
    return switches
