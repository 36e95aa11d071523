"""The problem for solvers, policies and the checker: the instance on the tick grid.

:class:`Site` is what is known before any request arrives (GPUs, adapters, switching, service);
an online policy sees it from the start. :class:`Problem` adds the requests. Ids become indices,
seconds become ticks, amounts become whole quanta. Of PROBLEM.md section 5, rules 2 to 4 live here
and rule 5 in :mod:`pats_opt.model.timing`; the loss is in :mod:`pats_opt.model.loss`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from pats_opt.errors import expect
from pats_opt.model.instance import Instance, Request, quanta
from pats_opt.model.lookup import cache_lookup
from pats_opt.model.timing import BatchClock, late_after, to_ticks

#: A set of adapter indices.
Adapters = frozenset[int]

#: No adapters.
NONE: Adapters = frozenset()

#: An amount of each resource of the site, in quanta, in the order of ``Site.resources``.
Amounts = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GpuSite:
    """One GPU. ``capacity`` holds None where a resource is unlimited."""

    index: int
    id: str
    capacity: tuple[int | None, ...]
    resident: Adapters


class JobOption(Struct, frozen=True, gc=False):
    """One way to run a job; ``quality_loss`` is weight x (best quality - this quality).

    ``skip`` is the number of steps that approximate caching skips; no rule or loss depends on it.
    """

    steps: int
    quality: float
    quality_loss: float
    skip: int = 0


class Job(Struct, frozen=True, gc=False):
    """A request on the grid. ``index`` counts jobs by arrival, then by place in the file.

    Attributes:
        arrival: First tick at which a batch with it may start.
        deadline: Largest latency in ticks that is not late, or None.
        reject_loss: Loss if it is rejected (weight included), or None where it must be served.
        position: Place in the instance's ``requests``.
        cache_level: Steps that its cache look-up lets it skip (0 after a miss), or None where no
            look-up is recorded. No rule or loss depends on it.
    """

    index: int
    id: str
    position: int
    arrival: int
    adapter: int
    demand: Amounts
    options: tuple[JobOption, ...]
    weight: float
    complexity: float | None
    deadline: int | None
    reject_loss: float | None
    cache_level: int | None = None


class Switch(NamedTuple):
    """The change before a batch (rule 4).

    Attributes:
        load: Adapters made resident.
        evict: Adapters that leave.
        activate: Adapters that were resident and are made active.
        seconds: Seconds of loading and activation, which are paid.
        ticks: Ticks that it takes: those of each load and of each activation.
    """

    load: Adapters
    evict: Adapters
    activate: Adapters
    seconds: float
    ticks: int


class Site:
    """Everything but the requests.

    Attributes:
        resources: Names of all resources; ``vram_gib`` is the first.
        adapter_ids: Adapter ids; an adapter's index is its place here.
        all_adapters: Indices of all adapters.
        adapter_vram: Memory of each adapter while resident, in quanta.
        load_s: Seconds to make each adapter resident, where no pair overrides it.
        channels: Most loads in progress on a GPU beside its batches, or None where a GPU serves
            nobody while it loads (section 5a).
        base_vram: Memory of the base model, in quanta.
        clock: Batch times (rule 5).
    """

    def __init__(self, instance: Instance) -> None:
        self.name = instance.name
        self.tick_s = instance.tick_s
        self.clock = BatchClock(instance)
        named = [g.capacity for g in instance.gpus] + [r.demand for r in instance.requests]
        others = sorted({name for amounts in named for name in amounts} - {"vram_gib"})
        self.resources: tuple[str, ...] = ("vram_gib", *others)
        self._no_demand = (0,) * len(self.resources)
        self.adapter_ids = tuple(a.id for a in instance.adapters)
        self.adapter_index = {name: i for i, name in enumerate(self.adapter_ids)}
        self.all_adapters = frozenset(range(len(self.adapter_ids)))
        self.adapter_vram = tuple(quanta(a.vram_gib) for a in instance.adapters)
        self.load_s = tuple(a.load_s for a in instance.adapters)
        self.base_vram = quanta(instance.base_vram_gib)
        self.gpus = tuple(
            GpuSite(
                i,
                g.id,
                tuple(
                    quanta(g.capacity[name]) if name in g.capacity else None
                    for name in self.resources
                ),
                frozenset(self.adapter_index[a] for a in g.resident),
            )
            for i, g in enumerate(instance.gpus)
        )
        switching = instance.switching
        self.max_resident = switching.max_resident
        self.max_per_batch = min(switching.max_per_batch, switching.max_resident)
        self.activate_s = switching.activate_s
        self.channels = switching.overlap.channels if switching.overlap else None
        self.switch_price_per_s = switching.price_per_s
        self.pairs: dict[tuple[int | None, int], float] = {
            (
                None if p.source is None else self.adapter_index[p.source],
                self.adapter_index[p.target],
            ): p.load_s
            for p in switching.pairs
        }
        self.latency_price_per_s = instance.latency_price_per_s
        self.late_price = instance.late_price
        self.horizon = instance.horizon_ticks
        # The same few recur a million times in simulations.
        self._known_switch = lru_cache(maxsize=16384)(self._switch)
        self._known_room = lru_cache(maxsize=4096)(self._room)

    def alone(self, gpu: int) -> Site:
        """Return the site of one of the GPUs by itself, where its index is 0."""
        part = copy(self)
        part.gpus = (replace(self.gpus[gpu], index=0),)
        part._known_room = lru_cache(maxsize=4096)(part._room)
        return part

    def amounts(self, named: dict[str, float]) -> Amounts:
        """Quanta of every resource; one that is not named is 0."""
        return tuple(quanta(named.get(name, 0.0)) for name in self.resources)

    def load_seconds(self, adapter: int, before: Adapters) -> float:
        """Seconds to load ``adapter`` where ``before`` is resident (pairs override ``load_s``)."""
        if self.pairs:
            source = next(iter(before), None)
            return self.pairs.get((source, adapter), self.load_s[adapter])
        return self.load_s[adapter]

    def switching_ticks(self, seconds: float) -> int:
        """Ticks of one load or activation."""
        return 0 if self.clock.slotted else to_ticks(seconds, self.tick_s)

    def load_ticks(self, adapter: int) -> int:
        """Ticks of a load where no pair overrides its seconds."""
        return self.switching_ticks(self.load_s[adapter])

    def activation(self, active: Adapters, previous: Adapters | None) -> Switch:
        """Section 5a: the switch before a batch where loads run beside serving.

        Args:
            active: Adapters that the batch's members use.
            previous: Those of the previous batch on this GPU, or None for its first batch.
        """
        return self.switch(active, active, active, previous)

    def switch(
        self, before: Adapters, after: Adapters, active: Adapters, previous: Adapters | None
    ) -> Switch:
        """Rule 4: the switch from residents ``before`` to ``after`` ahead of a batch.

        Args:
            before: Resident adapters before the switch.
            after: Resident adapters during the batch.
            active: Adapters that the batch's members use.
            previous: Those of the previous batch on this GPU, or None for its first batch.
        """
        load = evict = activate = NONE
        if after is not before:
            load, evict = after - before or NONE, before - after or NONE
        if previous is not None and active is not previous:
            activate = (active & before) - previous or NONE
        return self._known_switch(load, evict, activate, before if self.pairs else NONE)

    def _switch(
        self, load: Adapters, evict: Adapters, activate: Adapters, before: Adapters
    ) -> Switch:
        """The switch of these changes; ``before`` matters only where there are pairs."""
        seconds = [self.load_seconds(a, before) for a in sorted(load)]
        seconds += [self.activate_s] * len(activate)
        ticks = sum([self.switching_ticks(s) for s in seconds])
        return Switch(load, evict, activate, math.fsum(seconds), ticks)

    def switches(self, gpu: int, batches: Iterable[tuple[Adapters, Adapters]]) -> Iterator[Switch]:
        """Rule 4 along a GPU's batches, from its residents at tick 0: the switch before each.

        Args:
            gpu: The GPU's index.
            batches: Residents and used adapters of each batch, in order of start.
        """
        before, previous = self.gpus[gpu].resident, None
        for after, active in batches:
            yield self.switch(before, after, active, previous)
            before, previous = after, active

    def room(self, gpu: int, resident: Adapters) -> tuple[int | None, ...]:
        """Rule 3: what a batch may use of each resource on ``gpu`` while ``resident`` is held.

        Negative memory means that the residents alone do not fit; None means unlimited.
        """
        return self._known_room(gpu, resident)

    def _room(self, gpu: int, resident: Adapters) -> tuple[int | None, ...]:
        capacity = self.gpus[gpu].capacity
        vram = capacity[0]
        if vram is not None:
            vram -= self.base_vram + self.resident_vram(resident)
        return (vram, *capacity[1:])

    def resident_vram(self, adapters: Adapters) -> int:
        """Memory that resident adapters take, in quanta."""
        return sum(map(self.adapter_vram.__getitem__, adapters))

    def fits(self, gpu: int, resident: Adapters, jobs: Sequence[Job]) -> bool:
        """Whether a batch of ``jobs`` on ``gpu`` with ``resident`` held keeps rules 2 and 3."""
        if len(resident) > self.max_resident:
            return False
        # Simulations spend their time here, and most of their batches are small.
        if len(jobs) == 1:
            if jobs[0].adapter not in resident:
                return False
            needs: Iterable[int] = jobs[0].demand
        else:
            active = {job.adapter for job in jobs}
            if (
                not active <= resident
                or len(active) > self.max_per_batch
                or (self.clock.largest is not None and len(jobs) > self.clock.largest)
            ):
                return False
            needs = map(sum, zip(self._no_demand, *[job.demand for job in jobs], strict=True))
        for need, free in zip(needs, self._known_room(gpu, resident), strict=True):
            if free is not None and need > free:
                return False
        return True


class Problem:
    """An instance on the grid: its site and its jobs, by arrival.

    Attributes:
        instance: The document it was made from.
        site: Everything but the requests.
        jobs: The requests, sorted by arrival tick, then by place in the file.
    """

    def __init__(self, instance: Instance) -> None:
        expect(instance, Instance, "read it: pats_opt.read_instance(path)")
        self.instance = instance
        self.site = site = Site(instance)
        arrival = [to_ticks(r.arrival_s, site.tick_s) for r in instance.requests]
        order = sorted(range(len(arrival)), key=arrival.__getitem__)
        jobs = []
        # Many requests have the same amounts and options.
        amounts: dict[tuple[tuple[str, float], ...], Amounts] = {}
        known: dict[tuple[JobOption, ...], tuple[JobOption, ...]] = {}
        for index, position in enumerate(order):
            r = instance.requests[position]
            named = tuple(r.demand.items())
            if named not in amounts:
                amounts[named] = site.amounts(r.demand)
            job = job_of(
                site,
                r,
                index=index,
                position=position,
                arrival=arrival[position],
                demand=amounts[named],
                known=known,
            )
            jobs.append(job)
        self.jobs: tuple[Job, ...] = tuple(jobs)

    def __reduce__(self) -> tuple[type[Problem], tuple[Instance]]:
        """Pickled as its instance, from which the rest is made again."""
        return Problem, (self.instance,)

    def job_index(self) -> dict[str, int]:
        """Job index by request id."""
        return {job.id: job.index for job in self.jobs}

    def hosts(self, job: Job) -> list[int]:
        """GPUs on which ``job`` fits alone, with nothing but its own adapter resident."""
        resident = frozenset((job.adapter,))
        return [g.index for g in self.site.gpus if self.site.fits(g.index, resident, (job,))]

    def unservable(self) -> list[tuple[Job, str]]:
        """Jobs that no schedule can serve, each with the reason."""
        site, reasons = self.site, []
        fits: dict[tuple[int, Amounts], bool] = {}  # many jobs share adapter and demand
        for job in self.jobs:
            kind = job.adapter, job.demand
            if kind not in fits:
                fits[kind] = bool(self.hosts(job))
            if not fits[kind]:
                reasons.append((job, "it fits no GPU even alone"))
            elif site.horizon is not None:
                quickest = min(site.clock.quickest(o.steps) for o in job.options)
                if job.arrival + quickest > site.horizon:
                    reasons.append((job, f"it cannot end by horizon_ticks {site.horizon}"))
        return reasons


def job_of(
    site: Site,
    request: Request,
    *,
    index: int,
    position: int,
    arrival: int,
    demand: Amounts,
    known: dict[tuple[JobOption, ...], tuple[JobOption, ...]] | None = None,
) -> Job:
    """Put a request on the grid.

    Args:
        site: Everything but the requests.
        request: The request.
        index: Its place by arrival.
        position: Its place in the file.
        arrival: First tick at which a batch with it may start.
        demand: Its demand in quanta.
        known: Options of other jobs, for sharing; those of this one are added.
    """
    best, weight = max([o.quality for o in request.options]), request.weight
    late, lost = request.deadline_s, request.reject_loss
    options = tuple(
        [
            JobOption(o.steps, o.quality, weight * (best - o.quality), o.skip)
            for o in request.options
        ]
    )
    return Job(
        index=index,
        id=request.id,
        position=position,
        arrival=arrival,
        adapter=site.adapter_index[request.adapter],
        demand=demand,
        options=options if known is None else known.setdefault(options, options),
        weight=weight,
        complexity=request.complexity,
        deadline=None if late is None else late_after(late, site.tick_s),
        reject_loss=None if lost is None else weight * lost,
        cache_level=_cache_level(request, position),
    )


def _cache_level(request: Request, position: int) -> int | None:
    """Return the level of a request's cache look-up, if one is recorded."""
    if not request.extra:
        return None
    found = cache_lookup(request.extra, f"requests[{position}]")
    return None if found is None else found.level


def ids(site: Site, adapters: Iterable[int]) -> tuple[str, ...]:
    """Adapter ids of adapter indices, sorted by index."""
    return tuple(site.adapter_ids[a] for a in sorted(adapters))
