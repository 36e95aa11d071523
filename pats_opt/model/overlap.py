"""Replay of a schedule by PROBLEM.md section 5a: loads beside serving."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from typing_extensions import override

from pats_opt.model.problem import Adapters, GpuSite, Job
from pats_opt.model.replay import Place, Replay, ReplayedBatch, ReplayedLoad
from pats_opt.model.schedule import Batch, GpuPlan, Load
from pats_opt.wording import counted


class OverlapReplay(Replay):
    """Replays a schedule whose GPUs load beside their batches."""

    @override
    def _gpu(self, gpu: GpuSite, plan: GpuPlan) -> Iterator[ReplayedBatch]:
        loader = Loader(self, gpu, plan)
        previous, free = None, 0
        for batch, place in self._batches(gpu, plan):
            members = self._members(batch, place)
            jobs = [job for job, _ in members]
            active = frozenset([job.adapter for job in jobs])
            loader.load_before(batch.switch_start)
            switch = self.site.activation(active, previous)._replace(
                evict=loader.evict(batch, place)
            )
            loader.load_before(batch.start + 1)
            resident = loader.start(batch, jobs, active, place)
            self._memory(gpu, resident, active, jobs, place)
            self._switch(batch, switch, active == previous, free, place)
            done, length = self._completions(batch, members, place)
            free = max(free, batch.start + length)
            self.ends_by_horizon(6, place, free)
            loader.serving_to, previous = free, active
            yield ReplayedBatch(
                gpu.index, batch, switch, tuple(sorted(resident)), tuple(done), free
            )
        loader.load_before(None)


class Loader:
    """The loader of one GPU, from event to event. Within a tick, what ends there comes first.

    Attributes:
        serving_to: End of the batch in progress.
    """

    def __init__(self, replay: OverlapReplay, gpu: GpuSite, plan: GpuPlan) -> None:
        self._replay, self._site, self._gpu = replay, replay.site, gpu
        places: list[tuple[Load, Place]] = [
            (load, (gpu.id, "load", i)) for i, load in enumerate(plan.loads or ())
        ]
        self._to_come = deque(sorted(places, key=lambda item: item[0].start))
        self._ready = dict.fromkeys(gpu.resident, 0)  # resident -> tick at which it is loaded
        self._ends: list[int] = []  # of the loads in progress
        self._serving: tuple[Adapters, int] = frozenset(), 0  # adapters and memory of the batch
        self.serving_to = 0

    def load_before(self, tick: int | None) -> None:
        """Start the loads that come before a tick; None for all."""
        while self._to_come and (tick is None or self._to_come[0][0].start < tick):
            self._load(*self._to_come.popleft())

    def evict(self, batch: Batch, place: Place) -> Adapters:
        """The adapters that a batch evicts at its switch's start."""
        evicted = self._leave(batch.evict, batch.switch_start, place)
        if batch.load:
            self._replay.wrong("5a", place, "load: with overlap, the GPU's 'loads' load")
        return evicted

    def start(self, batch: Batch, jobs: list[Job], active: Adapters, place: Place) -> Adapters:
        """Start a batch, whose adapters are loaded; what is resident then."""
        for a in sorted(active):
            if (ready := self._ready.get(a, 0)) > batch.start:
                name = self._site.adapter_ids[a]
                self._replay.wrong("5a", place, f"{name!r} is being loaded to tick {ready}")
        self._serving = active, sum([job.demand[0] for job in jobs])
        return frozenset(self._ready)

    def _leave(self, names: tuple[str, ...], tick: int, place: Place) -> Adapters:
        """Let adapters leave that are resident and not being loaded; those that do."""
        resident = frozenset(self._ready)
        leaving = self._replay.changed("evict", names, resident, place) & resident
        for a in sorted(leaving):
            if self._ready[a] > tick:
                name = self._site.adapter_ids[a]
                self._replay.wrong("5a", place, f"evict: {name!r} is being loaded")
            del self._ready[a]
        return leaving

    def _load(self, load: Load, place: Place) -> None:
        replay, site, start = self._replay, self._site, load.start
        serving, taken = self._serving if self.serving_to > start else (frozenset(), 0)
        evicted = self._leave(load.evict, start, place)
        for a in sorted(evicted & serving):
            name = site.adapter_ids[a]
            replay.wrong("5a", place, f"evict: the batch in progress uses {name!r}")
        for a in replay.changed("load", (load.adapter,), evicted | frozenset(self._ready), place):
            end = start + site.load_ticks(a)
            self._ready[a] = end
            self._in_progress(start, end, place)
            self._memory(taken, place)
            replay.ends_by_horizon("5a", place, end)
            replay.loads.append(ReplayedLoad(self._gpu.index, a, evicted, start, end))

    def _in_progress(self, start: int, end: int, place: Place) -> None:
        """At most as many loads as channels are in progress; one of no ticks never is."""
        self._ends = [e for e in (*self._ends, end) if e > start]
        channels = self._site.channels or 0
        if end > start and len(self._ends) > channels:
            loads = counted(len(self._ends), "load")
            self._replay.wrong("5a", place, f"{loads} in progress, channels {channels}")

    def _memory(self, taken: int, place: Place) -> None:
        """All residents fit beside all members of the batch in progress, and are few enough."""
        site, resident = self._site, frozenset(self._ready)
        if len(resident) > site.max_resident:
            self._replay.wrong(
                "5a", place, f"{len(resident)} residents, max_resident {site.max_resident}"
            )
        free = site.room(self._gpu.index, resident)[0]
        if free is not None and taken > free:
            self._replay.wrong(
                "5a",
                place,
                f"residents and batch in progress take {(taken - free) / 1e9:.12g} GiB too much",
            )
