"""A second reading of PROBLEM.md sections 5 to 6 and 10: is a schedule right, what does it lose?

Written from the text alone for the campaign, on plain JSON documents, in exact fractions. It shares
nothing with the checker, which it is held against.
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction
from typing import Any, Literal

from tests.campaign.answers.reading_loads import read_gpu

Json = dict[str, Any]

#: Section 2: the part of a tick that is rounded away.
ALMOST = Fraction(1, 10**9)


def exact(number: float) -> Fraction:
    """The decimal number as the file shows it."""
    return Fraction(repr(number))


class Reading:
    """One schedule read against its instance.

    Attributes:
        broken: Numbers of the broken rules; 0 stands for the document itself, 5a for loads beside
            serving.
        loss: The loss where no rule is broken.
    """

    def __init__(self, instance: Json, schedule: Json) -> None:
        self.instance = instance
        self.tick = exact(instance["tick_s"])
        self.requests = {r["id"]: r for r in instance["requests"]}
        self.adapters = {a["id"]: a for a in instance["adapters"]}
        self.switching: Json = instance["switching"]
        self.slot = instance["service"]["kind"] == "slot"
        self.broken: set[int | str] = set()
        self.loss = Fraction(0)
        self.times = Counter[str]()
        self._gpus(schedule.get("gpus", []))
        self._rejected(schedule.get("rejected", []))
        if any(self.times[name] != 1 for name in self.requests):
            self.broken.add(1)
        if not self.broken:
            self._claims(schedule)

    def unless(self, holds: bool, rule: int | Literal["5a"]) -> None:
        """Note the rule as broken where it does not hold."""
        if not holds:
            self.broken.add(rule)

    def ticks(self, seconds: Fraction) -> int:
        """Section 2."""
        return math.ceil(seconds / self.tick - ALMOST)

    @staticmethod
    def seconds(number: float) -> Fraction:
        """Seconds as the file shows them."""
        return exact(number)

    def pay(self, seconds: Fraction) -> None:
        """Add the price of a switch or a load."""
        self.loss += exact(self.switching["price_per_s"]) * seconds

    def ends(self, tick: int, rule: int | Literal["5a"]) -> None:
        """Rule 6: the horizon."""
        horizon = self.instance.get("horizon_ticks")
        self.unless(horizon is None or tick <= horizon, rule)

    def arrival(self, request: Json) -> int:
        """Tick of a request's arrival."""
        return self.ticks(exact(request["arrival_s"]))

    def _gpus(self, plans: list[Json]) -> None:
        gpus = {g["id"]: g for g in self.instance["gpus"]}
        for plan in plans:
            gpu = gpus.pop(plan["id"], None)
            if gpu is None:  # unknown, or a second time
                self.broken.add(0)
                for batch in plan["batches"]:
                    self.times.update(served["id"] for served in batch["requests"])
                continue
            if self.switching.get("overlap") is not None:
                read_gpu(self, gpu, plan)
                continue
            self.unless(not plan.get("loads"), "5a")
            self._gpu(gpu, sorted(plan["batches"], key=lambda batch: batch["start"]))

    def _gpu(self, gpu: Json, batches: list[Json]) -> None:
        resident, before, free = set(gpu.get("resident", [])), None, 0
        for batch in batches:
            after, active = self._residents(resident, batch)
            self.memory(gpu, after, batch)
            self._switch(resident, batch, active, before, free)
            end = self.serve(batch)
            self.unless(batch["start"] >= free, 6)
            self.ends(end, 6)
            resident, before, free = after, active, max(free, end)

    def members(self, batch: Json) -> list[Json]:
        """The requests of a batch whose ids are known."""
        return [self.requests[s["id"]] for s in batch["requests"] if s["id"] in self.requests]

    def _residents(self, resident: set[str], batch: Json) -> tuple[set[str], set[str]]:
        """Rule 2."""
        load, evict = batch.get("load", []), batch.get("evict", [])
        for names in (load, evict):
            self.unless(len(set(names)) == len(names) and set(names) <= set(self.adapters), 0)
        self.unless(not set(load) & resident and set(evict) <= resident, 2)
        after = (resident - set(evict)) | set(load)
        active = {request["adapter"] for request in self.members(batch)}
        self.unless(len(after) <= self.switching["max_resident"] and active <= after, 2)
        self.unless(len(active) <= self.switching.get("max_per_batch", 1), 2)
        return after, active

    def memory(self, gpu: Json, after: set[str], batch: Json) -> None:
        """Rule 3, in whole billionths; and the table's length."""
        members = self.members(batch)
        table = (self.instance["service"].get("step_s") or {}).get("table")
        self.unless(table is None or len(members) <= len(table), 3)
        for name in gpu["capacity"]:
            self.unless(self.free(gpu, name, after, members) >= 0, 3)

    def free(self, gpu: Json, name: str, resident: set[str], members: list[Json]) -> int:
        """What is left of a resource, in whole billionths."""
        amounts = [member["demand"].get(name, 0) for member in members]
        if name == "vram_gib":
            amounts.append(self.instance["base_vram_gib"])
            amounts += [self.adapters[a]["vram_gib"] for a in resident if a in self.adapters]
        used = sum(round(exact(amount) * 10**9) for amount in amounts)
        return round(exact(gpu["capacity"][name]) * 10**9) - used

    def _switch(
        self, resident: set[str], batch: Json, active: set[str], before: set[str] | None, free: int
    ) -> None:
        """Rule 4, and what the switch costs."""
        loads = [a for a in batch.get("load", []) if a in self.adapters]
        switching = self.switching
        source = min(resident) if resident else None  # pairs have one resident at most
        pairs = {(p["from"], p["to"]): p["load_s"] for p in switching.get("pairs", [])}
        seconds = [exact(pairs.get((source, a), self.adapters[a]["load_s"])) for a in loads]
        if before is not None:
            seconds += [exact(switching.get("activate_s", 0)) for _ in (active & resident) - before]
        self.pay(sum(seconds, Fraction(0)))
        takes = 0 if self.slot else sum(map(self.ticks, seconds))
        self.unless(batch["switch_start"] >= free, 6)
        self.unless(batch["switch_start"] + takes <= batch["start"], 4)
        if not batch.get("load") and not batch.get("evict") and active == before:
            self.unless(batch["switch_start"] == batch["start"], 4)

    def serve(self, batch: Json) -> int:
        """Rules 1 and 5, and the loss of the members; returns the batch's end."""
        served = []
        self.unless(bool(batch["requests"]), 0)
        for entry in batch["requests"]:
            request = self.requests.get(entry["id"])
            if request is None or not 0 <= entry["option"] < len(request["options"]):
                self.broken.add(0)
                continue
            self.times[entry["id"]] += 1
            self.unless(batch["start"] >= self.arrival(request), 1)
            served.append((entry, request, request["options"][entry["option"]]))
        completions = self.completions([option["steps"] for _, _, option in served])
        for (entry, request, option), length in zip(served, completions, strict=True):
            self.unless(entry["completion"] == batch["start"] + length, 5)
            self.loss += self._serving_loss(request, option, batch["start"] + length)
        length = 1 if self.slot else max(completions, default=0)
        return int(batch["start"]) + length

    def completions(self, steps: list[int]) -> list[int]:
        """Ticks from the start to each member's completion (rule 5)."""
        if self.slot or not steps:
            return [0 for _ in steps]
        service = self.instance["service"]
        step, overhead = service["step_s"], service.get("overhead_s", 0)

        def affine(figures: Json, n: int) -> Fraction:
            return exact(figures["base"]) + n * exact(figures["per_sample"])

        def step_s(n: int) -> Fraction:
            if "table" in step:  # past its end no batch is allowed
                return exact(step["table"][min(n, len(step["table"])) - 1])
            return affine(step, n)

        overhead_s = overhead if isinstance(overhead, dict) else {"base": overhead, "per_sample": 0}
        head = affine(overhead_s, len(steps))
        found = []
        for mine in steps:
            elapsed, done = head, 0
            for other in sorted(set(steps)):  # between two leavings, the number in it is the same
                upto = min(mine, other)
                n = sum(s > done for s in steps)
                elapsed += (upto - done) * step_s(n) if upto > done else 0
                done = max(done, upto)
            found.append(self.ticks(elapsed))
        return found

    def _serving_loss(self, request: Json, option: Json, completion: int) -> Fraction:
        latency = completion - self.arrival(request)
        best = max(exact(o["quality"]) for o in request["options"])
        loss = best - exact(option["quality"])
        loss += exact(self.instance["latency_price_per_s"]) * latency * self.tick
        deadline = request.get("deadline_s")
        if deadline is not None and latency > math.floor(exact(deadline) / self.tick + ALMOST):
            loss += exact(self.instance.get("late_price", 0))
        return exact(request.get("weight", 1)) * loss

    def _rejected(self, names: list[str]) -> None:
        for name in names:
            request = self.requests.get(name)
            self.unless(request is not None, 0)
            if request is not None:
                self.times[name] += 1
                self.unless(request.get("reject_loss") is not None, 1)
                self.loss += (
                    exact(request.get("weight", 1)) * exact(request["reject_loss"] or 0)
                    if request.get("reject_loss") is not None
                    else 0
                )

    def _claims(self, schedule: Json) -> None:
        """The file's loss is its loss, and its bound is not above it."""
        slack = Fraction(1, 10**6) * max(Fraction(1), self.loss)
        loss, bound = schedule.get("loss"), schedule.get("bound")
        self.unless(loss is None or abs(exact(loss) - self.loss) <= slack, 0)
        self.unless(bound is None or exact(bound) <= self.loss + slack, 0)
