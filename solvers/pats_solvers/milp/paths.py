"""The path of an adapter through "how many of its jobs have started": see ``counting``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pats_solvers.milp.model import Floats, Ints


@dataclass(frozen=True, slots=True)
class Arcs:
    """Arcs of one kind: ``columns[k]`` leaves (``ticks[k]``, ``counts[k]``)."""

    ticks: Ints
    counts: Ints
    columns: Ints

    def column(self, tick: int, count: int) -> int | None:
        """The column that leaves a state, or None."""
        found = np.flatnonzero((self.ticks == tick) & (self.counts == count))
        return int(self.columns[found[0]]) if len(found) else None


@dataclass(slots=True)
class Path:
    """The columns of one adapter's path.

    Attributes:
        first: Tick at which the path starts, with no job started.
        held: Whether the GPU holds the adapter there.
        lag: Ticks of the adapter's quickest switch.
        supply: A column fixed at 1: the path itself.
        arcs: By kind; ``enter`` by the state it reaches.
        batches: By (members, duration).
    """

    first: int
    held: bool
    lag: int
    supply: int
    arcs: dict[str, Arcs] = field(default_factory=dict)
    batches: dict[tuple[int, int], Arcs] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Visit:
    """One batch on a path: its start, members and duration, and whether the GPU switched to it."""

    start: int
    members: int
    duration: int
    switched: bool


def walk(path: Path, visits: Iterable[Visit], x: Floats) -> bool:
    """Set the columns of a path along its visits; False where a column is missing."""
    x[path.supply] = 1.0
    tick, count, held = path.first, 0, path.held
    taken: list[int | None] = []
    for visit in visits:
        until = visit.start
        if visit.switched:
            if held:
                taken.append(path.arcs["leave"].column(tick, count))
            until = max(tick, visit.start - path.lag)
        kind = "off" if visit.switched else "on"
        taken += [path.arcs[kind].column(t, count) for t in range(tick, until)]
        step = "enter" if visit.switched else "stay"
        taken.append(path.arcs[step].column(visit.start, count))
        arcs = path.batches.get((visit.members, visit.duration))
        taken.append(None if arcs is None else arcs.column(visit.start, count))
        tick, count, held = visit.start + visit.duration, count + visit.members, True
    columns = [column for column in taken if column is not None]
    x[columns] = 1.0
    return len(columns) == len(taken)
