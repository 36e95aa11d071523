"""PyJobShop as a solver, for comparison: the problem in its terms of tasks, modes and resources.

`PyJobShop <https://pyjobshop.org>`_ (Lan and Berkhout 2025, arXiv:2502.13483) states scheduling
problems and solves them with CP-SAT. It has no batches, so they are put together from its parts:

- The batch that request i leads (no other member stands before i in the order of arrival) is an
  optional task on a machine, the GPU. Its modes are *shapes*: how many members reach each step
  count at most, and so how long it takes (rule 5). A switch is a set-up time between tasks.
- A request has an optional *seat* for each batch that it can join and each of its options, and
  takes exactly one. A seat starts with its batch and ends when the batch's *level* is done: one
  task for each batch and step count, with a mode for each time that this can take.
- Seats hold one unit of a renewable resource of the GPU for each step count that they reach. The
  batch's task holds what its shape leaves free, so that no more members fit in.
- Latency is the flow time of a job that ends with the seat. PyJobShop prices no modes, so a job of
  its own lasts as many units of time as the request's option loses units of quality.

Prices are rounded down to whole units, so its bound is one. A tick of set-up time has one price in
PyJobShop: where switches cost different amounts a tick it is the mean, and there is no bound. Nor
are there caches: with several residents it plans as with one, there is no bound, and
:mod:`pats_solvers.paging` keeps what its order of batches needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from math import floor
from operator import ge
from statistics import fmean
from typing import Any, ClassVar, NamedTuple

from msgspec import Struct

from pats_opt.core.solver import ALL_FEATURES, Capabilities, Feature, Kind, Outcome, Run
from pats_opt.errors import CapabilityError
from pats_opt.model.checker import valid_loss
from pats_opt.model.loss import switching_loss
from pats_opt.model.plan import Members, Plan, PlannedBatch, earliest
from pats_opt.model.problem import Adapters, Job, Problem
from pats_opt.model.schedule import StopReason
from pats_opt.model.timing import to_ticks
from pats_solvers.common.bounds import largest_batch, longest_batch, longest_switch
from pats_solvers.paging import AdapterUse, cheapest, furthest

#: PyJobShop lays set-up times out densely, by resource, task and task; more than this is refused.
MOST_GIB = 4.0

#: The finest unit of the loss that its model counts in.
UNIT = 1e-5

#: An optimum of the model within this of the loss proves it: what rounding to units can take away.
PROVEN = 1e-6

#: Sum of the prices of a tick, in units: with it CP-SAT refuses PyJobShop's objective, whose
#: domains reach to 2 ** 42.
MOST_UNITS = 2**20


class Shape(NamedTuple):
    """A mode of a batch: how many members may reach each step count, and when these are done.

    ``done`` has the ticks from the batch's start of each step count that a member may have.
    """

    most: tuple[int, ...]
    done: tuple[int, ...]


class PyJobShop(Struct, frozen=True, kw_only=True):
    """PyJobShop's CP-SAT model of the problem with its batches, one resident adapter a GPU."""

    name: ClassVar[str] = "pyjobshop"
    kind: ClassVar[Kind] = Kind.EXACT
    capabilities: ClassVar[Capabilities] = Capabilities(
        features=ALL_FEATURES
        - {Feature.TABLE, Feature.SLOT, Feature.MIXED_BATCH}
        - {Feature.DEADLINES, Feature.REJECTION, Feature.HORIZON},
        bound=True,
        warm_start=True,
        packages=("pyjobshop",),
    )

    def solve(self, problem: Problem, run: Run) -> Outcome:
        """The better of the start and of what PyJobShop finds, and its bound.

        Raises:
            CapabilityError: Requests or GPUs differ in more than it is told, or it is too large.
        """
        from pyjobshop.solvers.ortools import CPModel

        model = BatchModel(problem)
        native = CPModel(model.data)
        left = run.remaining()
        found = native.solve(
            time_limit=float("inf") if left is None else left,
            num_workers=run.jobs,
            initial_solution=None if run.start is None else model.solution(run.start[0]),
            random_seed=run.seed,
        )
        optimal = found.status.value == "Optimal"
        stop = StopReason.COMPLETE if optimal else run.stop() or StopReason.TIME_LIMIT
        details = {"tasks": model.data.num_tasks, "modes": model.data.num_modes, "unit": model.unit}
        if not found.best.tasks:
            return Outcome(stop, run.start[0] if run.start else None, None, details)
        details["objective"] = found.objective * model.unit
        bound = found.lower_bound * model.unit if model.exact else None
        best = plan = model.plan(found.best.tasks)
        loss = valid_loss(problem, plan)
        if run.start is not None and (loss is None or run.start[1] < loss):
            best, loss = run.start
        if bound is not None and loss is not None and optimal and bound >= loss - PROVEN:
            return Outcome(StopReason.OPTIMAL, best, loss, details)
        return Outcome(stop, best, bound, details)


