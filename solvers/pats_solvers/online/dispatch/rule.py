"""What a policy decides during one run, and what it works with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from pats_opt.core.policy import GpuState
from pats_opt.model.problem import Job, Site
from pats_solvers.online.dispatch.eviction import Eviction
from pats_solvers.online.dispatch.options import Chooser
from pats_solvers.online.dispatch.packing import BatchBuilder
from pats_solvers.online.dispatch.waiting import Waiting


class Desk:
    """What a rule works with during one run.

    Attributes:
        site: What is known from the start.
        waiting: The waiting jobs.
        option: Which option a job gets.
        evictions: Which residents go when room is needed.
        seed: Seed of random choices.
    """

    def __init__(self, site: Site, option: Chooser, evictions: Eviction, seed: int) -> None:
        self.site, self.option, self.evictions, self.seed = site, option, evictions, seed
        self.waiting = Waiting(site)


class Rule(ABC):
    """What a policy decides during one run; :meth:`lead` is the only part it must have."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.site, self.waiting, self.option = desk.site, desk.waiting, desk.option

    @abstractmethod
    def lead(self, idle: Sequence[GpuState], tick: int) -> tuple[GpuState, Job] | None:
        """The next batch's GPU, one of ``idle``, and its leader; None: leave them idle.

        Asked again after each batch with the GPUs that are left, and after the leader that it named
        could not start there (that one is then hidden in ``waiting``).
        """

    def fill(self, batch: BatchBuilder, tick: int) -> None:  # noqa: ARG002 - for other rules
        """Add members to a batch that holds its leader.

        By default those of the leader's adapter in order of arrival, then, where batches may mix
        adapters, those of other residents: they cost no load.
        """
        adapter, waiting = batch.jobs[0].adapter, self.waiting
        jobs = waiting.of(adapter, batch.gpu.index)
        take_along(batch, jobs, self.option, demands=waiting.demands(adapter))
        self.mix(batch)

    def mix(self, batch: BatchBuilder) -> None:
        """Where batches may mix adapters, add requests of residents other than the leader's."""
        if self.site.max_per_batch > 1 and len(batch.resident) > 1:
            others = batch.resident - {batch.jobs[0].adapter}
            take_along(batch, self.waiting.among(others, batch.gpu.index), self.option)

    def arrived(self, job: Job, tick: int) -> None:  # noqa: B027 - a hook
        """A job has arrived and waits."""

    def left(self, job: Job) -> None:  # noqa: B027 - a hook
        """A job waits no longer: it is served or withdrawn."""

    def served(self, batch: BatchBuilder, tick: int) -> None:  # noqa: B027 - a hook
        """A batch starts."""

    def wake(self, idle: Sequence[GpuState], tick: int) -> int | None:  # noqa: ARG002
        """Where GPUs were left idle: a tick at which to ask again at the latest, or None."""
        return None


def take_along(
    batch: BatchBuilder,
    jobs: Iterable[Job],
    option: Chooser,
    *,
    load: bool = False,
    most: int | None = None,
    demands: int | None = None,
) -> None:
    """Add those of ``jobs`` that fit, in their order, members left out; ``most`` at the most.

    What does not fit is skipped, and so is all that asks the same.

    Args:
        batch: The batch, with its leader.
        jobs: Who may join.
        option: Which option each gets.
        load: Whether adapters may be loaded for them.
        most: How many join at the most.
        demands: How many different demands they have, where that is known: when so many are too
            large the rest need not be looked at.
    """
    end = None if most is None else len(batch.jobs) + most
    members = {job.index for job in batch.jobs}
    too_large, refused = set(), set()
    for job in jobs:
        if batch.full or len(batch.jobs) == end:
            return
        need = job.adapter, job.demand
        if job.index in members or need in too_large:
            continue
        if not batch.admits(job, load=load):
            too_large.add(need)
            if len(too_large) == demands:
                return
            continue
        chosen = option(job)
        kind = need, job.options[chosen].steps
        if kind not in refused and not batch.add(job, chosen, load=load):
            refused.add(kind)  # it cannot end by the horizon, or its adapter has no room
