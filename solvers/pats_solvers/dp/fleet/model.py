"""The arrays of the search over GPUs and caches: a problem, and cost-to-go tables by GPU kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.model.loss import switching_loss
from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import SWITCHES, UNLIMITED, Floats, Ints, single_switches
from pats_solvers.common.classes import JobClass, Move, classes
from pats_solvers.common.stopping import check_stop, never
from pats_solvers.dp import bound as single
from pats_solvers.dp.fleet import bound
from pats_solvers.dp.fleet.patterns import (
    Pattern,
    PatternArrays,
    dues,
    gains,
    losses_by_rank,
    rooms,
)
from pats_solvers.dp.model import (
    batch_arrays,
    batches_of,
    beyond_sums,
    class_arrays,
    lane_jobs,
    table_arrays,
)
from pats_solvers.lagrangian.costs import ABSENT, ACTIVE, RESIDENT, SubproblemArrays
from pats_solvers.lagrangian.relaxation import Relaxation
from pats_solvers.lagrangian.subproblem import AdapterSubproblem

#: Adapters with jobs, at most, where several may be resident: they are bits of a word.
MOST_ADAPTERS = 62

#: Layers by time, about: more would be empty for the most part.
LAYERS = 20_000


@dataclass(frozen=True, slots=True)
class FleetTables:
    """Cost-to-go tables of all adapters on all kinds of GPUs, at some prices.

    Attributes:
        kinds: GPUs of each kind (of equal capacity).
        parts: Subproblems, by kind and adapter, on one grid.
        of_kind: GPU kind of each.
        arrays: Their arrays at these prices.
        least: Loss by job beyond what the tables count.
        serve: Price of serving each job, where there are several GPUs; else of no length.
        hold: Price of a GPU's time and of its places by kind, summed up: ``(kinds, ticks + 1)``.
        values: Costs to go by subproblem, state, grain and backlog, in a row.
        whole: The same where the GPU serves all jobs, none of them at a price by others; where
            there is one GPU only, of no length.
    """

    kinds: tuple[tuple[int, ...], ...]
    parts: Sequence[AdapterSubproblem]
    of_kind: tuple[int, ...]
    arrays: Sequence[SubproblemArrays]
    least: Floats
    serve: Floats
    hold: Floats
    values: Floats
    whole: Floats


def refuse_many_adapters(problem: Problem) -> None:
    """Refuse a problem with too many adapters for a search over caches.

    Raises:
        InputError: There are too many.
    """
    used = len({job.adapter for job in problem.jobs})
    if problem.site.max_resident > 1 and used > MOST_ADAPTERS:
        raise InputError(
            f"{used} adapters with requests are more than the {MOST_ADAPTERS} that the search "
            "tells apart where several are resident",
            hint="use --solver lagrangian",
        )


def _states(relaxation: Relaxation) -> tuple[int, ...]:
    return (ABSENT, RESIDENT, ACTIVE) if relaxation.caching else (ABSENT, ACTIVE)


def fleet_tables_bytes(relaxation: Relaxation) -> int:
    """Return the memory of the tables of a relaxation, while they are made."""
    parts = relaxation.subproblems
    rows = sum(len(_states(relaxation)) * (part.ticks + 1) * part.size for part in parts)
    tables = 2 if relaxation.several else 1
    return tables * rows * 8 + max((part.bytes() for part in parts), default=0)


def fleet_tables_at(
    relaxation: Relaxation, flat: Floats, stop: Callable[[], bool] = never
) -> FleetTables:
    """Return the tables of a relaxation at its prices; see :func:`.tables_at`."""
    states = _states(relaxation)
    numbers = sorted(
        range(len(relaxation.subproblems)),
        key=lambda n: (relaxation.of_kind[n], relaxation.subproblems[n].adapter),
    )
    prices = relaxation.prices(flat)
    held = [
        np.concatenate(([0.0], np.cumsum(hold + kind.places * keep)))
        for kind, hold, keep in zip(relaxation.kinds, prices.hold, prices.keep, strict=True)
    ]
    made, blocks, whole = list[SubproblemArrays](), list[Floats](), list[Floats]()
    for number in numbers:
        check_stop(stop)
        part = relaxation.subproblems[number]
        arrays = relaxation.arrays(flat, number)
        paid = relaxation.paid(flat, number)
        found = part.values(paid, arrays)
        made.append(arrays)
        blocks += [found[state].reshape(-1) for state in states]
        if relaxation.several:
            found = part.values(paid, arrays._replace(skip=part.arrays.skip))
            whole += [found[state].reshape(-1) for state in states]
    return FleetTables(
        kinds=tuple(kind.gpus for kind in relaxation.kinds),
        parts=[relaxation.subproblems[n] for n in numbers],
        of_kind=tuple(relaxation.of_kind[n] for n in numbers),
        arrays=made,
        least=relaxation.least(flat),
        serve=prices.serve,
        hold=np.stack(held),
        values=np.concatenate([*blocks, np.empty(0)]),
        whole=np.concatenate([*whole, np.empty(0)]),
    )


@dataclass(frozen=True, slots=True)
class FleetData:
    """A model, and what its numbers stand for.

    Attributes:
        kinds: The classes of jobs.
        batches: The batches, by the model's number.
        patterns: The patterns in their place, by the model's number.
        gpus: The GPU at each place.
        words: Words of a key.
        root: Loss of the empty schedule: arrivals are paid ahead.
        model: The arrays.
    """

    kinds: tuple[JobClass, ...]
    batches: tuple[Move, ...]
    patterns: tuple[Pattern, ...]
    gpus: tuple[int, ...]
    words: int
    root: float
    model: bound.FleetModel


def fleet_data_of(
    problem: Problem,
    tables: FleetTables,
    batches: Sequence[Move] | None = None,
    patterns: Sequence[Pattern] = (),
) -> FleetData:
    """Return the arrays for a problem.

    Args:
        problem: The problem.
        tables: The bound's tables.
        batches: The batches, where they have been listed before.
        patterns: Patterns to try in place of batches.

    Raises:
        InputError: An adapter has too many different batches.
    """
    site, kinds = problem.site, tuple(classes(problem))
    count = len(site.adapter_ids)
    listed: Sequence[Move] = () if patterns else batches_of(problem) if batches is None else batches
    tried: Sequence[Move | Pattern] = patterns or listed
    adapters = np.zeros(count + 1, dtype=single.ADAPTERS)
    adapters["class_at"] = np.searchsorted([k.adapter for k in kinds], range(count + 1))
    adapters["move_at"] = np.searchsorted([m.adapter for m in tried], range(count + 1))
    for part in tables.parts:
        adapters["merged"][part.adapter] |= part.merged or bool(part.lanes)
    chains, into, in_tables = _chains(tables, kinds, count)
    words, rows = class_arrays(kinds)
    for q, kind in enumerate(kinds):
        placed = into[:, q].max()
        rows["price"][q] = in_tables[placed].price if placed >= 0 else kind.price
        rows["extra"][q] = kind.price - rows["price"][q]
    made, takes, late = batch_arrays(kinds, listed, adapters)
    fits = _fits(problem, tables.kinds, kinds, listed)
    need = np.array([_demand(kinds, move)[0] for move in listed], dtype=np.int64)
    rows_of, losses = PatternArrays.of(patterns), losses_by_rank(kinds)
    if patterns:
        made, need = rows_of.moves, np.zeros(len(patterns), dtype=np.int64)
        takes = np.zeros((len(patterns), takes.shape[1]), dtype=np.int64)
        fits = np.ones((len(patterns), len(tables.kinds)), dtype=bool)
    horizon = UNLIMITED if site.horizon is None else site.horizon
    some = tables.parts[0] if tables.parts else None
    grain, ticks = (some.grain, some.ticks) if some else (1, 0)
    gpus = [(number, g) for number, alike_ in enumerate(tables.kinds) for g in alike_]
    prices = np.array([rows["price"][q] for q, kind in enumerate(kinds) for _ in kind.jobs])
    least, serve = _beyond_tables(problem, tables, kinds, prices, into)
    bits, passing = _bits(problem, kinds)
    model = bound.FleetModel(
        gpus=np.array([number for number, _ in gpus], dtype=np.int64),
        adapters=adapters,
        chains=chains,
        into=into,
        classes=rows,
        arrival=np.concatenate([kind.arrivals for kind in kinds]),
        arrivals=np.concatenate([kind.before for kind in kinds]).astype(np.float64),
        beyond=np.concatenate([beyond_sums(kind, least) for kind in kinds]),
        slots=np.concatenate([beyond_sums(kind, tables.least) for kind in kinds]),
        elsewhere=np.concatenate([beyond_sums(kind, serve) for kind in kinds]),
        moves=made,
        takes=takes,
        late=late,
        patterns=rows_of.rows[: len(patterns)],
        pattern_parts=rows_of.parts,
        losses=losses,
        gains=gains(losses),
        dues=dues(kinds),
        demands=np.array([kind.jobs[0].demand for kind in kinds], dtype=np.int64),
        free=rooms(problem),
        fits=fits,
        need=need,
        room=np.array([_room(problem, g[0]) for g in tables.kinds], dtype=np.int64),
        vram=np.array(site.adapter_vram, dtype=np.int64),
        bits=bits,
        passing=passing,
        loads=single_switches(problem),
        activation=np.array(
            [(site.switching_ticks(site.activate_s), switching_loss(site, site.activate_s))],
            dtype=SWITCHES,
        ),
        places=site.max_resident,
        caching=site.max_resident > 1,
        paired=bool(site.pairs),
        horizon=horizon,
        grain=grain,
        span=max(1, ticks * grain * len(gpus) // LAYERS),
        arrived=_arrived(kinds, grain, ticks),
        tables=table_arrays(in_tables, tables.parts),
        table_arrived=_stack([a.arrived for a in tables.arrays], ticks, np.int64),
        skip=np.concatenate([np.empty(0), *(a.skip for a in tables.arrays)]),
        served=_stack([a.served for a in tables.arrays], ticks, np.float64),
        sums=np.concatenate([np.zeros(1), *(k.before for k in in_tables)]).astype(np.float64)[1:],
        lane_jobs=_lane_jobs(tables, kinds),
        values=tables.values,
        whole=tables.whole,
        paid=np.ascontiguousarray(tables.hold, dtype=np.float64),
    )
    root = -math.fsum(rows["price"][q] * float(kind.before[-1]) for q, kind in enumerate(kinds))
    return FleetData(
        kinds, tuple(listed), tuple(patterns), tuple(g for _, g in gpus), words, root, model
    )


def _chains(
    tables: FleetTables, kinds: Sequence[JobClass], count: int
) -> tuple[NDArray[np.void], Ints, list[JobClass]]:
    """Return the subproblems, the class in the tables by GPU kind and class, and these classes."""
    chains = np.zeros((len(tables.kinds), count), dtype=bound.CHAINS)
    into = np.full((len(tables.kinds), len(kinds)), single.NONE)
    found: list[JobClass] = []
    base, states = 0, 3 if any(part.arrays.caching for part in tables.parts) else 2
    class_of = {job.index: q for q, kind in enumerate(kinds) for job in kind.jobs}
    for number, part in zip(tables.of_kind, tables.parts, strict=True):
        row = chains[number, part.adapter]
        row["table_at"], row["merged"], row["lanes"] = len(found), part.merged, bool(part.lanes)
        row["base"], row["size"] = base, part.size
        for k, kind in enumerate(part.kinds, len(found)):
            into[number, [class_of[job.index] for job in kind.jobs]] = k
        found += part.kinds
        row["table_end"] = len(found)
        base += states * (part.ticks + 1) * part.size
    return chains, into, found


def _lane_jobs(tables: FleetTables, kinds: Sequence[JobClass]) -> NDArray[np.void]:
    """Return what the tables say of jobs in lanes, by GPU kind and place among the classes."""
    count = sum(len(kind.jobs) for kind in kinds)
    found, at = np.zeros((len(tables.kinds), count), dtype=single.LANE_JOBS), 0
    for number in range(len(tables.kinds)):
        mine = [p for p, of in zip(tables.parts, tables.of_kind, strict=True) if of == number]
        found[number] = lane_jobs(mine, kinds, count)
        found[number]["lane"] += at
        at += sum(len(part.kinds) for part in mine)
    return found


def _beyond_tables(
    problem: Problem,
    tables: FleetTables,
    kinds: Sequence[JobClass],
    prices: Floats,
    into: Ints,
) -> tuple[Floats, Floats]:
    """Return what each job left loses beyond the tables, and what another GPU serves it for.

    With several GPUs the tables of each let others serve a job, at its price. All but one do, so
    all but one of these prices are taken off, and what is saved by rejecting it.

    Args:
        problem: The problem.
        tables: The tables.
        kinds: The classes.
        prices: Loss of a tick by job in the tables, classes after one another.
        into: Class in the tables by GPU kind and class.

    Returns:
        Both by job's index.
    """
    least, serve, place = tables.least.copy(), np.zeros(len(problem.jobs)), 0
    if not len(tables.serve):
        return least, serve
    for q, kind in enumerate(kinds):
        hosts = sum(len(gpus) for number, gpus in enumerate(tables.kinds) if into[number, q] >= 0)
        for job in kind.jobs:
            arrived, j = prices[place] * job.arrival, job.index
            reject = math.inf if job.reject_loss is None else job.reject_loss
            cost = tables.serve[j] + tables.least[j]
            if hosts == 0:
                least[j] = reject + arrived
            else:
                least[j] -= (hosts - 1) * (tables.serve[j] + arrived) + max(0.0, cost - reject)
            serve[j] = tables.serve[j] + arrived
            place += 1
    return least, serve


def _bits(problem: Problem, kinds: Sequence[JobClass]) -> tuple[Ints, int]:
    """Return each adapter's bit, and the bits of those that are loaded as cheaply as activated."""
    site = problem.site
    bits = np.zeros(len(site.adapter_ids), dtype=np.int64)
    if site.max_resident == 1:
        return bits, 0
    used = sorted({kind.adapter for kind in kinds})
    passing = 0
    for place, a in enumerate(used):
        bits[a] = 1 << place
        passing |= (1 << place) if site.load_s[a] <= site.activate_s else 0
    return bits, passing


