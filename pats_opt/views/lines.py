"""The lines over time that still and interactive figures share, with their names and looks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pats_opt.views import style
from pats_opt.views.columns import Columns, Steps
from pats_opt.wording import label

#: GPUs whose memory has a line each; with more only the fullest at any time is shown.
MOST_LINES = 14

#: Dashes that tell lines apart where colours might not.
DASHES = ("solid", "dashed", "dotted", "dotdash", "dashdot")


class Line(NamedTuple):
    """A step function with the name that a legend or a tooltip gives it, and how it looks."""

    name: str
    steps: Steps
    colour: str
    dash: str = "solid"


def matplotlib_dash(dash: str) -> str:
    """One of :data:`DASHES` as matplotlib has it."""
    return {"solid": "-", "dashed": "--", "dotted": ":"}.get(dash, "-.")


def memory_lines(columns: Columns) -> list[Line]:
    """GiB in use on each GPU; with very many GPUs, on the fullest one at any time."""
    gpus = columns.problem.site.gpus
    if len(gpus) > MOST_LINES:
        return [Line("the fullest GPU", _fullest(columns.memory), style.BASE_COLOURS[0])]
    return [
        Line(label(gpu.id), steps, colour, DASHES[gpu.index % len(DASHES)])
        for gpu, steps, colour in zip(gpus, columns.memory, style.cycled(len(gpus)), strict=True)
    ]


def _fullest(memory: Sequence[Steps]) -> Steps:
    """The most in use on any GPU."""
    import numpy as np

    x = np.unique(np.concatenate([steps.x for steps in memory]))
    levels = [steps.y[np.searchsorted(steps.x, x, "right") - 1] for steps in memory]
    return Steps(x, np.max(levels, axis=0))


def price_lines(shown: Sequence[tuple[str, Columns]]) -> Iterable[Line]:
    """A line for each kind of GPU, and one for a place in its cache where that has a price.

    Args:
        shown: Name (empty where there is one schedule only) and columns of each schedule.
    """
    prices = [
        (name, len(columns.prices), line) for name, columns in shown for line in columns.prices
    ]
    for k, (name, kinds, line) in enumerate(prices):
        kind = label(", ".join(line.gpus), 40) if kinds > 1 else ""
        called = ": ".join(filter(None, (name, kind)))
        colour = style.BASE_COLOURS[k % len(style.BASE_COLOURS)]
        yield Line(called or "holding a GPU", line.hold, colour)
        if line.keep is not None:
            yield Line(f"{called} place in the cache".strip(), line.keep, colour, "dashed")
