"""The optimum of a tiny instance by exhaustive search, written from PROBLEM.md alone.

It shares no code with the package: it reads the JSON document, keeps seconds as exact fractions and
amounts as whole billionths, and tries everything. No loss term falls when a batch starts later, so
on each GPU it is enough to start every batch as early as its members' arrivals, the batch before it
and the switch allow. GPUs share nothing but the requests, so each GPU gets the optimum of every set
of requests it might serve, and the sets are combined at the end. What is tried on a GPU: every next
batch, every option of its members, and every set of residents that holds their adapters.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

Json = dict[str, Any]

INFINITY = math.inf
SLACK = Fraction(1, 10**9)  # of a tick: PROBLEM.md section 2


class Start(NamedTuple):
    """One batch as the search places it, and the loss of it and everything after it."""

    loss: float
    batch: tuple[tuple[int, int], ...] = ()  # (request, option)
    resident: int = 0
    start: int = 0


class State(NamedTuple):
    """A GPU between two batches. Sets are bit masks; ``active`` is 0 before the first batch."""

    left: int
    free: int
    resident: int
    active: int


def brute_force(document: Json) -> float | None:
    """The least loss of any schedule of an instance document, or None where there is none."""
    loss, _ = searching(document).best()
    return None if loss == INFINITY else loss


def best_schedule(document: Json) -> Json | None:
    """A schedule document of least loss, or None where there is none."""
    search = searching(document)
    loss, shares = search.best()
    if loss == INFINITY:
        return None
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    served = 0
    for share in shares:
        served |= share
    return {
        "format": "pats-opt/schedule",
        "version": 1,
        "instance": {
            "name": document["name"],
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        },
        "solver": {"name": "brute-force"},
        "status": {"stop": "optimal", "point": "optimal"},
        "loss": loss,
        "bound": loss,
        "gpus": [
            {"id": gpu["id"], **search.plan(g, share)}
            for g, (gpu, share) in enumerate(zip(document["gpus"], shares, strict=True))
        ],
        "rejected": [r["id"] for j, r in enumerate(document["requests"]) if not served >> j & 1],
    }


def searching(document: Json) -> Search:
    """The search of an instance: with loads in switches, or beside serving."""
    if document["switching"].get("overlap") is None:
        return Search(document)
    from tests.support.loader_search import LoaderSearch  # it builds on this module

    return LoaderSearch(document)


def _exact(number: float) -> Fraction:
    """The decimal number that the file shows, not the nearest binary one."""
    return Fraction(repr(number))


def _billionths(amount: float) -> int:
    """An amount without the noise of binary fractions: 0.1 + 0.2 fits into 0.3."""
    return round(_exact(amount) * 10**9)


class Search:
    """Exhaustive search over the shares of requests that each GPU serves."""

    def __init__(self, document: Json) -> None:
        self.document = document
        self.tick = _exact(document["tick_s"])
        self.requests: list[Json] = document["requests"]
        self.adapters: list[Json] = document["adapters"]
        self.number = {a["id"]: i for i, a in enumerate(self.adapters)}
        self.switching: Json = document["switching"]
        self.service: Json = document["service"]
        self.horizon: int | None = document.get("horizon_ticks")
        self.slotted = self.service["kind"] == "slot"
        self.arrival = [self._ticks(_exact(r["arrival_s"])) for r in self.requests]
        self.least = cache(self._least)
        self.fits = cache(self._fits)
        self.offsets = cache(self._offsets)
        self.switch = cache(self._switch)
        self.residencies = [
            sum(1 << a for a in chosen)
            for size in range(self.switching["max_resident"] + 1)
            for chosen in itertools.combinations(range(len(self.adapters)), size)
        ]

    def _ticks(self, seconds: Fraction) -> int:
        return math.ceil(seconds / self.tick - SLACK)

    # -- all GPUs ------------------------------------------------------------------------------

    def best(self) -> tuple[float, list[int]]:
        """The least loss, and the set of requests that each GPU serves in it."""
        everyone = (1 << len(self.requests)) - 1
        table: dict[int, tuple[float, list[int]]] = {0: (0.0, [])}
        for g in range(len(self.document["gpus"])):
            grown: dict[int, tuple[float, list[int]]] = {}
            for done, (loss, shares) in table.items():
                for share in subsets(everyone & ~done):
                    total = loss + self.cost(g, share)
                    if total < grown.get(done | share, (INFINITY,))[0]:
                        grown[done | share] = (total, [*shares, share])
            table = grown
        ends = [
            (loss + self._rejecting(everyone & ~done), shares)
            for done, (loss, shares) in table.items()
        ]
        return min(ends)

    def _rejecting(self, left: int) -> float:
        total = 0.0
        for j, r in enumerate(self.requests):
            if left >> j & 1:
                if r.get("reject_loss") is None:
                    return INFINITY
                total += r.get("weight", 1) * r["reject_loss"]
        return total

    # -- one GPU -------------------------------------------------------------------------------

    def cost(self, g: int, share: int) -> float:
        """The least loss of serving ``share`` on GPU ``g``."""
        return self.least(g, self.initial(g, share)).loss

    def plan(self, g: int, share: int) -> Json:
        """The batches of a best way to serve ``share`` on GPU ``g``, as keys of a document."""
        return {"batches": self.batches(g, share)}

    def initial(self, g: int, share: int) -> State:
        """A GPU at tick 0 that has ``share`` to serve."""
        held = self.document["gpus"][g].get("resident", [])
        return State(share, 0, sum(1 << self.number[a] for a in held), 0)

    def _least(self, g: int, state: State) -> Start:
        """The best way to serve all of ``state.left`` on GPU ``g``, by its first batch."""
        if not state.left:
            return Start(0.0)
        best = Start(INFINITY)
        for members in subsets(state.left):
            if not members:
                continue
            active = self._active(members)
            for resident in self.residencies:
                if active & ~resident or not self.fits(g, members, active, resident):
                    continue
                for batch in self._options(members):
                    start, end, loss = self._run(state, batch, active, resident)
                    if loss >= best.loss or (self.horizon is not None and end > self.horizon):
                        continue
                    after = State(state.left & ~members, end, resident, active)
                    loss += self.least(g, after).loss
                    if loss < best.loss:
                        best = Start(loss, batch, resident, start)
        return best

    def _active(self, members: int) -> int:
        active = 0
        for j, r in enumerate(self.requests):
            if members >> j & 1:
                active |= 1 << self.number[r["adapter"]]
        return active

    def _options(self, members: int) -> itertools.product[tuple[tuple[int, int], ...]]:
        choices = [
            [(j, o) for o in range(len(r["options"]))]
            for j, r in enumerate(self.requests)
            if members >> j & 1
        ]
        return itertools.product(*choices)

    def _fits(self, g: int, members: int, active: int, resident: int) -> bool:
        """Rules 2 and 3."""
        batch = [r for j, r in enumerate(self.requests) if members >> j & 1]
        table = (self.service.get("step_s") or {}).get("table")
        sound: bool = active.bit_count() <= self.switching.get("max_per_batch", 1)
        sound &= table is None or len(batch) <= len(table)
        for name, capacity in self.document["gpus"][g]["capacity"].items():
            used = sum(_billionths(r["demand"].get(name, 0)) for r in batch)
            sound &= name == "vram_gib" or used <= _billionths(capacity)
        return sound and self.memory(g, members, resident) >= 0

    def memory(self, g: int, members: int, resident: int) -> int:
        """Memory that base model, residents and members leave free, in billionths of a GiB."""
        free = _billionths(self.document["gpus"][g]["capacity"]["vram_gib"])
        free -= _billionths(self.document["base_vram_gib"])
        for a, adapter in enumerate(self.adapters):
            free -= _billionths(adapter["vram_gib"]) * (resident >> a & 1)
        for j, r in enumerate(self.requests):
            free -= _billionths(r["demand"]["vram_gib"]) * (members >> j & 1)
        return free

    def _run(
        self, state: State, batch: tuple[tuple[int, int], ...], active: int, resident: int
    ) -> tuple[int, int, float]:
        """Start tick, end tick and loss of a batch that starts as early as it can."""
        ticks, paid = self.switch(state.resident, resident, state.active, active)
        start = max(state.free + ticks, *(self.arrival[j] for j, _ in batch))
        steps = [self.requests[j]["options"][o]["steps"] for j, o in batch]
        offsets, duration = self.offsets(tuple(sorted(steps)))
        loss = paid
        for (j, o), s in zip(batch, steps, strict=True):
            loss += self._serving(j, o, start + offsets[s])
        return start, start + duration, loss

    def _serving(self, j: int, o: int, completion: int) -> float:
        r = self.requests[j]
        waited = completion - self.arrival[j]
        lost = max(option["quality"] for option in r["options"]) - r["options"][o]["quality"]
        lost += self.document["latency_price_per_s"] * waited * self.document["tick_s"]
        deadline = r.get("deadline_s")
        if deadline is not None and waited - SLACK > _exact(deadline) / self.tick:
            lost += self.document.get("late_price", 0)
        return float(r.get("weight", 1) * lost)

    def _switch(self, before: int, after: int, previous: int, active: int) -> tuple[int, float]:
        """Rule 4: ticks and loss of a switch."""
        seconds = []
        for a in range(len(self.adapters)):
            if (after & ~before) >> a & 1:
                seconds.append(self._load(a, before))
            elif previous and (active & before & ~previous) >> a & 1:
                seconds.append(_exact(self.switching.get("activate_s", 0)))
        price = float(_exact(self.switching["price_per_s"]) * sum(seconds, Fraction(0)))
        return (0 if self.slotted else sum(map(self._ticks, seconds))), price

    def _load(self, a: int, before: int) -> Fraction:
        held = [x["id"] for i, x in enumerate(self.adapters) if before >> i & 1]
        source = held[0] if held else None
        for pair in self.switching.get("pairs", []):
            if (pair["from"], pair["to"]) == (source, self.adapters[a]["id"]):
                return _exact(pair["load_s"])
        return _exact(self.adapters[a]["load_s"])

    def _offsets(self, steps: tuple[int, ...]) -> tuple[dict[int, int], int]:
        """Rule 5: ticks from start to completion of each step count, and to the batch's end."""
        if self.slotted:
            return dict.fromkeys(steps, 0), 1
        overhead = self.service.get("overhead_s", 0)
        if isinstance(overhead, dict):
            elapsed = _exact(overhead["base"]) + _exact(overhead["per_sample"]) * len(steps)
        else:
            elapsed = _exact(overhead)
        found = {}
        for k in range(1, max(steps) + 1):
            elapsed += self._step(sum(1 for s in steps if s >= k))
            if k in steps:
                found[k] = self._ticks(elapsed)
        return found, max(found.values())

    def _step(self, n: int) -> Fraction:
        step: Json = self.service["step_s"]
        if "table" in step:
            return _exact(step["table"][n - 1])
        return _exact(step["base"]) + _exact(step["per_sample"]) * n

    # -- the schedule --------------------------------------------------------------------------

    def batches(self, g: int, share: int) -> list[Json]:
        """The batches of a best way to serve ``share`` on GPU ``g``."""
        state, found = self.initial(g, share), []
        while state.left:
            chosen = self.least(g, state)
            members = sum(1 << j for j, _ in chosen.batch)
            active = self._active(members)
            ticks, _ = self.switch(state.resident, chosen.resident, state.active, active)
            steps = [self.requests[j]["options"][o]["steps"] for j, o in chosen.batch]
            offsets, duration = self.offsets(tuple(sorted(steps)))
            found.append(
                {
                    "switch_start": chosen.start - ticks,
                    "load": self._names(chosen.resident & ~state.resident),
                    "evict": self._names(state.resident & ~chosen.resident),
                    "start": chosen.start,
                    "requests": [
                        {
                            "id": self.requests[j]["id"],
                            "option": o,
                            "completion": chosen.start + offsets[s],
                        }
                        for (j, o), s in zip(chosen.batch, steps, strict=True)
                    ],
                }
            )
            end = chosen.start + duration
            state = State(state.left & ~members, end, chosen.resident, active)
        return found

    def _names(self, mask: int) -> list[str]:
        return [a["id"] for i, a in enumerate(self.adapters) if mask >> i & 1]


def subsets(mask: int) -> list[int]:
    """All subsets of a bit mask, the empty one included."""
    found, subset = [], mask
    while True:
        found.append(subset)
        if not subset:
            return found
        subset = (subset - 1) & mask
