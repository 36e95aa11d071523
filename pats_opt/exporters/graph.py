"""The changeovers of a schedule as a directed graph, for Gephi, Cytoscape or networkx."""

from __future__ import annotations

from collections import Counter

from pats_opt.errors import InputError
from pats_opt.exporters import Exported
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule

#: Name of the node for "nothing resident".
NOTHING = "(nothing)"


def export_graph(problem: Problem, schedule: Schedule) -> Exported:
    """Export a node per adapter and an edge per changeover of some GPU, as GraphML.

    Nodes carry memory and number of requests, edges the number of switches and their seconds. The
    batches of a GPU in turn are its walk through the graph.

    Raises:
        InputError: More than one adapter may be resident, so a switch has no single source.
    """
    import networkx as nx

    site = problem.site
    if site.max_resident > 1:
        raise InputError(
            "switches between sets of adapters make no graph of adapters",
            place="switching.max_resident",
            hint="export instances with max_resident 1",
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
