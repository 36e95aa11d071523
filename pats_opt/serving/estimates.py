"""Estimates of the work that waits, by the profile, and refusals of what would be too late."""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec.structs import replace

from pats_opt.generate.profile import Profile
from pats_opt.model.instance import Adapter, Request
from pats_opt.model.problem import Problem, job_of
from pats_opt.serving.api import ImageOrder
from pats_opt.serving.errors import ApiError

#: Largest batch that the estimate of a backlog assumes.
ASSUMED_BATCH = 4

#: Longest time that a client is asked to wait, seconds.
LONGEST_RETRY_S = 3600


class BacklogEstimate:
    """GPU seconds of what waits.

    Args:
        problem: The instance on the grid, without requests.
        profile: The device.
    """

    def __init__(self, problem: Problem, profile: Profile) -> None:
        self._problem, self._profile = problem, profile
        self._waiting_s = 0.0
        self._alone: dict[float, Problem] = {}  # by the memory of an adapter

    def add(self, work_s: float) -> None:
        """Note that so much more work waits; less if it is below 0."""
        self._waiting_s = max(0.0, self._waiting_s + work_s)

    @property
    def backlog_s(self) -> float:
        """Seconds that the GPUs need for what waits."""
        return self._waiting_s / len(self._problem.site.gpus)

    @property
    def retry_after_s(self) -> int:
        """Seconds after which a client may try again: those of the backlog, at least 1."""
        return max(1, min(LONGEST_RETRY_S, math.ceil(self.backlog_s)))

    def work_s(self, request: Request) -> float:
        """GPU seconds of an image in a batch of some."""
        steps, n = min(option.steps for option in request.options), ASSUMED_BATCH
        table = self._profile.step_s.table
        if isinstance(table, tuple):
            n = min(n, len(table))
        return self.batch_s(steps, n) / n

    def batch_s(self, steps: int, n: int) -> float:
        """Seconds of a batch of ``n``, as predicted."""
        return self._profile.overhead(n) + steps * self._profile.step_s(n)

    def quickest_s(self, requests: Sequence[Request]) -> float:
        """Return the seconds that the quickest way to make any of these requests takes."""
        site = self._problem.site
        steps = min(o.steps for request in requests for o in request.options)
        return site.clock.quickest(steps) * site.tick_s

    def refuse_unservable(self, order: ImageOrder) -> None:
        """Refuse what no GPU can hold, and what no GPU can make in time.

        Raises:
            ApiError: It is so.
        """
        if not self._fits(order.adapter.adapter, order.images[0]):
            raise ApiError(
                400,
                "size: an image of this size and its adapter fit no GPU",
                code="too_large",
                param="size",
            )
        deadline = order.images[0].deadline_s
        if deadline is not None and (least := self.quickest_s(order.images)) > deadline:
            raise ApiError(
                400,
                f"pats_opt.deadline_s: making the image takes {least:.3g} s at least",
                code="deadline",
                param="pats_opt.deadline_s",
            )

    def _fits(self, adapter: Adapter, request: Request) -> bool:
        """Whether any GPU holds a request with its adapter and nothing else."""
        size = adapter.vram_gib
        if size not in self._alone:
            instance = self._problem.instance
            gpus = tuple(replace(gpu, resident=()) for gpu in instance.gpus)
            self._alone[size] = Problem(replace(instance, gpus=gpus, adapters=(adapter,)))
        problem = self._alone[size]
        job = job_of(
            problem.site,
            replace(request, adapter=problem.site.adapter_ids[0]),
            index=0,
            position=0,
            arrival=0,
            demand=problem.site.amounts(request.demand),
        )
        return bool(problem.hosts(job))

    def refuse_late(self, order: ImageOrder) -> None:
        """Refuse what the GPUs will make too late, if they first make all that waits.

        Raises:
            ApiError: It is so.
        """
        deadline = order.images[0].deadline_s
        if deadline is None:
            return
        predicted = self.backlog_s + self.quickest_s(order.images)
        if predicted > deadline:
            raise ApiError(
                429,
                f"pats_opt.deadline_s: with all that waits it takes about {predicted:.3g} s",
                code="backlog",
                param="pats_opt.deadline_s",
                retry_after_s=self.retry_after_s,
            )
