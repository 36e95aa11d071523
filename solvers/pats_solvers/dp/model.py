"""The arrays that the compiled search works on: a problem, and cost-to-go tables of adapters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pats_opt.model.loss import switching_loss
from pats_opt.model.problem import Problem
from pats_solvers.common.classes import JobClass, Move, classes, moves, undominated
from pats_solvers.dp import bound
from pats_solvers.lagrangian.kernels import ABSENT, ACTIVE

if TYPE_CHECKING:
    from pats_solvers.lagrangian.chain import Chain

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Beyond all ticks.
NEVER = 2**62

#: Bits of a key's word; the sign stays free.
WORD_BITS = 63


@dataclass(frozen=True, slots=True)
class Tables:
    """Cost-to-go tables of all adapters at some prices of the GPU's time.

    Attributes:
        chains: One chain for each adapter with jobs, by adapter, on one grid.
        hold: Price of the GPU summed up from grain 0: ``(ticks + 1,)``.
        values: Costs to go by chain, state (adapter absent, active), grain and backlog, in a row.
    """

    chains: Sequence[Chain]
    hold: Floats
    values: Floats


def tables_bytes(chains: Sequence[Chain]) -> int:
    """Memory of the tables of these chains, while they are made."""
    return _rows(chains) * 8 + max((chain.bytes() for chain in chains), default=0)


def tables_at(chains: Sequence[Chain], hold: Floats) -> Tables:
    """The tables of chains of one GPU with one resident adapter.

    Args:
        chains: One for each adapter with jobs.
        hold: Price of the GPU summed up from grain 0.
    """
    chains = sorted(chains, key=lambda chain: chain.adapter)
    values = np.empty(_rows(chains))
    keep = np.zeros_like(hold)
    at = 0
    for chain in chains:
        found = chain.values(hold, keep)
        for state in (ABSENT, ACTIVE):
            part = found[state].reshape(-1)
            values[at : at + len(part)] = part
            at += len(part)
    return Tables(chains, hold, values)


def _rows(chains: Sequence[Chain]) -> int:
    return sum(2 * (chain.ticks + 1) * chain.size for chain in chains)


@dataclass(frozen=True, slots=True)
class Data:
    """A model, and what its numbers stand for.

    Attributes:
        problem: The problem.
        kinds: The classes.
        batches: The batches, by the model's number.
        words: Words of a key.
        root: Loss of the empty sequence: arrivals are paid ahead.
        model: The arrays.
    """

    problem: Problem
    kinds: tuple[JobClass, ...]
    batches: tuple[Move, ...]
    words: int
    root: float
    model: bound.Model


def data_of(problem: Problem, tables: Tables, batches: Sequence[Move] | None = None) -> Data:
    """The arrays for a problem with one GPU and one resident adapter.

    Args:
        problem: The problem.
        tables: The bound's tables.
        batches: The batches, where they have been listed before.

    Raises:
        InputError: An adapter has too many different batches.
    """
    kinds = tuple(classes(problem))
    count = len(problem.site.adapter_ids)
    adapters = np.zeros((count + 1, 6), dtype=np.int64)
    adapters[:, bound.CLASS_AT] = np.searchsorted(
        [kind.adapter for kind in kinds], range(count + 1)
    )
    listed = _listed(problem, kinds) if batches is None else batches
    adapters[:, bound.MOVE_AT] = np.searchsorted(
        [move.adapter for move in listed], range(count + 1)
    )
    in_tables = _fill_adapters(kinds, tables, adapters)
    words, columns = _classes(kinds)
    of_job = {job.index: i for i, kind in enumerate(in_tables) for job in kind.jobs}
    columns[:, bound.INTO] = [of_job[kind.jobs[0].index] for kind in kinds]
    ahead = np.array([in_tables[i].price for i in columns[:, bound.INTO]])
    never = math.inf
    losses = np.zeros((len(kinds), 3))
    losses[:, bound.REJECTED] = [never if c.reject_loss is None else c.reject_loss for c in kinds]
    losses[:, bound.EXTRA] = [kind.price for kind in kinds] - ahead
    losses[:, bound.PRICE] = ahead
    ticks, price = _switches(problem)
    horizon = problem.site.horizon
    model = bound.Model(
        bound.Jobs(
            adapters=adapters,
            classes=columns,
            losses=losses,
            arrival=np.concatenate([kind.arrivals for kind in kinds]),
            arrivals=np.concatenate([kind.before for kind in kinds]).astype(np.float64),
        ),
        bound.Batches(
            **_batches(kinds, listed, adapters),
            switch=ticks,
            switch_cost=price,
            paired=bool(problem.site.pairs),
            horizon=NEVER if horizon is None else horizon,
        ),
        bound.Bound(
            grain=tables.chains[0].grain,
            arrived=_arrived(kinds, tables),
            **_tables(in_tables, tables),
            paid=np.ascontiguousarray(tables.hold, dtype=np.float64),
        ),
    )
    root = -math.fsum(kind.price * float(kind.before[-1]) for kind in in_tables)
    return Data(problem, kinds, tuple(listed), words, root, model)


def _listed(problem: Problem, kinds: Sequence[JobClass]) -> list[Move]:
    """The batches worth trying, by adapter."""
    found: list[Move] = []
    for a in sorted({kind.adapter for kind in kinds}):
        found += undominated(kinds, moves(problem, list(kinds), a))
    return found


def _fill_adapters(kinds: Sequence[JobClass], tables: Tables, adapters: Ints) -> list[JobClass]:
    """The tables' part of the adapters' columns; the tables' classes, by adapter."""
    chains = {chain.adapter: chain for chain in tables.chains}
    found: list[JobClass] = []
    base = 0
    for a in range(len(adapters) - 1):
        chain = chains.get(a)
        adapters[a, bound.BASE] = base
        if chain is not None:
            found += chain.kinds
            mine = sum(kind.adapter == a for kind in kinds)
            adapters[a, bound.MERGED] = len(chain.kinds) < mine
            adapters[a, bound.SIZE] = chain.size
            base += 2 * (chain.ticks + 1) * chain.size
        adapters[a + 1, bound.TABLE_AT] = len(found)
    return found


