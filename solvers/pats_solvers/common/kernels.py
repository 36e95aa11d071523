"""Rule 5 as a kernel: when the members of a batch end.

It is that of :mod:`pats_opt.model.timing`; tests hold them together.
"""

# ruff: noqa: RUF046 - compiled: numba's ceil is a real number
from __future__ import annotations

import math
from typing import Any

from pats_solvers.common.compiled import entry


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
