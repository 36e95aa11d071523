"""The MILP with residency and load indicators: any number of residents, mixed batches, activation.

Every GPU has, at each tick t, the residents r_{l,t} that a batch starting at t finds. They change
only where a batch starts, in the switch right before it: ``r_{l,t} - r_{l,t-1} = u_{l,t} -
v_{l,t}`` with load indicators u (the documents' I(y_t != y_{t-1})) and eviction indicators v.
What is resident cannot be loaded, and nothing is loaded and evicted at once: it would be a way
around activation. A switch of d ticks ends at the batch's start; ``sum of load_s u + activate_s
act <= d ticks`` picks d, and batches and switches in progress are at most one per GPU and tick.
act is 1 where nothing is loaded and the batch's adapters a_{l,t} are not those of the GPU's batch
before, p_{l,t}; a GPU's first batch is exempt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pats_opt.model.loss import switching_loss
from pats_opt.model.plan import Plan, PlannedBatch, plan_of
from pats_opt.model.problem import Adapters, GpuSite, Problem, Site
from pats_opt.model.timing import to_ticks
from pats_solvers.milp.batches import Batches, Joins, add_batches, place, serve_once
from pats_solvers.milp.extract import Outside, add_batch, at
from pats_solvers.milp.family import Family, Windows, family_of, scaled
from pats_solvers.milp.flow import families
from pats_solvers.milp.model import INF, Floats, Ints, Sheet

#: Sums of loading times beyond which every duration up to the longest is offered.
MOST_SUMS = 5_000

#: The grid's slack (see :func:`pats_opt.model.timing.to_ticks`), in ticks.
GRID_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class Activation:
    """Columns that price activation; index t.

    Attributes:
        before: Adapters of the last batch that started before t.
        first: No batch has started before t.
        paid: The batch that starts at t pays ``activate_s``.
    """

    before: dict[int, Ints]
    first: Ints
    paid: Ints


@dataclass(frozen=True, slots=True)
class Lane:
    """The columns of one GPU; those by adapter are indexed by tick.

    Attributes:
        gpu: Its index.
        batches: Its families' columns.
        supply: A column fixed at 1: the GPU itself.
        resident: Residents that a batch starting at t finds.
        load: Loaded in the switch before it.
        evict: Evicted in that switch.
        used: Adapters of the batch that starts at t; empty where nothing depends on them.
        switch: By duration d: a switch of d ticks ends at tick ``d + i``, where a batch starts.
        idle: Nothing runs from t to t + 1.
        activation: Where activation costs.
    """

    gpu: int
    batches: tuple[Batches, ...]
    supply: int
    resident: dict[int, Ints]
    load: dict[int, Ints]
    evict: dict[int, Ints]
    used: dict[int, Ints]
    switch: dict[int, Ints]
    idle: Ints
    activation: Activation | None


@dataclass(frozen=True, slots=True)
class Indicator:
    """The columns of the whole model; ``rejected`` by job."""

    lanes: tuple[Lane, ...]
    rejected: dict[int, int]


def write_indicator(
    problem: Problem, windows: Windows, sheet: Sheet, margin: float = 0.0
) -> Indicator:
    """Write the indicator model of a problem without pairs.

    Args:
        problem: The problem.
        windows: The ticks worth considering.
        sheet: Where to write it.
        margin: Ticks that every switch, and share of the room that every batch, leaves unused, so
            that a solver's tolerance cannot break a rule. With 0 the bound is a bound.
    """
    lanes = []
    for gpu in problem.site.gpus:
        families = _families(problem, gpu.index, windows)
        if families:
            lanes.append(_lane(problem, gpu, families, sheet, margin))
    everything = [batches for lane in lanes for batches in lane.batches]
    return Indicator(tuple(lanes), serve_once(problem, everything, sheet))


def _families(problem: Problem, gpu: int, windows: Windows) -> list[Family]:
    """One family per adapter, or, where batches mix adapters, one of all jobs."""
    if problem.site.max_per_batch > 1:
        family = family_of(problem, gpu, frozenset(), problem.jobs, windows)
        return [] if family is None else [family]
    return list(families(problem, gpu, windows).values())


def _lane(
    problem: Problem, gpu: GpuSite, members: Sequence[Family], sheet: Sheet, margin: float
) -> Lane:
    site = problem.site
    last = max(f.last for f in members)
    count = last + 1
    served = sorted({job.adapter for f in members for job in f.jobs})
    activates = site.activate_s > 0 and len(served) > 1
    held = set(served) | gpu.resident
    if activates:  # loading anything, even what nobody asked for, saves the activation
        held |= {a for a, load_s in enumerate(site.load_s) if load_s < site.activate_s}
    adapters = sorted(held)
    batches = tuple(add_batches(problem, f, 1, sheet, margin) for f in members)
    resident = {a: sheet.columns(count) for a in adapters}
    price = {a: switching_loss(site, site.load_s[a]) for a in adapters}
    load = {a: sheet.columns(count, cost=price[a]) for a in adapters}
    evict = {a: sheet.columns(count) for a in adapters}
    supply = int(sheet.columns(1, lower=1.0)[0])
    counted = site.max_per_batch < min(len(served), site.max_resident)
    lane = Lane(
        gpu=gpu.index,
        batches=batches,
        supply=supply,
        resident=resident,
        load=load,
        evict=evict,
        used={a: sheet.columns(count) for a in served} if activates or counted else {},
        switch={d: sheet.columns(max(0, count - d)) for d in switch_ticks(site, adapters)},
        idle=sheet.columns(last),
        activation=Activation(
            before={a: sheet.columns(count) for a in served},
            first=sheet.columns(count),
            paid=sheet.columns(count, cost=switching_loss(site, site.activate_s)),
        )
        if activates
        else None,
    )
    for a in adapters:
        _residency(lane, a, a in gpu.resident, sheet)
    rows = sheet.rows(count, -INF, float(site.max_resident))
    for a in adapters:
        sheet.add(rows, resident[a])
    _memory(site, lane, sheet, margin)
    _time(site, lane, sheet, margin)
    _used(site, lane, sheet)
    if lane.activation is not None:
        _activation(site, lane, lane.activation, sheet)
    return lane


def switch_ticks(site: Site, adapters: Sequence[int]) -> list[int]:
    """Every duration that a switch may have, in ticks."""
    if site.clock.slotted:
        return [0]
    sums = {(0, 0.0)}
    for a in adapters:
        load_s = site.load_s[a]
        sums |= {(n + 1, total + load_s) for n, total in sums if n < site.max_resident}
        if len(sums) > MOST_SUMS:
            return list(range(longest_switch_of(site, adapters) + 1))
    ticks = {to_ticks(total, site.tick_s) for _, total in sums}
    return sorted(ticks | {to_ticks(site.activate_s, site.tick_s)})


def longest_switch_of(site: Site, adapters: Sequence[int]) -> int:
    """Ticks that no switch among ``adapters`` exceeds."""
    loads = sorted((site.load_s[a] for a in adapters), reverse=True)[: site.max_resident]
    return to_ticks(max(math.fsum(loads), site.activate_s), site.tick_s) + 1


def _starts(lane: Lane, rows: Ints, value: float, sheet: Sheet) -> None:
    """Add the batches that start at t to row t."""
    for b in lane.batches:
        span = rows[b.family.first : b.family.last + 1]
        sheet.add(span, b.start[: len(span)], value)


def _residency(lane: Lane, a: int, at_start: bool, sheet: Sheet) -> None:
    """Residents change by loads and evictions alone, and those need a batch."""
    r, u, v = lane.resident[a], lane.load[a], lane.evict[a]
    change = sheet.rows(len(r), 0.0, 0.0)
    absent = sheet.rows(len(r), -INF, 1.0)
    sheet.add(change, r)
    sheet.add(change[1:], r[:-1], -1.0)
    sheet.add(change, u, -1.0)
    sheet.add(change, v)
    sheet.add(absent, u)
    sheet.add(absent[1:], r[:-1])
    if at_start:
        sheet.add(change[:1], lane.supply, -1.0)
        sheet.add(absent[:1], lane.supply)
    stays = sheet.rows(len(r), -INF, 0.0)
    sheet.add(stays, u)
    sheet.add(stays, r, -1.0)
    needs = sheet.rows(len(r), -INF, 0.0)
    sheet.add(needs, u)
    sheet.add(needs, v)
    _starts(lane, needs, -1.0, sheet)


def _memory(site: Site, lane: Lane, sheet: Sheet, margin: float) -> None:
    """Rule 3 for memory: base model, residents and members, at every tick."""
    room = site.room(lane.gpu, frozenset())[0]
    if room is None:
        return
    jobs = {j.choice.job.index: j.choice.job for b in lane.batches for j in b.joins}
    needs = [site.adapter_vram[a] for a in lane.resident] + [j.demand[0] for j in jobs.values()]
    if sum(needs) <= room:
        return
    coefficients, limit = scaled(needs, room)
    rows = sheet.rows(len(lane.idle) + 1, -INF, limit * (1.0 - margin))
    for a, need in zip(lane.resident, coefficients, strict=False):
        sheet.add(rows, lane.resident[a], need)
    need_of = dict(zip(jobs, coefficients[len(lane.resident) :], strict=True))
    for b in lane.batches:
        for j in b.joins:
            span = rows[j.choice.first : j.choice.last + 1]
            sheet.add(span, j.columns, need_of[j.choice.job.index])


def _time(site: Site, lane: Lane, sheet: Sheet, margin: float) -> None:
    """Rules 4 and 6: the GPU's unit of time flows through idling, switches and batches."""
    free = sheet.rows(len(lane.idle) + 1, 0.0, INF)
    sheet.add(free[:1], lane.supply)
    sheet.add(free[:-1], lane.idle, -1.0)
    sheet.add(free[1:], lane.idle)
    ready = sheet.rows(len(free), 0.0, 0.0)
    lasts = sheet.rows(len(free), -INF, 0.0)
    for d, columns in lane.switch.items():
        sheet.add(free[: len(columns)], columns, -1.0)
        sheet.add(ready[d:], columns)
        sheet.add(lasts[d:], columns, -(d + GRID_SLACK - margin if d else 0.0))
    _starts(lane, ready, -1.0, sheet)
    if not site.clock.slotted:
        for a, columns in lane.load.items():
            sheet.add(lasts, columns, site.load_s[a] / site.tick_s)
        if lane.activation is not None:
            sheet.add(lasts, lane.activation.paid, site.activate_s / site.tick_s)
    for b in lane.batches:
        for mode, z in zip(b.family.modes.modes, b.modes, strict=True):
            back = free[b.family.first + mode.duration :][: len(z)]
            sheet.add(back, z[: len(back)])