def _classes(kinds: Sequence[JobClass]) -> tuple[int, Ints]:
    """Words of a key, and the classes' columns but for the tables' classes."""
    columns = np.zeros((len(kinds), 6), dtype=np.int64)
    word, used, arrival_at = 0, 0, 0
    for row, kind in zip(columns, kinds, strict=True):
        jobs = len(kind.jobs)
        bits = jobs.bit_length()
        if used + bits > WORD_BITS:
            word, used = word + 1, 0
        row[: bound.INTO] = word, used, (1 << bits) - 1, jobs, arrival_at
        used += bits
        arrival_at += jobs
    return word + 1, columns


def _arrived(kinds: Sequence[JobClass], tables: Tables) -> Ints:
    """Jobs arrived by class and grain."""
    some = tables.chains[0]
    grid = np.arange(some.ticks + 1)
    return np.array(
        [np.searchsorted(kind.arrivals // some.grain, grid, side="right") for kind in kinds],
        dtype=np.int64,
    )


def _batches(
    kinds: Sequence[JobClass], listed: Sequence[Move], adapters: Ints
) -> dict[str, NDArray[np.generic]]:
    """The batches' arrays."""
    widest = int(np.diff(adapters[:, bound.CLASS_AT]).max(initial=0))
    columns = np.zeros((len(listed) + 1, bound.TAKES + widest), dtype=np.int64)
    costs = np.zeros((len(listed), 2))
    late_from: list[int] = []
    late_cost: list[float] = []
    for row, move in enumerate(listed):
        columns[row, bound.DURATION] = move.duration
        for q, n in move.takes:
            columns[row, bound.TAKES + q - adapters[move.adapter, bound.CLASS_AT]] = n
            costs[row, bound.SLOPE] += n * kinds[q].price
        costs[row, bound.FIXED] = move.fixed(kinds)
        for q, _, n, ticks in move.parts:
            kind = kinds[q]
            if kind.late_loss > 0.0:
                deadline = kind.jobs[0].deadline
                assert deadline is not None
                late_from.append(int(kind.arrivals[0]) + deadline - ticks + 1)
                late_cost.append(n * kind.late_loss)
        columns[row + 1, bound.LATE_AT] = len(late_from)
    return {
        "moves": columns,
        "costs": costs,
        "late_from": np.array(late_from, dtype=np.int64),
        "late_cost": np.array(late_cost, dtype=np.float64),
    }


def _switches(problem: Problem) -> tuple[Ints, Floats]:
    """Ticks and price of switching by adapter held (the last row: none) and target."""
    site = problem.site
    count = len(site.adapter_ids)
    ticks = np.zeros((count + 1, count), dtype=np.int64)
    price = np.zeros((count + 1, count))
    for held in range(count + 1):
        before = frozenset[int]() if held == count else frozenset((held,))
        for target in range(count):
            after = frozenset((target,))
            switch = site.switch(before, after, after, None)
            ticks[held, target] = switch.ticks
            price[held, target] = switching_loss(site, switch.seconds)
    return ticks, price


def _tables(in_tables: Sequence[JobClass], tables: Tables) -> dict[str, NDArray[np.generic]]:
    """The tables' arrays, one after another by adapter."""
    columns = np.zeros((len(in_tables), 4), dtype=np.int64)
    costs = np.zeros((len(in_tables), 3))
    lengths = [len(kind.before) for kind in in_tables]
    columns[:, bound.SUMS_AT] = np.cumsum([0, *lengths])[:-1]
    row, skips = 0, 0
    for chain in tables.chains:
        mine = slice(row, row + len(chain.kinds))
        columns[mine, bound.DIM], columns[mine, bound.STRIDE] = chain.dims, chain.strides
        columns[mine, bound.SKIP_AT] = np.where(chain.skip_at < 0, -1, chain.skip_at + skips)
        costs[mine, bound.BY_GRAIN], costs[mine, bound.LEAST] = chain.price, chain.least
        costs[mine, bound.BY_TICK] = [kind.price for kind in chain.kinds]
        row += len(chain.kinds)
        skips += len(chain.skip)
    return {
        "tables": columns,
        "costs": costs,
        "table_arrived": np.concatenate([chain.arrived for chain in tables.chains]),
        "skip": np.concatenate([chain.skip for chain in tables.chains]),
        "sums": np.concatenate([kind.before for kind in in_tables]).astype(np.float64),
        "values": tables.values,
    }
