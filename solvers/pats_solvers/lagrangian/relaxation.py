"""The relaxation: everything is priced that adapters and GPUs compete for.

Prices, most of them per GPU kind (GPUs of equal capacity), make the problem fall apart into
one subproblem for each adapter and GPU:

- ``hold[t]``: holding a GPU in tick t. With one resident adapter a GPU is held from the start of a
  switch until it is left; with more, only while it switches, serves, or (where activation takes
  time) waits for the active adapter. At most one adapter holds a GPU at a time, or
  ``max_per_batch`` where batches mix; a load then counts as all of these if activation takes none.
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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import Floats, Ints
from pats_solvers.common.classes import JobClass, classes
from pats_solvers.common.stopping import check_stop, never
from pats_solvers.lagrangian.aggregation import ChainClasses, aggregated
from pats_solvers.lagrangian.bundle import BYTES, LEAST_CUTS
from pats_solvers.lagrangian.costs import ABSENT, ACTIVE, PREFETCH, SubproblemArrays
from pats_solvers.lagrangian.exchange import Exchange, PartEvaluation, PriceVector, SlotUse
from pats_solvers.lagrangian.gpu_kinds import gpu_kinds
from pats_solvers.lagrangian.merging import MergedPrices, SlotPrices
from pats_solvers.lagrangian.subproblem import (
    AdapterPlan,
    AdapterSubproblem,
    loading_room,
    monotone,
    paid,
)
from pats_solvers.lagrangian.usage import HOLDS, KEEPS, LOADS, JobUse, covered, job_use, slot_use


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The relaxation at some prices.

    Attributes:
        bound: A lower bound on the loss of every schedule.
        slope: A supergradient of the bound in the flat prices.
        parts: What the bound is the sum of, but for the relaxation's constant and its linear term.
        plans: Of each subproblem the best plan, and on how many GPUs of its kind it is run.
        cut: Jobs beyond a backlog cap, served for nothing but their own least loss.
        left: Jobs left at the last tick, and served likewise. Where there is neither, the
            subproblems' values are exact.
    """

    bound: float
    slope: Floats
    parts: tuple[PartEvaluation, ...]
    plans: tuple[tuple[AdapterSubproblem, int, AdapterPlan], ...]
    cut: int
    left: int


