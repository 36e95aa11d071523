"""The arrays that the compiled search works on: a problem, and cost-to-go tables of adapters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import (
    LATE,
    MOVES,
    UNLIMITED,
    Floats,
    Ints,
    late_members,
    single_switches,
)
from pats_solvers.common.classes import MOST_MOVES, JobClass, Move, classes, moves, undominated
from pats_solvers.common.stopping import check_stop, never
from pats_solvers.dp import bound
from pats_solvers.lagrangian.costs import ABSENT, ACTIVE, AS_ACTIVE, SubproblemArrays
from pats_solvers.lagrangian.fixing import latest_starts
from pats_solvers.lagrangian.gpu_kinds import gpu_kinds
from pats_solvers.lagrangian.relaxation import Relaxation
from pats_solvers.lagrangian.subproblem import AdapterSubproblem

#: Batches of all adapters that are listed where the bound leaves only some of them.
MOST_FIXED = 6000

#: Bits of a key's word; the sign stays free.
WORD_BITS = 63


@dataclass(frozen=True, slots=True)
class CostToGo:
    """Cost-to-go tables of all adapters at some prices of the GPU's time.

    Attributes:
        parts: One subproblem for each adapter with jobs, by adapter, on one grid.
        arrays: Their arrays at these prices.
        least: Loss by job beyond what the tables count.
        hold: Price of the GPU summed up from grain 0: ``(ticks + 1,)``.
        values: Costs to go by subproblem, state (absent, active), grain and backlog, in a row.
    """

    parts: Sequence[AdapterSubproblem]
    arrays: Sequence[SubproblemArrays]
    least: Floats
    hold: Floats
    values: Floats


def tables_bytes(relaxation: Relaxation) -> int:
    """Return the memory of the tables of a relaxation, while they are made."""
    parts = relaxation.subproblems
    return _rows(parts) * 8 + max((part.bytes() for part in parts), default=0)


def tables_at(relaxation: Relaxation, flat: Floats, stop: Callable[[], bool] = never) -> CostToGo:
    """Return the tables of a relaxation of one GPU with one resident adapter, at its prices.

    Raises:
        StopError: ``stop``, which is asked before each adapter, said so.
    """
    numbers = sorted(
        range(len(relaxation.subproblems)), key=lambda n: relaxation.subproblems[n].adapter
    )
    parts = [relaxation.subproblems[n] for n in numbers]
    least, paid = relaxation.least(flat), relaxation.paid(flat, 0)
    values = np.empty(_rows(parts))
    at, made = 0, []
    for number, part in zip(numbers, parts, strict=True):
        check_stop(stop)
        arrays = relaxation.arrays(flat, number)
        found = part.values(paid, arrays)
        made.append(arrays)
        for state in (ABSENT, ACTIVE):
            block = found[state].reshape(-1)
            values[at : at + len(block)] = block
            at += len(block)
    return CostToGo(parts, made, least, paid[AS_ACTIVE], values)


def _rows(parts: Sequence[AdapterSubproblem]) -> int:
    return sum(2 * (part.ticks + 1) * part.size for part in parts)


@dataclass(frozen=True, slots=True)
class SearchData:
    """A model, and what its numbers stand for.

    Attributes:
        kinds: The classes.
        batches: The batches, by the model's number.
        words: Words of a key.
        root: Loss of the empty sequence: arrivals are paid ahead.
        model: The arrays.
    """

    kinds: tuple[JobClass, ...]
    batches: tuple[Move, ...]
    words: int
    root: float
    model: bound.SearchModel


def data_of(
    problem: Problem, tables: CostToGo, batches: Sequence[Move] | None = None
) -> SearchData:
    """Return the arrays for a problem with one GPU and one resident adapter.

    Args:
        problem: The problem.
        tables: The bound's tables.
        batches: The batches, where they have been listed before.

    Raises:
        InputError: An adapter has too many different batches.
    """
    kinds = tuple(classes(problem))
    count = len(problem.site.adapter_ids)
    listed = batches_of(problem) if batches is None else batches
    adapters = np.zeros(count + 1, dtype=bound.ADAPTERS)
    numbers = range(count + 1)
    adapters["class_at"] = np.searchsorted([kind.adapter for kind in kinds], numbers)
    adapters["move_at"] = np.searchsorted([move.adapter for move in listed], numbers)
    in_tables = _fill_adapters(tables, adapters)
    words, rows = class_arrays(kinds)
    of_job = {job.index: i for i, kind in enumerate(in_tables) for job in kind.jobs}
    rows["into"] = [of_job[kind.jobs[0].index] for kind in kinds]
    rows["price"] = [in_tables[i].price for i in rows["into"]]
    rows["extra"] = [kind.price for kind in kinds] - rows["price"]
    horizon = problem.site.horizon
    made, takes, late = batch_arrays(kinds, listed, adapters)
    model = bound.SearchModel(
        adapters=adapters,
        classes=rows,
        arrival=np.concatenate([kind.arrivals for kind in kinds]),
        arrivals=np.concatenate([kind.before for kind in kinds]).astype(np.float64),
        beyond=np.concatenate([beyond_sums(kind, tables.least) for kind in kinds]),
        moves=made,
        takes=takes,
        late=late,
        switches=single_switches(problem),
        paired=bool(problem.site.pairs),
        horizon=UNLIMITED if horizon is None else horizon,
        grain=tables.parts[0].grain,
        arrived=_arrived(kinds, tables),
        tables=table_arrays(in_tables, tables.parts),
        table_arrived=np.concatenate([arrays.arrived for arrays in tables.arrays]),
        skip=np.concatenate([arrays.skip for arrays in tables.arrays]),
        served=np.concatenate([arrays.served for arrays in tables.arrays]),
        sums=np.concatenate([kind.before for kind in in_tables]).astype(np.float64),
        lane_jobs=lane_jobs(tables.parts, kinds, len(problem.jobs)),
        values=tables.values,
        paid=np.ascontiguousarray(tables.hold, dtype=np.float64),
    )
    root = -math.fsum(kind.price * float(kind.before[-1]) for kind in in_tables)
    return SearchData(kinds, tuple(listed), words, root, model)


def batches_of(
    problem: Problem, latest: Ints | None = None, stop: Callable[[], bool] = never
) -> tuple[Move, ...]:
    """Return the batches worth trying on some GPU, by adapter.

    Args:
        problem: The problem.
        latest: The last tick by job at which a batch with it may start, or None: any.
        stop: Asked now and then whether to break off.

    Raises:
        InputError: An adapter has too many different batches.
        StopError: ``stop`` said so.
    """
    kinds, found = classes(problem), list[Move]()
    gpus = [kind.gpus[0] for kind in gpu_kinds(problem)]
    for a in sorted({kind.adapter for kind in kinds}):
        most = MOST_MOVES if latest is None else MOST_FIXED - len(found)
        mine = {
            move.parts: move
            for g in gpus
            for move in moves(problem, kinds, a, g, latest, most, stop)
        }
        found += undominated(kinds, list(mine.values()))
    return tuple(found)


def latest_by_job(problem: Problem, tables: CostToGo, slack: float) -> Ints:
    """Return the last tick by job at which a schedule may start it that beats a known one.

    Args:
        problem: A problem with one GPU and one resident adapter.
        tables: The bound's tables.
        slack: By how much the best known loss is above their bound.
    """
    found, at = np.full(len(problem.jobs), UNLIMITED), 0
    paid = np.stack((tables.hold,) * 3)
    for part, arrays in zip(tables.parts, tables.arrays, strict=True):
        shape = (part.ticks + 1, part.size)
        values = np.empty((3, *shape))
        for state in (ABSENT, ACTIVE):
            values[state] = tables.values[at : at + math.prod(shape)].reshape(shape)
            at += math.prod(shape)
        if part.lanes:
            state = ACTIVE if part.adapter in problem.site.gpus[0].resident else ABSENT
            jobs = [job.index for kind in part.kinds for job in kind.jobs]
            found[jobs] = latest_starts(part, arrays, paid, values, state, slack)
    return found


def _fill_adapters(tables: CostToGo, adapters: NDArray[np.void]) -> list[JobClass]:
    """Fill in what the tables say of the adapters; return the tables' classes, by adapter."""
    parts = {part.adapter: part for part in tables.parts}
    found: list[JobClass] = []
    base = 0
    for a in range(len(adapters) - 1):
        adapters["base"][a] = base
        if (part := parts.get(a)) is not None:
            found += part.kinds
            adapters["merged"][a], adapters["lanes"][a] = part.merged, bool(part.lanes)
            adapters["size"][a] = part.size
            base += 2 * (part.ticks + 1) * part.size
        adapters["table_at"][a + 1] = len(found)
    return found


