"""The base of policies that serve at several levels of approximate caching."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Generic, Literal, cast

from msgspec import Meta
from typing_extensions import TypeVar, override

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.base import OnlinePolicy
from pats_solvers.online.common.batch import BatchBuilder
from pats_solvers.online.common.context import Leader, RunSetup
from pats_solvers.online.common.options import Chooser, best_quality
from pats_solvers.online.common.queue import Hosts
from pats_solvers.online.levels.batching import BatchingRule
from pats_solvers.online.levels.context import LevelRun, LevelSetup

#: Most windows between two allocations.
MOST_PERIOD = 1000

#: What a policy of this module remembers during a run.
LevelT = TypeVar("LevelT", bound=LevelRun, default=LevelRun)

#: A share, 0 to 1.
Share = Annotated[float, Meta(ge=0, le=1)]

#: A ratio of load to capacity.
LoadRatio = Annotated[float, Meta(ge=0, le=1e6, extra={"search": [0.1, 1.0]})]


class LevelPolicy(OnlinePolicy[LevelT], Generic[LevelT], frozen=True, kw_only=True):
    """A policy with a level and a queue for each GPU: what its kind has in common.

    A request is routed to the queue of a GPU that can hold it when it arrives, and stays there. Its
    option is its deepest level that is no deeper than the GPU's. An idle GPU serves its queue in
    order of arrival: the head leads, and those of its adapter follow (where batches may mix
    adapters, those of any resident one). When a batch starts, and how large it is, the batching
    rule says, one of four that all these policies share; with a hard horizon a GPU never idles
    beside its queue. A batch of all that wait is made smaller where its head would be late. A
    head that may be rejected, and that would still be late, is dropped: it waits, unserved, to the
    end.

    The latency objective of a request is its deadline; without one it is ``slo_s``, and without
    that three times its own service alone at its most steps. Demand is estimated as Proteus does:
    the mean of the last 20 windows, of which each weighs 1.6 / 2.6 times what the next newer one
    does. The load is high from ``up`` times what the fleet serves one by one at the shallowest
    level, until it falls below ``keep`` x ``up`` times that.

    Args:
        batching: When batches start. ``accscale``: as late as the head allows, or at once where
            more wait than fit; ``nexus``: when full, or when a full one would be late; ``aimd``:
            when as many wait as the GPU's current size, which grows by one after a batch in time
            and shrinks after a late one; ``switched``: at once alone at low load, when full at
            high load, or when waiting longer would be late.
        sizes: Allowed batch sizes: ``powers`` of two, or ``every`` number.
        largest_batch: Largest batch.
        share: Share of the latency objective that a batch of the best size may take.
        slo_s: Latency objective of requests without a deadline, seconds; None: three times their
            own service.
        drop: Whether heads that would be late, and may be rejected, are dropped.
        window_s: Length of the windows in which arrivals are counted, seconds.
        up: Load at which it counts as high.
        keep: Share of ``up`` down to which it stays high.
    """

    batching: BatchingRule = "aimd"
    sizes: Literal["powers", "every"] = "every"
    largest_batch: Annotated[int, Meta(ge=1, le=1024)] = 8
    share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    slo_s: Annotated[float, Meta(gt=0, le=1e9, extra={"search": [5.0, 60.0]})] | None = None
    drop: bool = True
    window_s: Annotated[float, Meta(gt=0, le=1e6, extra={"search": [0.5, 10.0]})] = 1.0
    up: LoadRatio = 0.5
    keep: Share = 0.8

    @override
    def chooser(self, site: Site) -> Chooser:
        return best_quality

    @override
    def new_run(self, setup: RunSetup) -> LevelT:
        return cast("LevelT", LevelRun(setup, self.settings()))

    def settings(self) -> LevelSetup:
        """Return the parameters of a run."""
        most = self.largest_batch
        powers = [1 << k for k in range(most.bit_length())]
        return LevelSetup(
            batching=self.batching,
            sizes=tuple(powers if self.sizes == "powers" else range(1, most + 1)),
            share=self.share,
            slo_s=self.slo_s,
            drop=self.drop,
            window_s=self.window_s,
            up=self.up,
            down=self.keep * self.up,
        )

    def control(self, run: LevelT, window: int) -> None:
        """Set the GPUs' levels; asked at the first arrival (window 0) and as each window ends."""

    def route(self, run: LevelT, job: Job, hosts: Hosts) -> int:  # noqa: ARG002 - a hook
        """Return the GPU, one of ``hosts``, whose queue gets ``job``: by default any alike."""
        return run.rng.choice(hosts)

    @override
    def arrived(self, run: LevelT, job: Job) -> None:
        self._catch_up(run)
        first = not run.ladder.levels
        run.seen(job)
        if first:
            self.control(run, 0)
        hosts = run.waiting.hosts(job)
        if hosts:
            run.bind(job, self.route(run, job, hosts))

    def _catch_up(self, run: LevelT) -> None:
        """Do what was due as each window ended since the last time."""
        for window, rate in run.arrivals.ended(run.tick, MOST_PERIOD):
            run.rate = rate
            if run.ladder.levels:
                run.busy.update(rate / run.unhurried())
                self.control(run, window)

    @override
    def select_leader(self, run: LevelT, idle: Sequence[GpuState]) -> Leader | None:
        self._catch_up(run)
        for gpu in idle:
            while len(run.queues[gpu.index]) and (head := run.head(gpu.index)) is not None:
                firing = run.firing(gpu, head)
                if run.droppable(head, firing):
                    run.unbind(head)
                    continue
                if firing.tick <= run.tick:
                    return gpu, head
                break
        return None

    @override
    def fill_batch(self, run: LevelT, batch: BatchBuilder) -> None:
        leader = batch.jobs[0]
        size = run.firing(batch.gpu, leader).size
        run.add_fitting(batch, run.company(batch.gpu, leader), most=size - 1)

    @override
    def served(self, run: LevelT, batch: BatchBuilder) -> None:
        run.noted(batch)

    @override
    def wake(self, run: LevelT, idle: Sequence[GpuState]) -> int | None:
        heads = [(gpu, head) for gpu in idle if (head := run.head(gpu.index)) is not None]
        ticks = [run.firing(gpu, head).tick for gpu, head in heads]
        return min([tick for tick in ticks if tick > run.tick], default=None)
