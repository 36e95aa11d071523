"""Plans: the batches of every GPU in indices and ticks, as solvers and the simulator make them.

Switches and completions follow from a plan by rules 4 and 5; :func:`schedule_of` adds them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct

from pats_opt.model.problem import Adapters, Problem, ids
from pats_opt.model.schedule import (
    Batch,
    GpuPlan,
    InstanceRef,
    Schedule,
    Served,
    SolutionStatus,
    SolverRef,
    Status,
    StopReason,
)

#: Job and option of each member of a batch.
Members = tuple[tuple[int, int], ...]


class PlannedBatch(Struct, frozen=True, gc=False):
    """A batch to run: start tick, ``(job, option)`` members, residents while it runs.

    Without ``switch_start`` the switch ends when the batch starts.
    """

    start: int
    members: Members
    resident: Adapters
    switch_start: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches of each GPU, in order. Jobs that no batch serves are rejected."""

    gpus: tuple[tuple[PlannedBatch, ...], ...]


def plan_of(batches: Sequence[Sequence[PlannedBatch]]) -> Plan:
    """A plan from batches per GPU, in any order."""
    return Plan(tuple(tuple(sorted(gpu, key=lambda b: b.start)) for gpu in batches))


def schedule_of(
    problem: Problem,
    plan: Plan | None,
    solver: SolverRef,
    *,
    stop: StopReason = StopReason.COMPLETE,
    loss: float | None = None,
    bound: float | None = None,
) -> Schedule:
    """The schedule document of a plan; of None, the document that says there is none."""
    gpus = plan.gpus if plan else ()
    served = {j for gpu in gpus for batch in gpu for j, _ in batch.members}
    proven = stop is StopReason.OPTIMAL
    point = SolutionStatus.OPTIMAL if proven else SolutionStatus.FEASIBLE
    return Schedule(
        instance=InstanceRef(name=problem.instance.name, sha256=problem.instance.sha256),
        solver=solver,
        status=Status(stop=stop, point=point if plan else SolutionStatus.NONE),
        loss=loss,
        bound=bound,
        gpus=tuple(
            GpuPlan(id=gpu.id, batches=tuple(_batches(problem, gpu.index, planned)))
            for gpu, planned in zip(problem.site.gpus, gpus, strict=plan is not None)
        ),
        rejected=tuple(job.id for job in problem.jobs if plan and job.index not in served),
    )


def _batches(problem: Problem, gpu: int, planned: Sequence[PlannedBatch]) -> list[Batch]:
    site, jobs, batches = problem.site, problem.jobs, []
    names: dict[Adapters, tuple[str, ...]] = {}  # the same few sets come and go
    used = [frozenset([jobs[j].adapter for j, _ in batch.members]) for batch in planned]
    switches = site.switches(gpu, zip([batch.resident for batch in planned], used, strict=True))
    previous = None
    for batch, active, switch in zip(planned, used, switches, strict=True):
        for change in (switch.load, switch.evict):
            if change not in names:
                names[change] = ids(site, change)
        if not switch.load and not switch.evict and active == previous:
            switch_start = batch.start
        elif batch.switch_start is None:
            switch_start = batch.start - switch.ticks
        else:
            switch_start = batch.switch_start
        steps = tuple([jobs[j].options[o].steps for j, o in batch.members])
        ends, _ = site.clock.ends(steps)
        requests = [
            Served(id=jobs[j].id, option=o, completion=batch.start + ends[s])
            for (j, o), s in zip(batch.members, steps, strict=True)
        ]
        batches.append(
            Batch(
                switch_start=switch_start,
                load=names[switch.load],
                evict=names[switch.evict],
                start=batch.start,
                requests=tuple(requests),
            )
        )
        previous = active
    return batches


def earliest(
    problem: Problem, gpu: int, batches: Sequence[tuple[Members, Adapters]]
) -> tuple[PlannedBatch, ...]:
    """Start each batch (members and residents) of a GPU as early as rules 1, 4 and 6 allow."""
    site, jobs, free, planned = problem.site, problem.jobs, 0, []
    used = [frozenset([jobs[j].adapter for j, _ in members]) for members, _ in batches]
    switches = site.switches(gpu, zip([resident for _, resident in batches], used, strict=True))
    for (members, resident), switch in zip(batches, switches, strict=True):
        start = max(free + switch.ticks, *[jobs[j].arrival for j, _ in members])
        planned.append(PlannedBatch(start, members, resident))
        steps = tuple([jobs[j].options[o].steps for j, o in members])
        free = start + site.clock.ends(steps)[1]
    return tuple(planned)