def class_arrays(kinds: Sequence[JobClass]) -> tuple[int, NDArray[np.void]]:
    """Return the words of a key, and the classes, but for what the tables say of them."""
    rows = np.zeros(len(kinds), dtype=bound.CLASSES)
    word, used, arrival_at = 0, 0, 0
    for row, kind in zip(rows, kinds, strict=True):
        jobs = len(kind.jobs)
        bits = jobs.bit_length()
        if used + bits > WORD_BITS:
            word, used = word + 1, 0
        row["word"], row["shift"], row["mask"] = word, used, (1 << bits) - 1
        row["jobs"], row["arrival_at"] = jobs, arrival_at
        row["rejected"] = math.inf if kind.reject_loss is None else kind.reject_loss
        used += bits
        arrival_at += jobs
    return word + 1, rows


def beyond_sums(kind: JobClass, least: Floats) -> Floats:
    """Return the sums of a class's ``least`` from each job on."""
    each = least[[job.index for job in kind.jobs]]
    return np.append(np.cumsum(each[::-1])[::-1], 0.0)


def lane_jobs(
    parts: Sequence[AdapterSubproblem], kinds: Sequence[JobClass], jobs: int
) -> NDArray[np.void]:
    """Return what the tables of ``parts`` say of all jobs in lanes, classes after one another."""
    found, lane = np.zeros(jobs, dtype=bound.LANE_JOBS), 0
    for part in parts:
        row = 0
        for number, kind in enumerate(part.kinds, lane):
            for place, job in enumerate(kind.jobs if part.lanes else ()):
                known = part.arrays.jobs[row + place]
                found[job.index] = number, place, known["least"], known["price"]
            row += len(kind.jobs)
        lane += len(part.kinds)
    return found[[job.index for kind in kinds for job in kind.jobs]]


