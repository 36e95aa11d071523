"""Rules 4 and 5 as kernels: what a switch takes and costs, and when the members of a batch end.

They are those of :mod:`pats_opt.model.timing` and :mod:`pats_opt.model.loss`; tests hold them
together.
"""

# ruff: noqa: RUF046 - compiled: numba's ceil is a real number
from __future__ import annotations

import math
from typing import Any

from pats_solvers.common.compiled import compiled, entry


@compiled
def whole_ticks(data: Any, seconds: float) -> int:
    """Return the ticks that cover ``seconds``, as :func:`pats_opt.model.timing.to_ticks` has it."""
    return 0 if data.slotted else int(math.ceil(seconds / data.tick_s - 1e-9))


@entry
def switching(data: Any, seconds: float) -> Any:
    """Return the ticks and the loss of a switch of so many seconds."""
    return whole_ticks(data, seconds), data.switch_price * seconds


@entry
def completions(data: Any, counts: Any, members: int, ends: Any) -> int:
    """Fill ``ends`` with the completion of each step level, and return the batch's duration.

    Args:
        data: The problem: ``slotted``, ``tick_s``, ``levels`` and ``sizes`` of it.
        counts: Members by step level.
        members: Their sum.
        ends: Ticks by level, filled where ``counts`` is not 0.
    """
    if data.slotted:
        for level in range(counts.shape[0]):
            ends[level] = 0
        return 1
    active, elapsed, done, end = members, data.sizes[members].overhead_s, 0, 0
    for level in range(counts.shape[0]):
        if counts[level] > 0:
            elapsed += (data.levels[level] - done) * data.sizes[active].step_s
            end = int(math.ceil(elapsed / data.tick_s - 1e-9))
            ends[level] = end
            done = data.levels[level]
            active -= counts[level]
    return end
