"""Price index: this project's own policy, which asks what GPU time is worth now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from msgspec import Meta
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Problem, Site
from pats_solvers.online.base import OnlinePolicy
from pats_solvers.online.dispatch.batch import BatchBuilder
from pats_solvers.online.dispatch.context import Leader, RunContext, RunSetup
from pats_solvers.online.dispatch.options import Chooser, fewest_steps, priced, service_s
from pats_solvers.online.pricing.forecast import Forecast
from pats_solvers.online.pricing.scene import Machines, mark_of, urgencies
from pats_solvers.online.pricing.search import decide
from pats_solvers.online.pricing.tables import JobTable, fleet_of


class _Planned:
    """Options of the planned batch."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.options: dict[int, int] = {}

    def __call__(self, job: Job) -> int:
        found = self.options.get(job.index)
        return priced(self._site, job) if found is None else found


#: Adapters whose batches are tried; prices at which they are made, relative to the present one.
ADAPTERS, FACTORS = 4, np.array((1.0, 0.25, 4.0))

#: Waits that are tried, in ticks; the first is until something happens.
WAITS = np.array((2**60, 1, 2, 4, 8), np.int64)

#: Waiting requests above which fewer futures are played, and fewest of them.
MANY, FEW = 25, 3


class PriceIndexRun(RunContext):
    """Price index at work on one site."""

    def __init__(self, policy: PriceIndex, setup: RunSetup, plan: _Planned) -> None:
        super().__init__(setup)
        self.waiting.followers.append(self)
        self._policy, self._plan = policy, plan
        self._fleet = fleet_of(setup.site)
        self._table = JobTable(setup.site)
        self._forecast = Forecast(
            setup.site,
            self._fleet,
            self._table,
            setup.seed,
            ahead=policy.ahead,
            memory=policy.memory,
            ending=policy.ending,
        )
        self._number = np.full(len(setup.site.adapter_ids), -1, np.int64)
        gpus = len(setup.site.gpus)
        self._machines = Machines(
            np.zeros(gpus, np.int64),
            np.full((gpus, self._fleet.max_resident), -1, np.int64),
            np.zeros(gpus, np.int64),
        )
        for gpu in setup.site.gpus:
            self._hold(gpu.index, sorted(gpu.resident))
        self._idle_since: dict[int, int] = {}
        self._members: list[Job] = []
        self.until: int | None = None

    def add(self, job: Job) -> None:
        """A job has arrived and waits."""
        self._table.add(job)

    def remove(self, job: Job) -> None:
        """A job waits no longer."""
        self._table.forget(job.index)

    def lead(self, idle: Sequence[GpuState], tick: int) -> Leader | None:
        """The first GPU that had better start a batch than wait, and the batch's first."""
        self.until = None
        for gpu in idle:
            members = self._decide(gpu, tick)
            if members:
                self._members = [job for job, _ in members]
                self._plan.options = {job.index: option for job, option in members}
                return gpu, members[0][0]
        return None

    def fill(self, batch: BatchBuilder) -> None:
        """Add the members of the batch that was planned."""
        if self._members and batch.jobs[0] is self._members[0]:
            for job in self._members[1:]:
                batch.add(job, self.option(job))
            self.add_other_adapters(batch)
        else:  # somebody who has waited too long leads
            self.add_same_adapter(batch)
            self.add_other_adapters(batch)
        self._members, self._plan.options = [], {}

    def served(self, batch: BatchBuilder) -> None:
        """Note what the GPU does from now on."""
        g = batch.gpu.index
        self._idle_since.pop(g, None)
        self._machines.free[g] = batch.start_tick + batch.ticks
        active = batch.active
        held = [int(a) for a in self._machines.resident[g] if a in batch.resident - active]
        fresh = sorted(batch.resident - active - set(held))
        self._hold(g, [*sorted(active), *held, *fresh])
        self._machines.active[g] = mark_of(active)

    def _hold(self, gpu: int, adapters: Sequence[int]) -> None:
        line = self._machines.resident[gpu]
        line[:] = -1
        line[: len(adapters)] = adapters

    def _arriving(self, gpu: GpuState, jobs: Sequence[Job], tick: int) -> float:
        """Arrivals to expect while the backlog is served, one after another at fewest steps."""
        site = self.site
        loads = {job.adapter for job in jobs} - gpu.resident
        seconds = sum([service_s(site, job, fewest_steps(job)) for job in jobs])
        seconds += sum([site.load_s[a] for a in sorted(loads)])
        return seconds / site.tick_s / len(site.gpus) / self._forecast.gap(tick)

    def _decide(self, gpu: GpuState, tick: int) -> list[tuple[Job, int]]:
        policy, rows = self._policy, self._table.rows
        jobs = list(self.waiting.in_order(gpu.index))
        if not jobs:
            return []
        waiting = np.array([self._table.row(job.index) for job in jobs], np.int64)
        forecast = policy.forecast * self._table.mean_price * self._arriving(gpu, jobs, tick)
        total = (float(rows.jobs["price"][waiting].sum()) + forecast) / len(self.site.gpus)
        key = urgencies(self._fleet, rows, waiting, tick, total)
        order = np.argsort(-key, kind="stable")
        must = any(job.reject_loss is None for job in jobs)
        patience = max(1, int(policy.patience * self._forecast.gap(tick)))
        waits = WAITS
        if tick - self._idle_since.setdefault(gpu.index, tick) >= patience:
            waits = WAITS[:0] if must else WAITS[:1]
        futures = min(policy.futures, max(FEW, policy.futures * MANY // len(jobs)))
        m, until, batch = decide(
            self._fleet,
            rows,
            waiting[order],
            self._machines,
            gpu.index,
            tick,
            forecast,
            self._table.largest(self._fleet),
            self._number,
            *self._forecast.draw(tick, futures),
            ADAPTERS,
            FACTORS,
            waits,
            policy.caution,
        )
        if m == 0:
            if must or until < WAITS[0]:
                wake = min(int(until), tick + patience)
                self.until = wake if self.until is None else min(self.until, wake)
            return []
        return [(jobs[order[e]], int(o)) for e, o in batch[:m]]


class PriceIndex(OnlinePolicy[PriceIndexRun], frozen=True, kw_only=True):
    """Choose who is served, with how many steps and beside whom, at the price of GPU time.

    A second of a GPU's time delays all that wait for it, so it is worth their latency price: the
    sum of weight x latency price over the waiting requests, and over ``forecast`` of those that
    will arrive while these are served (at the mean gap and weight so far), by GPUs. It is the price
    that the Lagrangian bound gives a tick, read off the queue. With it:

    - A batch is made of an adapter's requests in the order of their own Smith's ratio, each with
      the option that costs least: the members' own loss plus the price of the time held, which
      everybody else waits. Its size is the one with which the whole queue, in batches of that
      size, saves most against one after another. So steps are cut where many wait and kept where
      none do, batches are full where step time is constant and small where it grows with the
      batch. A request is left out where it would cost more than its rejection.
    - Each adapter's index is Smith's ratio of a run through its whole queue: loss a tick of those
      served, for a tick of GPU time. Going there takes the switch, and the one back to whoever is
      left behind, with the GPU time that their price is worth. An idle GPU starts the batch of the
      adapter with the highest index. Deadlines raise a request's ratio as they come near (apparent
      tardiness cost).

    With ``futures`` the index is a start only: the batches of the best four adapters, made at three
    prices, their halves, their leaders alone, and waiting are played on to the end, the index
    deciding, in so many sampled futures, and the one that loses least is chosen. Where many wait
    fewer futures are played. Rule and play: this project's, after Smith (1956), Sidney (1975) and
    rollout (Bertsekas, Tsitsiklis, Wu 1997).

    The GPUs that are idle are asked in their order. Batches with several adapters take along
    requests of other residents, with their best options alone. Ties go to the earlier request.

    Args:
        forecast: Share of the arrivals expected while the backlog is served that a delay is
            thought to hold up besides those that wait.
        futures: Futures that are drawn for a decision; 0: the index decides.
        ahead: Most arrivals of a future.
        memory: Arrivals that futures are drawn from.
        ending: How soon arrivals are thought to end; 0: never.
        caution: Standard errors by which another start must be better than the index's.
        patience: Mean gaps between arrivals that a GPU may be left idle while requests wait.
    """

    name: ClassVar[str] = "price-index"

    forecast: Annotated[float, Meta(ge=0, le=1e6, extra={"search": [0.0, 4.0]})] = 0.5
    futures: Annotated[int, Meta(ge=0, le=1000)] = 0
    ahead: Annotated[int, Meta(ge=1, le=1000)] = 8
    memory: Annotated[int, Meta(ge=1, le=100_000)] = 50
    ending: Annotated[float, Meta(ge=0, le=1e6)] = 10.0
    caution: Annotated[float, Meta(ge=0, le=100)] = 0.5
    patience: Annotated[float, Meta(ge=0, le=1e6)] = 3.0

    def prepare(self, _: Problem | None = None) -> None:
        """Compile, so that no run's clock pays for it."""
        from pats_opt.simulate import simulate
        from pats_solvers.common.compiled import small_problem

        simulate(small_problem(), PriceIndex())

    def chooser(self, site: Site) -> Chooser:
        """The option that was planned for a job; for others the one that is best alone."""
        return _Planned(site)

    @override
    def new_run(self, setup: RunSetup) -> PriceIndexRun:
        assert isinstance(setup.option, _Planned)
        return PriceIndexRun(self, setup, setup.option)

    @override
    def select_leader(self, run: PriceIndexRun, idle: Sequence[GpuState]) -> Leader | None:
        return run.lead(idle, run.tick)

    @override
    def fill_batch(self, run: PriceIndexRun, batch: BatchBuilder) -> None:
        run.fill(batch)

    @override
    def served(self, run: PriceIndexRun, batch: BatchBuilder) -> None:
        run.served(batch)

    @override
    def wake(self, run: PriceIndexRun, idle: Sequence[GpuState]) -> int | None:
        return run.until
