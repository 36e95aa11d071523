"""The metrics again, from the two documents alone: request by request and tick by tick."""

from __future__ import annotations

import math
from typing import Any

Json = dict[str, Any]


class Member:
    """A served request with what became of it; ticks."""

    def __init__(self, request: Json, served: Json, batch: Batch, tick_s: float) -> None:
        self.id: str = request["id"]
        self.adapter: str = request["adapter"]
        self.option: Json = request["options"][served["option"]]
        self.most = max(option["steps"] for option in request["options"])
        self.start = batch.start
        self.arrival: int = math.ceil(request["arrival_s"] / tick_s - 1e-9)
        self.wait = batch.start - self.arrival
        self.completion: int = served["completion"]
        self.latency = self.completion - self.arrival
        self.batch = batch


class Batch:
    """A batch with its switch: who is loaded, what that costs, how long both take; ticks."""

    def __init__(self, instance: Json, requests: Json, batch: Json, before: set[str]) -> None:
        tick_s, slotted = instance["tick_s"], instance["service"]["kind"] == "slot"
        loads = {a["id"]: a["load_s"] for a in instance["adapters"]}
        for pair in instance["switching"]["pairs"]:
            if pair["from"] == next(iter(before), None):
                loads[pair["to"]] = pair["load_s"]
        self.start: int = batch["start"]
        self.load = {a: loads[a] for a in batch["load"]}
        self.evictions = len(batch["evict"])
        self.before = before
        self.resident = (before - set(batch["evict"])) | set(batch["load"])
        self.adapters = {requests[r["id"]]["adapter"] for r in batch["requests"]}
        self.size = len(batch["requests"])
        self.end = self.start + 1 if slotted else max(r["completion"] for r in batch["requests"])
        self.parts_s = list(self.load.values())
        self.slotted = slotted
        self.fresh = set(self.load)
        self.waits = 0
        self.tick_s = tick_s

    def activate(self, seconds: float, previous: Batch | None, *, overlap: bool) -> None:
        """Pay for each adapter that the batch before did not use and, but for overlap, was held."""
        if previous is not None:
            known = self.adapters if overlap else self.adapters & self.before
            self.parts_s += [seconds for _ in known - previous.adapters]

    def wait_for(
        self, loads: list[Beside], previous: Batch | None, requests: Json, stated: Json
    ) -> None:
        """Find the loads that its adapters came by, those new to it, and its idle ticks for them.

        An idle tick counts where all has arrived, the switch would be over and a load is not.
        """
        needed = []
        for adapter in self.adapters:
            known = [x for x in loads if x.adapter == adapter and x.start <= self.start]
            if known:
                needed.append(known[-1])
                used = any(
                    adapter in b.adapters and b.start >= known[-1].start for b in known[-1].batches
                )
                if not used:
                    self.fresh.add(adapter)
        free = previous.end if previous else 0
        ticks = sum(math.ceil(seconds / self.tick_s - 1e-9) for seconds in self.parts_s)
        arrivals = [requests[r["id"]]["arrival_s"] for r in stated["requests"]]
        arrived = max(math.ceil(seconds / self.tick_s - 1e-9) for seconds in arrivals)
        idle = range(free, self.start)
        self.waits = sum(
            t >= free + ticks and t >= arrived and any(t < x.end for x in needed) for t in idle
        )

    @property
    def switch_s(self) -> float:
        """What is paid."""
        return math.fsum(self.parts_s)

    @property
    def switch_ticks(self) -> int:
        """How long the switch takes."""
        if self.slotted:
            return 0
        return sum(math.ceil(seconds / self.tick_s - 1e-9) for seconds in self.parts_s)


class Beside:
    """A load beside serving, with the batches of its GPU; ticks."""

    def __init__(self, instance: Json, load: Json, batches: list[Batch]) -> None:
        by_id = {a["id"]: a for a in instance["adapters"]}
        self.adapter: str = load["adapter"]
        self.load_s: float = by_id[self.adapter]["load_s"]
        self.evict: list[str] = load["evict"]
        self.start: int = load["start"]
        self.end = self.start + math.ceil(self.load_s / instance["tick_s"] - 1e-9)
        self.batches = batches

    @property
    def hidden(self) -> int:
        """Its ticks in which a batch runs."""
        return sum(
            any(b.start <= t < b.end for b in self.batches) for t in range(self.start, self.end)
        )


