"""An estimate of the loss that a label leads to, by which labels of a layer are compared, compiled.

Promises of several GPUs are too kind to labels that put jobs off, or hold an adapter on many GPUs:
each GPU leaves jobs to the others at their prices. Here one GPU serves all of an adapter's jobs,
the one that does it for the least, and pays for its time. This proves nothing, and comes close.
"""

# ruff: noqa: C901, PLR1714 - compiled: one function is one loop; sets would be made anew each time

from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import lean
from pats_solvers.dp.bound import NONE
from pats_solvers.dp.fleet.bound import (
    FIRST,
    NEVER,
    FleetModel,
    adapter_of,
    elsewhere,
    paid_rest,
    state_of,
    whole_value,
)
from pats_solvers.dp.fleet.scratch import GpuTurn, LabelBounds
from pats_solvers.lagrangian.costs import ABSENT, RESIDENT


@lean
def rest_of(model: FleetModel, p: LabelBounds, g: int, a: int, counts: Any) -> float:
    """Return the least that a GPU other than the one at place ``g`` serves all of an adapter for.

    It is infinity where none of them serves any more.
    """
    least = np.inf
    for h in range(p.gpus.shape[0]):
        gpu = p.gpus[h]
        if h != g and gpu.free < NEVER:
            state, grain = state_of(model, gpu, a), gpu.free // model.grain
            each = whole_value(model, model.gpus[h], a, state, grain, counts, p.backlogs)
            least = min(least, each)
    return least


@lean
def _least(model: FleetModel, a: int, counts: Any, one: float, two: float) -> float:
    """Return the less of two costs of an adapter; where both are infinite, its jobs' prices."""
    least = min(one, two)
    return least if least < np.inf else elsewhere(model, a, counts)


@lean
def _set_near(model: FleetModel, p: LabelBounds, acting: GpuTurn, grain: int) -> int:
    """Work out what it costs that the acting GPU, or another, serves each adapter from a grain on.

    Return where that is.
    """
    last, count = model.paid.shape[1] - 1, p.left.shape[0]
    place = min(grain, last)
    if p.near_stamp[place] == acting.at:
        return place  # type: ignore[no-any-return]
    p.near_stamp[place] = acting.at if grain <= last else NONE
    total, resident = 0.0, p.gpus[acting.g].resident
    for a in range(count):
        if p.left[a]:
            state = RESIDENT if model.caching and resident & model.bits[a] else ABSENT
            each = whole_value(model, acting.kind, a, state, grain, p.counts, p.backlogs)
            p.near[place, a] = each
            total += _least(model, a, p.counts, each, p.rest[a])
    p.near[place, count] = total
    return place  # type: ignore[no-any-return]


@lean
def estimate(model: FleetModel, p: LabelBounds, acting: GpuTurn, child: Any) -> float:
    """Return the loss of a child and what is left, where one GPU serves all of an adapter's jobs.

    Of each adapter that is the GPU which does it for the least, paying for its time.
    """
    count, kind, cost = p.left.shape[0], acting.kind, child.loss
    for q in range(p.after.shape[0]):
        cost += model.slots[model.classes[q].arrival_at + q + p.after[q]]
    for h in range(p.gpus.shape[0]):
        cost += paid_rest(model, model.gpus[h], child.free if h == acting.g else p.gpus[h].free)
    if child.free >= NEVER:
        for a in range(count):
            if p.still[a]:
                cost += _least(model, a, p.after, p.rest[a], np.inf)
        return cost  # type: ignore[no-any-return]
    served = NONE
    if child.move >= 0:
        served = child.active
    elif child.rejected >= 0:
        served = adapter_of(model, child.rejected)
    grain = child.free // model.grain
    place = _set_near(model, p, acting, grain)
    cost += p.near[place, count]
    changed = p.gpus[acting.g].resident ^ child.resident
    if child.active == FIRST:
        changed |= child.resident
    for a in range(count):
        if not p.left[a] or (a != served and a != child.active and not changed & model.bits[a]):
            continue
        cost -= _least(model, a, p.counts, p.near[place, a], p.rest[a])
        if p.still[a]:
            state = state_of(model, child, a)
            own = whole_value(model, kind, a, state, grain, p.after, p.backlogs)
            rest = rest_of(model, p, acting.g, a, p.after) if a == served else p.rest[a]
            cost += _least(model, a, p.after, own, rest)
    return cost  # type: ignore[no-any-return]
