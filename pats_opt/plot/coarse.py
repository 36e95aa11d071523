"""Levels of detail: what is drawn of a long schedule from far away.

Near enough, every request or every batch has its bar. From far away there are more of them than
pixels; then each GPU's time is cut into equal bins, and a bin shows which shares of it each adapter
and the switches take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pats_opt.plot.columns import LANE, Columns, Steps

if TYPE_CHECKING:
    from pats_opt.metrics.played import Floats, Ints

#: Blocks of the far view, all GPUs together, about; and the bounds on a GPU's bins.
BLOCKS = 1600
FEWEST_BINS, MOST_BINS = 24, 240

#: Adapters that a bin tells apart; the others are one block.
SHOWN = 4

#: In place of an adapter's index: a switch, and all adapters beyond those told apart.
SWITCHING, OTHERS = -1, -2

#: Points of a line that is seen from far away.
POINTS = 4000


@dataclass(frozen=True, slots=True)
class Blocks:
    """One entry a block of the far view; seconds, and heights of the lanes.

    Attributes:
        gpu: Index of its GPU.
        left: Start of its bin.
        right: End of its bin.
        bottom: Lower edge.
        top: Upper edge; a bin in which the GPU is never idle fills its lane.
        adapter: Index of the adapter, :data:`SWITCHING` or :data:`OTHERS`.
        share: Share of the bin's time that it takes.
    """

    gpu: Ints
    left: Floats
    right: Floats
    bottom: Floats
    top: Floats
    adapter: Ints
    share: Floats


def blocks_of(columns: Columns) -> Blocks:
    """The far view: in each bin of each GPU the shares of its time, stacked."""
    import numpy as np

    gpus = len(columns.problem.site.gpus)
    bins = int(np.clip(BLOCKS // (4 * max(1, gpus)), FEWEST_BINS, MOST_BINS))
    width = (columns.end or 1.0) / bins
    batches, switches = columns.batches, columns.switches
    some = batches.size > 0
    gpu = np.concatenate((batches.gpu[some], switches.gpu))
    what = np.concatenate((batches.adapter[some], np.full(len(switches.gpu), SWITCHING)))
    start = np.concatenate((batches.start[some], switches.start))
    end = np.concatenate((batches.end[some], switches.end))
    spread, bin_, seconds = _cut(start, end, width, bins)
    kinds = len(columns.problem.site.adapter_ids) + 2
    key = (gpu[spread] * bins + bin_) * kinds + what[spread] + 2
    keys, where = np.unique(key, return_inverse=True)
    share = np.bincount(where, weights=seconds, minlength=len(keys)) / width
    cell, adapter = keys // kinds, keys % kinds - 2
    # Switches lie lowest, then the adapters by share; those beyond SHOWN become one.
    order = np.lexsort((-share, adapter != SWITCHING, cell))
    cell, adapter, share = cell[order], adapter[order], share[order]
    rank = np.arange(len(cell)) - np.searchsorted(cell, cell)
    has_switch = adapter[np.searchsorted(cell, cell)] == SWITCHING
    late = rank - has_switch >= SHOWN
    merged = np.where(late, OTHERS, adapter)
    last = np.append((cell[1:] != cell[:-1]) | (merged[1:] != merged[:-1]), [True])[: len(cell)]
    first = np.append([True], last[:-1])[: len(cell)]
    share = np.add.reduceat(share, np.flatnonzero(first)) if len(cell) else share
    cell, merged = cell[first], merged[first]
    above = np.cumsum(share) - share
    starts = np.searchsorted(cell, cell)
    below = above - above[starts] if len(cell) else above
    lane = cell // bins
    bottom = lane + LANE * (1.0 - below)
    return Blocks(
        gpu=lane,
        left=(cell % bins) * width,
        right=(cell % bins + 1) * width,
        bottom=bottom,
        top=bottom - LANE * share,
        adapter=merged,
        share=share,
    )


def _cut(start: Floats, end: Floats, width: float, bins: int) -> tuple[Ints, Ints, Floats]:
    """Intervals cut at the bins' edges: place of the interval, bin and seconds of each piece."""
    import numpy as np

    first = np.clip((start // width).astype(np.int64), 0, bins - 1)
    last = np.clip((end // width).astype(np.int64), first, bins - 1)
    pieces = last - first + 1
    which = np.repeat(np.arange(len(start)), pieces)
    offset = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    bin_ = first[which] + offset
    left = np.maximum(start[which], bin_ * width)
    right = np.minimum(end[which], (bin_ + 1) * width)
    seconds = np.maximum(right - left, 0.0)
    kept = seconds > 0
    return which[kept], bin_[kept], seconds[kept]


def thinned(line: Steps, points: int = POINTS) -> Steps:
    """A step function by its first, lowest, highest and last level in each of equal time bins.

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
    return Steps(x[kept], y[kept])


def until(line: Steps, end: float) -> Steps:
    """A step function whose last level goes on to ``end``."""
    import numpy as np

    x, y = line
    if not len(x) or x[-1] >= end:
        return line
    return Steps(np.append(x, end), np.append(y, y[-1]))
