"""Still pictures of schedules: the Gantt chart and the panels below it, each on a given ``ax``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pats_opt.views import style
from pats_opt.views.bars import served_legend
from pats_opt.views.gantt import gantt, legend_above, title
from pats_opt.views.lines import (
    DASHES,
    StepLine,
    floor_of,
    meaned,
    memory_line,
    price_lines,
    quality_lines,
    until,
)
from pats_opt.views.strips import draw_strips, memory_strips, strips_title
from pats_opt.views.view import Chart, NamedChart

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw(shown: Sequence[NamedChart], heading: str = "") -> Figure:
    """Draw the panels of one or more schedules of an instance, on one time axis."""
    site = shown[0].chart.problem.site
    lanes = max(1, len(site.gpus))
    priced = any(one.chart.prices for one in shown)
    tall = 0.75 if shown[0].chart.loads is None else 1.05
    each = [min(9.0, 0.6 + tall * lanes), 1.5 if lanes == 1 else min(6.0, 0.6 + 0.3 * lanes)]
    levels = bool(shown[0].chart.levels)
    heights = [height for height in each for _ in shown] + [1.2] * (1 + priced)
    heights += [1.2] * (len(shown) + 1) * levels
    with style.drawing():
        drawn = style.figure(10.0, sum(heights) + 0.25 * len(heights) + 0.3)
        if heading:
            drawn.suptitle(heading, x=0.01, ha="left", fontsize=11)
        axes = list(drawn.subplots(len(heights), 1, sharex=True, height_ratios=heights))
        panels = iter(axes)
        for one in shown:
            gantt(next(panels), one.chart, one.name, keys=one is shown[0])
        for one in shown:
            memory(next(panels), one.chart, one.name)
        queue(next(panels), shown)
        if priced:
            prices(next(panels), shown)
        if levels:
            for one in shown:
                allocation(next(panels), one.chart, one.name, keys=one is shown[0])
            quality(next(panels), shown)
        end = max(one.chart.end for one in shown)
        axes[-1].set_xlim(0, end * 1.01 or 1.0)
        axes[-1].set_xlabel("seconds")
        for ax in axes:
            ax.grid(True, axis="x")
    return drawn


def memory(ax: Axes, chart: Chart, name: str = "") -> None:
    """Draw the memory in use and the capacity, of several GPUs in a strip for each."""
    if strips := memory_strips(chart):
        draw_strips(ax, strips, chart.end)
        title(ax, name, strips_title(strips))
        return
    _step(ax, memory_line(chart), chart.end)
    known = [gpu.capacity[0] for gpu in chart.problem.site.gpus]
    for capacity in sorted({amount for amount in known if amount is not None}):
        ax.axhline(capacity / 1e9, color=style.INK, linewidth=1.0, linestyle="--")
    ax.set_ylim(bottom=0)
    fullest = "" if len(known) < 2 else " on the fullest GPU"
    title(ax, name, f"VRAM in use{fullest}, GiB (dashed: capacity)")


def _step(ax: Axes, line: StepLine, end: float) -> Any:
    """A step function, its last level until ``end``."""
    x, y = until(line.series, end)
    dash = line.dash.replace("dotdash", "dashdot")  # which matplotlib lacks
    return ax.step(x, y, where="post", color=line.colour, linestyle=dash, linewidth=1.2)[0]


def queue(ax: Axes, shown: Sequence[NamedChart]) -> None:
    """Draw the requests that have arrived and wait to be served; rejected ones do not wait."""
    from matplotlib.ticker import MaxNLocator

    drawn: list[Any] = []
    for k, one in enumerate(shown):
        x, y = one.chart.queue
        if len(shown) == 1:
            ax.fill_between(x, y, step="post", color=style.BASE_COLOURS[4], linewidth=0)
        else:
            line = StepLine(one.name, one.chart.queue, style.BASE_COLOURS[k], DASHES[k])
            drawn.append(_step(ax, line, one.chart.end))
    most = max(float(one.chart.queue.y.max()) for one in shown)
    ax.set_ylim(bottom=0, top=max(1.0, most) * 1.08)
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set_title("Requests waiting")
    if drawn:
        legend_above(ax, drawn, [one.name for one in shown])


def prices(ax: Axes, shown: Sequence[NamedChart]) -> None:
    """Draw the price of holding a GPU for a second, from the solver that proved a bound."""
    lines = list(price_lines(shown))
    drawn = [_step(ax, line, 0.0) for line in lines]
    ax.set_ylim(bottom=0)
    ax.set_title("Price of GPU time, loss per second of holding a GPU")
    if len(lines) > 1:
        legend_above(ax, drawn, [line.name for line in lines], columns=6)


def allocation(ax: Axes, chart: Chart, name: str = "", *, keys: bool = True) -> None:
    """Draw how many GPUs are at each level, by the last batch that each has started.

    ``keys`` adds a legend of the levels, unless the Gantt chart's bars have their colours.
    """
    from matplotlib.ticker import MaxNLocator

    stack = meaned(chart.allocation, chart.end)
    areas = ax.stackplot(
        stack.x, stack.y.T, step="post", colors=style.level_colours(chart.levels), linewidth=0
    )
    ax.set_ylim(0, max(1, len(chart.problem.site.gpus)))
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    title(ax, name, "GPUs at each level (steps skipped)")
    if keys and not chart.style.by_level:
        legend_above(ax, areas, [key.name for key in served_legend(chart.table).keys])


def quality(ax: Axes, shown: Sequence[NamedChart]) -> None:
    """Draw the mean quality of the requests done, over time."""
    lines = quality_lines(shown)
    drawn = [_step(ax, line, one.chart.end) for line, one in zip(lines, shown, strict=True)]
    ax.set_ylim(bottom=floor_of(lines))
    ax.set_title("Mean quality of requests done")
    if len(shown) > 1:
        legend_above(ax, drawn, [line.name for line in lines])
