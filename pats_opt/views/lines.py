"""Lines over time that still and interactive pictures share, with their names and styles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pats_opt.views import style
from pats_opt.views.view import AllocationSeries, Chart, NamedChart, StepSeries
from pats_opt.wording import label

#: Points of a line that is seen from far away.
POINTS = 4000

#: Dashes of lines whose colours might look alike.
DASHES = ("solid", "dashed", "dotted", "dotdash", "dashdot")


class StepLine(NamedTuple):
    """A step function with its name in a legend or a tooltip, its colour and its dash."""

    name: str
    series: StepSeries
    colour: str
    dash: str = "solid"


def memory_line(chart: Chart) -> StepLine:
    """Return GiB in use on the GPU, of several on the fullest one at any time."""
    gpus = chart.problem.site.gpus
    name = label(gpus[0].id) if len(gpus) == 1 else "the fullest GPU"
    return StepLine(name, _fullest(chart.memory), style.BASE_COLOURS[0])


def _fullest(memory: Sequence[StepSeries]) -> StepSeries:
    """The most in use on any GPU."""
    import numpy as np

    if not memory:
        return StepSeries(np.zeros(1), np.zeros(1))
    x = np.unique(np.concatenate([series.x for series in memory]))
    levels = [one.y[np.searchsorted(one.x, x, "right") - 1] for one in memory]
    return StepSeries(x, np.max(levels, axis=0))


def price_lines(shown: Sequence[NamedChart]) -> Iterable[StepLine]:
    """Yield a line per kind of GPU, and one for a place in its cache where that has a price."""
    prices = [
        (one.name if len(shown) > 1 else "", len(one.chart.prices), price)
        for one in shown
        for price in one.chart.prices
    ]
    for k, (name, kinds, price) in enumerate(prices):
        kind = label(", ".join(price.gpus), 40) if kinds > 1 else ""
        called = ": ".join(filter(None, (name, kind)))
        colour = style.BASE_COLOURS[k % len(style.BASE_COLOURS)]
        yield StepLine(called or "holding a GPU", price.hold, colour)
        if price.keep is not None:
            yield StepLine(f"{called} place in the cache".strip(), price.keep, colour, "dashed")


def thinned(line: StepSeries, points: int = POINTS) -> StepSeries:
    """Thin a step function to the first, lowest, highest and last level in each of equal bins.

    Drawn no wider than a quarter of ``points`` pixels it looks as the whole does (M4: Jugel,
    Jerzak, Hackenbroich and Markl, VLDB 2014).
    """
    import numpy as np

    x, y = line
    if len(x) <= points:
        return line
    bins = points // 4
    place = np.minimum((x - x[0]) / (x[-1] - x[0]) * bins, bins - 1).astype(np.int64)
    order = np.lexsort((y, place))
    edge = np.flatnonzero(np.append([True], place[1:] != place[:-1]))
    after = np.append(edge[1:], len(x)) - 1
    kept = np.unique(np.concatenate((edge, after, order[edge], order[after])))
    return StepSeries(x[kept], y[kept])


def until(line: StepSeries, end: float) -> StepSeries:
    """Return a step function whose last level goes on to ``end``."""
    import numpy as np

    x, y = line
    if not len(x) or x[-1] >= end:
        return line
    return StepSeries(np.append(x, end), np.append(y, y[-1]))


def quality_lines(shown: Sequence[NamedChart]) -> list[StepLine]:
    """Return the quality over time of each schedule."""
    return [
        StepLine(one.name or "quality", one.chart.quality, style.BASE_COLOURS[k], dash)
        for k, (one, dash) in enumerate(zip(shown, DASHES, strict=False))
    ]


def floor_of(lines: Sequence[StepLine]) -> float:
    """Return where an axis of these lines begins: at a tenth below all of them."""
    import math

    lowest = min((float(line.series.y.min()) for line in lines if len(line.series.y)), default=0.0)
    return max(0.0, math.floor(10 * lowest - 0.5) / 10)


def stack_until(stack: AllocationSeries, end: float) -> AllocationSeries:
    """Return a stack whose last heights go on to ``end``."""
    import numpy as np

    if not len(stack.x) or stack.x[-1] >= end:
        return stack
    return AllocationSeries(np.append(stack.x, end), np.concatenate((stack.y, stack.y[-1:])))


def meaned(stack: AllocationSeries, end: float, points: int = POINTS // 4) -> AllocationSeries:
    """Return a stack of mean heights in equal spans up to ``end``, where it has more steps."""
    import numpy as np

    whole = stack_until(stack, end)
    if len(whole.x) <= points:
        return whole
    edges = np.linspace(0.0, end, points + 1)
    area = np.concatenate(
        (
            np.zeros((1, whole.y.shape[1])),
            np.cumsum(whole.y[:-1] * np.diff(whole.x)[:, None], axis=0),
        )
    )
    at_edges = np.stack([np.interp(edges, whole.x, column) for column in area.T], axis=1)
    means = np.diff(at_edges, axis=0) / (end / points)
    return stack_until(AllocationSeries(edges[:-1], means), end)
