"""Schedules as bins, a tour or a plan, for imported problems, and as a graph of changeovers."""

from __future__ import annotations

import itertools
from collections import Counter

from pats_opt.errors import InputError
from pats_opt.exporters import Exported
from pats_opt.importers import bin_packing, csplib058, tsplib
from pats_opt.importers.classic import origin_of
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule

#: Entry of a production plan for an idle period.
IDLE = 0

#: Node of the graph for "nothing resident".
NOTHING = "(nothing)"


def export_bins(problem: Problem, schedule: Schedule) -> Exported:
    """Export the bins in order of their slots, without those that hold only a blank."""
    origin = origin_of(problem.instance, bin_packing.BinPackingOrigin)
    sizes = {r.id: r.demand["vram_gib"] for r in problem.instance.requests if r.reject_loss is None}
    capacity = problem.instance.gpus[0].capacity["vram_gib"]
    bins, lines = [], []
    for batch in schedule.gpus[0].batches:
        items = [member.id for member in batch.requests if member.id in sizes]
        if items:
            held = [sizes[item] for item in items]
            bins.append({"items": items, "sizes": held, "load": sum(held)})
            numbers = " ".join(item.removeprefix("item-") for item in items)
            lines.append(f"bin {len(bins)} load {sum(held):g}: {numbers}")
    lines.insert(0, f"# {origin.name}: {len(bins)} bins of capacity {capacity:g}")
    document = {
        "format": bin_packing.FORMAT,
        "name": origin.name,
        "objective": len(bins),
        "best_known": origin.best_known,
        "capacity": capacity,
        "bins": bins,
    }
    return Exported("\n".join(lines) + "\n", document)


def export_tour(problem: Problem, schedule: Schedule) -> Exported:
    """Export the nodes in the order of service, from the start on, as a file of TYPE TOUR."""
    instance = problem.instance
    origin = origin_of(instance, tsplib.TspOrigin)
    visits = [member.id for batch in schedule.gpus[0].batches for member in batch.requests]
    legs = [*instance.gpus[0].resident, *visits]  # a tour ends with its first node again
    distance = {(pair.source, pair.target): pair.load_s for pair in instance.switching.pairs}
    length = sum(distance[leg] for leg in itertools.pairwise(legs))
    tour = [origin.nodes[name] for name in (legs[:-1] if origin.closed else legs)]
    kind = "tour" if origin.closed else "open path"
    lines = [
        f"NAME: {origin.name}.tour",
        f"COMMENT: {kind} of length {length:g}",
        "TYPE: TOUR",
        f"DIMENSION: {len(tour)}",
        "TOUR_SECTION",
        *map(str, tour),
        "-1",
        "EOF",
    ]
    document = {
        "format": tsplib.FORMAT,
        "name": origin.name,
        "objective": length,
        "closed": origin.closed,
        "tour": tour,
    }
    return Exported("\n".join(lines) + "\n", document)


def export_plan(problem: Problem, schedule: Schedule) -> Exported:
    """Export the number of the item made in each period, first to last; 0 for an idle period."""
    instance = problem.instance
    origin = origin_of(instance, csplib058.LotSizingOrigin)
    request = {r.id: r for r in instance.requests}
    item = {a.id: number for number, a in enumerate(instance.adapters, 1)}
    plan, stocked = [IDLE] * origin.periods, 0
    for batch in schedule.gpus[0].batches:
        for member in batch.requests:
            made = origin.periods - batch.start
            due = origin.periods - round(request[member.id].arrival_s)
            plan[made - 1] = item[request[member.id].adapter]
            stocked += due - made
    stocking = stocked * instance.latency_price_per_s
    cost = {
        (item[str(pair.target)], item[str(pair.source)]): pair.load_s
        for pair in instance.switching.pairs
    }
    items = [number for number in plan if number != IDLE]
    changeover = sum(cost[pair] for pair in itertools.pairwise(items) if pair[0] != pair[1])
    lines = [
        f"# {origin.name}: cost {stocking + changeover:g}, "
        f"stocking {stocking:g} and changeovers {changeover:g}; item by period, 0 idle",
        " ".join(map(str, plan)),
    ]
    document = {
        "format": csplib058.FORMAT,
        "name": origin.name,
        "objective": stocking + changeover,
        "best_known": origin.best_known,
        "stocking": stocking,
        "changeover": changeover,
        "plan": plan,
    }
    return Exported("\n".join(lines) + "\n", document)


def export_graph(problem: Problem, schedule: Schedule) -> Exported:
    """Export a node per adapter and an edge per changeover of some GPU, as GraphML.

    Gephi, Cytoscape and networkx read it. Nodes carry memory and number of requests, edges the
    number of switches and their seconds. The batches of a GPU are its walk through the graph.

    Raises:
        InputError: More than one adapter may be resident, so a switch has no single source; or
            loads run beside serving, which are no switches.
    """
    import networkx as nx

    site = problem.site
    if site.max_resident > 1:
        raise InputError(
            "switches between sets of adapters make no graph of adapters",
            place="switching.max_resident",
            hint="export instances with max_resident 1",
        )
    if site.channels is not None:
        raise InputError(
            "loads beside serving are no switches of a graph",
            place="switching.overlap",
            hint="export instances without overlap",
        )
    asked = Counter(job.adapter for job in problem.jobs)
    graph: nx.DiGraph[str] = nx.DiGraph(name=problem.instance.name)
    for index, adapter in enumerate(problem.instance.adapters):
        graph.add_node(adapter.id, vram_gib=adapter.vram_gib, requests=asked[index])
    for gpu, plan in zip(problem.instance.gpus, schedule.gpus, strict=True):
        held = gpu.resident[0] if gpu.resident else None
        for batch in plan.batches:
            for target in batch.load:
                before = frozenset(() if held is None else (site.adapter_index[held],))
                seconds = site.load_seconds(site.adapter_index[target], before)
                source = held or NOTHING
                if not graph.has_edge(source, target):
                    graph.add_edge(source, target, switches=0, seconds=0.0)
                graph[source][target]["switches"] += 1
                graph[source][target]["seconds"] += seconds
                held = target
    edges = [{"from": a, "to": b, **data} for a, b, data in graph.edges(data=True)]
    document = {
        "format": "graph",
        "name": problem.instance.name,
        "objective": None,
        "nodes": [{"id": node, **data} for node, data in graph.nodes(data=True)],
        "edges": edges,
    }
    return Exported("\n".join(nx.generate_graphml(graph)) + "\n", document)
