"""Durations of switches, and loading times as coefficients of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pats_opt.model.problem import Site
from pats_opt.model.timing import to_ticks

#: Sums of loading times beyond which every duration up to the longest is offered.
MOST_SUMS = 5_000

#: Loading times above a whole number of ticks by less get this much above it where no switch takes
#: more ticks then. Backends have tolerances, and HiGHS may call a model with coefficients that are
#: smaller infeasible.
LEAST_PART = 1e-4

#: The grid's slack (see :func:`pats_opt.model.timing.to_ticks`), in ticks.
GRID_SLACK = 1e-9


def switch_ticks(site: Site, adapters: Sequence[int]) -> list[int]:
    """Return every duration that a switch may have, in ticks."""
    if site.clock.slotted:
        return [0]
    sums = {(0, 0.0)}
    for a in adapters:
        load_s = site.load_s[a]
        sums |= {(n + 1, total + load_s) for n, total in sums if n < site.max_resident}
        if len(sums) > MOST_SUMS:
            return list(range(longest_switch(site, adapters) + 1))
    ticks = {to_ticks(total, site.tick_s) for _, total in sums}
    return sorted(ticks | {to_ticks(site.activate_s, site.tick_s)})


def lengthened(ticks: float) -> float:
    """Return a time in ticks that is not just above a whole number of them."""
    whole = math.floor(ticks)
    return whole + LEAST_PART if GRID_SLACK < ticks - whole < LEAST_PART else ticks


def load_ticks(site: Site, adapters: Sequence[int]) -> dict[int, float]:
    """Return loading times in ticks, lengthened where no switch takes more ticks then."""
    ticks = {a: site.load_s[a] / site.tick_s for a in adapters}
    longer = {a: lengthened(t) for a, t in ticks.items()}
    if longer == ticks:
        return ticks
    sums = {(0, 0.0, 0.0)}
    for a in adapters:
        sums |= {(n + 1, s + ticks[a], t + longer[a]) for n, s, t in sums if n < site.max_resident}
        if len(sums) > MOST_SUMS:
            return ticks
    kept = all(to_ticks(s, 1.0) == to_ticks(t, 1.0) for _, s, t in sums)
    return longer if kept else ticks


def longest_switch(site: Site, adapters: Sequence[int]) -> int:
    """Upper bound on the duration of a switch among ``adapters``, in ticks."""
    loads = sorted((site.load_s[a] for a in adapters), reverse=True)[: site.max_resident]
    return to_ticks(max(math.fsum(loads), site.activate_s), site.tick_s) + 1