class BatchModel:
    """The model of a problem.

    Attributes:
        data: PyJobShop's data.
        unit: The loss that a unit of its objective stands for.
        exact: Whether its objective is never above the loss, so that its bound is one.
    """

    def __init__(self, problem: Problem) -> None:
        from pyjobshop import Model

        _refuse(problem)
        self._problem, self._site, self._jobs = problem, problem.site, problem.jobs
        self._levels = sorted({o.steps for job in self._jobs for o in job.options})
        self._shapes = list(_shapes(problem, self._levels, largest_batch(problem, 0)))
        self.unit = UNIT
        self._tick_price = self._site.latency_price_per_s * self._site.tick_s
        while self._tick_price * sum(job.weight for job in self._jobs) >= MOST_UNITS * self.unit:
            self.unit *= 10
        self._model: Any = Model()
        self._horizon = self._longest()
        #: Mode of a batch's task: its leader, GPU and shape.
        self._batch_modes: dict[int, tuple[int, int, Shape]] = {}
        #: Task of a seat: the leader, the member and its option.
        self._seats: dict[int, tuple[int, int, int]] = {}
        self._resources()
        self._batches()
        self._requests()
        self._switches()
        self.data: Any = self._model.data()

    def plan(self, tasks: list[Any]) -> Plan:
        """The plan of PyJobShop's solution, timed as early as it can be."""
        members: dict[int, list[tuple[int, int]]] = {}
        for task, (leader, job, option) in self._seats.items():
            if tasks[task].present:
                members.setdefault(leader, []).append((job, option))
        rows: list[list[tuple[int, Members]]] = [[] for _ in self._site.gpus]
        for leader, found in members.items():
            task = tasks[self._index[leader]]
            rows[self._batch_modes[task.mode][1]].append((task.start, tuple(sorted(found))))
        return Plan(
            tuple(self._timed(g, [m for _, m in sorted(row)]) for g, row in enumerate(rows))
        )

    def solution(self, plan: Plan) -> Any:
        """A plan's batches in their order as PyJobShop's solution, with one resident adapter."""
        from pyjobshop.Solution import ScheduledTask, Solution

        absent = ScheduledTask(0, [], 0, 0, 0, 0, present=False)
        tasks = [absent] * self.data.num_tasks

        def put(task: int, mode: int, start: int, end: int) -> None:
            chosen = self.data.modes[mode]
            idle = end - start - chosen.duration
            tasks[task] = ScheduledTask(mode, chosen.resources, start, end, idle, 0, present=True)

        for g, row in enumerate(plan.gpus):
            put(self._first[g], self.data.task2modes(self._first[g])[0], 0, 0)
            alone = [(b.members, frozenset({self._jobs[b.members[0][0]].adapter})) for b in row]
            for batch in earliest(self._problem, g, alone):
                leader = min(j for j, _ in batch.members)
                mode, shape = self._shape_of(batch.members, leader, g)
                put(self._index[leader], mode, batch.start, batch.start + shape.done[-1])
                for j, o in batch.members:
                    level = self._levels.index(self._jobs[j].options[o].steps)
                    end = batch.start + shape.done[level]
                    done = self._level_modes[leader, level]
                    put(self._level_index[leader, level], done[shape.done[level]], batch.start, end)
                    seat = self._seat_index[leader, j, o]
                    put(seat, self.data.task2modes(seat)[g], batch.start, end)
                    served, option = self._served[j], self._served_modes[j, o]
                    put(served, option, batch.start, end)
                    if (lost := self._quality_modes.get((j, o))) is not None:
                        put(self._quality[j], lost, 0, self.data.modes[lost].duration)
        return Solution(self.data, tasks)

    # -- the model -------------------------------------------------------------------------------

    def _whole(self, loss: float) -> int:
        """Units of a loss, rounded down but for errors of floats."""
        return floor(loss / self.unit + 1e-6)

    def _longest(self) -> int:
        """Ticks by which serving the requests one at a time has ended."""
        last = max((job.arrival for job in self._jobs), default=0)
        return last + len(self._jobs) * (
            longest_batch(self._problem, 1) + longest_switch(self._problem)
        )

    def _task(self, **settings: Any) -> tuple[Any, int]:
        """A task that ends within the horizon, and its index."""
        task = self._model.add_task(latest_end=self._horizon, **settings)
        return task, len(self._model.tasks) - 1

    def _mode(
        self, task: Any, resources: Any, duration: int, demands: Any = None
    ) -> tuple[Any, int]:
        """A mode, and its index."""
        return self._model.add_mode(task, resources, duration, demands), len(self._model.modes) - 1

    def _resources(self) -> None:
        """Each GPU's machine, and its seats by step count."""
        self._most = max((shape.most[0] for shape in self._shapes), default=0)
        self._machines = [self._model.add_machine() for _ in self._site.gpus]
        self._places = [
            [self._model.add_renewable(self._most) for _ in self._levels] for _ in self._site.gpus
        ]

    def _batches(self) -> None:
        """A task for the batch that each request leads, and one for each of its step counts."""
        self._batch: dict[int, Any] = {}
        self._index: dict[int, int] = {}
        self._level: dict[tuple[int, int], tuple[Any, list[Any]]] = {}
        self._level_index: dict[tuple[int, int], int] = {}
        self._level_modes: dict[tuple[int, int], dict[int, int]] = {}
        self._on_gpu: dict[tuple[int, int], list[Any]] = {}
        for job in self._jobs:
            leader = job.index
            task, self._index[leader] = self._task(optional=True, earliest_start=job.arrival)
            self._batch[leader] = task
            done: dict[tuple[int, int], list[Any]] = {}
            for g, shape in product(range(len(self._machines)), self._shapes):
                resources = [self._machines[g], *self._places[g]]
                demands = [0, *(self._most - most for most in shape.most)]
                mode, index = self._mode(task, resources, shape.done[-1], demands)
                self._batch_modes[index] = leader, g, shape
                self._on_gpu.setdefault((leader, g), []).append(mode)
                for level, ticks in enumerate(shape.done):
                    done.setdefault((level, ticks), []).append(mode)
            for level in range(len(self._levels)):
                part, self._level_index[leader, level] = self._task(optional=True)
                self._model.add_start_at_start(part, task)
                self._level[leader, level] = part, []
                self._level_modes[leader, level] = {}
                for (at, ticks), modes in done.items():
                    if at == level:
                        mode, index = self._mode(part, [], ticks)
                        self._level[leader, level][1].append(mode)
                        self._level_modes[leader, level][ticks] = index
                        self._model.add_mode_dependency(mode, modes)

    def _requests(self) -> None:
        """Each request's seats, its latency, and its loss of quality."""
        self._served: dict[int, int] = {}
        self._served_modes: dict[tuple[int, int], int] = {}
        self._quality: dict[int, int] = {}
        self._quality_modes: dict[tuple[int, int], int] = {}
        self._seat_index: dict[tuple[int, int, int], int] = {}
        leading: dict[int, list[Any]] = {}
        for job in self._jobs:
            weight = self._whole(self._tick_price * job.weight)
            flow = self._model.add_job(weight=weight, release_date=job.arrival)
            served, self._served[job.index] = self._task(
                job=flow, allow_idle=True, earliest_start=job.arrival
            )
            ways = []
            for o, option in enumerate(job.options):
                quickest = self._site.clock.quickest(option.steps)
                way, self._served_modes[job.index, o] = self._mode(served, [], quickest)
                ways.append(way)
            self._lost_quality(job, ways)
            seats = []
            for leader, (o, option) in product(self._leaders(job), enumerate(job.options)):
                seat, index = self._task(optional=True, allow_idle=True, earliest_start=job.arrival)
                self._seats[index] = leader, job.index, o
                self._seat_index[leader, job.index, o] = index
                seats.append(seat)
                level = self._levels.index(option.steps)
                part, done = self._level[leader, level]
                self._model.add_start_at_start(seat, part)
                self._model.add_end_at_end(seat, part)
                self._model.add_start_at_start(seat, served)
                self._model.add_end_at_end(seat, served)
                for g, places in enumerate(self._places):
                    reached = places[: level + 1]
                    mode, _ = self._mode(seat, reached, 0, [1] * len(reached))
                    self._model.add_mode_dependency(mode, [ways[o]])
                    self._model.add_mode_dependency(mode, done)
                    self._model.add_mode_dependency(mode, self._on_gpu[leader, g])
                    if leader == job.index:
                        leading.setdefault(leader, []).append(mode)
            self._model.add_select_exactly_one(seats)
        for index, (leader, _, _) in self._batch_modes.items():
            self._model.add_mode_dependency(self._model.modes[index], leading[leader])

    def _lost_quality(self, job: Job, ways: list[Any]) -> None:
        """A job as long as the option's loss of quality in units, where there is one."""
        losses = [self._whole(option.quality_loss) for option in job.options]
        if any(losses):
            cost = self._model.add_job(weight=1)
            lost, self._quality[job.index] = (
                self._model.add_task(job=cost, latest_start=0),
                len(self._model.tasks) - 1,
            )
            for o, (way, loss) in enumerate(zip(ways, losses, strict=True)):
                mode, self._quality_modes[job.index, o] = self._mode(lost, [], loss)
                self._model.add_mode_dependency(way, [mode])

    def _leaders(self, job: Job) -> Iterator[int]:
        """The requests whose batch a request can join: its own, and those of earlier ones."""
        return (j.index for j in self._jobs[: job.index + 1] if j.adapter == job.adapter)

    def _switches(self) -> None:
        """Set-up times between batches, and from what is resident at first."""
        self._first = []
        prices: list[float] = []
        for g, machine in enumerate(self._machines):
            first, index = self._task(latest_start=0)
            self._first.append(index)
            self._model.add_mode(first, machine, 0)
            befores: list[tuple[Any, Adapters]] = [(first, self._site.gpus[g].resident)]
            befores += [(self._batch[j.index], frozenset({j.adapter})) for j in self._jobs]
            for (task, before), job in product(befores, self._jobs):
                wanted = frozenset({job.adapter})
                switch = self._site.switch(
                    before, wanted, wanted, None if task is first else before
                )
                if task is not self._batch[job.index] and switch.ticks:
                    self._model.add_setup_time(machine, task, self._batch[job.index], switch.ticks)
                    prices.append(switching_loss(self._site, switch.seconds) / switch.ticks)
        setups = self._whole(fmean(prices or [0.0]))
        alike = self._whole(max(prices, default=0.0)) == self._whole(min(prices, default=0.0))
        self.exact = alike and self._site.max_resident == 1
        self._model.set_objective(weight_total_flow_time=1, weight_total_setup_time=setups)

    # -- plans -----------------------------------------------------------------------------------

    def _timed(self, gpu: int, row: list[Members]) -> tuple[PlannedBatch, ...]:
        """Batches in their order: residents that need the least switching, each batch early."""
        jobs = [tuple(self._jobs[j] for j, _ in members) for members in row]
        uses = [AdapterUse(m, frozenset({m[0].adapter})) for m in jobs]
        residents = [use.active for use in uses]
        if self._site.max_resident > 1:
            residents = cheapest(self._site, gpu, uses) or furthest(self._site, gpu, uses)
        return earliest(self._problem, gpu, list(zip(row, residents, strict=True)))

    def _shape_of(self, members: Members, leader: int, gpu: int) -> tuple[int, Shape]:
        """The mode of a batch of these members: the quickest shape that takes them."""
        steps = [self._jobs[j].options[o].steps for j, o in members]
        counts = [sum(s >= level for s in steps) for level in self._levels]
        return min(
            (
                (mode, shape)
                for mode, (led, g, shape) in self._batch_modes.items()
                if (led, g) == (leader, gpu)
                and all(most >= count for most, count in zip(shape.most, counts, strict=True))
            ),
            key=lambda found: found[1].done,
        )


