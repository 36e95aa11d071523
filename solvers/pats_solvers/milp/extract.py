"""Between points of the flow model and plans, both ways."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import networkx as nx
import numpy as np

from pats_opt.model.plan import Plan, PlannedBatch, plan_of
from pats_opt.model.problem import Problem
from pats_solvers.milp.batches import Batches, place
from pats_solvers.milp.flow import Flow, Network, resident_of
from pats_solvers.milp.model import Floats, Ints
from pats_solvers.milp.paths import Visit, walk

#: A node of the time-expanded network: layer, state or hub, tick.
Node = tuple[str, int | str | None, int]


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
        while arcs := list(graph.out_edges(node, keys=True)):
            _, head, key = arcs[0]
            layer, state, tick = node
            if layer == "ready":
                assert isinstance(state, int)
                group = members[state][tick, key].pop()
                if group:  # an empty batch is of no use to anybody
                    planned.append(PlannedBatch(tick, tuple(group), frozenset((state,))))
            graph.edges[node, head, key]["units"] -= 1
            if not graph.edges[node, head, key]["units"]:
                graph.remove_edge(node, head, key)
            node = head
        yield gpu, planned


def _graph(network: Network, counts: Ints) -> nx.MultiDiGraph[Node]:
    """The arcs that carry flow; the key of a batch arc is its mode's number."""
    graph: nx.MultiDiGraph[Node] = nx.MultiDiGraph()
    graph.add_nodes_from(("free", state, 0) for state in network.idle)
    for tail, head, key, column in _arcs(network, counts):
        graph.add_edge(tail, head, key, units=int(counts[column]))
    return graph


def _arcs(network: Network, counts: Ints) -> Iterator[tuple[Node, Node, int, int]]:
    """Tail, head, key and column of every arc with flow."""
    for state, columns in network.idle.items():
        for t in map(int, np.flatnonzero(counts[columns])):
            yield ("free", state, t), ("free", state, t + 1), 0, columns[t]
    for state, columns in network.leave.items():
        for t in map(int, np.flatnonzero(counts[columns])):
            yield ("free", state, t), ("free", "hub", t), 0, columns[t]
    for (source, adapter), switches in network.switch.items():
        for i in map(int, np.flatnonzero(counts[switches.columns])):
            end = switches.first + i
            tail: Node = ("free", source, end - switches.ticks)
            yield tail, ("ready", adapter, end), 0, switches.columns[i]
    for adapter in network.batches:
        yield from _batch_arcs(network, adapter, counts)


def _batch_arcs(
    network: Network, adapter: int, counts: Ints
) -> Iterator[tuple[Node, Node, int, int]]:
    """The arcs of :func:`_arcs` for staying with an adapter and for its batches."""
    batches, stay = network.batches[adapter], network.stay[adapter]
    first = batches.family.first
    for i in map(int, np.flatnonzero(counts[stay])):
        yield ("free", adapter, first + i), ("ready", adapter, first + i), 0, stay[i]
    for key, (mode, z) in enumerate(zip(batches.family.modes.modes, batches.modes, strict=True)):
        for i in map(int, np.flatnonzero(counts[z])):
            t = first + i
            yield ("ready", adapter, t), ("free", adapter, t + mode.duration), key, z[i]


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
                visits = _walk(problem, network, gpu, plan.gpus[gpu], x)
            for adapter, path in network.paths.items():
                if not walk(path, visits.get(adapter, ()), x):
                    return None
    except Outside:
        return None
    return x


def _walk(
    problem: Problem, network: Network, gpu: int, planned: Sequence[PlannedBatch], x: Floats
) -> dict[int, list[Visit]]:
    """Send a GPU's unit of flow along its batches; returns them by adapter."""
    state, tick = resident_of(problem, gpu), 0
    visits: dict[int, list[Visit]] = {}
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
        duration = add_batch(problem, batches, batch, x)
        visit = Visit(batch.start, len(batch.members), duration, adapter != state)
        visits.setdefault(adapter, []).append(visit)
        state, tick = adapter, batch.start + duration
    return visits


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
