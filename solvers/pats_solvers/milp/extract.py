"""Between points of the flow model and plans, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import networkx as nx
import numpy as np

from pats_opt.plan import Plan, PlannedBatch, plan_of
from pats_opt.problem import Problem
from pats_solvers.milp.batches import Batches, place
from pats_solvers.milp.flow import Flow, Network, resident_of
from pats_solvers.milp.model import Floats, Ints

#: A node of the time-expanded network: layer, state, tick.
Node = tuple[str, object, int]


def flow_plan(problem: Problem, flow: Flow, x: Floats) -> Plan:
    """The plan of a whole-numbered point of the flow model."""
    counts = np.rint(x).astype(np.int64)
    planned: list[list[PlannedBatch]] = [[] for _ in problem.site.gpus]
    for network in flow.networks:
        for gpu, batches in _paths(problem, network, counts):
            planned[gpu] = batches
    return plan_of(planned)


def _paths(
    problem: Problem, network: Network, counts: Ints
) -> Iterator[tuple[int, list[PlannedBatch]]]:
    """The batches on the path of each GPU's unit of flow."""
    graph = _graph(network, counts)
    members = {a: place(batches, counts) for a, batches in network.batches.items()}
    for gpu in network.gpus:
        node: Node = ("free", resident_of(problem, gpu), 0)
        planned = []
        while True:
            arc = next(iter(graph.out_edges(node, keys=True, data="units")), None)
            if arc is None:
                break
            _, head, key, units = arc
            layer, state, tick = node
            if layer == "ready" and (group := members[state][tick, key].pop()):
                planned.append(PlannedBatch(tick, tuple(group), frozenset((state,))))
            if units > 1:
                graph.edges[node, head, key]["units"] -= 1
            else:
                graph.remove_edge(node, head, key)
            node = head
        yield gpu, planned


def _graph(network: Network, counts: Ints) -> nx.MultiDiGraph:
    """The arcs that carry flow; batch arcs have their mode's number as key."""
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(("free", state, 0) for state in network.idle)

    def flow(columns: Ints) -> Iterator[tuple[int, int]]:
        for i in np.flatnonzero(counts[columns]):
            yield int(i), int(counts[columns[i]])

    for state, columns in network.idle.items():
        for t, units in flow(columns):
            graph.add_edge(("free", state, t), ("free", state, t + 1), units=units)
    for state, columns in network.leave.items():
        for t, units in flow(columns):
            graph.add_edge(("free", state, t), ("free", "hub", t), units=units)
    for (source, adapter), switches in network.switch.items():
        for i, units in flow(switches.columns):
            end = switches.first + i
            graph.add_edge(
                ("free", source, end - switches.ticks), ("ready", adapter, end), units=units
            )
    for adapter, batches in network.batches.items():
        family = batches.family
        for i, units in flow(network.stay[adapter]):
            t = family.first + i
            graph.add_edge(("free", adapter, t), ("ready", adapter, t), units=units)
        for key, (mode, z) in enumerate(zip(family.modes.modes, batches.modes, strict=True)):
            for i, units in flow(z):
                t = family.first + i
                ends = ("free", adapter, t + mode.duration)
                graph.add_edge(("ready", adapter, t), ends, key, units=units)
    return graph


class Outside(Exception):  # noqa: N818 - it says where a plan is, and is no failure
    """A plan does something that the model has no column for: it cannot be part of an optimum."""


def at(columns: Ints, index: int) -> int:
    """A column by place."""
    if not 0 <= index < len(columns):
        raise Outside
    return int(columns[index])


def flow_point(problem: Problem, flow: Flow, plan: Plan, columns: int) -> Floats | None:
    """The point of the flow model that says what ``plan`` does, or None where it is outside."""
    x = np.zeros(columns)
    served = {j for gpu in plan.gpus for b in gpu for j, _ in b.members}
    for job, column in flow.rejected.items():
        x[column] = job not in served
    try:
        for network in flow.networks:
            for state, column in network.supply.items():
                x[column] = sum(resident_of(problem, gpu) == state for gpu in network.gpus)
            for gpu in network.gpus:
                _walk(problem, network, gpu, plan.gpus[gpu], x)
    except Outside:
        return None
    return x


def _walk(
    problem: Problem, network: Network, gpu: int, planned: Sequence[PlannedBatch], x: Floats
) -> None:
    """Send a GPU's unit of flow along its batches."""
    state, tick = resident_of(problem, gpu), 0
    for batch in planned:
        (adapter,) = batch.resident
        if adapter not in network.batches:
            raise Outside
        batches = network.batches[adapter]
        if adapter == state:
            leaving = batch.start
            x[at(network.stay[adapter], batch.start - batches.family.first)] += 1
        else:
            source = "hub" if network.leave else state
            switches = network.switch[source, adapter]
            leaving = batch.start - switches.ticks
            x[at(switches.columns, batch.start - switches.first)] += 1
            if network.leave:
                x[at(network.leave[state], leaving)] += 1
        if leaving > tick:
            at(network.idle[state], leaving - 1)
            x[network.idle[state][tick:leaving]] += 1
        state, tick = adapter, batch.start + add_batch(problem, batches, batch, x)


def add_batch(problem: Problem, batches: Batches, batch: PlannedBatch, x: Floats) -> int:
    """Add one batch to a point; returns its duration in ticks."""
    family, modes = batches.family, batches.family.modes
    steps = [problem.jobs[j].options[o].steps for j, o in batch.members]
    k = modes.mode_of(problem.site.clock, steps)
    if k is None:
        raise Outside
    mode = modes.modes[k]
    x[at(batches.start, batch.start - family.first)] += 1
    x[at(batches.modes[k], batch.start - family.first)] += 1
    for (j, _), s in zip(batch.members, steps, strict=True):
        level = modes.levels.index(s)
        offset = None if family.priced else mode.offsets[level]
        wanted = (j, level, offset)
        for join in batches.joins:
            c = join.choice
            if (c.job.index, c.level, c.offset) == wanted:
                x[at(join.columns, batch.start - c.first)] += 1
                break
        else:
            raise Outside
    return mode.duration
