"""Replay of a schedule by the rules of PROBLEM.md section 5, collecting all violations.

Section 5a, loads beside serving, is in :mod:`pats_opt.model.overlap`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal

from msgspec import Struct

from pats_opt.model.problem import Adapters, GpuSite, Job, Problem, Switch
from pats_opt.model.schedule import Batch, GpuPlan, Schedule
from pats_opt.nearest import meant
from pats_opt.wording import counted

#: A GPU's id, and which of its batches or loads, as ``("gpu-0", "batch", 3)``.
Place = tuple[str, str, int]

#: Losses closer than this, relative to their size, are the same.
TOLERANCE = 1e-6

#: First violations for which similar ids are searched; that takes long in a large instance.
MOST_NEAR = 8


class Violation(Struct, frozen=True, kw_only=True):
    """One broken rule: its number in PROBLEM.md section 5 (0 for the file itself), and where.

    Rules of loads beside serving all have the number ``5a``.
    """

    rule: int | Literal["5a"]
    place: str
    message: str


class ReplayedBatch(Struct, frozen=True, gc=False):
    """One batch by the rules: its switch, residents in rising order, members and end tick."""

    gpu: int
    batch: Batch
    switch: Switch
    resident: tuple[int, ...]  # a set would take several times the memory
    members: tuple[tuple[Job, int, int], ...]  # job, option, completion tick
    end: int


class ReplayedLoad(Struct, frozen=True, gc=False):
    """One load beside serving: ``adapter`` is resident from ``start`` and usable from ``end``."""

    gpu: int
    adapter: int
    evict: Adapters
    start: int
    end: int


class Replay:
    """Replays a schedule and collects violations; iterating yields the batches.

    Attributes:
        violations: The broken rules so far.
        loads: The loads beside serving so far.
        rejected: The rejected jobs.
    """

    def __init__(self, problem: Problem, schedule: Schedule) -> None:
        self.problem, self.site, self.schedule = problem, problem.site, schedule
        self.violations: list[Violation] = []
        self.loads: list[ReplayedLoad] = []
        self.rejected: list[Job] = []
        self._jobs = {job.id: job for job in problem.jobs}
        self._times = [0] * len(problem.jobs)  # how often each job is served or rejected

    def __iter__(self) -> Iterator[ReplayedBatch]:
        gpus = {g.id: g for g in self.site.gpus}
        for i, plan in enumerate(self.schedule.gpus):
            if (gpu := gpus.pop(plan.id, None)) is not None:
                yield from self._gpu(gpu, plan)
            else:
                self._unknown(f"gpus[{i}]", "GPU", plan.id, [g.id for g in self.site.gpus])
        self._served_once()

    def wrong(self, rule: int | Literal["5a"], place: str | Place, message: str) -> None:
        """Add a violation."""
        where = place if isinstance(place, str) else "gpu {!r} {} {}".format(*place)
        self.violations.append(Violation(rule=rule, place=where, message=message))

    def _unknown(self, place: str | Place, what: str, name: str, known: Collection[str]) -> None:
        """Add a violation for an unknown or repeated name, with similar names for the first few."""
        if name in known:
            self.wrong(0, place, f"{what} {name!r} is listed twice")
            return
        near = meant(name, known) if len(self.violations) < MOST_NEAR else ""
        self.wrong(0, place, f"{what} {name!r} is unknown" + (f"; {near}" if near else ""))

    def _gpu(self, gpu: GpuSite, plan: GpuPlan) -> Iterator[ReplayedBatch]:
        """The batches of one GPU, in order of start."""
        resident, previous, free = gpu.resident, None, 0
        held = tuple(sorted(resident))
        for i in range(len(plan.loads or ())):
            self.wrong(
                "5a", (gpu.id, "load", i), "the instance has no overlap; load in a batch instead"
            )
        for batch, place in self._batches(gpu, plan):
            members = self._members(batch, place)
            before = resident
            if batch.load or batch.evict:
                evicted = self.changed("evict", batch.evict, before, place)
                resident = (before - evicted) | self.changed("load", batch.load, before, place)
                held = tuple(sorted(resident))
            jobs = [job for job, _ in members]
            active = frozenset([job.adapter for job in jobs])
            switch = self.site.switch(before, resident, active, previous)
            self._memory(gpu, resident, active, jobs, place)
            self._switch(batch, switch, active == previous, free, place)
            done, length = self._completions(batch, members, place)
            free = max(free, batch.start + length)
            self.ends_by_horizon(6, place, free)
            previous = active
            yield ReplayedBatch(gpu.index, batch, switch, held, tuple(done), free)

    def _batches(self, gpu: GpuSite, plan: GpuPlan) -> Iterator[tuple[Batch, Place]]:
        starts = [batch.start for batch in plan.batches]
        for b in sorted(range(len(starts)), key=starts.__getitem__):
            yield plan.batches[b], (gpu.id, "batch", b)

    def ends_by_horizon(self, rule: int | Literal["5a"], place: Place, end: int) -> None:
        """Rule 6: everything ends by the horizon."""
        if self.site.horizon is not None and end > self.site.horizon:
            self.wrong(rule, place, f"ends at tick {end}, after horizon_ticks {self.site.horizon}")

    def _members(self, batch: Batch, place: Place) -> list[tuple[Job, int]]:
        """Rule 1, and the members whose ids and options exist."""
        members = []
        for served in batch.requests:
            job = self._jobs.get(served.id)
            if job is None:
                self._unknown(place, "request", served.id, self._jobs)
                continue
            if served.option >= len(job.options):
                self.wrong(0, place, f"{served.id!r}: has no option {served.option}")
                continue
            if batch.start < job.arrival:
                self.wrong(
                    1, place, f"{job.id!r} arrives at tick {job.arrival}, after {batch.start}"
                )
            self._times[job.index] += 1
            members.append((job, served.option))
        return members

    def changed(
        self, key: str, names: tuple[str, ...], resident: Adapters, place: Place
    ) -> Adapters:
        """The adapters of ``load`` or ``evict``; those to evict must be resident."""
        if not names:
            return frozenset()
        index = self.site.adapter_index
        known = frozenset([index[name] for name in names if name in index])
        if len(known) != len(names):
            odd = next(n for i, n in enumerate(names) if n not in index or n in names[:i])
            self._unknown(place, f"{key}: adapter", odd, index)
        for a in sorted(known - resident if key == "evict" else known & resident):
            state = "not resident" if key == "evict" else "resident already"
            self.wrong(2, place, f"{key}: {self.site.adapter_ids[a]!r} is {state}")
        return known

    def _memory(
        self, gpu: GpuSite, resident: Adapters, active: Adapters, jobs: list[Job], place: Place
    ) -> None:
        """Rules 2 and 3."""
        site, names = self.site, self.site.adapter_ids
        if len(resident) > site.max_resident:
            self.wrong(2, place, f"{len(resident)} residents, max_resident {site.max_resident}")
        for a in sorted(active - resident):
            self.wrong(2, place, f"adapter {names[a]!r} is not resident")
        if len(active) > site.max_per_batch:
            self.wrong(2, place, f"{len(active)} adapters, max_per_batch {site.max_per_batch}")
        if site.clock.largest is not None and len(jobs) > site.clock.largest:
            self.wrong(
                3, place, f"{len(jobs)} members, the step table ends at {site.clock.largest}"
            )
        for i, free in enumerate(site.room(gpu.index, resident)):
            if free is not None and (used := sum([job.demand[i] for job in jobs])) > free:
                taken = f"members take {used / 1e9:.12g} of {site.resources[i]}"
                self.wrong(3, place, f"{taken}, {free / 1e9:.12g} is free")

    def _switch(self, batch: Batch, switch: Switch, stays: bool, free: int, place: Place) -> None:
        """Rules 4 and 6."""
        if batch.start < free or batch.switch_start < free:
            first = min(batch.start, batch.switch_start)
            self.wrong(6, place, f"starts at tick {first}, busy to {free}")
        if batch.switch_start + switch.ticks > batch.start:
            self.wrong(
                4,
                place,
                f"its switch takes {counted(switch.ticks, 'tick')} from {batch.switch_start}, "
                f"past its start at {batch.start}",
            )
        if stays and not switch.load and not switch.evict and batch.switch_start != batch.start:
            self.wrong(4, place, "there is no switch, so switch_start must equal start")

    def _completions(
        self, batch: Batch, members: list[tuple[Job, int]], place: Place
    ) -> tuple[list[tuple[Job, int, int]], int]:
        """Rule 5: each member with its recomputed completion, and the length of the batch."""
        clock = self.site.clock
        if not members or (clock.largest is not None and len(members) > clock.largest):
            return [], 0
        ends, length = clock.ends(tuple([job.options[o].steps for job, o in members]))
        claimed = {served.id: served.completion for served in batch.requests}
        done = []
        for job, o in members:
            told, completion = claimed[job.id], batch.start + ends[job.options[o].steps]
            if told != completion:
                self.wrong(5, place, f"{job.id!r} completes at tick {completion}, not {told}")
                told = completion
            done.append((job, o, told))  # no second object for the same number
        return done, length

    def _served_once(self) -> None:
        """Rule 1: served once or rejected once, and only those that may be are rejected."""
        for i, name in enumerate(self.schedule.rejected):
            job = self._jobs.get(name)
            if job is None:
                self._unknown(f"rejected[{i}]", "request", name, self._jobs)
                continue
            self._times[job.index] += 1
            self.rejected.append(job)
            if job.reject_loss is None:
                self.wrong(1, f"rejected[{i}]", f"{name!r} has no reject_loss: it must be served")
        for job in self.problem.jobs:
            if (times := self._times[job.index]) != 1:
                what = "neither served nor rejected" if not times else f"dealt with {times} times"
                self.wrong(1, f"request {job.id!r}", what)

    def claims(self, loss: float) -> None:
        """Check the file's loss and that its bound is not above the loss."""
        slack = TOLERANCE * max(1.0, abs(loss))
        claimed, bound = self.schedule.loss, self.schedule.bound
        if claimed is not None and abs(claimed - loss) > slack:
            self.wrong(0, "loss", f"the file says {claimed:.9g}, the schedule's loss is {loss:.9g}")
        if bound is not None and bound > loss + slack:
            self.wrong(0, "bound", f"the bound {bound:.9g} is above the loss {loss:.9g}")
