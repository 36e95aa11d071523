"""The state of one run of a policy that serves at levels: levels and queues of the GPUs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, islice
from typing import NamedTuple

from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job
from pats_opt.model.timing import late_after, shape_of
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import RunContext, RunSetup
from pats_solvers.online.common.queue import Hosts, WaitingJobs
from pats_solvers.online.levels.arrivals import ArrivalCount
from pats_solvers.online.levels.batching import Batching, BatchingRule, Firing, QueueView, batching
from pats_solvers.online.levels.hysteresis import Hysteresis
from pats_solvers.online.levels.ladder import JobLevel, Ladder, Sizes, at_level, levels_of

#: Latency objective of a request without a deadline, in times of its service alone at its most
#: steps, where the policy states none.
SLACK = 3.0


class LevelSetup(NamedTuple):
    """Parameters of a run; :class:`.base.LevelPolicy` explains them."""

    batching: BatchingRule
    sizes: tuple[int, ...]
    share: float
    slo_s: float | None
    drop: bool
    window_s: float
    up: float
    down: float


class LevelShares(NamedTuple):
    """Workers and capacity of some GPUs at each of their levels.

    Attributes:
        levels: Their levels, shallow ones first.
        workers: The GPUs of each level.
        capacity: Requests per second of each level.
        rates: Requests per second of each GPU, summed up along them.
    """

    levels: list[int]
    workers: list[list[int]]
    capacity: list[float]
    rates: list[float]


class LevelRun(RunContext):
    """One run: the level and the queue of each GPU, the demand, and what is known of the levels.

    A request is in the queue of one GPU from its arrival until it is served, withdrawn or dropped.
    One that is dropped goes on waiting, in no queue, and so is rejected in the end.

    Attributes:
        level: Level K of each GPU.
        queues: Queue of each GPU.
        free_at: Tick at which each GPU's last batch so far ends.
        ladder: What is known of the levels.
        sizes: Batch sizes.
        rule: The batching rule.
        arrivals: The demand.
        rate: Estimate of the demand, requests per second, as of the last window's end.
        busy: Whether the load is high.
        rng: Source of random choices.
    """

    def __init__(self, setup: RunSetup, params: LevelSetup) -> None:
        super().__init__(setup)
        site = setup.site
        self._params = params
        self.level = [0] * len(site.gpus)
        self.queues = [WaitingJobs(site) for _ in site.gpus]
        self.free_at = [0] * len(site.gpus)
        self.ladder = Ladder()
        self.sizes = Sizes(site, params.sizes, params.share)
        self.rule: Batching = batching(params.batching, self.sizes)
        self.arrivals = ArrivalCount(params.window_s, site.tick_s)
        self.rate = 0.0
        self.busy = Hysteresis(params.up, params.down)
        self.rng = random.Random(setup.seed)  # noqa: S311 - reproducible, not secret
        self._latest: Job | None = None
        self._objective = 0  # sum over the requests so far, ticks
        self._count = 0
        self._home: dict[int, int] = {}  # job -> GPU of its queue
        self._levels: dict[int, list[JobLevel]] = {}  # of the waiting jobs
        self._shares: dict[Hosts, LevelShares] = {}  # as of the last time that levels were set
        self._most: dict[tuple[int, int, tuple[int, ...]], int] = {}
        self.waiting.followers.append(_Leaving(self))

    # -- requests ------------------------------------------------------------------------------

    def known(self, job: Job) -> list[JobLevel]:
        """Return the levels of a job."""
        return self._levels.get(job.index) or levels_of(job)

    def chosen(self, gpu: int, job: Job) -> JobLevel:
        """Return what ``job`` runs at on a GPU."""
        return at_level(self.known(job), self.level[gpu])

    @override
    def option_on(self, gpu: int, job: Job) -> int:
        return self.chosen(gpu, job).option

    def objective(self, job: Job) -> int:
        """Return the latency objective of a job in ticks: its deadline, or the policy's."""
        if job.deadline is not None:
            return job.deadline
        slo_s, site = self._params.slo_s, self.site
        if slo_s is not None:
            return late_after(slo_s, site.tick_s)
        return int(SLACK * site.clock.duration(shape_of((self.known(job)[0].steps,))))

    def due(self, job: Job) -> int:
        """Return the tick by which ``job`` is to be done."""
        return job.arrival + self.objective(job)

    def seen(self, job: Job) -> None:
        """Take in a job that has arrived."""
        self.arrivals.arrived()
        self._levels[job.index] = levels_of(job)
        self.ladder.add(self.known(job))
        self._latest = job
        self._objective += self.objective(job)
        self._count += 1

    def bind(self, job: Job, gpu: int) -> None:
        """Put a job into the queue of a GPU."""
        self._home[job.index] = gpu
        self.queues[gpu].add(job)

    def unbind(self, job: Job) -> None:
        """Take a job out of its queue, if it is in one."""
        gpu = self._home.pop(job.index, None)
        if gpu is not None:
            self.queues[gpu].remove(job)

    def forget(self, job: Job) -> None:
        """Leave out a job that waits no longer."""
        self.unbind(job)
        self._levels.pop(job.index, None)

    # -- speeds --------------------------------------------------------------------------------

    def most(self, gpu: int, job: Job) -> int:
        """Return how many requests like ``job`` fit a GPU, at most the largest allowed size."""
        key = gpu, job.adapter, job.demand
        if key not in self._most:
            room = self.site.room(gpu, frozenset((job.adapter,)))
            largest = self.sizes.allowed(self._params.sizes[-1])
            fits = [
                free // need
                for need, free in zip(job.demand, room, strict=True)
                if need and free is not None
            ]
            self._most[key] = max(1, min([largest, *fits]))
        return self._most[key]

    def steps(self, gpu: int) -> int:
        """Return the mean steps of a request on a GPU at its level."""
        return self.ladder.at(self.level[gpu]).steps

    def best(self, gpu: int, job: Job) -> int:
        """Return the best size of a batch of requests like ``job`` at a GPU's level."""
        return self.sizes.best(self.steps(gpu), self._mean_objective(), self.most(gpu, job))

    def capacity(self, gpu: int, steps: int) -> float:
        """Return the requests per second of one GPU in best batches of so many steps.

        The requests are like the latest one; switches between adapters are left out.
        """
        assert self._latest is not None, "asked once requests have arrived"
        most = self.most(gpu, self._latest)
        return self.sizes.rate(steps, self._mean_objective(), most)

    def capacities(self) -> list[float]:
        """Return the requests per second of one GPU at each level, the mean over GPUs."""
        gpus = range(len(self.level))
        return [
            sum([self.capacity(g, profile.steps) for g in gpus]) / len(gpus)
            for profile in self.ladder.profiles
        ]

    def set_levels(self, levels: list[int]) -> None:
        """Set the level of each GPU."""
        self.level = levels
        self._shares.clear()

    def shares(self, hosts: Hosts) -> LevelShares:
        """Return what some GPUs offer at each level, as of the last time that levels were set."""
        if hosts not in self._shares:
            levels = sorted({self.level[g] for g in hosts})
            workers = [[g for g in hosts if self.level[g] == level] for level in levels]
            rate = {g: self.capacity(g, self.steps(g)) for g in hosts}
            capacity = [sum([rate[g] for g in each]) for each in workers]
            rates = list(accumulate([rate[g] for g in hosts]))
            self._shares[hosts] = LevelShares(levels, workers, capacity, rates)
        return self._shares[hosts]

    def _mean_objective(self) -> int:
        return self._objective // self._count

    def unhurried(self) -> float:
        """Return the requests per second of the fleet, one by one at the shallowest level."""
        ticks = self.site.clock.duration(shape_of((self.ladder.profiles[0].steps,)))
        return len(self.level) / (ticks * self.site.tick_s)

    # -- batches -------------------------------------------------------------------------------

    def head(self, gpu: int) -> Job | None:
        """Return the earliest job of a GPU's queue that is not hidden from it."""
        return next(self.waiting.shown(gpu, self.queues[gpu].in_order(gpu)), None)

    def company(self, gpu: GpuState, head: Job) -> Iterator[Job]:
        """Jobs of the GPU's queue that could be in a batch of ``head``, itself among them.

        They are of its adapter or, where batches may mix adapters, of any that is resident.
        """
        adapters = frozenset((head.adapter,))
        if self.site.max_per_batch > 1:
            adapters |= gpu.resident
        return self.waiting.shown(gpu.index, self.queues[gpu.index].among(adapters, gpu.index))

    def firing(self, gpu: GpuState, head: Job) -> Firing:
        """Return when a batch of ``head`` starts, and of how many.

        Whatever the rule, a batch of all that wait is made smaller where its head would be late, as
        far as that helps. Where the batch is as large without its head, it is not: under overload
        small batches would make more requests late than they save. With a hard horizon no GPU idles
        beside its queue: what waits could miss it.
        """
        g = gpu.index
        best = self.best(g, head)
        others = (job for job in self.company(gpu, head) if job is not head)
        company = [head, *islice(others, best)]
        switch = self.site.switching_ticks(self.switching_s(head.adapter, gpu))

        def latency(size: int) -> int:
            steps = [self.chosen(g, job).steps for job in company[:size]]
            steps += [steps[0]] * (size - len(steps))  # those to come are like the head
            return switch + self.site.clock.completions(shape_of(steps))[-1]

        view = QueueView(
            gpu=g,
            now=self.tick,
            waiting=len(company),
            due=self.due(head),
            best=best,
            latency=latency,
            busy=self.busy.on,
        )
        fires = self.rule(view)
        size = fires.size
        while size > 1 and len(company) <= fires.size and self.tick + latency(size) > view.due:
            size = self.sizes.allowed(size - 1)
        late = self.tick + latency(size) > view.due
        hard = self.site.horizon is not None
        tick = self.tick if hard else max(self.tick, fires.tick)
        return Firing(tick, fires.size if late else size, late)

    def droppable(self, head: Job, firing: Firing) -> bool:
        """Whether ``head`` is dropped: it would be late, and may be rejected."""
        return self._params.drop and firing.late and head.reject_loss is not None

    def noted(self, batch: BatchBuilder) -> None:
        """Note a batch that starts."""
        g, start, clock = batch.gpu.index, batch.start_tick, self.site.clock
        self.free_at[g] = batch.end_tick
        options = [
            job.options[option] for job, (_, option) in zip(batch.jobs, batch.members, strict=True)
        ]
        ends, _ = clock.ends(tuple([option.steps for option in options]))
        late = any(
            start + ends[option.steps] > self.due(job)
            for job, option in zip(batch.jobs, options, strict=True)
        )
        self.rule.served(g, self.best(g, batch.jobs[0]), late)


class _Leaving:
    """Takes jobs that are served or withdrawn out of the queues."""

    def __init__(self, run: LevelRun) -> None:
        self._run = run

    def add(self, job: Job) -> None:
        """A job enters a queue only once it is routed."""

    def remove(self, job: Job) -> None:
        """Leave out a job that waits no longer."""
        self._run.forget(job)
