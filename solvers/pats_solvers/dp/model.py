"""The arrays that the compiled search works on: a problem, and cost-to-go tables of its adapters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pats_opt.loss import switching_loss
from pats_opt.problem import Problem
from pats_solvers.dp.classes import JobClass, Move, classes, moves, undominated
from pats_solvers.dp.kernels import Model

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
        chains: One chain for each adapter with jobs, on one grid.
        hold: Price of the GPU summed up from grain 0: ``(ticks + 1,)``.
        values: What :meth:`Chain.values` gives at these prices, by chain.
    """

    chains: Sequence[Chain]
    hold: Floats
    values: Sequence[Floats]


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
    model: Model


def data_of(problem: Problem, tables: Tables) -> Data:
    """The arrays for a problem with one GPU and one resident adapter.

    Raises:
        InputError: An adapter has too many different batches.
    """
    kinds = tuple(classes(problem))
    adapters = len(problem.site.adapter_ids)
    class_at = np.searchsorted([kind.adapter for kind in kinds], np.arange(adapters + 1))
    chains = {chain.adapter: chain for chain in tables.chains}
    words, fields = _fields(kinds)
    batches, columns = _batches(problem, kinds, class_at)
    bound, root = _bound(kinds, adapters, chains, tables)
    ticks, price = _switches(problem)
    model = Model(
        **fields,
        class_at=class_at,
        jobs=np.array([len(kind.jobs) for kind in kinds]),
        arrival=np.concatenate([kind.arrivals for kind in kinds]),
        arrivals=np.concatenate([kind.before for kind in kinds]),
        arrival_at=np.cumsum([0, *(len(kind.jobs) for kind in kinds[:-1])]),
        reject=np.array(
            [math.inf if kind.reject_loss is None else kind.reject_loss for kind in kinds]
        ),
        **columns,
        switch=ticks,
        switch_cost=price,
        paired=bool(problem.site.pairs),
        horizon=NEVER if problem.site.horizon is None else problem.site.horizon,
        **bound,
    )
    return Data(problem, kinds, tuple(batches), words, root, model)


def _fields(kinds: Sequence[JobClass]) -> tuple[int, dict[str, Ints]]:
    """Where each class's count is in a key."""
    word, shift, mask = [], [], []
    at, used = 0, 0
    for kind in kinds:
        bits = len(kind.jobs).bit_length()
        if used + bits > WORD_BITS:
            at, used = at + 1, 0
        word.append(at)
        shift.append(used)
        mask.append((1 << bits) - 1)
        used += bits
    columns = {"word": word, "shift": shift, "mask": mask}
    return at + 1, {name: np.array(column, dtype=np.int64) for name, column in columns.items()}


def _batches(
    problem: Problem, kinds: Sequence[JobClass], class_at: Ints
) -> tuple[list[Move], dict[str, NDArray[np.generic]]]:
    """The batches worth trying, by adapter."""
    listed: list[Move] = []
    move_at = [0]
    for a in range(len(class_at) - 1):
        if class_at[a] < class_at[a + 1]:
            listed += undominated(kinds, moves(problem, list(kinds), a))
        move_at.append(len(listed))
    widest = int(np.diff(class_at).max(initial=0))
    takes = np.zeros((len(listed), widest), dtype=np.int64)
    fixed, slope = np.zeros(len(listed)), np.zeros(len(listed))
    late_at, late_from, late_cost = [0], [], []
    for row, move in enumerate(listed):
        for q, n in move.takes:
            takes[row, q - class_at[move.adapter]] = n
            slope[row] += n * kinds[q].price
        fixed[row] = move.fixed(kinds)
        for q, _, n, ticks in move.parts:
            kind = kinds[q]
            if kind.late_loss > 0.0:
                deadline = kind.jobs[0].deadline
                assert deadline is not None
                late_from.append(int(kind.arrivals[0]) + deadline - ticks + 1)
                late_cost.append(n * kind.late_loss)
        late_at.append(len(late_from))
    return listed, {
        "move_at": np.array(move_at, dtype=np.int64),
        "takes": takes,
        "fixed": fixed,
        "slope": slope,
        "duration": np.array([move.duration for move in listed], dtype=np.int64),
        "late_at": np.array(late_at, dtype=np.int64),
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


def _bound(
    kinds: Sequence[JobClass], adapters: int, chains: dict[int, Chain], tables: Tables
) -> tuple[dict[str, object], float]:
    """The tables one after another, and what the empty sequence has paid."""
    by_adapter = dict(zip((chain.adapter for chain in tables.chains), tables.values, strict=True))
    some = tables.chains[0]
    last = some.ticks
    of_job: dict[int, int] = {}
    table_kinds: list[JobClass] = []
    table_at, base, size, merged = [0], [], [], []
    parts: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("dims", "strides", "table_arrived", "price", "least", "skip")
    }
    skip_at: list[int] = []
    absent, active = [np.zeros(0)], [np.zeros(0)]
    start, skips = 0, 0
    for a in range(adapters):
        base.append(start)
        chain = chains.get(a)
        size.append(0 if chain is None else chain.size)
        merged.append(chain is not None and _merged(kinds, chain))
        if chain is not None:
            for kind in chain.kinds:
                of_job |= dict.fromkeys((job.index for job in kind.jobs), len(table_kinds))
                table_kinds.append(kind)
            values = by_adapter[a]
            absent.append(values[0].reshape(-1))
            active.append(values[2].reshape(-1))
            start += values[0].size
            columns = chain.dims, chain.strides, chain.arrived, chain.price, chain.least, chain.skip
            for name, column in zip(parts, columns, strict=True):
                parts[name].append(column)
            skip_at += [NEVER if at < 0 else at + skips for at in chain.skip_at]
            skips += len(chain.skip)
        table_at.append(len(table_kinds))
    into = np.array([of_job[kind.jobs[0].index] for kind in kinds])
    lengths = [len(kind.before) for kind in table_kinds]
    grid = np.arange(last + 1)
    found: dict[str, object] = {name: np.concatenate(column) for name, column in parts.items()}
    found |= {
        "skip_at": np.array([-1 if at == NEVER else at for at in skip_at], dtype=np.int64),
        "extra": np.array(
            [kind.price - table_kinds[k].price for kind, k in zip(kinds, into, strict=True)]
        ),
        "grain": some.grain,
        "arrived": np.array(
            [np.searchsorted(kind.arrivals // some.grain, grid, side="right") for kind in kinds],
            dtype=np.int64,
        ),
        "into": into,
        "table_at": np.array(table_at, dtype=np.int64),
        "merged": np.array(merged, dtype=np.bool_),
        "sums": np.concatenate([kind.before for kind in table_kinds]),
        "sums_at": np.cumsum([0, *lengths[:-1]]),
        "base": np.array(base, dtype=np.int64),
        "size": np.array(size, dtype=np.int64),
        "absent": np.concatenate(absent),
        "active": np.concatenate(active),
        "paid": np.ascontiguousarray(tables.hold),
    }
    root = -math.fsum(kind.price * float(kind.before[-1]) for kind in table_kinds)
    return found, root


def _merged(kinds: Sequence[JobClass], chain: Chain) -> bool:
    return len(chain.kinds) < sum(kind.adapter == chain.adapter for kind in kinds)
