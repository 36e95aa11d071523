"""Pair the batches of an execution with the instance and with the schedule that was run."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.execute.record import BatchRun, Execution, GpuRun, MemberRun, Phase, Span
from pats_opt.model.checker import ReplayedBatch
from pats_opt.model.problem import Adapters, Job, Problem, Switch
from pats_opt.model.schedule import Schedule

#: A batch: the id of its GPU and its place in the GPU's list.
BatchKey = tuple[str, int]

#: Phases that the loss prices as switching.
PAID = (Phase.LOAD, Phase.ACTIVATE)


class ExecutedBatch(Struct, frozen=True, kw_only=True):
    """One batch that was run, in the terms of the instance.

    Attributes:
        gpu: Index of its GPU.
        run: Its record.
        members: Its jobs, each with its option and when its image was there (None: there is none).
            A batch that was cut short may lack those that it did not come to.
        steps: Steps that each member ran: those of its option, and those that this would have
            skipped where the run's folder of latents had nothing so deep to start from.
        before: Residents before its switch.
        resident: Residents while it ran.
        active: Adapters that its members use.
        switch: Its switch by rule 4.
    """

    gpu: int
    run: BatchRun
    members: tuple[tuple[Job, int, float | None], ...]
    steps: tuple[int, ...]
    before: Adapters
    resident: Adapters
    active: Adapters
    switch: Switch

    @property
    def failed(self) -> tuple[Job, ...]:
        """Members without an image."""
        return tuple([job for job, _, done in self.members if done is None])

    @property
    def whole(self) -> bool:
        """True where its times are those of its members: run in one go, none failed or split."""
        run = self.run
        return bool(self.members) and not (run.resumed or run.splits or self.failed)

    @property
    def paid(self) -> tuple[Span, ...]:
        """Its loads and activations."""
        return tuple([span for span in self.run.spans if span.phase in PAID])

    @property
    def paid_s(self) -> float:
        """Seconds of loading and activation."""
        return sum([span.seconds for span in self.paid])

    @property
    def batch_s(self) -> float:
        """Seconds from its start to its end."""
        return self.run.end_s - self.run.start_s


def by_place(
    schedule: Schedule, replayed: Sequence[ReplayedBatch]
) -> dict[BatchKey, ReplayedBatch]:
    """Return the replayed batches by GPU and place in the file."""
    found: dict[BatchKey, ReplayedBatch] = {}
    batches = iter(replayed)
    for plan in schedule.gpus:
        # The checker goes by start, and the file need not.
        starts = [batch.start for batch in plan.batches]
        for index in sorted(range(len(starts)), key=starts.__getitem__):
            found[plan.id, index] = next(batches)
    return found


def executed_batches(
    problem: Problem, execution: Execution, planned: Mapping[BatchKey, ReplayedBatch] | None
) -> list[ExecutedBatch]:
    """Return the batches of an execution, GPU by GPU, in the order they ran.

    ``planned`` has the batches of the schedule that was run; None of a live run.

    Raises:
        InputError: The execution is of another instance or schedule, or names what they lack.
    """
    if execution.instance.sha256 != problem.instance.sha256:
        raise InputError(
            f"the execution is of another instance ({execution.instance.name!r}, digest "
            f"{execution.instance.sha256[:12]}, not {problem.instance.sha256[:12]})",
            place="instance.sha256",
            hint="name the instance that was run",
        )
    jobs = {job.id: job for job in problem.jobs}
    gpus = {gpu.id: gpu.index for gpu in problem.site.gpus}
    found: list[ExecutedBatch] = []
    for g, ran in enumerate(execution.gpus):
        index = gpus.pop(ran.id, None)
        if index is None:
            raise _unknown(f"gpus[{g}].id", f"the instance has no GPU {ran.id!r}, or it is twice")
        found += _gpu_batches(problem, jobs, planned, index, ran)
    return found


def _gpu_batches(
    problem: Problem,
    jobs: Mapping[str, Job],
    planned: Mapping[BatchKey, ReplayedBatch] | None,
    gpu: int,
    ran: GpuRun,
) -> Iterator[ExecutedBatch]:
    """The batches of one GPU, with its residents kept track of."""
    site, resident = problem.site, problem.site.gpus[gpu].resident
    loads = deque(ran.loads)  # by start
    previous: Adapters | None = None
    for run in sorted(ran.batches, key=lambda batch: batch.start_s):
        place = f"gpu {ran.id!r} batch {run.index}"
        members = tuple([_member(jobs, member, run, place) for member in run.members])
        active = frozenset([job.adapter for job, _, _ in members])
        if planned is not None:
            replayed = planned.get((ran.id, run.index))
            if replayed is None:
                raise _unknown(place, "the schedule has no such batch")
            # After an interruption loads and evictions may differ, but not what they lead to.
            switch, after = replayed.switch, frozenset(replayed.resident)
            before = (after - switch.load) | switch.evict
            _require_planned(replayed, members, run, place)
        else:
            while loads and loads[0].start_s <= run.start_s:
                load = loads.popleft()
                resident = _changed(problem, resident, (load.adapter,), load.evict, place)
            before, after = resident, _changed(problem, resident, run.load, run.evict, place)
            switch = (
                site.switch(before, after, active, previous)
                if site.channels is None
                else site.activation(active, previous)
            )
        yield ExecutedBatch(
            gpu=gpu,
            run=run,
            members=members,
            steps=tuple(
                [
                    job.options[option].steps + _unskipped(member)
                    for (job, option, _), member in zip(members, run.members, strict=True)
                ]
            ),
            before=before,
            resident=after,
            active=active,
            switch=switch,
        )
        resident, previous = after, active


def _member(
    jobs: Mapping[str, Job], member: MemberRun, run: BatchRun, place: str
) -> tuple[Job, int, float | None]:
    job = jobs.get(member.id)
    if job is None or member.option >= len(job.options):
        what = "request" if job is None else f"option {member.option} of request"
        raise _unknown(place, f"the instance has no {what} {member.id!r}")
    if member.completion_s is None and member.image is not None:
        return job, member.option, run.end_s
    return job, member.option, member.completion_s


def _unskipped(member: MemberRun) -> int:
    """Steps that a member ran, though its option skips them."""
    return 0 if member.latents is None else member.latents.asked - member.latents.level


def _changed(
    problem: Problem,
    resident: Adapters,
    load: Sequence[str],
    evict: Sequence[str],
    place: str,
) -> Adapters:
    """The residents after loads and evictions."""
    index = problem.site.adapter_index
    for name in (*load, *evict):
        if name not in index:
            raise _unknown(place, f"the instance has no adapter {name!r}")
    return (resident - {index[a] for a in evict}) | {index[a] for a in load}


def _require_planned(
    replayed: ReplayedBatch,
    members: Sequence[tuple[Job, int, float | None]],
    run: BatchRun,
    place: str,
) -> None:
    """Raise where a batch is not the schedule's; one that was cut short may lack members."""
    ran = {(job.index, option) for job, option, _ in members}
    asked = {(job.index, option) for job, option, _ in replayed.members}
    if not ran <= asked or (ran != asked and not run.resumed):
        raise _unknown(place, "its members are not those of the schedule's batch")


def _unknown(place: str, what: str) -> InputError:
    return InputError(what, place=place, hint="name the instance and the schedule that were run")