def _used(site: Site, lane: Lane, sheet: Sheet) -> None:
    """Rule 2: a batch's adapters are resident, and at most ``max_per_batch``."""
    for a, used in lane.used.items():
        rows = sheet.rows(len(used), -INF, 0.0)
        sheet.add(rows, used)
        sheet.add(rows, lane.resident[a], -1.0)
    if lane.used:
        most = sheet.rows(len(lane.idle) + 1, -INF, 0.0)
        _starts(lane, most, -float(site.max_per_batch), sheet)
        for used in lane.used.values():
            sheet.add(most, used)
    for b in lane.batches:
        ways: dict[int, list[Joins]] = {}
        for j in b.joins:
            ways.setdefault(j.choice.job.index, []).append(j)
        for mine in ways.values():
            needed = (lane.used or lane.resident)[mine[0].choice.job.adapter]
            first = min(j.choice.first for j in mine)
            count = max(j.choice.last for j in mine) + 1 - first
            rows = sheet.rows(count, -INF, 0.0)
            sheet.add(rows, needed[first : first + count], -1.0)
            for j in mine:
                sheet.add(rows[j.choice.first - first :][: len(j.columns)], j.columns)
        if site.max_per_batch == 1:  # the batches of one adapter: tighter than its members
            a = b.family.jobs[0].adapter
            rows = sheet.rows(len(b.start), -INF, 0.0)
            sheet.add(rows, b.start)
            sheet.add(rows, lane.resident[a][b.family.first : b.family.last + 1], -1.0)