class Plain:
    """The metrics of a schedule document of an instance document (every key spelled out)."""

    def __init__(self, instance: Json, schedule: Json) -> None:
        self.instance = instance
        self.tick_s: float = instance["tick_s"]
        requests = {r["id"]: r for r in instance["requests"]}
        residents = {g["id"]: set(g["resident"]) for g in instance["gpus"]}
        self.batches: list[Batch] = []
        self.members: list[Member] = []
        self.beside: list[Beside] = []
        overlap = instance["switching"].get("overlap")
        self.channels = overlap["channels"] if overlap else 0
        for gpu in schedule["gpus"]:
            resident, previous, mine = residents[gpu["id"]], None, list[Batch]()
            loads = [Beside(instance, load, mine) for load in gpu.get("loads", [])]
            self.beside += loads
            for stated in gpu["batches"]:
                batch = Batch(instance, requests, stated, resident)
                batch.activate(
                    instance["switching"]["activate_s"], previous, overlap=overlap is not None
                )
                batch.wait_for(loads, previous, requests, stated)
                resident, previous = batch.resident, batch
                self.batches.append(batch)
                mine.append(batch)
                for served in stated["requests"]:
                    self.members.append(Member(requests[served["id"]], served, batch, self.tick_s))
        self.span = max((batch.end for batch in self.batches), default=0)
        self.gpu_time = self.span * len(instance["gpus"])

    def figures(self, bound_s: float | None) -> Json:
        """Figures by the names of ``Metrics``."""
        waits = [m.wait * self.tick_s for m in self.members]
        worst = max(waits, default=None)
        order = [r["id"] for r in sorted(self.instance["requests"], key=self._arrival)]
        longest = [m.id for m in self.members if m.wait * self.tick_s == worst]
        busy = sum(b.end - b.start for b in self.batches)
        switching = sum(b.switch_ticks for b in self.batches)
        missed = [m for m in self.members if m.adapter in m.batch.fresh]
        adapters = self.by_adapter()
        means = [line["latency_mean_s"] for line in adapters.values()]
        span_s = self.span * self.tick_s
        steps = sum(m.option["steps"] for m in self.members)
        squares = sum(mean * mean for mean in means)
        figures = {
            "wait_mean_s": sum(waits) / len(waits) if waits else None,
            "wait_p95_s": _at_least(0.95, waits),
            "wait_p99_s": _at_least(0.99, waits),
            "wait_max_s": worst,
            "wait_max_request": min(longest, key=order.index, default=None),
            "starved": None if bound_s is None else sum(w > bound_s + 1e-9 for w in waits),
            "queue_mean": sum(m.wait for m in self.members) / self.span if self.span else 0.0,
            "queue_max": self.queue_max(),
            "throughput_per_s": len(self.members) / span_s if span_s else None,
            "steps_per_s": steps / span_s if span_s else None,
            "switches": sum(bool(b.load or b.switch_s) for b in self.batches),
            "loads": sum(len(b.load) for b in self.batches) + len(self.beside),
            "evictions": sum(b.evictions for b in self.batches)
            + sum(len(x.evict) for x in self.beside),
            "switching_s": sum(b.switch_s for b in self.batches)
            + sum(x.load_s for x in self.beside),
            "busy_share": busy / self.gpu_time if self.gpu_time else 0.0,
            "switching_share": switching / self.gpu_time if self.gpu_time else 0.0,
            "idle_share": 1 - (busy + switching) / self.gpu_time if self.gpu_time else 1.0,
            "serving_of_used": busy / (busy + switching) if busy + switching else None,
            "hit_share": 1 - len(missed) / len(self.members) if self.members else None,
            "jain": (sum(means) ** 2 / len(means) / squares if squares else 1.0) if means else None,
            "worst_adapter_p95_s": max(
                (line["latency_p95_s"] for line in adapters.values()), default=None
            ),
            "steps_saved_share": 1 - steps / sum(m.most for m in self.members)
            if self.members
            else 0.0,
        }
        cold = [b for b in self.batches if b.adapters & b.fresh]
        figures["batch_hit_share"] = 1 - len(cold) / len(self.batches) if self.batches else None
        return figures | self.by_group() | self.by_loader() | self.by_deadline() | self.by_look_up()

    def by_deadline(self) -> Json:
        """Figures of deadlines, request by request; None where no request has one."""
        requests = self.instance["requests"]
        if all(request.get("deadline_s") is None for request in requests):
            return dict.fromkeys(("goodput_per_s", "violation_share", "quality_of_all"))
        due = {r["id"]: r.get("deadline_s") for r in requests}
        in_time = 0
        for m in self.members:
            deadline = due[m.id]
            if deadline is None or m.latency <= math.floor(deadline / self.tick_s + 1e-9):
                in_time += 1
        span_s = self.span * self.tick_s
        return {
            "goodput_per_s": in_time / span_s if span_s else None,
            "violation_share": (len(requests) - in_time) / len(requests),
            "quality_of_all": sum(m.option["quality"] for m in self.members) / len(requests),
        }

    def by_look_up(self) -> Json:
        """Figures of approximate caching, request by request; None where none was looked up."""
        names = ("look_up_hit_share", "redirected_share", "skipped_share")
        extra = {r["id"]: r.get("extra", {}) for r in self.instance["requests"]}
        levels = {name: e.get("approximate_cache", {}).get("level") for name, e in extra.items()}
        if all(level is None for level in levels.values()):
            return dict.fromkeys(names)
        skips = [m.option.get("skip") or 0 for m in self.members]
        deeper = [
            skip for m, skip in zip(self.members, skips, strict=True) if skip > (levels[m.id] or 0)
        ]
        steps = sum(skips) + sum(m.option["steps"] for m in self.members)
        hits = sum(1 for level in levels.values() if level)
        return dict(
            zip(
                names,
                (
                    hits / len(levels),
                    len(deeper) / len(skips) if skips else None,
                    sum(skips) / steps if steps else None,
                ),
                strict=True,
            )
        )

    def by_loader(self) -> Json:
        """Figures of the loaders, tick by tick; None without any."""
        names = ("loader_busy_share", "hidden_load_share", "load_wait_s")
        if not self.channels:
            return dict.fromkeys(names)
        within = sum(x.start <= t < x.end for x in self.beside for t in range(self.span))
        taken = sum(x.end - x.start for x in self.beside)
        hidden = sum(x.hidden for x in self.beside)
        time = self.gpu_time * self.channels
        waits = sum(b.waits for b in self.batches)
        return dict(
            zip(
                names,
                (
                    within / time if time else 0.0,
                    hidden / taken if taken else None,
                    waits * self.tick_s,
                ),
                strict=True,
            )
        )

    def by_group(self) -> Json:
        """Figures of the groups; None where there are none."""
        groups: dict[str, list[str]] = {}
        for request in self.instance["requests"]:
            if request.get("group") is not None:
                groups.setdefault(request["group"], []).append(request["id"])
        served = {m.id: m for m in self.members}
        whole = [ids for ids in groups.values() if all(i in served for i in ids)]
        latencies = [
            (max(served[i].completion for i in ids) - min(served[i].arrival for i in ids))
            * self.tick_s
            for ids in whole
        ]
        return {
            "groups_served": len(whole) if groups else None,
            "groups_rejected": len(groups) - len(whole) if groups else None,
            "group_latency_mean_s": sum(latencies) / len(latencies) if latencies else None,
            "group_latency_p50_s": _at_least(0.5, latencies),
            "group_latency_p95_s": _at_least(0.95, latencies),
            "group_latency_p99_s": _at_least(0.99, latencies),
            "group_latency_max_s": max(latencies, default=None),
        }

    def _arrival(self, request: Json) -> int:
        seconds: float = request["arrival_s"]
        return math.ceil(seconds / self.tick_s - 1e-9)

    def by_adapter(self) -> dict[str, Json]:
        """Figures by the names of ``AdapterMetrics``, for the adapters that are served."""
        found = {}
        for adapter in dict.fromkeys(m.adapter for m in self.members):
            mine = [m for m in self.members if m.adapter == adapter]
            latencies = [m.latency * self.tick_s for m in mine]
            batches = {id(m.batch) for m in mine}
            share = sum((m.batch.end - m.batch.start) / m.batch.size for m in mine)
            found[adapter] = {
                "served": len(mine),
                "latency_mean_s": sum(latencies) / len(mine),
                "latency_p95_s": _at_least(0.95, latencies),
                "latency_max_s": max(latencies),
                "wait_mean_s": sum(m.wait for m in mine) / len(mine) * self.tick_s,
                "wait_max_s": max(m.wait for m in mine) * self.tick_s,
                "queue_max": max(self.waiting(t, adapter) for t in range(self.span + 1)),
                "loads": sum(adapter in b.load for b in self.batches)
                + sum(x.adapter == adapter for x in self.beside),
                "load_s": sum(b.load.get(adapter, 0.0) for b in self.batches)
                + sum(x.load_s for x in self.beside if x.adapter == adapter),
                "batches": len(batches),
                "mean_batch": len(mine) / len(batches),
                "serving_share": share / self.gpu_time if self.gpu_time else 0.0,
            }
        return found

    def waiting(self, tick: int, adapter: str | None = None) -> int:
        """How many wait from this tick to the next."""
        asked = [m for m in self.members if adapter in (None, m.adapter)]
        return sum(m.arrival <= tick < m.start for m in asked)

    def queue_max(self) -> int:
        """The most that wait."""
        return max((self.waiting(t) for t in range(self.span)), default=0)

    def buckets(self, count: int) -> tuple[list[float], list[int]]:
        """Mean and most of those who wait, in this many equal parts of the span."""
        means, most = [], []
        for k in range(count):
            left, right = k * self.span / count, (k + 1) * self.span / count
            inside = [
                (min(right, t + 1) - max(left, t), self.waiting(t))
                for t in range(self.span)
                if min(right, t + 1) - max(left, t) > 1e-9
            ]
            means.append(sum(width * level for width, level in inside) / (right - left))
            most.append(max(level for _, level in inside))
        return means, most


def _at_least(share: float, values: list[float]) -> float | None:
    """The smallest value that at least this share of the values does not exceed."""
    for value in sorted(values):
        if sum(v <= value for v in values) >= share * len(values) - 1e-9:
            return value
    return None
