"""Between points of the flow model and plans, both ways."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from pats_opt.plan import Plan, PlannedBatch, plan_of
from pats_opt.problem import Problem
from pats_opt.timing import shape_of
from pats_solvers.milp.flow import FamilyColumns, Flow, Network
from pats_solvers.milp.model import Floats
from pats_solvers.milp.modes import Mode

Member = tuple[int, int]  # job, option


def plan_at(problem: Problem, flow: Flow, x: Floats) -> Plan:
    """The plan of a whole-numbered point of the flow model."""
    counts = np.rint(x).astype(np.int64)
    batches: list[list[PlannedBatch]] = [[] for _ in problem.site.gpus]
    for network in flow.networks:
        for gpu, planned in _paths(problem, network, counts).items():
            batches[gpu] = planned
    return plan_of(batches)


def _paths(problem: Problem, network: Network, counts):
    """Follow each GPU's unit of flow; its batches in order."""
    members = {
        a: _batches(columns, counts) for a, columns in network.adapters.items()
    }  # (adapter) -> start -> list of (mode, members)
    outs: dict = defaultdict(list)  # (layer, state, tick) -> list of [next node, units, payload]
    for s, columns in network.idle.items():
        for t in np.flatnonzero(counts[columns]):
            outs["free", s, t].append([("free", s, t + 1), counts[columns[t]]])
    for s, columns in network.leave.items():
        for t in np.flatnonzero(counts[columns]):
            outs["free", s, t].append([("hub", None, t), counts[columns[t]]])
    for (s, a), columns in network.switch.items():
        family = network.adapters[a].family
        ticks = network.ticks[s, a]
        lead = family.last + 1 - len(columns)
        for i in np.flatnonzero(counts[columns]):
            node = ("hub", None, lead + i - ticks) if s == "*" else ("free", s, lead + i - ticks)
            outs[node].append([("ready", a, lead + i), counts[columns[i]]])
    for a, columns in network.adapters.items():
        first = columns.family.first
        for i in np.flatnonzero(counts[columns.stay]):
            outs["free", a, first + i].append([("ready", a, first + i), counts[columns.stay[i]]])
    found = {}
    for gpu in network.gpus:
        node = ("free", next(iter(problem.site.gpus[gpu].resident), None), 0)
        planned = []
        while True:
            layer, state, tick = node
            if layer == "ready":
                mode, group = members[state][tick].pop()
                if group:
                    planned.append(PlannedBatch(tick, tuple(group), frozenset((state,))))
                node = ("free", state, tick + mode.duration)
                continue
            arc = next((arc for arc in outs[node] if arc[1] > 0), None)
            if arc is None:
                break
            arc[1] -= 1
            node = arc[0]
        found[gpu] = planned
    return found


def _batches(columns: FamilyColumns, counts) -> dict[int, list[tuple[Mode, list[Member]]]]:
    """The batches of one adapter by start tick, members told out to them."""
    family = columns.family
    started: dict[int, list[tuple[Mode, list[Member], list[int]]]] = defaultdict(list)
    for mode, z in zip(family.modes.modes, columns.batch, strict=True):
        for i in np.flatnonzero(counts[z]):
            for _ in range(counts[z[i]]):
                started[family.first + int(i)].append((mode, [], list(mode.counts)))
    joined = []
    for join in columns.joins:
        c = join.choice
        joined += [(c.level, c, c.first + int(i)) for i in np.flatnonzero(counts[join.columns])]
    for level, choice, tick in sorted(joined, key=lambda entry: -entry[0]):
        levels = range(level + 1) if family.modes.capped else (level,)
        for mode, members, left in started[tick]:
            fits = choice.offset is None or mode.offsets[level] == choice.offset
            if mode.offsets[level] is not None and fits and all(left[r] > 0 for r in levels):
                members.append((choice.job.index, choice.option))
                for r in levels:
                    left[r] -= 1
                break
        else:
            raise ValueError(f"no batch at tick {tick} takes request {choice.job.id!r}")
    return {t: [(mode, members) for mode, members, _ in group] for t, group in started.items()}


def point_of(problem: Problem, flow: Flow, plan: Plan, columns: int) -> Floats | None:
    """The point of the flow model that says what ``plan`` does, or None where it is outside.

    The plan is outside where it starts a batch later than any better schedule could.
    """
    x = np.zeros(columns)
    served = {j for gpu in plan.gpus for b in gpu for j, _ in b.members}
    for job, column in flow.rejected.items():
        x[column] = job not in served
    try:
        for network in flow.networks:
            for gpu in network.gpus:
                _walk(problem, network, gpu, plan.gpus[gpu], x)
    except (KeyError, IndexError, StopIteration):
        return None
    return x


def _at(columns, index: int) -> int:
    if index < 0:
        raise IndexError(index)
    return int(columns[index])


def _walk(problem: Problem, network: Network, gpu: int, batches, x: Floats) -> None:
    """Send a GPU's unit of flow along its batches."""
    state, tick = next(iter(problem.site.gpus[gpu].resident), None), 0
    for batch in batches:
        (adapter,) = batch.resident
        columns = network.adapters[adapter]
        family = columns.family
        if adapter == state:
            leave = batch.start
            x[_at(columns.stay, batch.start - family.first)] += 1
        else:
            key = (state if (state, adapter) in network.switch else "*", adapter)
            into = network.switch[key]
            leave = batch.start - network.ticks[key]
            x[_at(into, batch.start - (family.last + 1 - len(into)))] += 1
            if key[0] == "*":
                x[_at(network.leave[state], leave)] += 1
        x[network.idle[state][tick:leave]] += 1
        if leave > tick and len(network.idle[state]) < leave:
            raise IndexError(leave)
        steps = [problem.jobs[j].options[o].steps for j, o in batch.members]
        levels = family.modes.levels
        exact = tuple(steps.count(s) for s in levels)
        counts = tuple(sum(exact[i:]) for i in range(len(levels))) if family.modes.capped else exact
        k = next(
            k
            for k, mode in enumerate(family.modes.modes)
            if mode.duration == problem.site.clock.duration(shape_of(steps))
            and (
                all(n <= m for n, m in zip(counts, mode.counts, strict=True))
                if family.modes.capped
                else counts == mode.counts
            )
            and _same_times(problem, mode, levels, exact)
        )
        mode = family.modes.modes[k]
        x[_at(columns.batch[k], batch.start - family.first)] += 1
        for (j, _), s in zip(batch.members, steps, strict=True):
            level = levels.index(s)
            join = next(
                join
                for join in columns.joins
                if join.choice.job.index == j
                and join.choice.level == level
                and join.choice.offset in (None, mode.offsets[level])
            )
            x[_at(join.columns, batch.start - join.choice.first)] += 1
        state, tick = adapter, batch.start + mode.duration


def _same_times(problem: Problem, mode: Mode, levels, exact) -> bool:
    present = [i for i, n in enumerate(exact) if n]
    ends = problem.site.clock.completions(tuple((levels[i], exact[i]) for i in present))
    return all(mode.offsets[i] == e for i, e in zip(present, ends, strict=True))