def _activation(site: Site, lane: Lane, columns: Activation, sheet: Sheet) -> None:
    """Rule 4: what a batch pays where nothing is loaded and its adapters are others than before."""
    count = len(columns.first)
    for a, used in lane.used.items():
        joined = sheet.rows(count, -INF, 0.0)  # used by somebody
        sheet.add(joined, used)
        for b in lane.batches:
            for j in b.joins:
                if j.choice.job.adapter == a:
                    span = joined[j.choice.first : j.choice.last + 1]
                    sheet.add(span, j.columns, -1.0)
        before = columns.before[a]
        none = sheet.rows(1, 0.0, 0.0)
        sheet.add(none, before[:1])
        # before_{t+1} is used_t where a batch starts at t, else before_t
        for source, low, high, weight in (
            (used, 0.0, INF, 0.0),
            (used, -INF, 1.0, 1.0),
            (before, 0.0, INF, 1.0),
            (before, -INF, 0.0, -1.0),
        ):
            rows = sheet.rows(count - 1, low, high)
            sheet.add(rows, before[1:])
            sheet.add(rows, source[:-1], -1.0)
            if weight:
                _starts(lane, rows, weight, sheet)
        joining, leaving = (used, before), (before, used)
        for now, then in [joining] if site.max_per_batch == 1 else [joining, leaving]:
            # one batch's adapters differ from those before, nothing is loaded, it is not the first
            slack = now is before
            rows = sheet.rows(count, -INF, 1.0 if slack else 0.0)
            sheet.add(rows, now)
            sheet.add(rows, then, -1.0)
            sheet.add(rows, columns.paid, -1.0)
            sheet.add(rows, columns.first, -1.0)
            for load in lane.load.values():
                sheet.add(rows, load, -1.0)
            if slack:
                _starts(lane, rows, 1.0, sheet)
    later = sheet.rows(count - 1, -INF, 0.0)
    sheet.add(later, columns.first[1:])
    sheet.add(later, columns.first[:-1], -1.0)
    begun = sheet.rows(count - 1, -INF, 1.0)
    sheet.add(begun, columns.first[1:])
    _starts(lane, begun, 1.0, sheet)