class ChainEvaluation(NamedTuple):
    """One subproblem's share of an :class:`Evaluation`; ``terms`` are what its value sums up."""

    part: PartEvaluation
    terms: list[float]
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
        stop: Asked before each adapter's set-up whether to break off.
        lanes: Whether classes that are too many are parted into lanes, or else merged.

    Raises:
        StopError: ``stop`` said so.

    Attributes:
        dimension: Length of a flat price vector: ``hold``, ``keep``, ``load``, ``serve`` and those
            of merged classes after one another.
        serve_at: Where ``serve`` begins there.
        merged_at: Where those of each merged class begin; a last entry ends them.
        signed: Prices that may be negative.
        constant: Loss that every schedule has.
        unit: How far each price goes when others go as far as theirs, for an ascent.
        loading: Places of a GPU that a load takes.
        linear: What the bound rises by with each price whatever adapters and jobs do.
        merged: The merged classes.
        lanes: Whether any classes are lanes.
        parts: Parts that the rest of the bound falls apart into.
        of_kind: GPU kind of each subproblem.
    """

    def __init__(
        self,
        problem: Problem,
        ticks: int,
        *,
        states: int = 400,
        grain: int = 1,
        threads: int = 1,
        stop: Callable[[], bool] = never,
        lanes: bool = False,
    ) -> None:
        self.problem, self.threads, self.grain = problem, threads, grain
        site = problem.site
        self.kinds = gpu_kinds(problem)
        self.ticks = max(1, -(-ticks // grain))
        self.several = len(site.gpus) > 1
        self.overlap = site.channels is not None
        self.caching = site.max_resident > 1 or self.overlap
        self.loading = loading_room(site)
        self._starts: list[tuple[int, int]] = []  # GPUs where the adapter is absent, and active
        self.subproblems: list[AdapterSubproblem] = []
        self._jobs: list[Ints] = []  # job of each place in a subproblem's ``skip``
        self._early: list[Floats] = []  # its latency price up to its arrival, which is no loss
        self._unfit = np.zeros(len(problem.jobs))  # GPUs that cannot serve a job
        self.merged: list[MergedPrices] = []
        self.of_kind: list[int] = []
        self._slots: list[list[int]] = []  # merged class of a subproblem's classes, or -1
        self._add(monotone(problem), states, lanes, stop)
        self.lanes = any(part.lanes for part in self.subproblems)
        rooms = [[site.max_per_batch for _ in self.kinds]]  # on one GPU, by part and kind
        rooms += [[kind.places for kind in self.kinds]] if self.caching else []
        rooms += [[site.channels for _ in self.kinds]] if site.channels is not None else []
        sizes = np.array([len(kind.gpus) for kind in self.kinds])
        room = np.repeat((np.array(rooms) * sizes).ravel(), self.ticks).astype(np.float64)
        self.serve_at = len(room)
        self.exchange = Exchange(problem, self.merged, self._unfit, self.serve_at)
        self.merged_at, self.constant = self.exchange.merged_at, self.exchange.constant
        self.dimension = int(self.merged_at[-1])
        self.signed = np.arange(self.dimension) >= self.serve_at
        self.linear = np.zeros(self.dimension)
        self.linear[: self.serve_at] = -room
        self.linear[self.serve_at : self.merged_at[0]] = self.exchange.linear
        self.unit = np.ones(self.dimension)
        self.unit[self.serve_at :] = self.exchange.units(self.ticks)
        for merged, first, last in self.exchange.ranges():
            self.signed[first:last] = merged.signed
        self.parts = len(self.subproblems) + len(self.exchange.groups)

    def _add(self, problem: Problem, states: int, lanes: bool, stop: Callable[[], bool]) -> None:
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
            check_stop(stop)
            listed, merged = aggregated(problem, mine, fitting, states, lanes=lanes)
            at = {id(each.kind.demands): len(self.merged) + i for i, each in enumerate(merged)}
            self.merged += [MergedPrices(each, self.ticks, self.grain) for each in merged]
            made.append((listed, at))
        for number, kind in enumerate(self.kinds):
            for listed, at in made:
                check_stop(stop)
                if (here := listed.get(kind.gpus[0])) is not None:
                    slots = [at.get(id(each.demands), -1) for each in here.kinds]
                    self._add_chain(problem, number, here, slots)

    def _add_chain(
        self, problem: Problem, number: int, here: ChainClasses, slots: list[int]
    ) -> None:
        """Make the subproblem of an adapter's classes, with their merged ones, on a GPU kind."""
        kind = self.kinds[number]
        chain = AdapterSubproblem(
            problem, here, kind.gpus[0], self.ticks, grain=self.grain, skippable=self.several
        )
        there = sum(chain.adapter in problem.site.gpus[g].resident for g in kind.gpus)
        skippable = [
            (job.index, each.price * job.arrival)
            for q, each in enumerate(chain.kinds)
            if chain.arrays.classes["skip_at"][q] >= 0
            for job in each.jobs
        ]
        self.subproblems.append(chain)
        self.of_kind.append(number)
        self._starts.append((len(kind.gpus) - there, there))
        self._slots.append(slots)
        self._jobs.append(np.array([job for job, _ in skippable], dtype=np.int64))
        self._early.append(np.array([latency for _, latency in skippable], dtype=np.float64))

    def classes(self) -> int:
        """Return how many classes the subproblems tell apart."""
        return sum(len(subproblem.kinds) for subproblem in self.subproblems)

    def bytes(self) -> int:
        """Memory that an evaluation and the fewest cuts of an ascent take, in bytes."""
        largest = sorted((subproblem.bytes() for subproblem in self.subproblems), reverse=True)
        cut = len(self.subproblems) * self.serve_at // len(self.kinds)
        cut += sum(len(jobs) for jobs in self._jobs) + sum(
            len(g.jobs) for g in self.exchange.groups
        )
        cut += (1 + len(self.kinds)) * (self.dimension - int(self.merged_at[0]))
        return sum(largest[: self.threads]) + BYTES * LEAST_CUTS * cut

    def prices(self, flat: Floats) -> PriceVector:
        """A flat price vector by its parts."""
        parts = [*flat[: self.serve_at].reshape(-1, len(self.kinds), self.ticks)]
        hold, keep, load = [*parts, *[np.zeros_like(parts[0])] * 2][:3]
        slots = [merged.slots(flat[a:b]) for merged, a, b in self.exchange.ranges()]
        serve = flat[self.serve_at : self.merged_at[0]]
        if self.several:
            serve = serve * self.exchange.alone
        return PriceVector(hold, keep, load, serve, tuple(slots))

    def paid(self, flat: Floats, number: int) -> Floats:
        """Return what a subproblem pays for time, summed up."""
        return self._paid(self.prices(flat), number)

    def _paid(self, prices: PriceVector, number: int) -> Floats:
        kind = self.of_kind[number]
        load = prices.load[kind] if self.overlap else None
        if self.loading > 1:
            load = self.loading * prices.hold[kind]
        return paid(prices.hold[kind], prices.keep[kind], load)

    def arrays(self, flat: Floats, number: int) -> SubproblemArrays:
        """Return a subproblem's arrays at the prices of serving and of options."""
        return self._arrays(self.prices(flat), number)

    def least(self, flat: Floats) -> Floats:
        """Return by job the least loss beyond its slot's; 0 for those in no merged class."""
        return self.exchange.least(self.exchange.choices(self.prices(flat).slots))

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

    def _arrays(self, prices: PriceVector, number: int) -> SubproblemArrays:
        subproblem, jobs = self.subproblems[number], self._jobs[number]
        skip = subproblem.arrays.skip
        if self.several:  # what it is paid for serving
            skip = self._early[number] + prices.serve[jobs]
        elif len(jobs):  # of a merged class rejections are priced elsewhere
            skip = np.where(self.exchange.alone[jobs] > 0.0, skip, self._early[number])
        slots = [(self.merged[i], prices.slots[i]) if i >= 0 else None for i in self._slots[number]]
        return subproblem.priced(skip, slots)

    def evaluate(self, flat: Floats, stop: Callable[[], bool] = never) -> Evaluation:
        """The bound at a flat price vector, a supergradient, and the subproblems' plans.

        Args:
            flat: The prices.
            stop: Asked before each subproblem whether to break off.

        Raises:
            StopError: ``stop`` said so.
        """
        prices = self.prices(flat)
        choices = self.exchange.choices(prices.slots)

        def solve(number: int) -> ChainEvaluation:
            check_stop(stop)
            subproblem, hold = self.subproblems[number], self._paid(prices, number)
            arrays = self._arrays(prices, number)
            values = subproblem.values(hold, arrays)
            plans = [
                (count, subproblem.plan(values, hold, state, arrays))
                for state, count in zip((ABSENT, ACTIVE), self._starts[number], strict=True)
                if count
            ]
            return self._chain(number, arrays, plans, prices)

        numbers = range(len(self.subproblems))
        if self.threads > 1:
            with ThreadPoolExecutor(self.threads) as pool:
                chains = list(pool.map(solve, numbers))
        else:
            chains = [solve(number) for number in numbers]
        terms = [self.constant, *(term for chain in chains for term in chain.terms)]
        parts = [chain.part for chain in chains]
        for part, more in self.exchange.evaluate(prices, choices):
            parts.append(part)
            terms += more.tolist()
        terms += [float(flat @ self.linear)]
        slope = self.linear.copy()
        for part in parts:
            slope[part.places] += part.slope
        return Evaluation(
            bound=_sum_below(terms),
            slope=slope,
            parts=tuple(parts),
            plans=tuple(plan for chain in chains for plan in chain.plans),
            cut=sum(chain.cut for chain in chains),
            left=sum(chain.left for chain in chains),
        )

    def _chain(
        self,
        number: int,
        arrays: SubproblemArrays,
        plans: Sequence[tuple[int, AdapterPlan]],
        prices: PriceVector,
    ) -> ChainEvaluation:
        """Return a subproblem's part of the bound, of its plans and how many GPUs run each."""
        subproblem, own = self.subproblems[number], self._slots[number]
        time = np.zeros((self.serve_at // len(self.kinds) // self.ticks, self.ticks))
        serve = np.zeros(self.merged_at[0] - self.serve_at)
        used = {
            i: (np.zeros_like(prices.slots[i].taken), np.zeros_like(prices.slots[i].done))
            for i in own
            if i >= 0
        }
        terms = list[float]()
        cut = left = 0
        for count, plan in plans:
            # Apart, so that rounding is judged by the large numbers that it happens in.
            terms += [count * (plan.value - subproblem.constant), count * subproblem.constant]
            lasting = plan.rows[plan.rows[:, 2] > plan.rows[:, 1]]
            for row, held in enumerate((HOLDS, KEEPS, LOADS)[: len(time)]):
                time[row] += count * covered(lasting[held[lasting[:, 0]]], self.ticks)
            if self.loading > 1:
                alone = lasting[lasting[:, 0] == PREFETCH]
                time[0] += (self.loading - 1) * count * covered(alone, self.ticks)
            use = job_use(arrays, plan.rows)
            if self.several:
                jobs = self._jobs[number][use.skipped]
                np.add.at(serve, jobs, count * self.exchange.alone[jobs])
            self._take(number, count, (arrays, plan.rows, use), prices.slots, used)
            at_end = sum(tick == self.ticks for _, tick in use.cut)
            cut, left = cut + len(use.cut) - at_end, left + at_end
        slope = np.zeros(self.dimension)
        slope[: self.serve_at].reshape(-1, len(self.kinds), self.ticks)[:, self.of_kind[number]] = (
            time
        )
        slope[self.serve_at : self.merged_at[0]] = serve
        for i, both in used.items():
            slope[self.merged_at[i] : self.merged_at[i + 1]] = self.merged[i].slope(*both)
        places = np.flatnonzero(slope)
        part = PartEvaluation(math.fsum(terms), places, slope[places])
        found = tuple((subproblem, count, plan) for count, plan in plans)
        return ChainEvaluation(part, terms, found, cut, left)

    def _take(
        self,
        number: int,
        count: int,
        plan: tuple[SubproblemArrays, Ints, JobUse],
        slots: Sequence[SlotPrices],
        used: Mapping[int, SlotUse],
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


def _sum_below(terms: Sequence[float]) -> float:
    """The sum, less what rounding in its terms can have added; no bound where it has no number."""
    try:
        size = math.fsum(abs(term) for term in terms)
        return math.fsum(terms) - 1e-12 * size if math.isfinite(size) else math.fsum(terms)
    except OverflowError:  # prices rise without end where no schedule ends in time
        return -math.inf
