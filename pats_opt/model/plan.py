"""Plans: the batches of every GPU in indices and ticks, as solvers and the simulator make them.

Switches and completions follow from a plan by rules 4 and 5; :func:`schedule_of` adds them.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import overload

import msgspec
from msgspec import Struct
from typing_extensions import override

from pats_opt.model.problem import NONE, Adapters, Problem, Site, Switch, ids
from pats_opt.model.schedule import (
    Batch,
    GpuPlan,
    InstanceRef,
    Load,
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

    Without ``switch_start`` the switch ends when the batch starts. Where loads run beside serving,
    ``resident`` is what stays at the switch's start: all else that is resident and not being loaded
    is evicted there.
    """

    start: int
    members: Members
    resident: Adapters
    switch_start: int | None = None


class PlannedLoad(Struct, frozen=True, gc=False):
    """A load beside serving: the adapter, its start tick, and the adapters that leave then."""

    adapter: int
    start: int
    evict: Adapters = frozenset()


#: A batch, the adapters that it uses, and the switch before it.
Switched = tuple[PlannedBatch, Adapters, Switch]


class BatchLog(Sequence[PlannedBatch]):
    """Batches of a GPU in the order in which they are appended, in little memory.

    A million batches whose residents differ would take gigabytes as sets.
    """

    def __init__(self) -> None:
        self._start, self._switch_start = array("q"), array("q")  # -1: no switch ahead
        self._first = array("q", [0])  # place of each batch's first member, and the end
        self._job, self._option = array("q"), array("q")
        self._resident: list[tuple[int, ...]] = []
        self._last: Adapters | None = None

    def append(self, batch: PlannedBatch) -> None:
        """Append a batch."""
        if batch.resident is self._last:
            held = self._resident[-1]
        else:
            self._last, held = batch.resident, tuple(sorted(batch.resident))
        self._resident.append(held)
        self._start.append(batch.start)
        self._switch_start.append(-1 if batch.switch_start is None else batch.switch_start)
        for job, option in batch.members:
            self._job.append(job)
            self._option.append(option)
        self._first.append(len(self._job))

    @override
    def __len__(self) -> int:
        return len(self._start)

    @overload
    def __getitem__(self, place: int) -> PlannedBatch: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[PlannedBatch]: ...
    @override
    def __getitem__(self, place: int | slice) -> PlannedBatch | Sequence[PlannedBatch]:
        if isinstance(place, slice):
            return tuple(self)[place]
        b = range(len(self))[place]
        return self._batch(b, frozenset(self._resident[b]))

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple | BatchLog) and tuple(self) == tuple(other)

    @override
    def __hash__(self) -> int:
        return hash(tuple(self))

    @override
    def __iter__(self) -> Iterator[PlannedBatch]:
        held: tuple[int, ...] = ()
        resident: Adapters = NONE
        for b, now in enumerate(self._resident):
            if now is not held:
                held, resident = now, frozenset(now)
            yield self._batch(b, resident)

    def _batch(self, b: int, resident: Adapters) -> PlannedBatch:
        mine, ahead = slice(self._first[b], self._first[b + 1]), self._switch_start[b]
        members = tuple(zip(self._job[mine], self._option[mine], strict=True))
        return PlannedBatch(self._start[b], members, resident, None if ahead < 0 else ahead)


@dataclass(frozen=True, slots=True)
class Plan:
    """Batches of each GPU, in order. Jobs that no batch serves are rejected.

    ``loads`` holds each GPU's loads beside serving, in order of start (within a tick, in the order
    in which they take place); it is empty where the problem has none.
    """

    gpus: tuple[Sequence[PlannedBatch], ...]
    loads: tuple[tuple[PlannedLoad, ...], ...] = ()


