"""Fields of the structured arrays that several compiled searches share, and how they are filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pats_opt.model.loss import switching_loss
from pats_opt.model.problem import Problem
from pats_solvers.common.classes import JobClass, Move

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Stands for "no limit" in capacities, deadlines and horizons, and for "never" in ticks.
UNLIMITED = 2**60


def fields(whole: str, real: str = "") -> np.dtype[np.void]:
    """Return the type of a row with these whole-number and real fields, named in a line each."""
    ints = [(name, np.int64) for name in whole.split()]
    return np.dtype([*ints, *((name, np.float64) for name in real.split())])


#: Switches: ticks, and loss.
SWITCHES = fields("ticks", "loss")

#: Members of a batch with a priced deadline: the first start at which they are late, and what that
#: costs.
LATE = fields("start", "loss")

#: Batches of one adapter: ticks, where their members with a priced deadline begin in an array of
#: :data:`LATE`, what they take off a flattened backlog (where there is one); loss of a start at
#: tick 0, and what each tick later adds.
MOVES = fields("duration late_at offset", "fixed slope")


def single_switches(problem: Problem) -> NDArray[np.void]:
    """Return switches between single residents, by adapter before (the last row: none) and after.

    An adapter that is held is not loaded again.
    """
    site, count = problem.site, len(problem.site.adapter_ids)
    made = np.zeros((count + 1, count), dtype=SWITCHES)
    for before in range(count, -1, -1):
        if before < count and not site.pairs:
            made[before] = made[count]
        held = frozenset[int]() if before == count else frozenset((before,))
        for after in range(count if site.pairs or before == count else 0):
            into = frozenset((after,))
            switch = site.switch(held, into, into, None)
            made[before, after] = switch.ticks, switching_loss(site, switch.seconds)
        if before < count:
            made[before, before] = 0, 0.0
    return made


def late_members(move: Move, kinds: Sequence[JobClass]) -> Iterator[tuple[int, float]]:
    """Yield the rows of :data:`LATE` of a batch."""
    for q, _, n, ticks in move.parts:
        kind = kinds[q]
        if kind.late_loss > 0.0:
            deadline = kind.jobs[0].deadline
            assert deadline is not None
            yield int(kind.arrivals[0]) + deadline - ticks + 1, n * kind.late_loss
