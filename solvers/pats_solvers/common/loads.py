"""Evictions of a plan whose loads run beside serving (section 5a)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from pats_opt.model.plan import Members, PlannedBatch, PlannedLoad
from pats_opt.model.problem import Problem
from pats_solvers.common.arrays import UNLIMITED


class TimedLoad(NamedTuple):
    """A load: its start tick, the adapter, and the place of the batch that needs it first."""

    start: int
    adapter: int
    batch: int


def with_evictions(
    problem: Problem,
    gpu: int,
    batches: Sequence[tuple[int, Members]],
    loads: Sequence[TimedLoad],
) -> tuple[tuple[PlannedBatch, ...], tuple[PlannedLoad, ...]]:
    """Plan a GPU's evictions where its batches and loads start at known ticks.

    An adapter may leave when the last batch that uses it before its next load has ended. It does
    so at the first load, or switch before a batch, at which it is in the way.

    Args:
        problem: The problem.
        gpu: The GPU.
        batches: Start and members of each batch, in order.
        loads: Its loads, in order of start.
    """
    site, jobs = problem.site, problem.jobs
    used = [frozenset([jobs[j].adapter for j, _ in members]) for _, members in batches]
    spans, switches, previous = list[tuple[int, int, int]](), list[int](), None
    for (start, members), active in zip(batches, used, strict=True):
        length = site.clock.ends(tuple([jobs[j].options[o].steps for j, o in members]))[1]
        spans.append((start, start + length, sum([jobs[j].demand[0] for j, _ in members])))
        switches.append(start - site.activation(active, previous).ticks)
        previous = active
    # Within a tick, a batch's evictions come before loads.
    events = sorted(
        [(tick, 0, p) for p, tick in enumerate(switches)]
        + [(load.start, 1, i) for i, load in enumerate(loads)]
    )
    held = {a: _leaves(a, 0, used, spans, loads) for a in site.gpus[gpu].resident}
    planned_batches, planned_loads = list[PlannedBatch](), list[PlannedLoad]()
    for (tick, is_load, i), (until, *_) in pairwise([*events, (UNLIMITED, 0, 0)]):
        coming = frozenset((loads[i].adapter,)) if is_load else frozenset[int]()
        taken = max([m for start, end, m in spans if start <= until and end > tick], default=0)
        evict = set[int]()
        for a in sorted([a for a in held if held[a] <= tick], key=lambda a: (held[a], a)):
            resident = (frozenset(held) - evict) | coming
            free = site.room(gpu, resident)[0]
            if len(resident) > site.max_resident or (
                free is not None and free < taken and site.adapter_vram[a] > 0
            ):
                evict.add(a)
        for a in evict:
            del held[a]
        if is_load:
            load = loads[i]
            if load.adapter not in held:  # else it was in nobody's way
                planned_loads.append(PlannedLoad(load.adapter, tick, frozenset(evict)))
            held[load.adapter] = _leaves(load.adapter, load.batch, used, spans, loads)
        else:
            start, members = batches[i]
            planned_batches.append(
                PlannedBatch(start, tuple(sorted(members)), frozenset(held) | used[i])
            )
    return tuple(planned_batches), tuple(planned_loads)


def _leaves(
    adapter: int,
    since: int,
    used: Sequence[frozenset[int]],
    spans: Sequence[tuple[int, int, int]],
    loads: Sequence[TimedLoad],
) -> int:
    """The end of the last batch from ``since`` on that uses an adapter before its next load."""
    again = min(
        [load.batch for load in loads if load.adapter == adapter and load.batch > since],
        default=len(used),
    )
    return max([spans[p][1] for p in range(since, again) if adapter in used[p]], default=0)
