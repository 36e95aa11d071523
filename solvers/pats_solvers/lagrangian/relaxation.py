"""The relaxation: everything is priced that adapters and GPUs compete for.

Four kinds of prices, all per GPU kind (GPUs of equal capacity), make the problem fall apart into
one subproblem for each adapter and GPU:

- ``hold[t]``: holding a GPU in tick t. With one resident adapter a GPU is held from the start of a
  switch until it is left; with more, only while it switches, serves, or (where activation takes
  time) waits for the active adapter. At most one adapter holds a GPU at a time, or
  ``max_per_batch`` where batches mix.
- ``keep[t]``: being resident in tick t, where more than one adapter can be, or where loads are.
- ``load[t]``: loading beside serving in tick t, where that is possible. Such loads do not hold the
  GPU, and at most ``channels`` of them are in progress.
- ``serve[j]``: serving job j, where there are several GPUs: each GPU's subproblem decides for
  itself which jobs it serves, and is paid ``serve[j]`` for each. The price makes the GPUs agree.

For any prices the sum of the subproblems' values, less what the prices are paid for, is a lower
bound on every schedule's loss (weak duality).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np

from pats_opt.model.instance import StepsService, StepTime
from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import Floats, Ints
from pats_solvers.common.classes import classes
from pats_solvers.lagrangian.kernels import (
    ABSENT,
    ACTIVE,
    CUT,
    LOAD_BESIDE,
    RESERVE,
    SERVE,
    SKIP,
    WAIT,
)
from pats_solvers.lagrangian.subproblem import AdapterPlan, AdapterSubproblem, paid

#: By what a row of a plan says: whether it holds the GPU, a place in the cache, and the loader.
_ROWS = np.arange(RESERVE + 1)
HOLDS = (_ROWS != WAIT) & (_ROWS != LOAD_BESIDE)
KEEPS, LOADS = _ROWS != RESERVE, _ROWS == LOAD_BESIDE


@dataclass(frozen=True, slots=True)
class GpuKind:
    """GPUs of equal capacity: their indices, and how many adapters each can hold."""

    gpus: tuple[int, ...]
    places: int


@dataclass(frozen=True, slots=True)
class PriceVector:
    """Prices of a relaxation: ``hold``, ``keep``, ``load`` by GPU kind and tick, ``serve`` by job.

    Those that a problem does not have are zero, or of no length.
    """

    hold: Floats
    keep: Floats
    load: Floats
    serve: Floats


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The relaxation at some prices.

    Attributes:
        bound: A lower bound on the loss of every schedule.
        slope: A supergradient of the bound in the flat prices.
        plans: Of each subproblem the best plan, and on how many GPUs of its kind it is run.
        cut: Jobs beyond a backlog cap, served for nothing but their own least loss.
        left: Jobs left at the last tick, and served likewise. Where there is neither, the
            subproblems' values are exact.
    """

    bound: float
    slope: Floats
    plans: tuple[tuple[AdapterSubproblem, int, AdapterPlan], ...]
    cut: int
    left: int


