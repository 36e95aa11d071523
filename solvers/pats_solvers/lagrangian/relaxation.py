"""The relaxation: everything is priced that adapters and GPUs compete for.

Prices, most of them per GPU kind (GPUs of equal capacity), make the problem fall apart into
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
- the options of merged classes (:mod:`pats_solvers.lagrangian.merging`), where too many jobs of an
  adapter differ: on each tick, what the GPUs' slots pay and the jobs receive.

For any prices the sum of the subproblems' values, less what the prices are paid for, is a lower
bound on every schedule's loss (weak duality).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from pats_opt.model.instance import StepsService, StepTime
from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import Floats, Ints
from pats_solvers.common.classes import JobClass, classes
from pats_solvers.lagrangian.aggregation import aggregated
from pats_solvers.lagrangian.kernels import ABSENT, ACTIVE, SubproblemArrays
from pats_solvers.lagrangian.merging import JobChoices, MergedPrices, SlotPrices
from pats_solvers.lagrangian.subproblem import AdapterPlan, AdapterSubproblem, paid
from pats_solvers.lagrangian.usage import HOLDS, KEEPS, LOADS, JobUse, covered, job_use, slot_use


@dataclass(frozen=True, slots=True)
class GpuKind:
    """GPUs of equal capacity: their indices, and how many adapters each can hold."""

    gpus: tuple[int, ...]
    places: int


@dataclass(frozen=True, slots=True)
class PriceVector:
    """Prices of a relaxation by what they are for.

    ``hold``, ``keep`` and ``load`` are by GPU kind and tick, ``serve`` by job, ``slots`` by merged
    class. Those that a problem does not have are zero, or of no length.
    """

    hold: Floats
    keep: Floats
    load: Floats
    serve: Floats
    slots: tuple[SlotPrices, ...] = ()


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
        dimension: Length of a flat price vector: ``hold``, ``keep``, ``load``, ``serve`` and those
            of merged classes after one another.
        serve_at: Where ``serve`` begins there.
        merged_at: Where those of each merged class begin; a last entry ends them.
        signed: Prices that may be negative.
        constant: Loss that every schedule has.
        merged: The merged classes.
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
        self.merged: list[MergedPrices] = []
        self._of_kind: list[int] = []  # GPU kind of each subproblem
        self._slots: list[list[int]] = []  # merged class of a subproblem's classes, or -1
        self._add(_monotone(problem), states)
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
        options_at = self.serve_at + (len(problem.jobs) if self.several else 0)
        sizes_of_merged = [merged.dimension for merged in self.merged]
        self.merged_at = np.cumsum([options_at, *sizes_of_merged])
        self.dimension = int(self.merged_at[-1])
        self.signed = np.arange(self.dimension) >= self.serve_at
        for merged, at in zip(self.merged, self.merged_at, strict=False):
            self.signed[at : at + merged.dimension] = merged.signed

    def _add(self, problem: Problem, states: int) -> None:
        """Make the subproblems, GPU kind by GPU kind."""
        site = problem.site
        fitting: dict[int, set[int]] = {kind.gpus[0]: set() for kind in self.kinds}
        by_adapter: dict[int, list[JobClass]] = {}
        for each in classes(problem):
            jobs, alone = [job.index for job in each.jobs], frozenset((each.adapter,))
            for kind in self.kinds:
                if not self.several or site.fits(kind.gpus[0], alone, each.jobs[:1]):
                    fitting[kind.gpus[0]].update(jobs)
                else:
                    self._unfit[jobs] += len(kind.gpus)
            if self._unfit[jobs[0]] < len(site.gpus):
                by_adapter.setdefault(each.adapter, []).append(each)
        made = []
        for mine in by_adapter.values():
            listed, merged = aggregated(problem, mine, fitting, states)
            at = {id(each.kind.demands): len(self.merged) + i for i, each in enumerate(merged)}
            self.merged += [MergedPrices(each, self.ticks, self.grain) for each in merged]
            made.append((listed, at))
        for number, kind in enumerate(self.kinds):
            for listed, at in made:
                if (here := listed.get(kind.gpus[0])) is None:
                    continue
                subproblem = AdapterSubproblem(
                    problem, here, kind.gpus[0], self.ticks,
                    grain=self.grain, skippable=self.several,
                )  # fmt: skip
                there = sum(subproblem.adapter in site.gpus[g].resident for g in kind.gpus)
                self.subproblems.append(subproblem)
                self._of_kind.append(number)
                self._starts.append((len(kind.gpus) - there, there))
                self._slots.append([at.get(id(each.demands), -1) for each in here.kinds])
                skippable = [
                    job.index
                    for q, each in enumerate(subproblem.kinds)
                    if subproblem.arrays.classes["skip_at"][q] >= 0
                    for job in each.jobs
                ]
                self._jobs.append(np.array(skippable, dtype=np.int64))

    def classes(self) -> int:
        """Return how many classes the subproblems tell apart."""
        return sum(len(subproblem.kinds) for subproblem in self.subproblems)

    def bytes(self) -> int:
        """Memory that an evaluation takes, in bytes."""
        largest = sorted((subproblem.bytes() for subproblem in self.subproblems), reverse=True)
        return sum(largest[: self.threads])

    def prices(self, flat: Floats) -> PriceVector:
        """A flat price vector by its parts."""
        parts = [*flat[: self.serve_at].reshape(-1, len(self.kinds), self.ticks)]
        hold, keep, load = [*parts, *[np.zeros_like(parts[0])] * 2][:3]
        slots = [merged.slots(flat[a:b]) for merged, a, b in self._merged()]
        return PriceVector(hold, keep, load, flat[self.serve_at : self.merged_at[0]], tuple(slots))

    def _merged(self) -> Iterator[tuple[MergedPrices, int, int]]:
        """Yield the merged classes and where their prices begin and end."""
        yield from zip(self.merged, self.merged_at, self.merged_at[1:], strict=False)

    def paid(self, flat: Floats, number: int) -> Floats:
        """Return what a subproblem pays for time, summed up."""
        return self._paid(self.prices(flat), number)

    def _paid(self, prices: PriceVector, number: int) -> Floats:
        kind = self._of_kind[number]
        load = prices.load[kind] if self.overlap else None
        return paid(prices.hold[kind], prices.keep[kind], load)

    def arrays(self, flat: Floats, number: int) -> SubproblemArrays:
        """Return a subproblem's arrays at the prices of serving and of options."""
        prices = self.prices(flat)
        return self._arrays(prices, self._least(self._choices(prices)), number)

    def least(self, flat: Floats) -> Floats:
        """Return by job the least loss beyond its slot's; 0 for those in no merged class."""
        return self._least(self._choices(self.prices(flat)))

    def carried(self, other: Relaxation, flat: Floats) -> Floats:
        """Return prices of another relaxation of the problem, as coarse at least, as this one's."""
        if other is self:
            return flat
        prices, ratio = other.prices(flat), other.grain // self.grain

        def spread(by_kind: Floats) -> Floats:
            fine = np.repeat(by_kind / ratio, ratio, axis=1)[:, : self.ticks]
            return np.pad(fine, ((0, 0), (0, self.ticks - fine.shape[1]))).ravel()

        parts = [spread(prices.hold)]
        if self.caching:
            parts.append(spread(prices.keep))
        if self.overlap:
            parts.append(spread(prices.load))
        parts.append(prices.serve)
        slots = list(zip(other.merged, prices.slots, strict=True))
        parts.extend(merged.carried(slots) for merged in self.merged)
        return np.concatenate(parts)

    def _choices(self, prices: PriceVector) -> list[JobChoices]:
        """Return what each job of a merged class chooses."""
        return [m.choices(p) for m, p in zip(self.merged, prices.slots, strict=True)]

    def _least(self, choices: Sequence[JobChoices]) -> Floats:
        """Return by job the least loss beyond its slot's; 0 for those in no merged class."""
        least = np.zeros(len(self.problem.jobs))
        for merged, found in zip(self.merged, choices, strict=True):
            least[merged.jobs] = found.least
        return least

    def _arrays(self, prices: PriceVector, least: Floats, number: int) -> SubproblemArrays:
        subproblem, jobs = self.subproblems[number], self._jobs[number]
        skip = None
        if self.several:  # what it is paid for serving
            arrivals = [k.price * k.arrivals.astype(float) for k in subproblem.kinds]
            skip = prices.serve[jobs] + np.concatenate(arrivals)
        elif len(jobs) and self.merged:  # a rejected job chooses nothing
            skip = subproblem.arrays.skip - least[jobs]
        slots = [(self.merged[i], prices.slots[i]) if i >= 0 else None for i in self._slots[number]]
        return subproblem.priced(skip, slots)

    def evaluate(self, flat: Floats) -> Evaluation:
        """The bound at a flat price vector, a supergradient, and the subproblems' plans."""
        prices = self.prices(flat)
        choices = self._choices(prices)
        least = self._least(choices)

        def solve(number: int) -> tuple[SubproblemArrays, list[AdapterPlan]]:
            subproblem, hold = self.subproblems[number], self._paid(prices, number)
            arrays = self._arrays(prices, least, number)
            values = subproblem.values(hold, arrays)
            return arrays, [
                subproblem.plan(values, hold, state, arrays)
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
        # Slots less choices of merged classes: by way and start, by completion.
        used = [(np.zeros_like(p.taken), np.zeros_like(p.done)) for p in prices.slots]
        rejected = np.zeros(len(self.problem.jobs), dtype=bool)
        plans: list[tuple[AdapterSubproblem, int, AdapterPlan]] = []
        cut = left = 0
        for number in numbers:
            subproblem, counts = self.subproblems[number], [n for n in self._starts[number] if n]
            arrays, made = found[number]
            for count, plan in zip(counts, made, strict=True):
                # Apart, so that rounding is judged by the large numbers that it happens in.
                terms += [count * (plan.value - subproblem.constant), count * subproblem.constant]
                plans.append((subproblem, count, plan))
                self._hold(number, count, plan.rows, slope)
                use = job_use(arrays, plan.rows)
                jobs = self._jobs[number][use.skipped]
                if self.several:
                    np.add.at(slope, self.serve_at + jobs, count)
                else:
                    rejected[jobs] = True
                self._take(number, count, (arrays, plan.rows, use), prices.slots, used)
                at_end = sum(tick == self.ticks for _, tick in use.cut)
                cut, left = cut + len(use.cut) - at_end, left + at_end
        terms.append(-float(flat[: self.serve_at] @ self._room))
        if self.several:
            rejected = self._agree(prices.serve, least, slope, terms)
        for merged, choice, (taken, done), (_, a, b) in zip(
            self.merged, choices, used, self._merged(), strict=True
        ):
            if not self.several:
                terms += choice.least.tolist()
            merged.choose(choice, ~rejected[merged.jobs], taken, done)
            slope[a:b] = merged.slope(taken, done)
        return Evaluation(_sum_below(terms), slope, tuple(plans), cut, left)

    def _hold(self, number: int, count: int, rows: Ints, slope: Floats) -> None:
        """Add to ``slope`` the time that a plan uses."""
        lasting = rows[rows[:, 2] > rows[:, 1]]
        parts = slope[: self.serve_at].reshape(-1, len(self.kinds), self.ticks)
        for part, used in enumerate((HOLDS, KEEPS, LOADS)[: len(parts)]):
            taken = covered(lasting[used[lasting[:, 0]]], self.ticks)
            parts[part, self._of_kind[number]] += count * taken

    def _take(
        self,
        number: int,
        count: int,
        plan: tuple[SubproblemArrays, Ints, JobUse],
        slots: Sequence[SlotPrices],
        used: Sequence[tuple[Floats, Floats]],
    ) -> None:
        """Add to ``used`` the slots of a plan."""
        arrays, rows, jobs = plan
        if not len(arrays.taken):
            return
        taken, done = slot_use(arrays, rows)
        way = 0
        for q, i in enumerate(self._slots[number]):
            if i < 0:
                continue
            ways = len(used[i][0])
            used[i][0][:] += count * taken[way : way + ways]
            used[i][1][:] += count * done[q]
            way += ways
            for tick, many in Counter(tick for which, tick in jobs.cut if which == q).items():
                best, start, end = self.merged[i].best(slots[i], tick)
                used[i][0][best, start] += count * many
                used[i][1][end] += count * many

    def _agree(
        self, serve: Floats, least: Floats, slope: Floats, terms: list[float]
    ) -> NDArray[np.bool_]:
        """Add the part of the bound that makes GPUs agree on who serves what; who is rejected."""
        gpus = len(self.problem.site.gpus)
        part = slope[self.serve_at : self.merged_at[0]]
        part += self._unfit
        rejected = serve + least > self.reject
        part -= gpus - 1 + rejected
        part[~self._fits] = 0.0
        each = (self._unfit - (gpus - 1)) * serve + least
        each -= np.where(rejected, serve + least - np.where(rejected, self.reject, 0.0), 0.0)
        terms.extend(map(float, each[self._fits]))
        return rejected


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


def _sum_below(terms: Sequence[float]) -> float:
    """The sum, less what rounding in its terms can have added."""
    size = math.fsum(abs(term) for term in terms)
    return math.fsum(terms) - 1e-12 * size if math.isfinite(size) else math.fsum(terms)
