"""The members of patterns, compiled: who of those that wait is served, and with how many steps."""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments

from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import lean
from pats_solvers.dp.fleet.bound import QUEUED, FleetModel
from pats_solvers.dp.fleet.scratch import LabelBounds, arrived_by

#: Jobs taken by a pattern that cannot be filled: more than any class has.
TOO_MANY = 2**40


@lean
def _queue(model: FleetModel, p: LabelBounds, kind: int, a: int, tick: int) -> int:
    """List who waits for an adapter, the earliest first, and by loss; return how many they are."""
    count = 0
    for q in range(model.adapters[a].class_at, model.adapters[a + 1].class_at):
        if model.into[kind, q] < 0:
            continue
        for i in range(p.counts[q], arrived_by(model, q, p.counts[q], tick)):
            arrival = model.arrival[model.classes[q].arrival_at + i]
            at = min(count, QUEUED - 1)
            if count == QUEUED and p.queue[at].arrival <= arrival:
                break
            while at > 0 and p.queue[at - 1].arrival > arrival:
                p.queue[at].kind, p.queue[at].arrival = (
                    p.queue[at - 1].kind,
                    p.queue[at - 1].arrival,
                )
                at -= 1
            p.queue[at].kind, p.queue[at].arrival = q, arrival
            count = min(QUEUED, count + 1)
    for i in range(count):
        q = p.queue[i].kind
        p.queue[i].gain = model.gains[q]
        at = i
        while at > 0 and p.queue[p.by_gain[at - 1]].gain > p.queue[i].gain:
            p.by_gain[at] = p.by_gain[at - 1]
            at -= 1
        p.by_gain[at] = i
    return count


@lean
def _is_member(pattern: Any, count: int, place: int, rank: int) -> bool:
    """Return whether a job takes part in a pattern, by its place in the queue and by loss."""
    if pattern.extreme:
        return rank < pattern.cut or rank >= count - (pattern.members - pattern.cut)  # type: ignore[no-any-return]
    return place < pattern.members  # type: ignore[no-any-return]


@lean
def _fits(model: FleetModel, p: LabelBounds, kind: int, a: int, q: int) -> bool:
    """Add a job's demand to those of the members so far; return whether all fit the GPU."""
    for r in range(p.used.shape[0]):
        p.used[r] += model.demands[q, r]
        if p.used[r] > model.free[kind, a, r]:
            return False
    return True


@lean
def _fill(
    model: FleetModel, p: LabelBounds, kind: int, a: int, tick: int, m: int, count: int
) -> bool:
    """Make a pattern the batch that it is at a tick; return whether there is one."""
    pattern, first = model.patterns[m], model.adapters[a].class_at
    part, used, fixed, slope = pattern.part_at, 0, 0.0, 0.0
    p.used[:] = 0
    for rank in range(count):
        place = p.by_gain[rank]
        if not _is_member(pattern, count, place, rank):
            continue
        if used == model.pattern_parts[part].members:
            part, used = part + 1, 0
        q, ticks = p.queue[place].kind, model.pattern_parts[part].ticks
        if not _fits(model, p, kind, a, q):
            return False
        price = model.classes[q].price + model.classes[q].extra
        fixed += model.losses[q, model.pattern_parts[part].rank] + price * ticks
        if tick + ticks > model.dues[q].due:
            fixed += model.dues[q].late
        slope += price
        model.takes[m, q - first] += 1
        used += 1
    model.moves[m].fixed, model.moves[m].slope, model.need[m] = fixed, slope, p.used[0]
    return fixed < np.inf


@lean
def fill_patterns(model: FleetModel, p: LabelBounds, kind: int, a: int, tick: int) -> None:
    """Make the patterns of an adapter the batches that they are at a tick, of a GPU's kind."""
    count = _queue(model, p, kind, a, tick)
    for m in range(model.adapters[a].move_at, model.adapters[a + 1].move_at):
        pattern = model.patterns[m]
        model.takes[m, :] = 0
        short = pattern.members > count or (pattern.extreme and pattern.members == count)
        if short or not _fill(model, p, kind, a, tick, m, count):
            model.takes[m, 0] = TOO_MANY
