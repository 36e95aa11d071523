"""Random instance documents over all of PROBLEM.md: sizes, magnitudes, ties, sparse and dense time.

It shares nothing with ``pats_opt.testing.instances`` and reaches further: prices from 1e-9 to 1e6,
ticks from a microsecond to days, numbers a little above and below a tick, equal requests, GPUs that
hold nobody, resources that only one side names, keys that are left out.
"""

from __future__ import annotations

import math
import random
from typing import Any

Json = dict[str, Any]

#: Parts of a tick that are added to whole ones; the small ones are rounded away, or are not.
PARTS = (0.0, 0.0, 0.0, 0.5, 0.25, 0.9, 1 / 3, -1e-12, 1e-12, 1e-8, -1e-8)

#: Step counts with a step time, in ticks: batches of a few ticks, and of many.
STEPS: tuple[tuple[tuple[int, ...], float], ...] = (
    ((1, 2, 3), 1.0),
    ((1, 2, 3, 4), 0.5),
    ((1, 2, 5), 1 / 3),
    ((20, 30, 50), 0.05),
    ((4, 8), 1e-3),
    ((1, 2), 3.7),
    ((1, 1000), 0.01),
    ((1, 3), 2e-9),
)


class Draw:
    """Draws one document. Each style is drawn once, so that it shows in the whole document.

    Args:
        rng: Source of every choice.
        requests: Fewest and most requests.
        longest: Ticks in which the requests of a sparse instance arrive, at most.
    """

    def __init__(self, rng: random.Random, requests: tuple[int, int], longest: int) -> None:
        self.rng, self.count = rng, rng.randint(*requests)
        self.tick_s = rng.choice((1.0, 1.0, 0.1, 1.2, 0.7, 1 / 3, 10 ** rng.uniform(-6, 6)))
        self.money = rng.choice((1.0, 1.0, 10 ** rng.uniform(-9, 6)))
        self.mixed_money = rng.random() < 0.15
        self.style = rng.choice(("whole", "decimal", "float", "few", "few"))
        self.steps, self.step_ticks = rng.choice(STEPS)
        self.span = rng.choice((0, 3, 3, 8, longest))
        self.size_gib = rng.choice((1.0, 1.0, 4.0, 1e-6, 1e6))
        self.resources = rng.sample(("batch", "host_gib", "odd"), rng.choice((0, 0, 1, 2, 3)))
        self.option_share, self.reject_share, self.late_share = (
            rng.choice((0.0, 0.5, 1.0)) for _ in range(3)
        )

    def maybe(self, share: float = 0.5) -> bool:
        """True with this probability."""
        return self.rng.random() < share

    def number(self, high: float) -> float:
        """A number from 0 to about ``high`` in the document's style."""
        rng = self.rng
        if self.style == "float":
            return rng.uniform(0, high)
        if self.style == "few":
            return rng.choice((0.0, 0.5, 1.0)) * high
        places = 0 if self.style == "whole" else 1
        return round(rng.uniform(0, high), places) if high >= 1 else rng.randint(0, 4) * high / 4

    def price(self, high: float) -> float:
        """A price or loss; of a magnitude that is all its own where the document mixes them."""
        scale = 10 ** self.rng.uniform(-9, 6) if self.mixed_money else self.money
        return min(1e6, self.number(high) * scale)

    def seconds(self, high: float) -> float:
        """Seconds of up to ``high`` ticks; whole ticks, parts of one, or next to whole ones."""
        ticks = self.rng.randint(0, math.ceil(high)) + self.rng.choice(PARTS)
        return max(0.0, ticks * self.tick_s)

    def document(self) -> Json:
        """The document."""
        rng = self.rng
        adapters: list[Json] = [
            {
                "id": f"a{i}",
                "vram_gib": self.number(1.0) * self.size_gib,
                "load_s": self.seconds(rng.choice((0, 2, 2, 5))),
            }
            for i in range(rng.choice((1, 2, 2, 3, 3, 4)))
        ]
        switching = self._switching([a["id"] for a in adapters])
        requests = self._requests(adapters)
        base = self.number(8.0) * self.size_gib
        made: Json = {
            "format": "pats-opt/instance",
            "version": 1,
            "name": "campaign",
            "tick_s": self.tick_s,
            "base_vram_gib": base,
            "gpus": self._gpus(base, adapters, requests, switching["max_resident"]),
            "adapters": adapters,
            "switching": switching,
            "service": self._service(),
            "latency_price_per_s": min(1e6, self.price(1.0) / self.tick_s),
            "requests": requests,
        }
        if self.count <= 3 and "pairs" not in switching and made["service"]["kind"] == "steps":
            switching.update(rng.choice(({}, {"overlap": None}, {"overlap": self._overlap()})))
        if self.late_share:
            made["late_price"] = self.price(3.0)
        if self.maybe(0.25):
            made["horizon_ticks"] = rng.randint(0, 6 + self.span)
        return made

    def _requests(self, adapters: list[Json]) -> list[Json]:
        requests: list[Json] = []
        twins = self.rng.choice((0.0, 0.0, 0.3, 1.0))
        for r in range(self.count):
            if requests and self.maybe(twins):
                request = {**self.rng.choice(requests)}
            else:
                request = self._request(self.rng.choice(adapters)["id"])
            requests.append({**request, "id": f"r{r}"})
        if self.maybe(0.2):
            for request in requests:
                if self.maybe(0.8):
                    request["group"] = self.rng.choice((None, "r0", "call", "calls"))
        self.rng.shuffle(requests)
        return requests

    def _request(self, adapter: str) -> Json:
        rng = self.rng
        request: Json = {
            "arrival_s": self.seconds(self.span),
            "adapter": adapter,
            "demand": {"vram_gib": self.number(4.0) * self.size_gib},
            "options": [self._option() for _ in range(rng.randint(2, 3))]
            if self.maybe(self.option_share)
            else [self._option()],
        }
        for name in self.resources:
            if self.maybe(0.8):
                request["demand"][name] = rng.choice((1.0, 1.0, 0.1, 0.2, 1 / 3))
        if self.maybe(0.6):
            request["weight"] = rng.choice((1.0, 1.0, 0.0, 2.0, 1e-3, 1 / 3, 1e3, self.number(2.0)))
        if self.maybe(self.late_share):
            request["deadline_s"] = self.seconds(6)
        if self.maybe(self.reject_share):
            request["reject_loss"] = self.price(rng.choice((1.0, 5.0, 50.0)))
        if self.maybe(0.3):
            request["complexity"] = rng.choice((None, 0.0, 0.5, 1.0, rng.random()))
        return request

    def _option(self) -> Json:
        option: Json = {
            "steps": self.rng.choice(self.steps),
            "quality": min(1e6, self.number(1.0) * self.rng.choice((1.0, self.money))),
        }
        if self.maybe(0.2):
            option["skip"] = self.rng.randint(0, 9)
        return option

    def _switching(self, adapters: list[str]) -> Json:
        rng = self.rng
        made: Json = {
            "max_resident": rng.choice((1, 1, 1, 2, 2, 3, 5)),
            "price_per_s": min(1e6, self.price(1.0) / self.tick_s),
        }
        if self.maybe(0.4):
            made["max_per_batch"] = rng.choice((1, 2, 2, 3))
        if self.maybe(0.3):
            made["activate_s"] = self.seconds(2)
        if made["max_resident"] == 1 and self.maybe(0.4):
            routes = [(a, b) for a in (None, *adapters) for b in adapters if a != b]
            made["pairs"] = [
                {"from": source, "to": target, "load_s": self.seconds(3)}
                for source, target in rng.sample(routes, rng.randint(1, len(routes)))
            ]
        return made

    def _overlap(self) -> Json:
        return {"channels": self.rng.choice((1, 1, 2, 9))}

    def _gpus(
        self, base: float, adapters: list[Json], requests: list[Json], most: int
    ) -> list[Json]:
        rng = self.rng
        largest = max((r["demand"]["vram_gib"] for r in requests), default=0.0)
        room = max(a["vram_gib"] for a in adapters) + largest
        gpus: list[Json] = []
        for g in range(rng.choice((1, 1, 1, 2, 2, 3)) if self.maybe(0.98) else 0):
            if gpus and self.maybe(0.4):  # alike but for what is resident
                capacity = {**gpus[0]["capacity"]}
            else:
                factor = rng.choice((0.5, 1.0, 1.0, 1.5, 2.0, 3.0, 9.0))
                capacity = {"vram_gib": base + factor * room}
                for name in self.resources:
                    if self.maybe(0.8):
                        capacity[name] = rng.choice((1.0, 2.0, 0.3, 3.0))
            gpus.append({"id": f"g{g}", "capacity": capacity})
            free = capacity["vram_gib"] - base
            held = [
                a["id"]
                for a in rng.sample(adapters, rng.randint(0, min(most, len(adapters))))
                if (free := free - a["vram_gib"] - 1e-6) > 0
            ]
            if held and self.maybe():
                gpus[-1]["resident"] = held
        return gpus

    def _service(self) -> Json:
        rng = self.rng
        step = self.step_ticks * self.tick_s
        step_s: Json = {"base": step, "per_sample": rng.choice((0.0, 0.1, 0.5, 1.0)) * step}
        if self.maybe(0.1):
            step_s["base"], step_s["per_sample"] = 0.0, step
        if self.maybe(0.25):
            sizes = rng.randint(1, 4)
            step_s = {"table": [rng.choice((1.0, 1.3, 2.0, 0.7)) * step for _ in range(sizes)]}
        if self.maybe(0.15):
            return {"kind": "slot", **({"step_s": step_s} if self.maybe() else {})}
        made: Json = {"kind": "steps", "step_s": step_s}
        if self.maybe(0.3):
            made["overhead_s"] = self.seconds(2)
        elif self.maybe(0.2):
            made["overhead_s"] = {"base": self.seconds(1), "per_sample": self.seconds(1)}
        return made


def plain(document: Json) -> Json:
    """The document with one GPU and one resident, activated for nothing: what ``dp`` takes."""
    switching = {**document["switching"], "max_resident": 1, "max_per_batch": 1, "activate_s": 0.0}
    switching.pop("overlap", None)
    gpus = [{**gpu, "resident": gpu.get("resident", [])[:1]} for gpu in document["gpus"][:1]]
    return {**document, "switching": switching, "gpus": gpus}


def tiny(rng: random.Random) -> Json:
    """A document that exhaustive search solves in a moment."""
    count = rng.choices(range(6), weights=(2, 10, 30, 35, 20, 3))[0]
    return Draw(rng, (count, count), rng.choice((20, 40, 400))).document()
