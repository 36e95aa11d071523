"""Loads beside serving (section 5a): the earliest times of a GPU's loads and batches in an order.

Three facts make an order enough:

- A load that no batch uses is dropped, and a *residence*, from a load's start on, is of no use
  after the end of the last batch that uses it. Who leaves then makes room no later than before.
- Room is only taken where a load or a batch starts. So who has left in this sense can go when the
  room is needed: at that load's start, or at that batch's ``switch_start``, by which the batch
  before has ended.
- Events that each start as early as those before them allow, in the order of some schedule, start
  no later than in it: whatever ends ends no later, and so there is no less room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pats_opt.model.plan import Members, Plan, PlannedBatch, PlannedLoad
from pats_opt.model.problem import Adapters, Problem

#: An event of a GPU: the members of a batch, or an adapter to load.
Event = Members | int


def events(plan: Plan, gpu: int) -> list[Event]:
    """Return the loads and batches of a GPU in their order; within a tick, loads come first."""
    loads = plan.loads[gpu] if plan.loads else ()
    found: list[tuple[int, int, Event]] = [(x.start, 0, x.adapter) for x in loads]
    found += [(x.start, 1, x.members) for x in plan.gpus[gpu]]
    return [event for *_, event in sorted(found, key=lambda x: x[:2])]


def timed_beside_loads(problem: Problem, plan: Plan) -> Plan:
    """Return a plan whose loads and batches keep their order, each as early as it can be.

    Residents and evictions follow from the order.
    """
    rows = [earliest_beside_loads(problem, g, events(plan, g)) for g in range(len(plan.gpus))]
    return Plan(tuple(batches for batches, _ in rows), tuple(loads for _, loads in rows))


def earliest_beside_loads(
    problem: Problem, gpu: int, order: Sequence[Event]
) -> tuple[tuple[PlannedBatch, ...], tuple[PlannedLoad, ...]]:
    """Start each load and batch of a GPU as early as the order and the rules allow.

    Loads that no batch uses are left out, and those of adapters that are still there.

    Raises:
        ValueError: A batch's adapter is not loaded before it, or there is never room for a load.
    """
    timing = _Timing(problem, gpu, order)
    for event, residence in zip(order, timing.loaded, strict=True):
        if isinstance(event, int):
            if residence is not None and residence.uses:
                timing.load(event, residence)
        else:
            timing.serve(event)
    return tuple(timing.batches), tuple(timing.loads)


class _Residence:
    """An adapter's stay on a GPU.

    Attributes:
        ready: Tick from which batches can use it.
        uses: Batches to come that use it.
        left: End of the last batch so far that used it.
        again: Place in the order of its next load; infinity where it is the last.
    """

    __slots__ = "again", "left", "ready", "uses"

    def __init__(self) -> None:
        self.ready = self.uses = self.left = 0
        self.again = math.inf


class _Timing:
    """Times the events of one GPU, one after another."""

    def __init__(self, problem: Problem, gpu: int, order: Sequence[Event]) -> None:
        self._jobs, self._site, self._gpu = problem.jobs, problem.site, gpu
        self._held = {a: _Residence() for a in self._site.gpus[gpu].resident}
        self.loaded = self._residences(order)
        self.batches: list[PlannedBatch] = []
        self.loads: list[PlannedLoad] = []
        self._previous: Adapters | None = None
        self._tick = 0  # of the last event
        self._free = 0  # end of the last batch
        self._taken = 0  # memory of its members
        self._ends: list[int] = []  # of loads

    def _residences(self, order: Sequence[Event]) -> list[_Residence | None]:
        """Return the residence that each event begins, where it is a load."""
        now = dict(self._held)
        begun: list[_Residence | None] = []
        for i, event in enumerate(order):
            if isinstance(event, int):
                if event in now:
                    now[event].again = i
                now[event] = residence = _Residence()
                begun.append(residence)
                continue
            begun.append(None)
            for a in self._used(event):
                if a not in now:
                    raise ValueError(f"no load of {self._site.adapter_ids[a]!r} before its batch")
                now[a].uses += 1
        return begun

    def _used(self, members: Members) -> Adapters:
        return frozenset([self._jobs[j].adapter for j, _ in members])

    def _staying(self, tick: int) -> Adapters:
        """Return the residents that a batch in progress at a tick, or a later one, uses."""
        return frozenset([a for a, r in self._held.items() if r.uses or r.left > tick])

    def _fits(self, resident: Adapters, taken: int) -> bool:
        free = self._site.room(self._gpu, resident)[0]
        return len(resident) <= self._site.max_resident and (free is None or taken <= free)

    def _make_room(self, tick: int, coming: Adapters, taken: int) -> Adapters:
        """Evict who has left and is loaded again last, as long as room is missing."""
        evicted = set()
        gone = sorted(frozenset(self._held) - self._staying(tick))
        for a in sorted(gone, key=lambda a: -self._held[a].again):
            if self._fits(coming | frozenset(self._held), taken):
                break
            del self._held[a]
            evicted.add(a)
        return frozenset(evicted)

    def load(self, adapter: int, residence: _Residence) -> None:
        """Start a load at the first tick at which a channel and room are free."""
        if adapter in self._held:  # nobody needed its room
            residence.ready = self._held[adapter].ready
            self._held[adapter] = residence
            return
        ticks = self._site.load_ticks(adapter)
        ends = [*self._ends, self._free, *(r.left for r in self._held.values())]
        for tick in sorted({self._tick, *(end for end in ends if end > self._tick)}):
            in_progress = sum(end > tick for end in self._ends)
            if ticks and in_progress >= (self._site.channels or 0):
                continue
            taken = self._taken if tick < self._free else 0
            if self._fits(self._staying(tick) | {adapter}, taken):
                break
        else:
            raise ValueError(f"no room for a load of {self._site.adapter_ids[adapter]!r}")
        evict = self._make_room(tick, frozenset((adapter,)), taken)
        residence.ready = tick + ticks
        self._held[adapter], self._tick = residence, tick
        self._ends = [end for end in (*self._ends, residence.ready) if end > tick]
        self.loads.append(PlannedLoad(adapter, tick, evict))

    def serve(self, members: Members) -> None:
        """Start a batch when its GPU is free and switched, and its members and adapters are there.

        It evicts only where it needs the room.
        """
        active, clock = self._used(members), self._site.clock
        ready = [self._held[a].ready for a in active]
        arrivals = [self._jobs[j].arrival for j, _ in members]
        ticks = self._site.activation(active, self._previous).ticks
        start = max(self._tick, self._free + ticks, *ready, *arrivals)
        self._taken = sum([self._jobs[j].demand[0] for j, _ in members])
        self._make_room(start, frozenset(), self._taken)
        staying = frozenset(self._held)
        for load in self.loads[::-1]:  # what these evict is still there at the switch's start
            if load.start < start - ticks:
                break
            staying |= load.evict
        self.batches.append(PlannedBatch(start, members, staying))
        self._free = (
            start + clock.ends(tuple([self._jobs[j].options[o].steps for j, o in members]))[1]
        )
        for a in active:
            self._held[a].uses -= 1
            self._held[a].left = self._free
        self._tick, self._previous = start, active
