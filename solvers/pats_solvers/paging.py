"""Offline paging: which adapters to keep resident through a given sequence of batches on one GPU.

An adapter may be *kept* from one use to the next; otherwise it is evicted after the one and loaded
again for the other. Where every batch can keep so many adapters besides its own, whichever they
are, the cheapest choice is a flow: keeping is an arc from use to use that saves a load, the arcs
across a batch are at most what it can keep (weighted paging with a cache of varying size; a
consecutive-ones matrix, so whole numbers come by themselves). Where all savings are alike, the same
optimum is to let the adapter go whose next use is furthest (Belady 1966), in a fraction of the
time. Where it matters which adapters are kept, that is a good rule but no optimum.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import fsum

import numpy as np

from pats_opt.errors import SolverError
from pats_opt.model.problem import Adapters, Job, Site

#: Units of the flow's integer costs in a second.
PER_SECOND = 1_000_000

#: Chances to keep an adapter up to which the flow is solved: about 5 s (it grows with the square).
MOST_ARCS = 10_000


@dataclass(frozen=True, slots=True)
class AdapterUse:
    """A batch on the GPU, as far as residency goes: its members and the adapters they use."""

    jobs: tuple[Job, ...]
    active: Adapters


@dataclass(frozen=True, slots=True)
class Retention:
    """A chance to keep ``adapter`` through batches ``first`` to ``last``.

    It saves ``cost``, in units of the flow; 0 where keeping costs more than it saves.
    """

    adapter: int
    first: int
    last: int
    cost: int


def seconds_and_loads(
    site: Site, gpu: int, uses: Sequence[AdapterUse], residents: Sequence[Adapters]
) -> tuple[float, int]:
    """Return the seconds of switching that residents cost, and the number of loads."""
    seconds, loads = list[float](), 0
    for switch in site.switches(gpu, zip(residents, [use.active for use in uses], strict=True)):
        seconds.append(switch.seconds)
        loads += len(switch.load)
    return fsum(seconds), loads


def furthest(site: Site, gpu: int, uses: Sequence[AdapterUse]) -> list[Adapters]:
    """Return residents through ``uses``, where that of the furthest next use goes if one must.

    Never used again is furthest; ties go to the larger adapter, then to the larger index.
    """
    never, nexts = len(uses), [dict[int, int]() for _ in uses]
    coming: dict[int, int] = {}
    for t in range(len(uses) - 1, -1, -1):
        nexts[t] = {a: coming.get(a, never) for a in uses[t].active}
        coming.update(dict.fromkeys(uses[t].active, t))
    resident, found = site.gpus[gpu].resident, []
    following = {a: coming.get(a, never) for a in resident}
    for t, use in enumerate(uses):
        resident |= use.active
        following.update(nexts[t])
        idle = resident - use.active
        going = sorted(idle, key=lambda a: (following[a], site.adapter_vram[a], a))
        while not site.fits(gpu, resident, use.jobs):
            resident -= {going.pop()}
        found.append(resident)
    return found


def cheapest(site: Site, gpu: int, uses: Sequence[AdapterUse]) -> list[Adapters] | None:
    """Return residents through ``uses`` with the fewest seconds of loading, then of loads.

    Exact to a microsecond a load. None where how many adapters a batch can keep depends on which
    they are, and where there are over ``MOST_ARCS`` chances to keep one that do not all save the
    same.
    """
    chances = _chances(site, gpu, uses)
    keeps = [keep for keep in chances if keep.cost > 0]
    room = _room(site, gpu, uses, {keep.adapter for keep in keeps})
    if room is None:
        return None
    if len({keep.cost for keep in chances}) == 1 and keeps:
        return furthest(site, gpu, uses)
    if len(keeps) > MOST_ARCS:
        return None
    kept = _flow(room, keeps)
    begin: list[set[int]] = [set() for _ in uses]
    end: list[set[int]] = [set() for _ in uses]
    for keep in kept:
        begin[keep.first].add(keep.adapter)
        end[keep.last].add(keep.adapter)
    held, found = frozenset[int](), []
    for t, use in enumerate(uses):
        held |= begin[t]
        found.append(held | use.active)
        held -= end[t]
    return found


def _chances(site: Site, gpu: int, uses: Sequence[AdapterUse]) -> list[Retention]:
    """The chances to keep an adapter until its next use."""
    last = dict.fromkeys(site.gpus[gpu].resident, -1)
    chances = []
    for t, use in enumerate(uses):
        for adapter in sorted(use.active):
            before = last.get(adapter)
            last[adapter] = t
            if before is None or before == t - 1:
                continue  # it was not there, or the batch before had it: nothing to decide
            saved = site.load_s[adapter] - site.activate_s
            # Of equal seconds, the fewer loads.
            cost = round(saved * PER_SECOND) + 1 if saved >= 0.0 else 0
            chances.append(Retention(adapter, before + 1, t - 1, cost))
    return chances


def _room(site: Site, gpu: int, uses: Sequence[AdapterUse], worth: set[int]) -> list[int] | None:
    """How many of the adapters ``worth`` keeping each batch can keep; None: depends on which."""
    sizes = sorted(site.adapter_vram[a] for a in worth)
    small, large = list(accumulate(sizes)), list(accumulate(reversed(sizes)))
    found = []
    for use in uses:
        slots = site.max_resident - len(use.active)
        vram = site.room(gpu, use.active)[0]
        if vram is not None:
            vram -= sum(job.demand[0] for job in use.jobs)
            most, least = (min(slots, bisect_right(sums, vram)) for sums in (small, large))
            if least < most:
                return None
            slots = most
        found.append(slots)
    return found


def _flow(room: Sequence[int], keeps: Sequence[Retention]) -> list[Retention]:
    """Return the retentions that save most, of which each batch can hold those that cross it."""
    if not keeps:
        return []
    from ortools.graph.python import min_cost_flow

    # Node t is the time before batch t. What a batch does not keep flows along the line.
    line = np.arange(len(room))
    spare = np.asarray(room)
    flow = min_cost_flow.SimpleMinCostFlow()
    flow.add_arcs_with_capacity_and_unit_cost(line, line + 1, spare, np.zeros_like(line))
    arcs = flow.add_arcs_with_capacity_and_unit_cost(
        np.array([keep.first for keep in keeps]),
        np.array([keep.last + 1 for keep in keeps]),
        np.ones(len(keeps), np.int64),
        np.array([-keep.cost for keep in keeps]),
    )
    flow.set_nodes_supplies(np.arange(len(room) + 1), np.diff(spare, prepend=0, append=0))
    status = flow.solve()
    if status != flow.OPTIMAL:
        raise SolverError(f"paging: the flow solver ended with {status}")
    return [keep for keep, used in zip(keeps, flow.flows(arcs), strict=True) if used]
