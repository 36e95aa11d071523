"""The tables of the runs, by system."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from experiments.online_limit.cases import OURS, Cell, cells, large
from experiments.online_limit.run import OFFLINE, RESULT, SYSTEM

Row = Mapping[str, str]


@dataclass(frozen=True)
class System:
    """What was measured of a system; losses are per request.

    Attributes:
        cell: The system.
        optimum: Loss of the online optimum; None where there are too many adapters, or queues are
            too short to prove it.
        bound: The bound by a price of the GPU.
        losses: Rows of policies by arrivals and name.
        decisions: Rows of decisions that are not the best ones, by policy.
    """

    cell: Cell
    optimum: float | None
    bound: float
    losses: Mapping[tuple[str, str], Row]
    decisions: Mapping[str, Row]

    def loss(self, policy: str, arrivals: str = "poisson") -> float | None:
        """Return the loss of a policy; None where its losses grow along the paths."""
        text = self.losses[arrivals, policy]["loss"]
        return float(text) if text else None

    def excess(self, policy: str, column: str = "more") -> float | None:
        """Return what a policy gives away as a share of the online optimum."""
        assert self.optimum is not None
        text = self.losses["poisson", policy][column]
        return float(text) / self.optimum if text else None

    def future(self, arrivals: str = "poisson") -> float:
        """Return what knowing the future saves, as a share of the loss without it.

        That is the online optimum's, and under bursts that of our policy.
        """
        offline = self.loss(OFFLINE, arrivals)
        online = self.optimum if arrivals == "poisson" else self.loss(OURS, arrivals)
        assert offline is not None
        assert online is not None
        return 1.0 - offline / online


def table(name: str, folder: Path = RESULT) -> list[Row]:
    """Return the rows of a table."""
    with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def systems() -> list[System]:
    """Return the grid, and then the systems with many adapters."""
    bounds, priced = by_system(table("bounds")), by_system(table("priced"))
    losses, decisions = by_system(table("losses")), by_system(table("decisions"))
    found = []
    for cell in (*cells(), *large()):
        key = tuple(str(getattr(cell, name)) for name in SYSTEM)
        found.append(
            System(
                cell,
                _proven(bounds[key][0]) if key in bounds else None,
                float(priced[key][0]["bound"]),
                {(row["arrivals"], row["policy"]): row for row in losses[key]},
                {row["policy"]: row for row in decisions.get(key, ())},
            )
        )
    return found


def _proven(row: Row) -> float | None:
    """Return the loss of an online optimum whose upper bound is proven."""
    return float(row["loss"]) if math.isfinite(float(row["upper"])) else None


def by_system(rows: Iterable[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Return rows by their system."""
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in SYSTEM), []).append(row)
    return found
