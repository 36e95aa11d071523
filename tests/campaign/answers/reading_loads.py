"""A second reading of PROBLEM.md section 5a: one GPU that loads beside its batches.

First what each batch is by itself, then everything that happens on the GPU in order of time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.campaign.answers.reading import Reading

Json = dict[str, Any]

#: What happens first in a tick; what ends there has ended.
EVICTIONS, LOADS, STARTS = range(3)


class Serving(NamedTuple):
    """A batch by itself: the adapters that it uses, and its end."""

    batch: Json
    active: set[str]
    end: int


def read_gpu(reading: Reading, gpu: Json, plan: Json) -> None:
    """Note the broken rules of one GPU, and add what its switches and loads cost."""
    events: list[tuple[int, int, int, Any]] = []
    before, free = None, 0
    for i, batch in enumerate(sorted(plan["batches"], key=lambda b: b["start"])):
        active = {request["adapter"] for request in reading.members(batch)}
        reading.unless(len(active) <= reading.switching.get("max_per_batch", 1), 2)
        reading.unless(not batch.get("load"), "5a")
        _activate(reading, batch, active, before)
        end = reading.serve(batch)
        reading.unless(batch["switch_start"] >= free and batch["start"] >= free, 6)
        before, free = active, max(free, end)
        reading.ends(free, 6)
        serving = Serving(batch, active, free)
        events.append((batch["switch_start"], EVICTIONS, i, serving))
        events.append((batch["start"], STARTS, i, serving))
    for i, load in enumerate(sorted(plan.get("loads", []), key=lambda load: load["start"])):
        reading.unless(load["start"] >= 0, 0)
        events.append((load["start"], LOADS, i, load))
    _Residents(reading, gpu).run(sorted(events, key=lambda event: event[:3]))


def _activate(reading: Reading, batch: Json, active: set[str], before: set[str] | None) -> None:
    """Rule 4: the switch is one activation for each adapter that was not used just before."""
    fresh = set() if before is None else active - before
    seconds = reading.seconds(reading.switching.get("activate_s", 0))
    reading.pay(len(fresh) * seconds)
    takes = len(fresh) * reading.ticks(seconds)
    reading.unless(batch["switch_start"] + takes <= batch["start"], 4)
    if not batch.get("evict") and active == before:
        reading.unless(batch["switch_start"] == batch["start"], 4)


class _Residents:
    """The residents of a GPU, each with the tick from which on a batch can use it."""

    def __init__(self, reading: Reading, gpu: Json) -> None:
        self.reading, self.gpu = reading, gpu
        self.usable = dict.fromkeys(gpu.get("resident", []), 0)
        self.in_progress: list[int] = []
        self.serving: Serving | None = None

    def run(self, events: list[tuple[int, int, int, Any]]) -> None:
        """Go through what happens, in order."""
        for tick, kind, _, what in events:
            if kind == EVICTIONS:
                self._evict(what.batch.get("evict", []), tick, set())
            elif kind == LOADS:
                self._load(what, tick)
            else:
                self._start(what, tick)

    def _evict(self, names: list[str], tick: int, used: set[str]) -> None:
        reading = self.reading
        for i, name in enumerate(names):
            reading.unless(name in reading.adapters and name not in names[:i], 0)
            reading.unless(name in self.usable, 2)
            reading.unless(self.usable.get(name, 0) <= tick and name not in used, "5a")
        for name in names:
            self.usable.pop(name, None)

    def _load(self, load: Json, tick: int) -> None:
        reading, name = self.reading, load["adapter"]
        beside = self.serving if self.serving and self.serving.end > tick else None
        resident = name in self.usable
        self._evict(load.get("evict", []), tick, beside.active if beside else set())
        if name not in reading.adapters:
            reading.broken.add(0)
            return
        reading.unless(not resident, 2)
        seconds = reading.seconds(reading.adapters[name]["load_s"])
        reading.pay(seconds)
        end = tick + reading.ticks(seconds)
        reading.ends(end, "5a")
        self.usable[name] = max(end, self.usable.get(name, 0))
        self.in_progress = [e for e in (*self.in_progress, end) if e > tick]
        channels = reading.switching["overlap"]["channels"]
        reading.unless(end == tick or len(self.in_progress) <= channels, "5a")
        reading.unless(len(self.usable) <= reading.switching["max_resident"], "5a")
        members = reading.members(beside.batch) if beside else []
        reading.unless(reading.free(self.gpu, "vram_gib", set(self.usable), members) >= 0, "5a")

    def _start(self, serving: Serving, tick: int) -> None:
        reading = self.reading
        reading.unless(serving.active <= set(self.usable), 2)
        reading.unless(len(self.usable) <= reading.switching["max_resident"], 2)
        reading.unless(all(self.usable.get(a, 0) <= tick for a in serving.active), "5a")
        reading.memory(self.gpu, set(self.usable), serving.batch)
        self.serving = serving
