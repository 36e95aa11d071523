"""The packing model: where only what goes together counts, a schedule is a packing of bins.

One GPU, one adapter, all jobs there from tick 0, nothing lost by waiting, batches that all take
equally long: then the horizon is a number of bins, and only rejections cost anything. The model is
the arc flow of Valério de Carvalho (Annals of Operations Research 86, 1999): nodes are amounts of
the one scarce resource, a unit of flow from 0 to the capacity is a bin, an arc from u to u + size
packs a job of this size, jobs by falling size. Its LP relaxation is that of Gilmore and Gomory's
patterns, nearly always the optimum rounded down; and it knows no symmetry of bins or of equal jobs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from pats_opt.model.loss import switching_loss
from pats_opt.model.plan import Plan, PlannedBatch
from pats_opt.model.problem import Job, Problem
from pats_solvers.common.bounds import largest_batch
from pats_solvers.cpsat.base import CpSatModel, Var
from pats_solvers.cpsat.bins import quick_bins
from pats_solvers.cpsat.layout import timed

#: Arcs beyond which the model is not built: finely measured sizes give too many amounts.
MOST_ARCS = 200_000


@dataclass(frozen=True, slots=True)
class BinPackingProblem:
    """A problem as bin packing.

    Attributes:
        count: How many bins there are.
        capacity: Of a bin, in units of the sizes.
        sizes: Size of each job; above the capacity where it does not fit.
        arcs: ``(u, size)`` of every arc, by falling size.
    """

    count: int
    capacity: int
    sizes: tuple[int, ...]
    arcs: tuple[tuple[int, int], ...]


def bins_of(problem: Problem) -> BinPackingProblem | str:
    """Return the problem as bin packing, or why it is none."""
    times = _batch_ticks(problem)
    obstacle = _more_than_packing(problem, times)
    if obstacle is not None:
        return obstacle
    jobs = problem.jobs
    scarce = [
        (free, [job.demand[i] for job in jobs])
        for i, free in enumerate(problem.site.room(0, frozenset((jobs[0].adapter,))))
        if free is not None and sum(job.demand[i] for job in jobs) > free
    ]
    if len(scarce) != 1:
        return "no scarce resource" if not scarce else "several scarce resources"
    capacity, sizes = scarce[0]
    if capacity < 0 or not all(sizes):
        return "requests that need nothing" if capacity >= 0 else "an adapter that does not fit"
    unit = math.gcd(*sizes)
    sizes = [size // unit for size in sizes]
    flow = _arcs(sizes, capacity // unit)
    if flow is None:
        return f"more than {MOST_ARCS:,} arcs of the flow"
    count = len(jobs)
    if problem.site.horizon is not None:
        left = problem.site.horizon - _first_load(problem)[0]
        count = min(count, max(0, left // times.pop()))
    return BinPackingProblem(count, capacity // unit, tuple(sizes), flow)


def _more_than_packing(problem: Problem, times: set[int]) -> str | None:
    """Return what else than packing counts where batches take these ticks, or None."""
    site, jobs = problem.site, problem.jobs
    obstacles = {
        "several GPUs": len(site.gpus) != 1,
        "overlap": site.channels is not None,
        "several adapters": len({job.adapter for job in jobs}) != 1,
        "arrivals after tick 0": any(job.arrival for job in jobs),
        "priced latency or deadlines": any(_minds_waiting(problem, job) for job in jobs),
        "batches of different length": len(times) != 1,
        "a largest batch beside its resources": site.clock.largest is not None
        and site.clock.largest < len(jobs),
    }
    return next((name for name, there in obstacles.items() if there), None)


def _batch_ticks(problem: Problem) -> set[int]:
    """Return the different durations of batches."""
    most = max([1, *(largest_batch(problem, gpu.index) for gpu in problem.site.gpus)])
    clock = problem.site.clock
    steps = {o.steps for job in problem.jobs for o in job.options}
    return {clock.duration(((s, n),)) for s in steps for n in range(1, most + 1)}


def _minds_waiting(problem: Problem, job: Job) -> bool:
    site = problem.site
    late = job.deadline is not None and site.late_price > 0
    return job.weight > 0 and (site.latency_price_per_s > 0 or late)


def _first_load(problem: Problem) -> tuple[int, float]:
    """Return ticks and loss of making the adapter resident."""
    own = frozenset((problem.jobs[0].adapter,))
    switch = problem.site.switch(problem.site.gpus[0].resident, own, own, None)
    return switch.ticks, switching_loss(problem.site, switch.seconds)


def _arcs(sizes: list[int], capacity: int) -> tuple[tuple[int, int], ...] | None:
    """Return the arcs of all packings by falling size, None where they are too many."""
    reached: set[int] = {0}
    found: list[tuple[int, int]] = []
    for size, copies in sorted(Counter(sizes).items(), reverse=True):
        tails: set[int] = set()
        front = reached
        for _ in range(copies):
            front = {u + size for u in front if u + size <= capacity and u not in tails}
            tails |= {v - size for v in front}
            if len(found) + len(tails) > MOST_ARCS:
                return None
            if not front:
                break
        found += [(u, size) for u in sorted(tails)]
        reached |= {u + size for u in tails}
    return tuple(found)


class PackingModel(CpSatModel):
    """A problem as an arc flow for CP-SAT. Jobs of equal size and rejection loss are a class."""

    name: ClassVar[str] = "packing"
    bytes_per_size: ClassVar[int] = 5_000
    linearization: ClassVar[int] = 2
    probing: ClassVar[int] = 0

    @override
    def __init__(
        self,
        problem: Problem,
        known_loss: float | None = None,
        stop: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(
            problem, known_loss, stop
        )  # a known loss cuts off nothing that the LP keeps
        found = bins_of(problem)
        assert isinstance(found, BinPackingProblem)
        self.bins = found
        self.classes: dict[tuple[int, float | None], list[Job]] = defaultdict(list)
        for job in problem.jobs:
            self.classes[found.sizes[job.index], job.reject_loss].append(job)
        self.rejected = {
            key: self.cp.new_int_var(0, 0 if key[1] is None else len(jobs), "")
            for key, jobs in self.classes.items()
        }
        for (_, loss), rejected in self.rejected.items():
            self._pay(loss or 0.0, rejected, len(problem.jobs))
        self.flow = {arc: self._count() for arc in found.arcs}
        self.waste: dict[int, Var] = {}
        self._conserve()
        self._serve()
        self._minimise()

    @classmethod
    @override
    def unfit(cls, problem: Problem) -> str | None:
        found = bins_of(problem)
        return found if isinstance(found, str) else None

    @classmethod
    @override
    def size(cls, problem: Problem) -> int:
        """Return the number of arcs."""
        found = bins_of(problem)
        return 0 if isinstance(found, str) else len(found.arcs)

    @classmethod
    @override
    def quick_plan(cls, problem: Problem, stop: Callable[[], object]) -> Plan | None:
        """Return a good plan at once, or None: the jobs that must be served, others as they fit."""
        bins = bins_of(problem)
        assert isinstance(bins, BinPackingProblem)
        must: dict[int, list[Job]] = defaultdict(list)
        may: list[Job] = []
        for job in problem.jobs:
            if job.reject_loss is None:
                must[bins.sizes[job.index]].append(job)
            else:
                may.append(job)
        if any(size > bins.capacity for size in must):
            return None
        counts = {size: len(jobs) for size, jobs in must.items()}
        filled = quick_bins(counts, bins.capacity, stop)
        if len(filled) > bins.count:
            return None
        packed = [[must[size].pop() for size in sizes] for sizes in filled]
        packed += [[] for _ in range(bins.count - len(packed))]
        room = [bins.capacity - sum(bins.sizes[job.index] for job in jobs) for jobs in packed]
        for job in sorted(may, key=lambda job: (-(job.reject_loss or 0.0), job.index)):
            size = bins.sizes[job.index]
            fits = [i for i, free in enumerate(room) if size <= free]
            if fits:
                best = min(fits, key=room.__getitem__)
                room[best] -= size
                packed[best].append(job)
        return timed(problem, Plan((tuple(_batch(jobs) for jobs in packed if jobs),)))

    def _count(self) -> Var:
        self._go_on()
        return self.cp.new_int_var(0, self.bins.count, "")

    def _conserve(self) -> None:
        """Flow into an amount goes on from it, or is the end of a bin there."""
        out, into = defaultdict(list), defaultdict(list)
        for (u, size), flow in self.flow.items():
            out[u].append(flow)
            into[u + size].append(flow)
        used = self.cp.new_int_var(0, self.bins.count, "")
        self.cp.add(sum(out[0]) == used)
        for u, flows in into.items():
            self.waste[u] = self._count()
            self.cp.add(sum(flows) == sum(out[u]) + self.waste[u])
        self.cp.add(sum(self.waste.values()) == used)
        self.used = used
        _, first_load = _first_load(self.problem)
        self.anything = self._flag()  # is served: then the adapter is loaded
        self.cp.add(used <= self.bins.count * self.anything)
        self._pay(first_load, self.anything)

    def _serve(self) -> None:
        """Of each size, as many are packed as are not rejected."""
        packed = defaultdict(list)
        for (_, size), flow in self.flow.items():
            packed[size].append(flow)
        wanted: dict[int, Var] = defaultdict(int)
        for key, jobs in self.classes.items():
            wanted[key[0]] += len(jobs) - self.rejected[key]
        for size, count in wanted.items():
            self.cp.add(sum(packed[size]) == count)
        # The flow implies it; stated alone it gives the search a bound before the LP does.
        volume = sum(size * count for size, count in wanted.items())
        self.cp.add(volume <= self.bins.capacity * self.used)

    # -- plans -----------------------------------------------------------------------------------

    @override
    def plan(self, value: Callable[[Var], int]) -> Plan:
        """Return the plan of a solution's values: the flow, bin by bin."""
        flow = {arc: int(value(v)) for arc, v in self.flow.items()}
        ends = {u: int(value(v)) for u, v in self.waste.items()}
        out = defaultdict(list)
        for u, size in flow:
            out[u].append(size)
        left: dict[int, list[Job]] = defaultdict(list)
        for key, jobs in self.classes.items():
            left[key[0]] += jobs[int(value(self.rejected[key])) :]
        batches: list[PlannedBatch] = []
        for _ in range(int(value(self.used))):
            members, at = [], 0
            while not (at and ends[at]):
                size = next(size for size in out[at] if flow[at, size])
                flow[at, size] -= 1
                at += size
                members.append(left[size].pop())
            ends[at] -= 1
            batches.append(_batch(members))
        return timed(self.problem, Plan((tuple(batches),)))

    @override
    def hint(self, plan: Plan) -> None:
        """Hint the flow of a plan, and with it every variable."""
        flow: Counter[tuple[int, int]] = Counter()
        ends: Counter[int] = Counter()
        served = set()
        for batch in plan.gpus[0]:
            at = 0
            for size in sorted((self.bins.sizes[j] for j, _ in batch.members), reverse=True):
                flow[at, size] += 1
                at += size
            ends[at] += 1
            served |= {j for j, _ in batch.members}
        for arc, v in self.flow.items():
            self.cp.add_hint(v, flow[arc])
        for u, v in self.waste.items():
            self.cp.add_hint(v, ends[u])
        self.cp.add_hint(self.used, len(plan.gpus[0]))
        self.cp.add_hint(self.anything, bool(plan.gpus[0]))
        for key, v in self.rejected.items():
            self.cp.add_hint(v, sum(job.index not in served for job in self.classes[key]))


def _batch(jobs: list[Job]) -> PlannedBatch:
    """Return a batch of jobs, each with its option of least loss (all take equally long)."""

    def best(job: Job) -> int:
        return min(range(len(job.options)), key=lambda o: job.options[o].quality_loss)

    members = tuple((job.index, best(job)) for job in jobs)
    return PlannedBatch(0, members, frozenset((jobs[0].adapter,)))