def _shapes(problem: Problem, levels: list[int], most: int) -> Iterator[Shape]:
    """The shapes that batches of up to ``most`` can have, without those that others can replace."""
    clock, tick_s = problem.site.clock, problem.site.tick_s
    found: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for counts in product(range(most + 1), repeat=len(levels)):
        if not counts[0] or any(a < b for a, b in pairwise(counts)):
            continue
        seconds, before, done = clock.overhead_s(counts[0]), 0, []
        for steps, count in zip(levels, counts, strict=True):
            if count:
                seconds += (steps - before) * clock.step_s(count)
                before = steps
                done.append(to_ticks(seconds, tick_s))
        found.setdefault(tuple(done), []).append(counts)
    for done, alike in found.items():
        for counts in alike:
            others = (other for other in alike if other != counts)
            if not any(all(map(ge, other, counts)) for other in others):
                yield Shape(counts, done)


def _refuse(problem: Problem) -> None:
    """Refuse what the model cannot state, and what is too large for PyJobShop."""
    site = problem.site
    if len({job.demand for job in problem.jobs}) > 1 or len({g.capacity for g in site.gpus}) > 1:
        raise CapabilityError("solver 'pyjobshop' cannot handle requests or GPUs of several sizes")
    queues: dict[int, int] = {}
    seats = 0
    for job in problem.jobs:
        queues[job.adapter] = queues.get(job.adapter, 0) + 1
        seats += queues[job.adapter] * len(job.options)
    levels = len({o.steps for job in problem.jobs for o in job.options})
    tasks = seats + len(problem.jobs) * (3 + levels)
    gib = 8 * len(site.gpus) * (1 + levels) * tasks**2 / 2**30
    if gib > MOST_GIB:
        raise CapabilityError(f"solver 'pyjobshop' would take {gib:.0f} GiB for its set-up times")