def _arrived(kinds: Sequence[JobClass], tables: CostToGo) -> Ints:
    """Return the jobs arrived by class and grain."""
    some = tables.parts[0]
    grid = np.arange(some.ticks + 1)
    return np.array(
        [np.searchsorted(kind.arrivals // some.grain, grid, side="right") for kind in kinds],
        dtype=np.int64,
    )


def batch_arrays(
    kinds: Sequence[JobClass], listed: Sequence[Move], adapters: NDArray[np.void]
) -> tuple[NDArray[np.void], Ints, NDArray[np.void]]:
    """Return the batches, what they take, and their members with priced deadlines."""
    widest = int(np.diff(adapters["class_at"]).max(initial=0))
    takes = np.zeros((len(listed), widest), dtype=np.int64)
    made, late = np.zeros(len(listed) + 1, dtype=MOVES), list[tuple[int, float]]()
    for m, move in enumerate(listed):
        first = adapters["class_at"][move.adapter]
        for q, n in move.takes:
            takes[m, q - first] = n
            made["slope"][m] += n * kinds[q].price
        made["duration"][m], made["fixed"][m] = move.duration, move.fixed(kinds)
        late += late_members(move, kinds)
        made["late_at"][m + 1] = len(late)
    return made, takes, np.array(late, dtype=LATE)


def table_arrays(
    in_tables: Sequence[JobClass], parts: Sequence[AdapterSubproblem]
) -> NDArray[np.void]:
    """Return the tables' classes, one adapter after another."""
    rows = np.zeros(len(in_tables), dtype=bound.TABLES)
    rows["sums_at"] = np.cumsum([0, *(len(kind.before) for kind in in_tables)])[:-1]
    rows["by_tick"] = [kind.price for kind in in_tables]
    row, skips = 0, 0
    for part in parts:
        kinds = part.arrays.classes
        mine = rows[row : row + len(kinds)]
        mine["dim"], mine["stride"] = kinds["dim"], kinds["stride"]
        mine["skip_at"] = np.where(kinds["skip_at"] < 0, -1, kinds["skip_at"] + skips)
        mine["by_grain"] = kinds["price"]
        row += len(kinds)
        skips += len(part.arrays.skip)
    return rows
