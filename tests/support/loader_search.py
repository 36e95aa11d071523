"""The optimum with loads beside serving, by exhaustive search, written from section 5a alone.

Moving every event to the left, in the same order, keeps all rules and raises no loss. So events
happen only at arrivals, at ends of batches and loads, and where a switch has taken its time; there
the search tries every switch, load and start. A load that is evicted before a batch has used it
could have been left out, and so could the wait between a switch of no ticks and its batch.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from typing_extensions import override

from tests.support.brute_force import INFINITY, Json, Search, subsets

#: Members of a batch: (request, option).
Members = tuple[tuple[int, int], ...]


class Pending(NamedTuple):
    """A batch whose switch has begun: from ``ready`` on it may start."""

    batch: Members
    ready: int
    since: int
    evicted: int


class State(NamedTuple):
    """A GPU at a tick. Sets are bit masks; ``ready`` holds adapter and tick while it is loaded."""

    left: int
    now: int
    held: int
    ready: tuple[tuple[int, int], ...] = ()
    unused: int = 0
    serving: int = 0  # requests of the batch in progress
    end: int = 0
    previous: int = 0
    pending: Pending | None = None
    loaded: bool = False  # in this tick: no more evictions by a batch
    started: bool = False  # in this tick: nothing more happens


class Step(NamedTuple):
    """The least loss from a state on, and the event and state that lead there."""

    loss: float
    event: Json
    after: State | None = None


class LoaderSearch(Search):
    """Exhaustive search where the GPUs load beside serving."""

    def __init__(self, document: Json) -> None:
        super().__init__(document)
        self.channels: int = self.switching["overlap"]["channels"]
        self.step = cache(self._step_from)
        self.load_ticks = [self._ticks(self._load(a, 0)) for a in range(len(self.adapters))]

    @override
    def cost(self, g: int, share: int) -> float:
        return self.step(g, self._first(g, share)).loss

    @override
    def plan(self, g: int, share: int) -> Json:
        batches, loads, state = [], [], self._first(g, share)
        while (step := self.step(g, state)).after is not None:
            if "requests" in step.event:
                batches.append(step.event)
            elif step.event:
                loads.append(step.event)
            state = step.after
        return {"batches": batches, "loads": loads}

    def _first(self, g: int, share: int) -> State:
        return State(share, 0, self.initial(g, share).resident)

    def _step_from(self, g: int, state: State) -> Step:
        if not state.left and state.pending is None:
            return Step(0.0, {})
        best = Step(INFINITY, {})
        for loss, event, after in self._next(g, state):
            if loss < best.loss and (total := loss + self.step(g, after).loss) < best.loss:
                best = Step(total, event, after)
        return best

    def _next(self, g: int, state: State) -> list[tuple[float, Json, State]]:
        """Every event that may come next, with its own loss; the last is that nothing happens."""
        found: list[tuple[float, Json, State]] = []
        if not state.started:
            if state.end <= state.now and not state.loaded and state.pending is None:
                found = self._switches(state)
            found += self._loads(g, state)
            if state.pending is not None and state.pending.ready <= state.now:
                found += self._starts(g, state, state.pending)
        return found + self._waits(state)

    def _switches(self, state: State) -> list[tuple[float, Json, State]]:
        found: list[tuple[float, Json, State]] = []
        for members in subsets(state.left):
            active = self._active(members)
            if not members or active.bit_count() > self.switching.get("max_per_batch", 1):
                continue
            ticks, paid = self.switch(active, active, state.previous, active)
            if not ticks and not self._startable(state, members, active):
                continue
            for evict in subsets(state.held & ~state.unused & ~active):
                for batch in self._options(members):
                    pending = Pending(batch, state.now + ticks, state.now, evict)
                    after = state._replace(
                        left=state.left & ~members, held=state.held & ~evict, pending=pending
                    )
                    found.append((paid, {}, after))
        return found

    def _startable(self, state: State, members: int, active: int) -> bool:
        """Whether the members have arrived and their adapters can be used in this tick."""
        usable = self._usable(state) | sum(1 << a for a, t in enumerate(self.load_ticks) if not t)
        arrived = all(t <= state.now for j, t in enumerate(self.arrival) if members >> j & 1)
        return arrived and not active & ~usable

    def _loads(self, g: int, state: State) -> list[tuple[float, Json, State]]:
        found = []
        wanted = self._active(state.left | self._members(state.pending)) & ~state.held
        idle = state.held & ~state.unused & ~self._active(state.serving)
        for a, ticks in enumerate(self.load_ticks):
            if not wanted >> a & 1 or (ticks and len(state.ready) == self.channels):
                continue
            for evict in subsets(idle):
                held = state.held & ~evict | 1 << a
                if not self._holds(g, held, state.serving):
                    continue
                after = state._replace(
                    held=held,
                    unused=state.unused | 1 << a,
                    ready=tuple(sorted((*state.ready, (a, state.now + ticks))))
                    if ticks
                    else state.ready,
                    loaded=True,
                )
                event = {
                    "adapter": self.adapters[a]["id"],
                    "start": state.now,
                    "evict": self._names(evict),
                }
                price = self.switching["price_per_s"] * self.adapters[a]["load_s"]
                found.append((float(price), event, after))
        return found

    def _starts(self, g: int, state: State, pending: Pending) -> list[tuple[float, Json, State]]:
        members = self._members(pending)
        active = self._active(members)
        if (
            active & ~self._usable(state)
            or not self.fits(g, members, active, state.held)
            or any(self.arrival[j] > state.now for j, _ in pending.batch)
        ):
            return []
        steps = [self.requests[j]["options"][o]["steps"] for j, o in pending.batch]
        offsets, duration = self.offsets(tuple(sorted(steps)))
        end = state.now + duration
        if self.horizon is not None and end > self.horizon:
            return []
        served = [
            {"id": self.requests[j]["id"], "option": o, "completion": state.now + offsets[s]}
            for (j, o), s in zip(pending.batch, steps, strict=True)
        ]
        event = {
            "switch_start": pending.since,
            "load": [],
            "evict": self._names(pending.evicted),
            "start": state.now,
            "requests": served,
        }
        loss = sum(
            self._serving(j, o, entry["completion"])
            for (j, o), entry in zip(pending.batch, served, strict=True)
        )
        after = state._replace(
            unused=state.unused & ~active,
            serving=members,
            end=end,
            previous=active,
            pending=None,
            started=True,
        )
        return [(loss, event, after)]

    def _waits(self, state: State) -> list[tuple[float, Json, State]]:
        """Nothing more happens in this tick: on to the next at which anything can."""
        pending = state.pending
        if pending is not None and pending.ready == pending.since:
            return []
        asking = state.left | self._members(pending)
        ticks = [t for j, t in enumerate(self.arrival) if asking >> j & 1]
        ticks += [state.end, *(t for _, t in state.ready), pending.ready if pending else 0]
        now = min((t for t in ticks if t > state.now), default=None)
        if now is None:
            return []
        return [
            (
                0.0,
                {},
                state._replace(
                    now=now,
                    ready=tuple((a, t) for a, t in state.ready if t > now),
                    loaded=False,
                    started=False,
                    serving=state.serving if state.end > now else 0,
                    end=state.end if state.end > now else 0,
                ),
            )
        ]

    @staticmethod
    def _usable(state: State) -> int:
        """The residents that are not being loaded."""
        return state.held & ~sum(1 << a for a, _ in state.ready)

    @staticmethod
    def _members(pending: Pending | None) -> int:
        return sum(1 << j for j, _ in pending.batch) if pending else 0

    def _holds(self, g: int, held: int, serving: int) -> bool:
        """Whether residents fit beside all members of the batch in progress, and are few enough."""
        few: bool = held.bit_count() <= self.switching["max_resident"]
        return few and self.memory(g, serving, held) >= 0
