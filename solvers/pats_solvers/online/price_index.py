"""Price index: this project's own policy, which asks what GPU time is worth now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from msgspec import Meta
from typing_extensions import override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.backlog import Backlog, PlannedOptions, PriceIndexRun
from pats_solvers.online.base import OnlinePolicy
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunSetup
from pats_solvers.online.common.eviction import EvictionRule
from pats_solvers.online.common.options import Chooser


class PriceIndex(OnlinePolicy[PriceIndexRun], frozen=True, kw_only=True):
    """Choose what is served, with how many steps and beside what, at the price of GPU time.

    A second of a GPU's time delays all that wait for it, so it is worth their latency price: the
    sum of weight x latency price over the waiting requests, and over ``forecast`` of those that
    will arrive while these are served (at the mean gap and weight so far), by GPUs. It is the price
    that the Lagrangian bound gives a tick, read off the queue. Requests that cost more than their
    rejection at that price are not held up, so they do not count in it; one that would lose more by
    itself, if it started at once, is passed over for good. With the price:

    - A batch is made of an adapter's requests in the order of their own Smith's ratio, each with
      the option that costs least: the members' own loss plus the price of the time held, which
      all others wait. Its size is the one with which the whole queue, in batches of that
      size, saves most against one after another. So steps are cut where many wait and kept where
      none do, batches are full where step time is constant and small where it grows with the
      batch. A request is left out where it would cost more than its rejection.
    - Each adapter's index is Smith's ratio of a run through its whole queue: loss per tick of those
      served, for each tick of GPU time. Going there takes the switch, and the one back to what
      is left behind, with the GPU time that their price is worth. An idle GPU starts the batch of
      the adapter with the highest index. Deadlines raise a request's ratio as they come near
      (apparent tardiness cost).
    - A switch that has a price and evicts an adapter waits until so many share it that one more
      would lose more by waiting than it saves: the economic lot size, at the mean time to the next
      arrival. That is the mean of what was left of past gaps, so after a long silence none is
      expected and the GPU switches. Deadlines and a hard horizon do not wait.

    With several residents, those are evicted by the rule that would have loaded less so far
    (``eviction=ghost``).

    Rule: this project's, after Smith (1956), Sidney (1975) and Harris (1913).

    Where loads run beside serving, a busy GPU loads the adapter of the highest index, at the same
    prices (``prefetch``).

    Idle GPUs decide in their order. Batches with several adapters take along
    requests of other residents, with their best options alone. Ties go to the earlier request.

    Args:
        forecast: Share of the arrivals expected while the backlog is served that a delay is
            thought to hold up besides those that wait.
        memory: Arrivals that gaps and the adapters' shares are taken over.
    """

    name: ClassVar[str] = "price-index"

    eviction: EvictionRule = "ghost"
    forecast: Annotated[float, Meta(ge=0, le=1e6, extra={"search": [0.0, 4.0]})] = 0.5
    memory: Annotated[int, Meta(ge=1, le=100_000)] = 200

    @override
    def chooser(self, site: Site) -> Chooser:
        return PlannedOptions(site)

    @override
    def new_run(self, setup: RunSetup) -> PriceIndexRun:
        assert isinstance(setup.option, PlannedOptions)
        return PriceIndexRun(setup, setup.option, self.memory)

    @override
    def arrived(self, run: PriceIndexRun, job: Job) -> None:
        run.arrived(job)

    @override
    def select_leader(self, run: PriceIndexRun, idle: Sequence[GpuState]) -> Leader | None:
        run.live.pass_over(run.tick)
        run.patience.clear()
        for gpu in idle:
            jobs = list(run.live.in_order(gpu.index))
            if not jobs:
                continue
            run.members = Backlog(run, gpu, jobs, self.forecast).best_batch()
            if run.members:
                run.plan.option = {c.job.index: c.option for c in run.members}
                return gpu, run.members[0].job
        return None

    @override
    def wake(self, run: PriceIndexRun, idle: Sequence[GpuState]) -> int | None:
        if not run.patience:
            return None
        # Where requests or loads may come and go between, it decides at the end of every gap.
        fixed = not (run.jobs.rejectable or self.rebalance or run.site.channels is not None)
        return run.past.next_beyond(run.tick, min(run.patience) if fixed else 0.0)

    @override
    def fill_batch(self, run: PriceIndexRun, batch: BatchBuilder) -> None:
        if run.members and batch.jobs[0] is run.members[0].job:
            for c in run.members[1:]:
                batch.add(c.job, c.option)
            run.add_other_adapters(batch)
        else:  # a request that has waited too long leads
            super().fill_batch(run, batch)
        run.members, run.plan.option = [], {}
