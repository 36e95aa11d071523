"""Travelling salesman problems as an instance: nodes are adapters, only switching costs.

One request per adapter, per batch and per slot; ``pairs`` are the distances. With one constant
switching cost every order would cost the same; the matrix makes the problem hard.

- Closed tour over n nodes: the first node's adapter is resident, its request arrives at slot n - 1,
  and the horizon is n. Each of the n slots then serves one request, the first node's in the last
  one, so the switches make a tour: out of the first node, once through all others, and back. (The
  horizon is needed: without it the others could wait until the first node is served, at no cost.)
- Open path: all requests arrive at slot 0. It starts at any node at no cost, or at a given one,
  whose adapter is then resident and has no request.
"""

from __future__ import annotations

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.importers.classic import slot_instance, slot_request
from pats_opt.importers.tsplib_file import Tsp, read_tsplib
from pats_opt.model.files import StrPath
from pats_opt.model.instance import Instance, Transition

FORMAT = "tsplib"


class TspOrigin(Struct, frozen=True, tag=FORMAT, tag_field="format"):
    """Origin of an imported instance, for the exporter.

    Attributes:
        nodes: The file's node numbers by adapter id.
    """

    name: str
    closed: bool
    nodes: dict[str, int]


def import_tsplib(path: StrPath, *, closed: bool = True, start: int | None = None) -> Instance:
    """Import a TSPLIB file of TYPE TSP or ATSP.

    Args:
        path: The file.
        closed: Whether the tour returns to its start.
        start: Number of the node to start at; None: the first for a tour, any for a path.

    Raises:
        InputError: The file is wrong, or it has no such node.
    """
    tsp = read_tsplib(path)
    if start is not None and start not in tsp.nodes:
        raise InputError(
            f"there is no node {start}",
            file=str(path),
            hint=f"nodes are numbered {min(tsp.nodes)} to {max(tsp.nodes)}",
        )
    return tsp_instance(tsp, closed=closed, start=start)


def tsp_instance(tsp: Tsp, *, closed: bool = True, start: int | None = None) -> Instance:
    """Make the instance whose schedules are the tours (see the module)."""
    names = {node: f"node-{node}" for node in tsp.nodes}
    if closed and start is None:
        start = tsp.nodes[0]
    visits = [(name, 0) for node, name in names.items() if node != start]
    if closed and start is not None:
        visits.append((names[start], len(visits)))
    pairs = [
        Transition(source=names[a], target=names[b], load_s=tsp.distance[i][j])
        for i, a in enumerate(tsp.nodes)
        for j, b in enumerate(tsp.nodes)
        if i != j
    ]
    return slot_instance(
        tsp.name,
        capacity={"batch": 1.0},
        adapters=names.values(),
        requests=[slot_request(name, name, {"batch": 1.0}, slot=slot) for name, slot in visits],
        horizon=len(visits),
        origin=TspOrigin(
            name=tsp.name, closed=closed, nodes={name: node for node, name in names.items()}
        ),
        pairs=pairs,
        resident=() if start is None else (names[start],),
    )