def plan_of(
    batches: Sequence[Sequence[PlannedBatch]], loads: Sequence[Sequence[PlannedLoad]] = ()
) -> Plan:
    """A plan from batches, and loads beside serving, per GPU, in any order."""
    return Plan(
        tuple(tuple(sorted(gpu, key=lambda batch: batch.start)) for gpu in batches),
        tuple(tuple(sorted(gpu, key=lambda load: load.start)) for gpu in loads),
    )


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
    left = [plan is not None] * len(problem.jobs)  # not served
    proven = stop is StopReason.OPTIMAL
    point = SolutionStatus.OPTIMAL if proven else SolutionStatus.FEASIBLE
    return Schedule(
        instance=InstanceRef(name=problem.instance.name, sha256=problem.instance.sha256),
        solver=solver,
        status=Status(stop=stop, point=point if plan else SolutionStatus.NONE),
        loss=loss,
        bound=bound,
        gpus=tuple(
            _gpu(problem, gpu.index, planned, loads, left)
            for gpu, planned, loads in zip(
                problem.site.gpus,
                gpus,
                plan.loads if plan and plan.loads else ((),) * len(gpus),
                strict=plan is not None,
            )
        ),
        rejected=tuple(compress((job.id for job in problem.jobs), left)),
    )


def _gpu(
    problem: Problem,
    gpu: int,
    planned: Sequence[PlannedBatch],
    loads: Sequence[PlannedLoad],
    left: list[bool],
) -> GpuPlan:
    """The batches and loads of a GPU; jobs that they serve are struck out of ``left``."""
    site = problem.site
    used = _used(problem, planned)
    if site.channels is None:
        switched: Iterable[Switched] = _switched(site, gpu, used)
    else:
        switched = _switched_beside_loads(site, gpu, used, loads)
    return GpuPlan(
        id=site.gpus[gpu].id,
        batches=tuple(_batches(problem, switched, left)),
        loads=msgspec.UNSET
        if site.channels is None
        else tuple(
            [
                Load(
                    adapter=site.adapter_ids[load.adapter],
                    start=load.start,
                    evict=ids(site, load.evict),
                )
                for load in loads
            ]
        ),
    )


def _used(
    problem: Problem, planned: Iterable[PlannedBatch]
) -> Iterator[tuple[PlannedBatch, Adapters]]:
    """Each batch with the adapters that it uses."""
    jobs = problem.jobs
    known: dict[Adapters, Adapters] = {}  # each set once
    for batch in planned:
        active = frozenset([jobs[j].adapter for j, _ in batch.members])
        yield batch, known.setdefault(active, active)


def _switched(
    site: Site, gpu: int, used: Iterable[tuple[PlannedBatch, Adapters]]
) -> Iterator[Switched]:
    """Each batch with the adapters that it uses and rule 4's switch before it."""
    before, previous = site.gpus[gpu].resident, None
    for batch, active in used:
        yield batch, active, site.switch(before, batch.resident, active, previous)
        before, previous = batch.resident, active


def _switched_beside_loads(
    site: Site,
    gpu: int,
    used: Iterable[tuple[PlannedBatch, Adapters]],
    loads: Sequence[PlannedLoad],
) -> Iterator[Switched]:
    """Section 5a: the switches are activations, and evict what is resident then and goes."""
    held, previous, to_come = site.gpus[gpu].resident, None, deque(loads)
    loaded: dict[int, int] = {}  # adapter -> end of its last load
    for batch, active in used:
        switch = site.activation(active, previous)
        start = batch.start - switch.ticks if batch.switch_start is None else batch.switch_start
        while to_come and to_come[0].start < start:
            load = to_come.popleft()
            held = (held - load.evict) | {load.adapter}
            loaded[load.adapter] = load.start + site.load_ticks(load.adapter)
        evict = frozenset([a for a in held - batch.resident if loaded.get(a, 0) <= start])
        held, previous = held - evict, active
        yield batch, active, switch._replace(evict=evict)


def _batches(problem: Problem, switched: Iterable[Switched], left: list[bool]) -> Iterator[Batch]:
    site, jobs = problem.site, problem.jobs
    names: dict[Adapters, tuple[str, ...]] = {}  # the same few sets come and go
    previous = None
    for batch, active, switch in switched:
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
        requests = []
        for (j, o), s in zip(batch.members, steps, strict=True):
            left[j] = False
            requests.append(Served(id=jobs[j].id, option=o, completion=batch.start + ends[s]))
        yield Batch(
            switch_start=switch_start,
            load=names[switch.load],
            evict=names[switch.evict],
            start=batch.start,
            requests=tuple(requests),
        )
        previous = active


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