class Relaxation:
    """The subproblems of a problem, and the bound at given prices.

    Args:
        problem: The problem.
        ticks: Where the priced grid ends, in ticks; what comes later is free.
        states: Backlogs told apart by a subproblem.
        grain: Ticks taken as one.
        threads: Subproblems solved at once.

    Attributes:
        dimension: Length of a flat price vector: ``hold``, ``keep``, ``load``, ``serve`` after one
            another.
        serve_at: Where ``serve`` begins there.
        signed: Prices that may be negative (``serve``).
        constant: Loss that every schedule has.
        merged: Whether classes had to be merged.
    """

    def __init__(
        self, problem: Problem, ticks: int, *, states: int = 400, grain: int = 1, threads: int = 1
    ) -> None:
        self.problem, self.threads, self.grain = problem, threads, grain
        site = problem.site
        self.kinds = _gpu_kinds(problem)
        self.ticks = max(1, -(-ticks // grain))
        self.several = len(site.gpus) > 1
        self.overlap = site.channels is not None
        self.caching = site.max_resident > 1 or self.overlap
        self.constant = 0.0
        self._starts: list[tuple[int, int]] = []  # GPUs where the adapter is absent, and active
        self.subproblems: list[AdapterSubproblem] = []
        self._jobs: list[Ints] = []  # job of each place in a subproblem's ``skip``
        self._unfit = np.zeros(len(problem.jobs))  # GPUs that cannot serve a job
        relaxed = _monotone(problem)
        for kind in self.kinds:
            self._add(relaxed, kind, states)
        rejects = [math.inf if j.reject_loss is None else j.reject_loss for j in problem.jobs]
        self.reject = np.array(rejects, dtype=np.float64)
        if self.several:  # a job that fits nowhere is rejected
            nowhere = self._unfit == len(site.gpus)
            self.constant += float(self.reject[nowhere].sum())
            self._fits = ~nowhere
        rooms = [[site.max_per_batch for _ in self.kinds]]  # on one GPU, by part and kind
        rooms += [[kind.places for kind in self.kinds]] if self.caching else []
        rooms += [[site.channels for _ in self.kinds]] if site.channels is not None else []
        sizes = np.array([len(kind.gpus) for kind in self.kinds])
        self._room = np.repeat((np.array(rooms) * sizes).ravel(), self.ticks).astype(np.float64)
        self.serve_at = len(self._room)
        self.dimension = self.serve_at + (len(problem.jobs) if self.several else 0)
        self.signed = np.arange(self.dimension) >= self.serve_at

    def _add(self, problem: Problem, kind: GpuKind, states: int) -> None:
        site, gpu = problem.site, kind.gpus[0]
        by_adapter: dict[int, list] = {}  # type: ignore[type-arg]
        for each in classes(problem):
            alone = frozenset((each.adapter,))
            if not self.several or site.fits(gpu, alone, each.jobs[:1]):
                by_adapter.setdefault(each.adapter, []).append(each)
            else:
                self._unfit[[job.index for job in each.jobs]] += len(kind.gpus)
        for adapter, mine in by_adapter.items():
            subproblem = AdapterSubproblem(
                problem, mine, gpu, self.ticks,
                states=states, grain=self.grain, skippable=self.several,
            )  # fmt: skip
            there = sum(adapter in site.gpus[g].resident for g in kind.gpus)
            self.subproblems.append(subproblem)
            self._starts.append((len(kind.gpus) - there, there))
            self._jobs.append(
                np.array(
                    [
                        job.index
                        for q, each in enumerate(subproblem.kinds)
                        if subproblem.arrays.classes["skip_at"][q] >= 0
                        for job in each.jobs
                    ],
                    dtype=np.int64,
                )
            )
        self.merged = any(subproblem.merged for subproblem in self.subproblems)
        self._of_kind = [
            next(k for k, kind in enumerate(self.kinds) if subproblem.gpu in kind.gpus)
            for subproblem in self.subproblems
        ]

    def bytes(self) -> int:
        """Memory that an evaluation takes, in bytes."""
        largest = sorted((subproblem.bytes() for subproblem in self.subproblems), reverse=True)
        return sum(largest[: self.threads])

    def prices(self, flat: Floats) -> PriceVector:
        """A flat price vector by its parts."""
        parts = [*flat[: self.serve_at].reshape(-1, len(self.kinds), self.ticks)]
        hold, keep, load = [*parts, *[np.zeros_like(parts[0])] * 2][:3]
        return PriceVector(hold, keep, load, flat[self.serve_at :])

    def paid(self, flat: Floats, number: int) -> tuple[Floats, Floats | None]:
        """Return what a subproblem pays: prices summed up, and the cost of skipping."""
        prices, kind = self.prices(flat), self._of_kind[number]
        skip = None
        if self.several:
            jobs = self._jobs[number]
            arrivals = np.concatenate(
                [
                    each.price * each.arrivals.astype(float)
                    for each in self.subproblems[number].kinds
                ]
            )
            skip = prices.serve[jobs] + arrivals
        load = prices.load[kind] if self.overlap else None
        return paid(prices.hold[kind], prices.keep[kind], load), skip

    def evaluate(self, flat: Floats) -> Evaluation:
        """The bound at a flat price vector, a supergradient, and the subproblems' plans."""

        def solve(number: int) -> list[AdapterPlan]:
            subproblem = self.subproblems[number]
            prices, skip = self.paid(flat, number)
            values = subproblem.values(prices, skip)
            return [
                subproblem.plan(values, prices, state, skip)
                for state, count in zip((ABSENT, ACTIVE), self._starts[number], strict=True)
                if count
            ]

        numbers = range(len(self.subproblems))
        if self.threads > 1:
            with ThreadPoolExecutor(self.threads) as pool:
                found = list(pool.map(solve, numbers))
        else:
            found = [solve(number) for number in numbers]
        terms = [self.constant]
        slope = np.zeros(self.dimension)
        slope[: self.serve_at] = -self._room
        plans: list[tuple[AdapterSubproblem, int, AdapterPlan]] = []
        cut = left = 0
        for number in numbers:
            subproblem, counts = self.subproblems[number], [n for n in self._starts[number] if n]
            for count, plan in zip(counts, found[number], strict=True):
                # Apart, so that rounding is judged by the large numbers that it happens in.
                terms += [count * (plan.value - subproblem.constant), count * subproblem.constant]
                plans.append((subproblem, count, plan))
                free = self._use(number, count, plan, flat, slope)
                at_end = min(free, int((plan.rows[:, 1] == self.ticks).sum()))
                cut, left = cut + free - at_end, left + at_end
        terms.append(-float(flat[: self.serve_at] @ self._room))
        if self.several:
            terms.extend(self._agreement(flat, slope))
        return Evaluation(_sum_below(terms), slope, tuple(plans), cut, left)

    def _use(self, number: int, count: int, plan: AdapterPlan, flat: Floats, slope: Floats) -> int:
        """Add to ``slope`` what a plan uses; how many jobs it serves for nothing."""
        subproblem, kind = self.subproblems[number], self._of_kind[number]
        rows = plan.rows
        lasting = rows[rows[:, 2] > rows[:, 1]]
        parts = slope[: self.serve_at].reshape(-1, len(self.kinds), self.ticks)
        for part, used in enumerate((HOLDS, KEEPS, LOADS)[: len(parts)]):
            taken = _covered(lasting[used[lasting[:, 0]]], self.ticks)
            parts[part, kind] += count * taken
        if not self.several:
            return int((rows[:, 0] == CUT).sum())
        skipped, cut = _skipped(subproblem, rows, self.paid(flat, number)[1])
        np.add.at(slope, self.serve_at + self._jobs[number][skipped], count)
        return cut

    def _agreement(self, flat: Floats, slope: Floats) -> list[float]:
        """The part of the bound that makes GPUs agree on who serves what."""
        gpus = len(self.problem.site.gpus)
        first = self.serve_at
        serve = flat[first:]
        slope[first:] += self._unfit
        rejected = serve > self.reject
        slope[first:] -= gpus - 1 + rejected
        slope[first:][~self._fits] = 0.0
        terms = (self._unfit - (gpus - 1)) * serve
        terms -= np.where(rejected, serve - np.where(rejected, self.reject, 0.0), 0.0)
        return list(map(float, terms[self._fits]))


def _gpu_kinds(problem: Problem) -> list[GpuKind]:
    """GPUs by capacity."""
    site = problem.site
    found: dict[tuple[int | None, ...], list[int]] = {}
    for gpu in site.gpus:
        found.setdefault(gpu.capacity, []).append(gpu.index)
    return [GpuKind(tuple(gpus), _places(problem, gpus[0])) for gpus in found.values()]


def _places(problem: Problem, gpu: int) -> int:
    """Adapters that can be resident on a GPU at once."""
    site = problem.site
    left = site.room(gpu, frozenset())[0]
    if left is None:
        return site.max_resident
    count = 0
    for vram in sorted(site.adapter_vram)[: site.max_resident]:
        left -= vram
        if left < 0:
            break
        count += 1
    return count


def _monotone(problem: Problem) -> Problem:
    """The problem, with a step-time table that never falls.

    A member more must not make a batch quicker: a subproblem that leaves one out (to another
    adapter's part of a mixed batch, or beyond the backlog cap) would not be a lower bound then.
    """
    service = problem.instance.service
    if not isinstance(service, StepsService) or not isinstance(service.step_s.table, tuple):
        return problem
    table = service.step_s.table
    rising = tuple(min(table[n:]) for n in range(len(table)))
    if rising == table:
        return problem
    eased = msgspec.structs.replace(service, step_s=StepTime(table=rising))
    return Problem(msgspec.structs.replace(problem.instance, service=eased))


def _covered(rows: Ints, ticks: int) -> Floats:
    """How often each tick is covered by the rows' intervals."""
    change = np.zeros(ticks + 1)
    np.add.at(change, rows[:, 1], 1.0)
    np.add.at(change, rows[:, 2], -1.0)
    return np.cumsum(change)[:ticks]


def _skipped(subproblem: AdapterSubproblem, rows: Ints, skip: Floats | None) -> tuple[Ints, int]:
    """Places in ``skip`` of the jobs that a plan leaves to others, and how many it cuts."""
    assert skip is not None
    arrays = subproblem.arrays
    done = np.zeros(len(arrays.classes), dtype=np.int64)
    places, cut = [], 0
    for what, tick, _, which in rows.tolist():
        if what == SERVE:
            done += arrays.takes[which]
        elif what in (SKIP, CUT):
            kind = arrays.classes[which]
            place = int(kind["skip_at"] + done[which])
            if what == SKIP or skip[place] < kind["price"] * tick + kind["least"]:
                places.append(place)
            else:
                cut += 1
            done[which] += 1
    return np.array(places, dtype=np.int64), cut


def _sum_below(terms: Sequence[float]) -> float:
    """The sum, less what rounding in its terms can have added."""
    size = math.fsum(abs(term) for term in terms)
    return math.fsum(terms) - 1e-12 * size if math.isfinite(size) else math.fsum(terms)
