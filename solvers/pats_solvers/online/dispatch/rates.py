"""Arrival rates of adapters, estimated from the arrivals so far."""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta

from pats_opt.model.problem import Site

#: How long an arrival counts in the estimate of a rate, seconds.
MemoryS = Annotated[float, Meta(gt=0, le=1e9, extra={"search": [5.0, 1000.0], "log": True})]


class Rates:
    """Arrivals a second of each adapter: a count in which an arrival's share decays with its age.

    An arrival that is a seconds old counts exp(-a / memory_s) / memory_s. The estimate starts at 0,
    so it is low until about ``memory_s`` seconds have passed.
    """

    def __init__(self, site: Site, memory_s: float) -> None:
        self._memory_s, self._ticks = memory_s, memory_s / site.tick_s
        self._count = [0.0] * len(site.adapter_ids)
        self._at = [0] * len(site.adapter_ids)

    def arrived(self, adapter: int, tick: int) -> None:
        """A job of ``adapter`` arrives at ``tick``."""
        self._count[adapter] = self._decayed(adapter, tick) + 1.0
        self._at[adapter] = tick

    def __call__(self, adapter: int, tick: int) -> float:
        """Arrivals a second."""
        return self._decayed(adapter, tick) / self._memory_s

    def _decayed(self, adapter: int, tick: int) -> float:
        return self._count[adapter] * math.exp((self._at[adapter] - tick) / self._ticks)