def _demand(kinds: Sequence[JobClass], move: Move) -> list[int]:
    """Return what the members of a batch use of each resource."""
    wanted = [[n * need for need in kinds[q].jobs[0].demand] for q, n in move.takes]
    return [sum(amounts) for amounts in zip(*wanted, strict=True)]


def _fits(
    problem: Problem,
    gpus: Sequence[tuple[int, ...]],
    kinds: Sequence[JobClass],
    listed: Sequence[Move],
) -> NDArray[np.bool_]:
    """Return whether each batch fits a GPU of each kind with no other adapter resident."""
    fits = np.zeros((len(listed), len(gpus)), dtype=bool)
    for number, alike_ in enumerate(gpus):
        for m, move in enumerate(listed):
            room = problem.site.room(alike_[0], frozenset((move.adapter,)))
            pairs = zip(_demand(kinds, move), room, strict=True)
            fits[m, number] = all(free is None or need <= free for need, free in pairs)
    return fits


def _room(problem: Problem, gpu: int) -> int:
    """Return a GPU's memory beside the base model."""
    room = problem.site.room(gpu, frozenset())[0]
    return UNLIMITED if room is None else room


def _arrived(kinds: Sequence[JobClass], grain: int, ticks: int) -> Ints:
    """Return the jobs arrived by class and grain; those after the last one included there."""
    grid = np.arange(ticks + 1)
    return np.array(
        [
            np.searchsorted(np.minimum(kind.arrivals // grain, ticks), grid, side="right")
            for kind in kinds
        ],
        dtype=np.int64,
    )


def _stack(arrays: Sequence[NDArray[np.generic]], ticks: int, kind: type) -> NDArray[np.generic]:
    return np.concatenate([np.empty((0, ticks + 1), dtype=kind), *arrays])
