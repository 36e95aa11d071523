"""Step functions: what is known from some moment on, and their mean over instances."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

#: From each x on, until the next, the function has this y; x rises.
Steps = Sequence[tuple[float, float]]


def mean_steps(functions: Sequence[Steps], start: float) -> list[tuple[float, float]]:
    """The mean of some step functions, each of value ``start`` ahead of its first step."""
    if not functions:
        return []
    changes = [
        (x, y - before)
        for steps in functions
        for (_, before), (x, y) in pairwise([(0.0, start), *steps])
    ]
    mean: dict[float, float] = {}
    total = start * len(functions)
    for x, change in sorted(changes):
        total += change
        mean[x] = round(total / len(functions), 12) + 0.0  # no -0 of rounding
    return list(mean.items())


def integral(steps: Steps, start: float, until: float) -> float:
    """The area below a step function from 0 to ``until``."""
    known = [(0.0, start), *((x, y) for x, y in steps if x < until)]
    ends = [x for x, _ in known[1:]] + [until]
    return sum(y * (end - x) for (x, y), end in zip(known, ends, strict=True))


def value(steps: Steps, start: float, at: float) -> float:
    """What a step function is at some place."""
    return next((y for x, y in reversed(steps) if x <= at), start)


def drawable(steps: Steps, most: int = 400) -> list[tuple[float, float]]:
    """At most so many of the steps, evenly spread over them, both ends included."""
    if len(steps) <= most:
        return list(steps)
    last = len(steps) - 1
    return [steps[k * last // (most - 1)] for k in range(most)]
