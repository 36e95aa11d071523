"""Policies whose levels do not follow the load: ``clipper`` and ``nirvana``."""

from __future__ import annotations

from typing import ClassVar, Literal

from typing_extensions import override

from pats_opt.model.problem import Job
from pats_solvers.online.common.context import RunSetup
from pats_solvers.online.levels.base import LevelPolicy
from pats_solvers.online.levels.batching import BatchingRule
from pats_solvers.online.levels.context import LevelRun, LevelSetup
from pats_solvers.online.levels.ladder import JobLevel, at_level


class Clipper(LevelPolicy, frozen=True, kw_only=True):
    """All GPUs at one level for ever: the shallowest, or the deepest.

    Rule: requests are routed uniformly at random. Levels, queues, batches and drops are as for all
    policies that serve at levels. Source: Clipper (Crankshaw et al., NSDI 2017), as the baselines
    Clipper-HA and Clipper-HT of Proteus and of the prompt-aware document.

    Args:
        level: ``accuracy``, every request at its shallowest level (HA), or ``throughput``, at its
            deepest (HT).
    """

    name: ClassVar[str] = "clipper"

    level: Literal["accuracy", "throughput"] = "accuracy"

    @override
    def control(self, run: LevelRun, window: int) -> None:
        level = run.ladder.levels[-1 if self.level == "throughput" else 0]
        run.set_levels([level] * len(run.level))


class CacheRun(LevelRun):
    """A run in which every request has its cache level, wherever it is served."""

    def __init__(self, setup: RunSetup, params: LevelSetup) -> None:
        super().__init__(setup, params)
        self._steps = self._requests = 0

    @override
    def seen(self, job: Job) -> None:
        super().seen(job)
        self._steps += self.chosen(0, job).steps
        self._requests += 1

    @override
    def chosen(self, gpu: int, job: Job) -> JobLevel:
        return at_level(self.known(job), job.cache_level or 0)

    @override
    def steps(self, gpu: int) -> int:
        return round(self._steps / self._requests)


class Nirvana(LevelPolicy[CacheRun], frozen=True, kw_only=True):
    """Each request at the level that the cache look-up found for it, whatever the load.

    Rule: a request leaves out as many steps as its look-up allows, none where that found nothing,
    and is routed uniformly at random. GPUs have no level of their own, so members of a batch may
    differ in steps; each leaves when it is done. Queues, batches and drops are as for all policies
    that serve at levels. Source: NIRVANA (Agarwal et al., NSDI 2024), which is about one GPU and
    does not batch.
    """

    name: ClassVar[str] = "nirvana"

    batching: BatchingRule = "aimd"

    @override
    def new_run(self, setup: RunSetup) -> CacheRun:
        return CacheRun(setup, self.settings())
