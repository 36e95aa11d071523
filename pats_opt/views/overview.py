"""Overview of a long schedule: shares of time instead of bars.

Near enough, every request or every batch has its bar. From far away there are more of them than
pixels; then each GPU's time is cut into equal bins, and a bin shows which shares of it each adapter
(or level or class of batches, whichever bars have the colours of) and the switches take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pats_opt.views.style import MOST_APART
from pats_opt.views.view import LOADER, Chart, LaneBoxes

if TYPE_CHECKING:
    from pats_opt.tables.statistics import Floats, Ints

#: Blocks of the far view, all GPUs together, about; and the bounds on a GPU's bins.
BLOCKS = 1600
FEWEST_BINS, MOST_BINS = 24, 240

#: In place of a colour's index: a switch, all adapters or levels without a colour of their own, and
#: loads beside serving.
SWITCHING, OTHERS, LOADING = -1, -2, -3


class TimeShares(NamedTuple):
    """One entry per block of the far view.

    Attributes:
        gpu: Index of its GPU.
        boxes: Where it lies: its bin, and a height; a bin without idle time fills its lane.
        key: Index of the adapter, level or class of batches, :data:`SWITCHING`, :data:`OTHERS` or
            :data:`LOADING`.
        share: Share of the bin's time that it takes; of the loader's, of all its channels.
    """

    gpu: Ints
    boxes: LaneBoxes
    key: Ints
    share: Floats


def time_shares(chart: Chart) -> TimeShares:
    """Return the far view: in each bin of each GPU the shares of its time, stacked.

    Switches lie lowest, then the adapters or levels, in every bin in the same order, then the
    others as one.
    """
    import numpy as np

    gpus = len(chart.problem.site.gpus)
    bins = int(np.clip(BLOCKS // (4 * max(1, gpus)), FEWEST_BINS, MOST_BINS))
    width = (chart.end or 1.0) / bins
    batches, switches = chart.seconds.batches, chart.seconds.switches
    some = batches.size > 0
    apart, layer = _layers(chart)
    gpu = np.concatenate((batches.gpu[some], switches.gpu))
    what = np.concatenate((layer[chart.style.batches[some]], np.zeros_like(switches.gpu)))
    start = np.concatenate((batches.start[some], switches.start))
    end = np.concatenate((batches.end[some], switches.end))
    which, bin_, seconds = _cut(start, end, width, bins)
    layers = len(apart)
    cells = (gpu[which] * bins + bin_) * layers + what[which]
    share = np.bincount(cells, weights=seconds, minlength=gpus * bins * layers) / width
    share = share.reshape(gpus, bins, layers)
    above = np.cumsum(share, axis=2)
    lane, place, kind = np.nonzero(share)
    boxes = LaneBoxes(
        left=np.multiply(place, width),
        right=np.multiply(place + 1, width),
        top=lane + chart.lane * (1.0 - above[lane, place, kind]),
        bottom=lane + chart.lane * (1.0 - (above - share)[lane, place, kind]),
    )
    served = TimeShares(lane, boxes, apart[kind], share[lane, place, kind])
    return served if chart.loads is None else _beside(served, _loading(chart, bins))


def _beside(first: TimeShares, second: TimeShares) -> TimeShares:
    """The blocks of both."""
    import numpy as np

    sides = zip(first.boxes, second.boxes, strict=True)
    return TimeShares(
        np.concatenate((first.gpu, second.gpu)),
        LaneBoxes(*(np.concatenate(pair) for pair in sides)),
        np.concatenate((first.key, second.key)),
        np.concatenate((first.share, second.share)),
    )


def _loading(chart: Chart, bins: int) -> TimeShares:
    """The share of its channels' time that each loader is busy, by bin, in its lane."""
    import numpy as np

    loads, site = chart.seconds.loads, chart.problem.site
    assert loads is not None
    width = (chart.end or 1.0) / bins
    which, bin_, seconds = _cut(loads.start, loads.end, width, bins)
    cells, channels = loads.gpu[which] * bins + bin_, site.channels or 1
    busy = np.bincount(cells, weights=seconds, minlength=len(site.gpus) * bins)
    share = (busy / (width * channels)).reshape(len(site.gpus), bins)
    lane, place = np.nonzero(share)
    bottom = np.add(lane, LOADER[1])
    top = bottom - np.minimum(share[lane, place], 1.0) * (LOADER[1] - LOADER[0])
    boxes = LaneBoxes(np.multiply(place, width), np.multiply(place + 1, width), top, bottom)
    return TimeShares(lane, boxes, np.full(len(lane), LOADING), share[lane, place])


def _layers(chart: Chart) -> tuple[Ints, Ints]:
    """Contents of each layer of a stack, lowest first, and the layer of each adapter or level."""
    import numpy as np

    batches, many = chart.seconds.batches, len(chart.style.names)
    some = batches.size > 0
    seconds = (batches.end - batches.start)[some]
    served = np.bincount(chart.style.batches[some], weights=seconds, minlength=many)
    order = np.arange(many) if chart.style.of == "batches" else np.argsort(-served, kind="stable")
    most = order[:MOST_APART]
    layer = np.full(many, len(most) + 1)
    layer[most] = np.arange(len(most)) + 1
    return np.concatenate(([SWITCHING], most, [OTHERS])), layer


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
