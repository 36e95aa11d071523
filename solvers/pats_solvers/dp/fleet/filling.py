"""The members of patterns, compiled: who of those that wait is served, and with how many steps."""

from __future__ import annotations

from typing import Any

from pats_solvers.common.compiled import lean
from pats_solvers.dp.fleet.bound import QUEUED, FleetModel
from pats_solvers.dp.fleet.scratch import LabelBounds, arrived_by

#: Jobs taken by a pattern that cannot be filled: more than any class has.
TOO_MANY = 2**40


@lean
def _queue(model: FleetModel, p: LabelBounds, kind: int, a: int, tick: int) -> int:
    """List who waits for an adapter, the earliest first, and by loss; return how many they are."""
    count, last = 0, model.losses.shape[1] - 1
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
        p.queue[i].gain = model.losses[q, 0] - model.losses[q, last]
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
def fill_patterns(model: FleetModel, p: LabelBounds, kind: int, a: int, tick: int) -> None:
    """Make the patterns of an adapter the batches that they are at a tick, of a GPU's kind."""
    count, first = _queue(model, p, kind, a, tick), model.adapters[a].class_at
    for m in range(model.adapters[a].move_at, model.adapters[a + 1].move_at):
        pattern, takes = model.patterns[m], model.takes[m]
        takes[:] = 0
        if pattern.members > count or (pattern.extreme and pattern.members == count):
            takes[0] = TOO_MANY
            continue
        part, used, fixed, slope = pattern.part_at, 0, 0.0, 0.0
        for rank in range(count):
            place = p.by_gain[rank]
            if not _is_member(pattern, count, place, rank):
                continue
            if used == model.pattern_parts[part].members:
                part, used = part + 1, 0
            q, price = p.queue[place].kind, 0.0
            price = model.classes[q].price + model.classes[q].extra
            fixed += model.losses[q, model.pattern_parts[part].rank]
            fixed += price * model.pattern_parts[part].ticks
            slope += price
            takes[q - first] += 1
            used += 1
        model.moves[m].fixed, model.moves[m].slope = fixed, slope
