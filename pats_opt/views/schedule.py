"""A schedule as a still picture: who is served when on which GPU, memory, who waits, prices.

Each function draws one panel on the ``ax`` it is given, in seconds on the x axis, from the columns
of :mod:`columns`. These come from what the checker replays, so a picture shows what the rules make
of a schedule, not what its file says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pats_opt.model.checker import ReplayedBatch
from pats_opt.model.problem import Problem
from pats_opt.model.schedule import Schedule
from pats_opt.views import style
from pats_opt.views.coarse import until
from pats_opt.views.columns import LANE, Columns, columns_of
from pats_opt.views.lines import DASHES, Line, matplotlib_dash, memory_lines, price_lines
from pats_opt.views.summary import adapter_colours, colour_list, legend
from pats_opt.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "MOST_BATCHES",
    "adapter_colours",
    "adapter_keys",
    "draw",
    "draw_columns",
    "gantt",
    "memory",
    "prices",
    "queue",
    "tooltips",
]

#: Members beyond which a batch is one block whose height is its size.
MOST_MEMBERS = 2000

#: Batches beyond which blocks are drawn as pixels, and none has a tooltip.
MOST_BATCHES = 1000

#: Members up to which each bar carries its request's id.
MOST_LABELS = 80

#: Members a tooltip lists.
MOST_LISTED = 12

#: Adapters that the legend names.
MOST_KEYS = 14

#: Where a legend stands: above the panel, on the right.
ABOVE: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1, 1),
    "fontsize": 8,
    "handlelength": 1.2,
    "columnspacing": 1.0,
}


class Named(NamedTuple):
    """A schedule in a picture: its name, where there are several, and its columns."""

    name: str
    columns: Columns


def draw(
    problem: Problem,
    batches: Sequence[ReplayedBatch],
    heading: str = "",
    schedule: Schedule | None = None,
) -> Figure:
    """All panels of a schedule below each other, on one time axis.

    Args:
        problem: The instance on the grid.
        batches: What was replayed.
        heading: What stands above the picture.
        schedule: Where it is given, its prices and who it rejects are drawn too.
    """
    return draw_columns([Named("", columns_of(problem, batches, schedule))], heading)


def draw_columns(shown: Sequence[Named], heading: str = "") -> Figure:
    """The panels of one or more schedules of an instance, on one time axis."""
    site = shown[0].columns.problem.site
    lanes = max(1, len(site.gpus))
    priced = any(one.columns.prices for one in shown)
    heights = [
        *[min(9.0, 0.6 + 0.75 * lanes)] * len(shown),
        *[1.5] * len(shown),
        1.2,
        *[1.2] * priced,
    ]
    with style.look():
        drawn = style.figure(10.0, sum(heights) + 0.25 * len(heights) + 0.3)
        if heading:
            drawn.suptitle(heading, x=0.01, ha="left", fontsize=11)
        axes = list(drawn.subplots(len(heights), 1, sharex=True, height_ratios=heights))
        panels = iter(axes)
        for one in shown:
            gantt(next(panels), one.columns, one.name, keys=one is shown[0])
        for one in shown:
            memory(next(panels), one.columns, one.name)
        queue(next(panels), shown)
        if priced:
            prices(next(panels), shown)
        end = max(one.columns.end for one in shown)
        axes[-1].set_xlim(0, end * 1.01 or 1.0)
        axes[-1].set_xlabel("seconds")
        for ax in axes:
            ax.grid(True, axis="x")
    return drawn


def gantt(ax: Axes, columns: Columns, name: str = "", *, keys: bool = True) -> None:
    """A lane a GPU: batches as stacked members, each to its own end, and hatched switches.

    Args:
        ax: Where to draw.
        columns: The schedule.
        name: What it is called, where it is one of several.
        keys: Whether a legend of the adapters stands above it.
    """
    site = columns.problem.site
    raster = len(columns.batches.size) > MOST_BATCHES
    _bars(ax, columns, raster)
    _switches(ax, columns, raster)
    if not raster:
        _outlines(ax, columns)
    ax.set_yticks([g.index + LANE / 2 for g in site.gpus], [label(g.id, 16) for g in site.gpus])
    ax.set_ylim(max(1, len(site.gpus)), -0.08)
    ax.tick_params(axis="y", length=0)
    what = "GPUs" if len(columns.batches.size) else "GPUs (nothing is served)"
    ax.set_title(f"{label(name)}: {what}" if name else what)
    if keys:
        handles, labels = adapter_keys(columns.problem)
        style.legend(ax, handles, labels, ncols=min(8, len(labels)), **ABOVE)


def adapter_keys(problem: Problem) -> tuple[list[Any], list[str]]:
    """Handles and labels of the adapters' legend, switches last."""
    from matplotlib.patches import Patch

    known = legend(problem, MOST_KEYS)
    handles = [Patch(facecolor=key.colour) for key in known.keys]
    labels = [key.name for key in known.keys]
    if known.more:
        handles.append(Patch(facecolor="none"))
        labels.append(f"and {known.more} more" + (", colours repeat" if known.repeat else ""))
    handles.append(Patch(facecolor="white", edgecolor=style.FAINT, hatch="//////"))
    return handles, [*labels, "switching"]