def indicator_plan(problem: Problem, model: Indicator, x: Floats) -> Plan:
    """The plan of a whole-numbered point."""
    counts = np.rint(x).astype(np.int64)
    planned: list[list[PlannedBatch]] = [[] for _ in problem.site.gpus]
    for lane in model.lanes:
        for batches in lane.batches:
            for (tick, _), groups in place(batches, counts).items():
                held = frozenset(a for a, r in lane.resident.items() if counts[r[tick]])
                planned[lane.gpu] += [PlannedBatch(tick, tuple(g), held) for g in groups if g]
    return plan_of(planned)


def indicator_point(problem: Problem, model: Indicator, plan: Plan, columns: int) -> Floats | None:
    """The point that says what ``plan`` does, or None where the model has no column for it."""
    x = np.zeros(columns)
    served = {j for gpu in plan.gpus for b in gpu for j, _ in b.members}
    for job, column in model.rejected.items():
        x[column] = job not in served
    try:
        lanes = {lane.gpu: lane for lane in model.lanes}
        for gpu, planned in enumerate(plan.gpus):
            if gpu in lanes:
                _Walk(problem, lanes[gpu], x).run(planned)
            elif planned:
                return None
    except Outside:
        return None
    return x


class _Walk:
    """Sets the columns of one lane along the batches of a plan."""

    def __init__(self, problem: Problem, lane: Lane, x: Floats) -> None:
        self.problem, self.lane, self.x = problem, lane, x

    def run(self, planned: Sequence[PlannedBatch]) -> None:
        """Follow the batches in order."""
        lane, x, site = self.lane, self.x, self.problem.site
        held, before, free, since = site.gpus[lane.gpu].resident, None, 0, 0
        x[lane.supply] = 1.0
        for batch in planned:
            active = frozenset(self.problem.jobs[j].adapter for j, _ in batch.members)
            switch = site.switch(held, batch.resident, active, before)
            if switch.ticks not in lane.switch or not batch.resident <= lane.resident.keys():
                raise Outside
            x[at(lane.switch[switch.ticks], batch.start - switch.ticks)] = 1.0
            self._hold(held, since, batch.start)
            for change, adapters in ((lane.load, switch.load), (lane.evict, switch.evict)):
                for a in adapters:
                    x[at(change[a], batch.start)] = 1.0
            if lane.activation is not None and not switch.load:
                x[at(lane.activation.paid, batch.start)] = switch.seconds > 0
            self._activate(before, since, batch.start)
            for a in active & lane.used.keys():
                x[at(lane.used[a], batch.start)] = 1.0
            idle = lane.idle[free : batch.start - switch.ticks]
            x[idle] = 1.0
            family = next(
                b for b in lane.batches if active <= {j.choice.job.adapter for j in b.joins}
            )
            held, before, since = batch.resident, active, batch.start
            free = batch.start + add_batch(self.problem, family, batch, x)
        self._hold(held, since, len(lane.idle) + 1)
        self._activate(before, since, len(lane.idle))

    def _hold(self, held: Adapters, first: int, end: int) -> None:
        """Residents at the ticks from ``first`` to before ``end``."""
        for a in held:
            self.x[self.lane.resident[a][first:end]] = 1.0

    def _activate(self, before: Adapters | None, since: int, until: int) -> None:
        """The last batch's adapters at the ticks after ``since`` up to ``until``."""
        columns = self.lane.activation
        if columns is None:
            return
        if before is None:
            self.x[columns.first[since : until + 1]] = 1.0
        for a in before or ():
            self.x[columns.before[a][since + 1 : until + 1]] = 1.0
