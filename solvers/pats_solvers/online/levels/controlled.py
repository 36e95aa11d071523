"""Policies whose levels follow the load: ``proteus`` and ``prompt-aware``."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta
from typing_extensions import override

from pats_opt.core.policy import Decide
from pats_opt.errors import InputError
from pats_opt.model.problem import Job, Site
from pats_opt.wording import counted
from pats_solvers.online.common.context import RunSetup
from pats_solvers.online.common.queue import Hosts
from pats_solvers.online.levels.allocation import allocate, assign
from pats_solvers.online.levels.base import MOST_PERIOD, LevelPolicy, LevelT, Share
from pats_solvers.online.levels.batching import BatchingRule
from pats_solvers.online.levels.context import LevelRun, LevelSetup
from pats_solvers.online.levels.coupling import RankWindow, level_at
from pats_solvers.online.levels.predictors import PredictorRule, predictor


class ControlledPolicy(LevelPolicy[LevelT], frozen=True, kw_only=True):
    """A policy with a controller: it allocates GPUs to levels by the demand.

    Every ``period`` windows the demand, times ``headroom``, is allocated to levels exactly, with
    the mean quality of each level over the requests so far and the rate of a GPU in best batches
    there. GPUs keep their level where they can. A change takes no time, as all levels are one
    model; what waits in a queue is served at the GPU's new level.

    Args:
        period: Windows between two allocations.
        headroom: Factor on the demand.
        workers: GPUs at each level for ever, shallow levels first, such as ``5+0+0+0+1+2``; None:
            the controller decides.
    """

    period: Annotated[int, Meta(ge=1, le=MOST_PERIOD, extra={"search": [2, 60], "log": True})] = 10
    headroom: Annotated[float, Meta(ge=0, le=100, extra={"search": [0.8, 1.5]})] = 1.05
    workers: str | None = None

    def __post_init__(self) -> None:
        if self.fixed_counts() is not None and self.dispatch != "central":
            raise ValueError("workers are of one fleet, so they need dispatch=central")

    def fixed_counts(self) -> tuple[int, ...] | None:
        """Return the fixed numbers of GPUs at each level, or None.

        Raises:
            ValueError: ``workers`` is no sum of whole numbers.
        """
        if self.workers is None:
            return None
        parts = self.workers.split("+")
        if not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(
                f"workers {self.workers!r} are no whole numbers with + between, such as 5+0+3"
            )
        return tuple(map(int, parts))

    @override
    def start(self, site: Site, seed: int) -> Decide:
        counts = self.fixed_counts()
        if counts is not None and sum(counts) != len(site.gpus):
            raise InputError(
                f"workers {self.workers} allocate {counted(sum(counts), 'GPU')}, the instance "
                f"{site.name!r} has {len(site.gpus)}",
                hint="make them sum to its GPUs",
            )
        return super().start(site, seed)

    @override
    def control(self, run: LevelT, window: int) -> None:
        if window % self.period:
            return
        levels = run.ladder.levels
        counts = self.fixed_counts()
        if counts is None:
            demand = run.rate * self.headroom
            qualities = run.ladder.qualities()
            counts = allocate(demand, run.capacities(), qualities, len(run.level)).counts
        else:
            counts = within(counts, len(levels))
        current = [levels.index(level) if level in levels else -1 for level in run.level]
        run.set_levels([levels[position] for position in assign(current, counts)])


def within(counts: tuple[int, ...], levels: int) -> tuple[int, ...]:
    """Return fixed counts for as many levels as are known; deeper GPUs are at the deepest."""
    padded = counts + (0,) * (levels - len(counts))
    return (*padded[: levels - 1], sum(padded[levels - 1 :]))


class Proteus(ControlledPolicy, frozen=True, kw_only=True):
    """Accuracy scaling: GPUs are allocated to levels by the load, whatever the prompts.

    Rule: the controller allocates GPUs to levels; a request is routed at random, to each GPU by its
    share of the capacity. Levels, queues, batches and drops are as for all policies that serve at
    levels. Source: Proteus (Ahmad et al., ASPLOS 2024) with levels of one model as its variants;
    its integer program is solved exactly, and its published code in fact routes uniformly.
    """

    name: ClassVar[str] = "proteus"

    batching: BatchingRule = "accscale"

    @override
    def route(self, run: LevelRun, job: Job, hosts: Hosts) -> int:
        return run.rng.choices(hosts, cum_weights=run.shares(hosts).rates)[0]


class PromptRun(LevelRun):
    """A run with a predictor of the level that a prompt tolerates."""

    def __init__(self, setup: RunSetup, params: LevelSetup, policy: PromptAware) -> None:
        super().__init__(setup, params)
        self._predict = predictor(
            policy.predictor, policy.alpha, policy.rho, policy.window, self.rng
        )
        self._depths = RankWindow(policy.window)

    def depth_rank(self, job: Job) -> float:
        """Return the rank of a job's predicted depth among the last ones, in [0, 1)."""
        return self._depths.rank(self._predict(job, self.known(job)), self.rng)


class PromptAware(ControlledPolicy[PromptRun], frozen=True, kw_only=True):
    """The prompt-aware system: GPUs at levels by the load, prompts by the level they tolerate.

    Rule: the controller allocates GPUs to levels. The level that a prompt tolerates, its optimal K,
    is predicted; the planner then routes it to a level K' so that each level gets its share of the
    capacity and the expected loss of quality is least: the prompt's rank among the last ones is
    looked up in the cumulative capacity. Among the GPUs of K', at low load any
    alike gets it; at high load the one with the longest queue below its best batch size (ties: the
    one that is free first), or where all have one the shortest queue. Levels, queues, batches and
    drops are as for all policies that serve at levels.

    Source: Prompt-Aware Scheduling for Efficient Text-to-Image Inferencing System,
    arXiv 2502.06798, whose predictor, thresholds and period are not published: those here are ours.

    Args:
        predictor: ``look-up``, the level that the cache look-up found, or ``tolerance``, the
            deepest level with enough quality, as known to the degree ``rho``.
        alpha: Share of the best quality that ``tolerance`` asks for.
        rho: Rank correlation of the predicted tolerance with the true one, 0 to 1.
        window: Requests among which a prompt is ranked.
        awareness: ``off``: ranks are drawn at random, all else equal.
    """

    name: ClassVar[str] = "prompt-aware"

    batching: BatchingRule = "switched"
    predictor: PredictorRule = "look-up"
    alpha: Share = 0.95
    rho: Share = 1.0
    window: Annotated[int, Meta(ge=1, le=1_000_000, extra={"search": [50, 2000]})] = 500
    awareness: Literal["on", "off"] = "on"

    @override
    def new_run(self, setup: RunSetup) -> PromptRun:
        return PromptRun(setup, self.settings(), self)

    @override
    def route(self, run: PromptRun, job: Job, hosts: Hosts) -> int:
        rank = run.depth_rank(job) if self.awareness == "on" else run.rng.random()
        shares = run.shares(hosts)
        workers = shares.workers[level_at(rank, shares.capacity)]
        return greedy(run, job, workers) if run.busy.on else run.rng.choice(workers)


def greedy(run: LevelRun, job: Job, workers: list[int]) -> int:
    """Return the GPU with the longest queue below its best size, else the shortest queue."""
    waiting = {g: len(run.queues[g]) for g in workers}
    open_to = [g for g in workers if waiting[g] < run.best(g, job)]
    if open_to:
        return min(open_to, key=lambda g: (-waiting[g], run.free_at[g], g))
    return min(workers, key=lambda g: (waiting[g], run.free_at[g], g))
