"""Asks a policy once, in a state put together by hand."""

from __future__ import annotations

from typing import cast

from pats_opt.core.policy import Decide, GpuState, Policy, Start, State
from pats_opt.model.problem import Problem


def ask(
    problem: Problem, policy: Policy, tick: int = 0, gpus: tuple[GpuState, ...] | None = None
) -> list[Start]:
    """Batches that ``policy`` starts at ``tick``, with all requests of the problem waiting.

    Args:
        problem: Its requests have all arrived by ``tick``.
        policy: Asked once, with fresh memory.
        tick: The current tick.
        gpus: The GPUs; None for all idle with their residents at tick 0.
    """
    return again(problem, policy.start(problem.site, 0), tick, gpus)


def again(
    problem: Problem, decide: Decide, tick: int = 0, gpus: tuple[GpuState, ...] | None = None
) -> list[Start]:
    """The same with a decision function that keeps its memory."""
    if gpus is None:
        gpus = tuple(GpuState(gpu.index, gpu.resident) for gpu in problem.site.gpus)
    jobs = {job.index: job for job in problem.jobs}
    return cast(list[Start], list(decide(State(tick, jobs, problem.jobs, (), gpus))))


def members(start: Start, problem: Problem) -> list[str]:
    """Ids of a batch's members, the leader first."""
    return [problem.jobs[j].id for j, _ in start.members]