def _bars(ax: Axes, columns: Columns, raster: bool) -> None:
    """Members, or blocks of whole batches where there are too many."""
    from matplotlib.collections import PolyCollection

    members, batches = columns.members, columns.batches
    bars = batches if len(members.jobs) > MOST_MEMBERS else members
    colours = colour_list(columns.problem)
    for adapter in sorted({*bars.adapter.tolist()} - {-1}):
        mine = bars.adapter == adapter
        sides = (bars.start[mine], bars.end[mine], bars.top[mine], bars.bottom[mine])
        ax.add_collection(
            PolyCollection(
                _corners(*sides),
                facecolors=colours[adapter],
                edgecolors="none" if raster else "white",
                linewidths=0 if raster else 0.5,
                rasterized=raster,
            )
        )
    if len(members.jobs) <= MOST_LABELS:
        _labels(ax, columns, colours)


def _corners(left: Any, right: Any, top: Any, bottom: Any) -> Any:
    """The corners of rectangles, one row each."""
    import numpy as np

    x, y = np.stack((left, right, right, left), axis=-1), np.stack((bottom, bottom, top, top), -1)
    return np.stack((x, y), axis=-1)


def _labels(ax: Axes, columns: Columns, colours: Sequence[str]) -> None:
    """Request ids on their bars, cut off where a bar is too short."""
    from matplotlib.patches import Rectangle

    bars = columns.members
    for k, job in enumerate(bars.jobs):
        left, top = float(bars.start[k]), float(bars.top[k])
        width, height = float(bars.end[k]) - left, float(bars.bottom[k]) - top
        area = Rectangle((left, top), width, height, visible=False)
        ax.add_patch(area)
        text = ax.annotate(
            label(job.id, 20),
            (left, top + height / 2),
            (2, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=style.on(colours[job.adapter]),
        )
        text.set_clip_path(area)


def _switches(ax: Axes, columns: Columns, raster: bool) -> None:
    """Switches, hatched; where they take no time, a line at the batch that they are for."""
    from matplotlib.collections import PolyCollection

    switches = columns.switches
    taken = switches.end > switches.start
    top = switches.gpu[taken]
    ax.add_collection(
        PolyCollection(
            _corners(switches.start[taken], switches.end[taken], top, top + LANE),
            facecolors=style.OTHER if raster else "white",
            edgecolors=style.FAINT,
            linewidths=0 if raster else 0.6,
            hatch=None if raster else "//////",
            rasterized=raster,
        )
    )
    if not taken.all():
        top = switches.gpu[~taken]
        ax.vlines(
            switches.start[~taken],
            top,
            top + LANE,
            colors=style.INK,
            linewidths=1.2,
            rasterized=raster,
        )


def _outlines(ax: Axes, columns: Columns) -> None:
    """A frame around each batch and its switch; its gid is what a tooltip hangs on."""
    from matplotlib.patches import Rectangle

    batches = columns.batches
    for k, (first, end, gpu) in enumerate(
        zip(batches.first.tolist(), batches.end.tolist(), batches.gpu.tolist(), strict=True)
    ):
        ax.add_patch(
            Rectangle(
                (first, gpu),
                end - first,
                LANE,
                facecolor=(1, 1, 1, 0.01),  # nearly nothing, so that the pointer finds all of it
                edgecolor=style.FAINT,
                linewidth=0.5,
                gid=f"batch-{k}",
            )
        )


def tooltips(columns: Columns) -> dict[str, str]:
    """What a batch is, by the gid of its frame; nothing where there are too many."""
    batches = columns.batches
    if len(batches.size) > MOST_BATCHES:
        return {}
    site, told = columns.problem.site, []
    for gpu, start, end, size in zip(
        batches.gpu.tolist(), batches.start, batches.end, batches.size, strict=True
    ):
        told.append([f"{site.gpus[gpu].id}: {start:g} s to {end:g} s, {size} served"])
    for place, batch in enumerate(columns.members.batch.tolist()):
        if len(told[batch]) <= MOST_LISTED:
            told[batch].append(_member(columns, place))
    for lines, size in zip(told, batches.size.tolist(), strict=True):
        if size > MOST_LISTED:
            lines.append(f"and {size - MOST_LISTED} more")
    for batch, line in _changes(columns):
        told[batch].insert(1, line)
    return {f"batch-{k}": "\n".join(lines) for k, lines in enumerate(told)}


def _changes(columns: Columns) -> Iterable[tuple[int, str]]:
    """What each switch does, with the place of the batch that it is for."""
    switches = columns.switches
    for batch, seconds, load, evict in zip(
        switches.batch.tolist(), switches.seconds, switches.load, switches.evict, strict=True
    ):
        changes = [f"loads {load}" if load else "", f"evicts {evict}" if evict else ""]
        yield batch, f"switch {seconds:g} s {', '.join(filter(None, changes))}".rstrip()


def _member(columns: Columns, place: int) -> str:
    """One line on a member."""
    problem, members = columns.problem, columns.members
    job, arrival = members.jobs[place], members.arrival[place]
    chosen, done = job.options[members.options[place]], members.done[place]
    prompt = problem.instance.requests[job.position].prompt
    return (
        f"{label(job.id)}: {label(problem.site.adapter_ids[job.adapter])}, "
        f"{chosen.steps} steps, quality {chosen.quality:g}, done at {done:g} s, "
        f"latency {done - arrival:g} s" + (f": {label(prompt, 60)}" if prompt else "")
    )


def memory(ax: Axes, columns: Columns, name: str = "") -> None:
    """Memory in use on each GPU, and what it has."""
    lines = memory_lines(columns)
    drawn: list[Any] = []
    for line in lines:
        drawn += _step(ax, line, columns.end)
    known = [gpu.capacity[0] for gpu in columns.problem.site.gpus]
    for capacity in sorted({amount for amount in known if amount is not None}):
        ax.axhline(capacity / 1e9, color=style.INK, linewidth=1.0, linestyle="--")
    ax.set_ylim(bottom=0)
    title = "VRAM in use, GiB (dashed: capacity)"
    ax.set_title(f"{label(name)}: {title}" if name else title)
    if len(lines) > 1:
        names = [line.name for line in lines]
        style.legend(ax, drawn, names, ncols=min(8, len(lines)), **ABOVE)


def _step(ax: Axes, line: Line, end: float) -> list[Any]:
    """A step function, its last level until ``end``."""
    x, y = until(line.steps, end)
    return ax.step(
        x, y, where="post", color=line.colour, linestyle=matplotlib_dash(line.dash), linewidth=1.2
    )


def queue(ax: Axes, shown: Sequence[Named]) -> None:
    """Requests that have arrived and wait to be served (those that are rejected do not)."""
    from matplotlib.ticker import MaxNLocator

    drawn: list[Any] = []
    for k, one in enumerate(shown):
        x, y = one.columns.queue
        if len(shown) == 1:
            ax.fill_between(x, y, step="post", color=style.BASE_COLOURS[4], linewidth=0)
        else:
            line = Line(one.name, one.columns.queue, style.BASE_COLOURS[k], DASHES[k])
            drawn += _step(ax, line, one.columns.end)
    most = max(float(one.columns.queue.y.max()) for one in shown)
    ax.set_ylim(bottom=0, top=max(1.0, most) * 1.08)
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set_title("Requests waiting")
    if drawn:
        style.legend(ax, drawn, [one.name for one in shown], ncols=len(drawn), **ABOVE)


def prices(ax: Axes, shown: Sequence[Named]) -> None:
    """What holding a GPU for a second is worth, as the solver that proved a bound has it."""
    lines = list(price_lines([(one.name, one.columns) for one in shown]))
    drawn: list[Any] = []
    for line in lines:
        drawn += _step(ax, line, 0.0)
    ax.set_ylim(bottom=0)
    ax.set_title("Price of GPU time, loss per second of holding a GPU")
    if len(lines) > 1:
        style.legend(ax, drawn, [line.name for line in lines], ncols=min(6, len(lines)), **ABOVE)
