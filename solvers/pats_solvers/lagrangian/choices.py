"""Options that jobs of a merged class choose, each for itself; compiled."""

# ruff: noqa: PLR0917 - compiled functions know no keyword-only arguments

from __future__ import annotations

from typing import Any

import numpy as np

from pats_solvers.common.compiled import entry


@entry
def choose(
    cost: Any,
    arrivals: Any,
    quickest: Any,
    arrived: Any,
    extra: Any,
    late: Any,
    due: Any,
    done: Any,
    grain: int,
    least: Any,
    way: Any,
    end: Any,
) -> None:
    """Fill in the least loss of each job, the way and the completion.

    Args:
        cost: Loss by job and way, what it receives for the slot taken off; completion apart.
        arrivals: Arrival by job, in grains.
        quickest: Grains to completion by way, at least.
        arrived: Arrival by job, in ticks.
        extra: Loss by job and tick of latency.
        late: Loss by job of being late.
        due: Last tick by job that is not late.
        done: Received by grain of completion.
        grain: Ticks of a grain.
        least: Filled in by job.
        way: Filled in by job.
        end: Grain of completion, filled in by job.
    """
    last = done.shape[0] - 1
    soonest = quickest.min()
    for j in range(cost.shape[0]):
        least[j], way[j], end[j] = np.inf, 0, 0
        best, at = np.inf, last
        for t in range(last, min(arrivals[j] + soonest, last) - 1, -1):
            here = extra[j] * (t * grain - arrived[j]) - done[t]
            if t * grain > due[j]:
                here += late[j]
            if here < best:
                best, at = here, t
            for w in range(cost.shape[1]):
                if t == min(arrivals[j] + quickest[w], last) and cost[j, w] + best < least[j]:
                    least[j], way[j], end[j] = cost[j, w] + best, w, at
