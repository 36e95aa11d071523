"""Classes of interchangeable jobs, and the batches over them.

Jobs of one adapter with equal demand, options, weight and rejection differ in nothing but
arrival, and their latency loss is linear in completion. Serving such a *class* first come, first
served loses nothing: where a later arrival completes first, the two change places, batch and
option included, at equal loss. (A priced deadline breaks the linearity, so there only jobs that
arrive together share a class.) So the jobs served so far are a count per class, and a batch is
how many of each class it takes at each step count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pats_opt.errors import InputError
from pats_opt.model.problem import Amounts, Job, Problem
from pats_solvers.common.stopping import check_stop, never

#: Most different batches that are listed for one adapter.
MOST_MOVES = 20_000

#: Batches listed between two looks at the clock.
MOVES_PER_CHECK = 200


@dataclass(frozen=True, slots=True)
class JobClass:
    """Interchangeable jobs, by arrival.

    Attributes:
        jobs: The jobs, in the order in which they are served.
        ways: Options worth taking: the one of least quality loss of each step count.
        price: Loss per tick of latency of one job.
        reject_loss: Loss of rejecting one, or None.
        late_loss: Loss of one that is late, 0 where nothing is priced.
        arrivals: Arrival ticks.
        before: ``before[i]`` is the sum of the first i arrivals.
        demands: Demand by option where jobs that differ are counted as one class (their options
            are priced then), or None.
    """

    adapter: int
    jobs: tuple[Job, ...]
    ways: tuple[int, ...]
    price: float
    reject_loss: float | None
    late_loss: float
    arrivals: NDArray[np.int64]
    before: NDArray[np.int64]
    demands: tuple[Amounts, ...] | None = None

    def demand(self, option: int) -> Amounts:
        """Return the demand of a job that takes an option."""
        return self.jobs[0].demand if self.demands is None else self.demands[option]


@dataclass(frozen=True, slots=True)
class Move:
    """A batch of one adapter, by classes.

    Attributes:
        takes: ``(class, jobs taken)``.
        parts: ``(class, option, jobs, ticks to completion)``.
        duration: Ticks until the batch ends.
    """

    adapter: int
    takes: tuple[tuple[int, int], ...]
    parts: tuple[tuple[int, int, int, int], ...]
    duration: int

    def fixed(self, kinds: Sequence[JobClass]) -> float:
        """Return the loss apart from its start: at tick 0 and without arrivals."""
        return math.fsum(
            n * (kinds[q].jobs[0].options[o].quality_loss + kinds[q].price * ticks)
            for q, o, n, ticks in self.parts
        )


def classes(problem: Problem) -> list[JobClass]:
    """Return the classes of a problem, by adapter and first arrival."""
    site, found = problem.site, {}  # type: ignore[var-annotated]
    for job in problem.jobs:
        priced = site.late_price > 0 and job.deadline is not None
        kind = (
            job.adapter,
            job.demand,
            job.options,
            job.weight,
            job.reject_loss,
            (job.deadline, job.arrival) if priced else None,
        )
        found.setdefault(kind, []).append(job)
    return [_class(problem, jobs) for _, jobs in sorted(found.items(), key=lambda kv: kv[0][0])]


def _class(problem: Problem, jobs: list[Job]) -> JobClass:
    site, first = problem.site, jobs[0]
    best: dict[int, int] = {}
    for o, option in enumerate(first.options):
        at = best.setdefault(option.steps, o)
        if option.quality_loss < first.options[at].quality_loss:
            best[option.steps] = o
    arrivals = np.array([job.arrival for job in jobs], dtype=np.int64)
    priced = site.late_price > 0 and first.deadline is not None
    return JobClass(
        adapter=first.adapter,
        jobs=tuple(jobs),
        ways=tuple(best.values()),
        price=site.latency_price_per_s * first.weight * site.tick_s,
        reject_loss=first.reject_loss,
        late_loss=site.late_price * first.weight if priced else 0.0,
        arrivals=arrivals,
        before=np.concatenate(([0], np.cumsum(arrivals))),
    )


def moves(  # noqa: PLR0917 - which batches, of what
    problem: Problem,
    kinds: list[JobClass],
    adapter: int,
    gpu: int = 0,
    latest: NDArray[np.int64] | None = None,
    most: int = MOST_MOVES,
    stop: Callable[[], bool] = never,
) -> list[Move]:
    """Return every batch of one adapter that fits ``gpu`` with no other adapter resident.

    Args:
        problem: The problem.
        kinds: The classes.
        adapter: The adapter.
        gpu: The GPU.
        latest: The last tick by job at which a batch with it may start, or None: any.
        most: How many are listed, at most.
        stop: Asked now and then whether to break off.

    Raises:
        InputError: There are too many to list.
        StopError: ``stop`` said so.
    """
    site = problem.site
    room = site.room(gpu, frozenset((adapter,)))
    largest = len(problem.jobs) if site.clock.largest is None else site.clock.largest
    slots = [(q, o) for q, kind in enumerate(kinds) if kind.adapter == adapter for o in kind.ways]
    found: list[tuple[int, ...]] = []
    windows = [
        (
            float(kinds[q].arrivals[0]),
            math.inf if latest is None else float(max(latest[j.index] for j in kinds[q].jobs)),
        )
        for q, _ in slots
    ]
    too_many = InputError(
        f"adapter {site.adapter_ids[adapter]!r} has more than {most:,} different "
        "batches to choose from",
        hint="bound the batch size, offer fewer options, or use --solver cpsat",
    )
    if latest is None and _least_fillings(kinds, slots, list(room), largest) > most:
        raise too_many
    for counts in _fillings(kinds, slots, list(room), largest, windows):
        if len(found) % MOVES_PER_CHECK == 0:
            check_stop(stop)
        if len(found) == most:
            raise too_many
        found.append(counts)
    return [_move(problem, kinds, adapter, slots, counts) for counts in found]


def undominated(kinds: Sequence[JobClass], found: Sequence[Move]) -> list[Move]:
    """Return batches by duration, less those that a shorter and cheaper one of the same jobs beats.

    The GPU may be idle, or be held idle at the same price, after the shorter one.
    """
    by_takes: dict[tuple[tuple[int, int], ...], list[tuple[int, float, Move]]] = {}
    kept: list[Move] = []
    for move in found:
        if any(kinds[q].late_loss > 0.0 or kinds[q].demands for q, _ in move.takes):
            kept.append(move)  # which is cheaper depends on when it starts, or on prices
            continue
        by_takes.setdefault(move.takes, []).append((move.duration, move.fixed(kinds), move))
    for group in by_takes.values():
        best = math.inf
        for _, fixed, move in sorted(group, key=lambda g: g[:2]):
            if fixed < best:
                best = fixed
                kept.append(move)
    return sorted(kept, key=lambda move: move.duration)


def _move(
    problem: Problem,
    kinds: list[JobClass],
    adapter: int,
    slots: list[tuple[int, int]],
    counts: tuple[int, ...],
) -> Move:
    clock = problem.site.clock
    chosen = [(q, o, n) for (q, o), n in zip(slots, counts, strict=True) if n]
    steps = [kinds[q].jobs[0].options[o].steps for q, o, _ in chosen]
    members = (s for s, (_, _, n) in zip(steps, chosen, strict=True) for _ in range(n))
    ends, duration = clock.ends(tuple(sorted(members)))
    takes: dict[int, int] = {}
    for q, _, n in chosen:
        takes[q] = takes.get(q, 0) + n
    return Move(
        adapter=adapter,
        takes=tuple(takes.items()),
        parts=tuple((q, o, n, ends[s]) for (q, o, n), s in zip(chosen, steps, strict=True)),
        duration=duration,
    )


def _least_fillings(
    kinds: list[JobClass], slots: list[tuple[int, int]], room: list[int | None], largest: int
) -> int:
    """Return how many batches there are at least: were all as demanding as the most demanding."""
    demands = [kinds[q].demand(o) for q, o in slots]
    for free, needs in zip(room, zip(*demands, strict=True), strict=True):
        if free is not None and max(needs) > 0:
            largest = min(largest, free // max(needs))
    by_members = [1]  # ways to choose so many members of the classes so far
    for q, ways in Counter(q for q, _ in slots).items():
        own = [math.comb(n + ways - 1, n) for n in range(min(len(kinds[q].jobs), largest) + 1)]
        by_members = [
            sum(by_members[n - k] * own[k] for k in range(len(own)) if 0 <= n - k < len(by_members))
            for n in range(min(len(by_members) + len(own) - 2, largest) + 1)
        ]
    return sum(by_members) - 1


def _fillings(
    kinds: list[JobClass],
    slots: list[tuple[int, int]],
    room: list[int | None],
    largest: int,
    windows: list[tuple[float, float]],
) -> Iterator[tuple[int, ...]]:
    """Yield non-empty counts per slot within class sizes, resources and the largest batch.

    Classes of one batch have ``windows``, from the first arrival to the last start, with a tick in
    common.
    """

    def extend(  # noqa: PLR0917 - the batch so far
        i: int,
        head: tuple[int, ...],
        left: int,
        free: list[int | None],
        used: int,
        span: tuple[float, float],
    ) -> Iterator[tuple[int, ...]]:
        if i == len(slots):
            if any(head):
                yield head
            return
        q = slots[i][0]
        taken = used if i and slots[i - 1][0] == q else 0
        demand = kinds[q].demand(slots[i][1])
        for n in range(min(left, len(kinds[q].jobs) - taken) + 1):
            rest = [
                None if f is None else f - n * need for f, need in zip(free, demand, strict=True)
            ]
            if any(f is not None and f < 0 for f in rest):
                break
            common = span
            if n:
                common = max(span[0], windows[i][0]), min(span[1], windows[i][1])
                if common[0] > common[1]:
                    break
            yield from extend(i + 1, (*head, n), left - n, rest, taken + n, common)

    yield from extend(0, (), largest, room, 0, (0.0, math.inf))
