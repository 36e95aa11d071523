"""Discrete lot sizing (CSPLib 058) as an instance: the slotted model, backwards in time.

A machine makes one unit per period. A unit due in period d may be made earlier, at the stocking
cost per period. A changeover from item a to item b costs q[a][b], with or without idle periods
between them.

Read backwards, slot t is period T - t of T. An order due in period d arrives at slot T - d and
waits, at the stocking cost per slot, until it is made. The switch from b to a costs q[a][b], the
first adapter is free, and the horizon is T. A batch holds one request. So schedules and production
plans correspond one to one, and the loss is the plan's cost.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.importers.classic import (
    MOST_REQUESTS,
    Tokenizer,
    read_lines,
    slot_instance,
    slot_request,
)
from pats_opt.model.files import StrPath
from pats_opt.model.instance import Instance, Transition

FORMAT = "csplib058"


class LotSizing(Struct, frozen=True):
    """One lot-sizing problem.

    Attributes:
        demand: ``demand[i][d]`` units of item i are due in period d (from 0).
        stocking: Cost of keeping a unit for a period.
        changeover: ``changeover[a][b]`` from item a to item b; the diagonal is not used.
        best_known: The published optimum, if the file has it.
    """

    name: str
    demand: tuple[tuple[int, ...], ...]
    stocking: float
    changeover: tuple[tuple[float, ...], ...]
    best_known: float | None = None


class LotSizingOrigin(Struct, frozen=True, tag=FORMAT, tag_field="format"):
    """Origin of an imported instance, for the exporter."""

    name: str
    periods: int
    best_known: float | None = None


def import_csplib058(path: StrPath) -> Instance:
    """Import a ``.psp`` file.

    Raises:
        InputError: The file is wrong.
    """
    return lot_sizing_instance(read_csplib058(path))


def read_csplib058(path: StrPath) -> LotSizing:
    """Read a ``.psp`` file: periods, items, demand by item, stocking cost, changeovers, optimum."""
    tokens = Tokenizer(path, read_lines(path))
    periods = tokens.whole("number of periods", 1, MOST_REQUESTS)
    items = tokens.whole("number of items", 1, 2000)
    demand = tuple(
        tuple(tokens.whole(f"demand of item {i}", 0, periods) for _ in range(periods))
        for i in range(1, items + 1)
    )
    units = sum(map(sum, demand))
    if units > MOST_REQUESTS:
        raise InputError(
            f"{units} units are more than {MOST_REQUESTS}", file=tokens.file, hint="import fewer"
        )
    stocking = tokens.number("stocking cost")
    changeover = tuple(
        tuple(tokens.number(f"changeover cost from item {i}") for _ in range(items))
        for i in range(1, items + 1)
    )
    best = tokens.number("optimal cost") if tokens.left else None
    tokens.end("the optimal cost")
    return LotSizing(Path(path).stem, demand, stocking, changeover, best)


def lot_sizing_instance(lots: LotSizing) -> Instance:
    """Make the instance whose schedules are the production plans (see the module)."""
    names = [f"item-{i}" for i in range(1, len(lots.demand) + 1)]
    periods = len(lots.demand[0])
    requests = [
        slot_request(
            f"{name}-due-{due}" + (f"-{unit}" if units > 1 else ""),
            name,
            {"batch": 1.0},
            slot=periods - due,
        )
        for name, row in zip(names, lots.demand, strict=True)
        for due, units in enumerate(row, 1)
        for unit in range(1, units + 1)
    ]
    pairs = [
        Transition(source=later, target=earlier, load_s=lots.changeover[a][b])
        for a, earlier in enumerate(names)
        for b, later in enumerate(names)
        if a != b
    ]
    return slot_instance(
        lots.name,
        capacity={"batch": 1.0},
        adapters=names,
        requests=requests,
        horizon=periods,
        origin=LotSizingOrigin(name=lots.name, periods=periods, best_known=lots.best_known),
        pairs=pairs,
        latency_price=lots.stocking,
    )
