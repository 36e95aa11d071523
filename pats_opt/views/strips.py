"""Memory in use on several GPUs: a strip for each, as high as its capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pats_opt.views import style
from pats_opt.views.lines import thinned, until
from pats_opt.views.panels import Panel, hover, numeral, panel
from pats_opt.views.view import Chart, StepSeries
from pats_opt.wording import label, number

if TYPE_CHECKING:
    from bokeh.models import Range1d
    from matplotlib.axes import Axes

    from pats_opt.tables.statistics import Floats

#: GPUs that have a strip each; of more only the fullest at any time is shown.
MOST_STRIPS = 40

#: Where a strip lies in its GPU's lane, from the top.
STRIP = (0.12, 0.92)

#: Colours of the memory in use, and of what a GPU has; opacity of the area in use.
USED, HAS, ALPHA = style.BASE_COLOURS[0], "#EEF1F4", 0.35


class GpuMemory(NamedTuple):
    """Memory in use on one GPU.

    Attributes:
        name: The GPU's id, shortened.
        series: GiB in use.
        full: GiB at the strip's top: the capacity, or the most in use where it has none.
        lane: Place of the GPU's lane.
    """

    name: str
    series: StepSeries
    full: float
    lane: int

    @property
    def bottom(self) -> float:
        """Where nothing is in use."""
        return self.lane + STRIP[1]

    @property
    def top(self) -> float:
        """Where all is in use."""
        return self.lane + STRIP[0]

    def height(self, gib: Floats) -> Floats:
        """Return where so much in use is."""
        return self.bottom - (self.bottom - self.top) / self.full * gib


def memory_strips(chart: Chart) -> list[GpuMemory]:
    """Return the strips; none where there is one GPU, or more than :data:`MOST_STRIPS`."""
    gpus = chart.problem.site.gpus
    if not 1 < len(gpus) <= MOST_STRIPS:
        return []
    strips = []
    for gpu, series in zip(gpus, chart.memory, strict=True):
        known, most = gpu.capacity[0], float(series.y.max(initial=0.0)) or 1.0
        full = most if known is None else known / 1e9
        strips.append(GpuMemory(label(gpu.id, 11), series, full, gpu.index))
    return strips


def strips_title(strips: Sequence[GpuMemory]) -> str:
    """Return the title of strips, with what their height means."""
    sizes = sorted({strip.full for strip in strips})
    height = " or ".join(f"{number(size)} GiB" for size in sizes[:2])
    return "VRAM in use, each strip " + (height if len(sizes) < 3 else "up to its GPU's capacity")


def draw_strips(ax: Axes, strips: Sequence[GpuMemory], end: float) -> None:
    """Draw strips on an ``ax``, the first GPU on top."""
    for strip in strips:
        ax.fill_between([0.0, end], strip.bottom, strip.top, color=HAS, linewidth=0)
        x, gib = thinned(until(strip.series, end))
        y = strip.height(gib)
        ax.fill_between(x, strip.bottom, y, step="post", color=USED, alpha=ALPHA, linewidth=0)
        ax.step(x, y, where="post", color=USED, linewidth=1.0)
    middle = sum(STRIP) / 2
    ax.set_yticks([s.lane + middle for s in strips], [s.name for s in strips])
    ax.set_ylim(len(strips), 0)
    ax.tick_params(axis="y", length=0)


def strip_panel(
    strips: Sequence[GpuMemory],
    title: str,
    seconds: Range1d,
    data: list[dict[str, Any]],
    end: float,
) -> Panel:
    """Strips over time, the first GPU on top; ``data`` as in :func:`panels.line_panel`."""
    from bokeh.core.properties import value
    from bokeh.models import (
        ColumnDataSource,
        FixedTicker,
        PlainText,
        Quad,
        Range1d,
        Step,
        VAreaStep,
    )

    made = panel(title, seconds, 40 + len(strips) * min(40, max(16, 224 // len(strips))))
    made.xaxis.visible = False
    made.y_range = Range1d(start=len(strips), end=0)
    names = {strip.lane + sum(STRIP) / 2: PlainText(text=strip.name) for strip in strips}
    made.yaxis.ticker = FixedTicker(ticks=list(names))
    made.yaxis.major_label_overrides = names
    made.yaxis.major_tick_line_color = made.yaxis.axis_line_color = None
    made.ygrid.grid_line_color = None
    back = ColumnDataSource({"top": [s.top for s in strips], "bottom": [s.bottom for s in strips]})
    made.add_glyph(back, Quad(left=value(0), right=value(end), top="top", bottom="bottom",
                              fill_color=HAS, line_color=None))  # fmt: skip
    drawn = []
    for strip in strips:
        whole = _columns(strip, until(strip.series, end))
        far = _columns(strip, thinned(until(strip.series, end)))
        source = ColumnDataSource(far)
        area = VAreaStep(x="x", y1=value(strip.bottom), y2="y", step_mode="after",
                         fill_color=USED, fill_alpha=ALPHA)  # fmt: skip
        made.add_glyph(source, area)
        step = Step(x="x", y="y", mode="after", line_color=USED, line_width=1.2)
        drawn.append(made.add_glyph(source, step, name=strip.name))
        data.append({**whole, "source": source, "far": far})
    most = max(strip.full for strip in strips)
    used = f"@gib{{{numeral(most)}}} GiB"
    rows = {"GPU": "$name", "in use": used, "from": f"@x{{{numeral(end)}}} s"}
    hover(made, drawn, rows, line_policy="prev", point_policy="follow_mouse", limit=1)
    return made


def _columns(strip: GpuMemory, series: StepSeries) -> dict[str, Any]:
    return {"x": series.x, "y": strip.height(series.y), "gib": series.y}
