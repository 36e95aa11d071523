"""Discrete lot sizing (CSPLib 058) as an instance: the slotted model, backwards in time.

A machine makes one unit a period. A unit due in period d may be made earlier, at the stocking cost
per period; changing over from item a to item b costs q[a][b], idle periods or not. Seen from the
last period T back to the first, slot t is period T - t: an order due in period d arrives at slot
T - d and waits, at the stocking cost per slot, until it is made; the switch from b to a costs
q[a][b]; the first adapter is free; the horizon is T. Batches hold one request. So schedules and
production plans correspond one to one, and the loss is the plan's cost.
"""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.importers.slots import MOST_REQUESTS, slot_instance, slot_request
from pats_opt.importers.text import Words, read_lines
from pats_opt.model.files import StrPath
from pats_opt.model.instance import Instance, Transition

FORMAT = "csplib058"


class LotSizing(Struct, frozen=True):
    """One lot-sizing problem.

    Attributes:
        name: Its name.
        demand: ``demand[i][d]`` units of item i are due in period d (from 0).
        stocking: Cost of keeping a unit for a period.
        changeover: ``changeover[a][b]`` from item a to item b; the diagonal is not used.
        best_known: The published optimum, where the file tells.
    """

    name: str
    demand: tuple[tuple[int, ...], ...]
    stocking: float
    changeover: tuple[tuple[float, ...], ...]
    best_known: float | None = None


class Source(Struct, frozen=True, tag=FORMAT, tag_field="format"):
    """What an instance notes of its origin."""

    name: str
    periods: int
    best_known: float | None = None


def import_csplib058(path: StrPath) -> Instance:
    """A ``.psp`` file as an instance.

    Raises:
        InputError: The file is wrong.
    """
    return lot_sizing_instance(read_csplib058(path))


def read_csplib058(path: StrPath) -> LotSizing:
    """A ``.psp`` file: periods, items, demand by item, stocking cost, changeovers, optimum."""
    words = Words(path, read_lines(path))
    periods = words.whole("number of periods", 1, MOST_REQUESTS)
    items = words.whole("number of items", 1, 2000)
    demand = tuple(
        tuple(words.whole(f"demand of item {i}", 0, periods) for _ in range(periods))
        for i in range(1, items + 1)
    )
    units = sum(map(sum, demand))
    if units > MOST_REQUESTS:
        raise InputError(
            f"{units} units are more than {MOST_REQUESTS}", file=words.file, hint="import fewer"
        )
    stocking = words.number("stocking cost")
    changeover = tuple(
        tuple(words.number(f"changeover cost from item {i}") for _ in range(items))
        for i in range(1, items + 1)
    )
    best = words.number("optimal cost") if words.left else None
    words.end("the optimal cost")
    return LotSizing(Path(path).stem, demand, stocking, changeover, best)


def lot_sizing_instance(lots: LotSizing) -> Instance:
    """The instance whose schedules are the production plans (see the module)."""
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
        source=Source(name=lots.name, periods=periods, best_known=lots.best_known),
        pairs=pairs,
        latency_price=lots.stocking,
    )
