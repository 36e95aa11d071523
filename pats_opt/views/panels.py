"""The panels of an interactive figure, as Bokeh models: lanes of GPUs, and lines over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pats_opt.views.lines import StepLine, meaned, stack_until, thinned, until
from pats_opt.views.overview import LOADING, OTHERS, SWITCHING, time_shares
from pats_opt.views.style import FAINT, GRID, INK, OTHER
from pats_opt.views.view import LANE, LOADER, AllocationSeries, Chart, NamedChart
from pats_opt.wording import label, number

if TYPE_CHECKING:
    from bokeh.models import ColumnDataSource, HoverTool, Range1d

#: Bokeh's figures and renderers; its annotations do not know what their properties accept.
Panel = Any
Renderer = Any

#: Pixels left of every panel, so that their time axes begin at the same place.
MARGIN = 84

#: Lanes that have a tick with the GPU's id.
MOST_TICKS = 40

#: Steps of a line beyond which it is drawn thinner.
DENSE = 1000

#: Lines up to which the pointer reads their levels.
MOST_READ = 6

#: Columns of the bars in view; the page's script fills them.
VIEW = {
    "members": "left right top bottom y key id name group ran waited began ended deadline loss "
    "prompt arrival",
    "batches": "left right top bottom key name at gpu began ended size",
    "switches": "left right top bottom gpu began paid load evict",
    "sudden": "x top bottom gpu began paid load evict",
    "loads": "left right top bottom key name gpu evict began ended hidden",
    "labels": "x y text colour",
    "wait": "left right y",
}

#: Rows of tooltips: names and fields.
MEMBER_TOOLTIP = {
    "request": "@id", "group": "@group", "adapter": "@name", "runs": "@ran", "arrives": "@waited",
    "starts": "@began", "done": "@ended", "deadline": "@deadline", "loss": "@loss",
    "prompt": "@prompt",
}  # fmt: skip
BATCH_TOOLTIP = {
    "batch of": "@size", "adapter": "@name", "level": "@at", "GPU": "@gpu", "starts": "@began",
    "ends": "@ended",
}  # fmt: skip
SWITCH_TOOLTIP = {
    "switch on": "@gpu", "loads": "@load", "evicts": "@evict", "pays": "@paid", "starts": "@began",
}  # fmt: skip
LOAD_TOOLTIP = {
    "loads": "@name", "on": "@gpu", "evicts": "@evict", "starts": "@began", "usable": "@ended",
    "hidden": "@hidden",
}  # fmt: skip
SHARE_TOOLTIP = {
    "GPU": "@gpu", "time goes to": "@what", "share": "@share{0 %}", "from": "@from",
}  # fmt: skip

BOX: dict[str, Any] = {side: side for side in ("left", "right", "top", "bottom")}

HATCHED: dict[str, Any] = {
    "fill_color": "white",
    "line_color": FAINT,
    "line_width": 0.7,
    "hatch_pattern": "right_diagonal_line",
    "hatch_color": FAINT,
    "hatch_scale": 7,
    "hatch_weight": 1,
}


class LanePanel(NamedTuple):
    """The lanes of one schedule.

    Attributes:
        sources: What is in view, by kind; empty until the page's script fills them.
        levels: What is visible at each level of detail alone.
        hover: Tool of the tooltips of members.
    """

    panel: Panel
    sources: dict[str, ColumnDataSource]
    levels: dict[str, list[Renderer]]
    hover: HoverTool


def panel(title: str, seconds: Range1d, height: int) -> Panel:
    """An empty panel of so many pixels over time, which zooms and moves along its time axis only.

    All panels share the range ``seconds``. The title is plain text.
    """
    from bokeh.models import NumeralTickFormatter, PlainText
    from bokeh.plotting import figure

    made: Panel = figure(
        x_range=seconds,
        height=height,
        sizing_mode="stretch_width",
        tools="xpan,xbox_zoom,xwheel_zoom",
        active_drag="xpan",
        active_scroll="xwheel_zoom",
        toolbar_location=None,
        min_border_left=MARGIN,
        min_border_right=16,
        outline_line_color=None,
    )
    made.title.text = PlainText(text=title)
    made.title.text_color = INK
    made.title.text_font_size = "13px"
    made.grid.grid_line_color = GRID
    for axis in made.axis:
        axis.axis_line_color = axis.major_tick_line_color = FAINT
        axis.minor_tick_line_color = None
        axis.major_label_text_color = axis.axis_label_text_color = INK
        axis.axis_label_text_font_style = "normal"
        axis.formatter = NumeralTickFormatter(format="0,0.[000]")
    return made


def numeral(largest: float) -> str:
    """Bokeh's format for numbers up to ``largest``, of which it shows four significant digits."""
    decimals = max(0, 3 - math.floor(math.log10(largest))) if largest > 0 else 0
    return "0,0" + (f".[{'0' * decimals}]" if decimals else "")


def lanes(shown: NamedChart, seconds: Range1d) -> LanePanel:
    """Return the lanes of all GPUs; the page's script fills in the bars that are in view."""
    from bokeh.models import (
        ColumnDataSource,
        LinearColorMapper,
        Quad,
        Range1d,
        Scatter,
        Segment,
        Text,
    )
    from bokeh.transform import transform

    chart, gpus = shown.chart, shown.chart.problem.site.gpus
    made = panel(shown.title, seconds, _height(chart))
    edge = (1 - LANE) / 2
    made.y_range = Range1d(start=max(1, len(gpus)) - edge, end=-edge)
    _ticks(made, chart)
    views = {kind: ColumnDataSource({k: [] for k in VIEW[kind].split()}) for kind in VIEW}
    palette = [*chart.style.colours, OTHER]  # the last of an empty batch, in an invalid schedule
    mapper = LinearColorMapper(palette=palette, low=-0.5, high=len(palette) - 0.5)
    bar: dict[str, Any] = {"fill_color": transform("key", mapper), "line_color": "white"}
    line: dict[str, Any] = {"line_color": INK, "line_width": 2}
    text: dict[str, Any] = {"text_font_size": "11px", "text_baseline": "middle", "x_offset": 3}
    far = _far(made, chart)
    # Glyphs are added as they are: the figure's own methods make three more of each, which
    # nothing here uses, and take most of the time that a page takes to write.
    blocks = made.add_glyph(views["batches"], Quad(**BOX, **bar, line_width=0.5))
    members = made.add_glyph(views["members"], Quad(**BOX, **bar, line_width=0.7))
    frames = made.add_glyph(views["batches"], Quad(**BOX, fill_color=None, line_color=FAINT))
    switches = made.add_glyph(views["switches"], Quad(**BOX, **HATCHED))
    upright = Segment(x0="x", y0="top", x1="x", y1="bottom", **line)
    sudden = made.add_glyph(views["sudden"], upright)
    made.add_glyph(views["labels"], Text(x="x", y="y", text="text", text_color="colour", **text))
    made.add_glyph(views["wait"], Segment(x0="left", y0="y", x1="right", y1="y", **line))
    dot = Scatter(x="left", y="y", marker="circle", size=7, fill_color="white", **line)
    made.add_glyph(views["wait"], dot)
    follow: dict[str, Any] = {"point_policy": "follow_mouse", "limit": 1}
    of_members = hover(made, [members], _member_tooltip(chart), **follow)
    hover(made, [blocks], _batch_tooltip(chart), **follow)
    hover(made, [switches, sudden], SWITCH_TOOLTIP, **follow)
    if chart.loads is not None:
        pale: dict[str, Any] = {"fill_alpha": 0.45, "line_color": INK, "line_width": 0.7}
        loads = made.add_glyph(views["loads"], Quad(**BOX, **bar | pale))
        hover(made, [loads], LOAD_TOOLTIP, **follow)
    hover(made, far, SHARE_TOOLTIP, **follow)
    levels = {"requests": [members, frames], "batches": [blocks], "shares": far}
    for renderer in (members, frames, blocks):
        renderer.visible = False
    return LanePanel(made, views, levels, of_members)


def _member_tooltip(chart: Chart) -> dict[str, str]:
    """Rows of a member's tooltip; with its group where requests name one."""
    grouped = any(request.group for request in chart.problem.instance.requests)
    return {name: field for name, field in MEMBER_TOOLTIP.items() if grouped or name != "group"}


def _batch_tooltip(chart: Chart) -> dict[str, str]:
    """Rows of a batch's tooltip; with its level where requests have levels."""
    return {name: at for name, at in BATCH_TOOLTIP.items() if chart.levels or name != "level"}


def _height(chart: Chart) -> int:
    """Pixels of the lanes: tall enough for ids on few members, never endless."""
    gpus = max(1, len(chart.problem.site.gpus))
    largest = max(chart.table.batches.size.tolist(), default=1)
    lane = min(max(48, 16 * largest), 200, max(18, 640 // gpus)) * LANE / chart.lane
    return 58 + min(1400, round(gpus * lane))


def _ticks(made: Panel, chart: Chart) -> None:
    """The GPUs' ids at their lanes, as plain text: ``$$`` in an id is no formula."""
    from bokeh.models import FixedTicker, PlainText

    gpus = chart.problem.site.gpus
    some = gpus[:: max(1, -(-len(gpus) // MOST_TICKS))]
    middle = chart.lane / 2
    at: dict[Any, Any] = {gpu.index + middle: PlainText(text=label(gpu.id, 11)) for gpu in some}
    if chart.loads is not None and len(gpus) <= MOST_TICKS // 2:
        at |= {gpu.index + sum(LOADER) / 2: PlainText(text="loads") for gpu in gpus}
    made.yaxis.ticker = FixedTicker(ticks=list(at))
    made.yaxis.major_label_overrides = at
    made.yaxis.major_tick_line_color = made.yaxis.axis_line_color = None
    made.ygrid.grid_line_color = None


def _far(made: Panel, chart: Chart) -> list[Renderer]:
    """The shares of each bin of time, bars in their colours and switches hatched."""
    from bokeh.models import ColumnDataSource, Quad

    site, shares, bars = chart.problem.site, time_shares(chart), chart.style
    names = {SWITCHING: "switching", OTHERS: f"other {bars.of}", LOADING: "loading"}
    numbers = {**{side: getattr(shares.boxes, side) for side in BOX}, "share": shares.share}
    texts = {
        "colour": [OTHER if k < 0 else bars.colours[k] for k in shares.key.tolist()],
        "what": [names.get(k) or bars.names[k] for k in shares.key.tolist()],
        "gpu": [label(site.gpus[g].id) for g in shares.gpu.tolist()],
        "from": [f"{number(a)} s to {number(b)} s" for a, b in zip(*shares.boxes[:2], strict=True)],
    }
    switching, renderers = shares.key == SWITCHING, []
    for some, style in ((~switching, {"fill_color": "colour"}), (switching, HATCHED)):
        rows = some.nonzero()[0].tolist()
        source = ColumnDataSource(
            {name: values[some] for name, values in numbers.items()}
            | {name: [values[k] for k in rows] for name, values in texts.items()}
        )
        glyph = Quad(**BOX, **style | {"line_color": None})
        renderers.append(made.add_glyph(source, glyph))
    return renderers


def hover(
    made: Panel, renderers: Sequence[Renderer], rows: Mapping[str, str], **options: Any
) -> HoverTool:
    """Add a tooltip at the pointer, with these rows: names and fields."""
    from bokeh.models import HoverTool

    tool = HoverTool(renderers=[*renderers], tooltips=tooltip(rows), visible=False, **options)
    made.add_tools(tool)
    return tool


def tooltip(rows: Mapping[str, str]) -> str:
    """A tooltip's rows. Bokeh escapes what it puts in place of the fields."""
    head = f"color:{FAINT};font-weight:400;text-align:right;padding-right:.6em;white-space:nowrap"
    lines = "".join(
        f'<tr style="vertical-align:top"><th style="{head}">{name}</th><td>{field}</td></tr>'
        for name, field in rows.items()
    )
    body = f"color:{INK};font-size:12px;max-width:19rem;overflow-wrap:anywhere"
    return f'<table style="{body}">{lines}</table>'


def line_panel(
    title: str,
    seconds: Range1d,
    lines: Sequence[StepLine],
    data: list[dict[str, Any]],
    *,
    unit: str,
    end: float,
    levels: Sequence[float] = (),
    filled: bool = False,
    least: float = 0.0,
    low: float = 0.0,
) -> Panel:
    """Step functions over time, the last level of each drawn up to ``end`` seconds.

    ``data`` takes each line whole, with its source, for the page's script; a source first holds the
    line seen from far away. ``unit`` is of the levels in a tooltip, ``levels`` are dashed lines
    across, such as capacities; ``least`` is the least distance of two ticks of the y axis, which
    begins at ``low``.
    """
    from bokeh.core.properties import value
    from bokeh.models import ColumnDataSource, Step, VAreaStep

    made = panel(title, seconds, 104)
    made.xaxis.visible = False
    drawn: list[Renderer] = []
    for line in lines:
        whole = until(line.series, end)
        far = thinned(whole)
        source = ColumnDataSource({"x": far.x, "y": far.y})
        if filled:
            below: dict[str, Any] = {"fill_color": line.colour, "fill_alpha": 0.25}
            made.add_glyph(
                source, VAreaStep(x="x", y1=value(0), y2="y", step_mode="after", **below)
            )
        width = 1.5 if len(whole.x) < DENSE else 0.8
        look: dict[str, Any] = {"line_color": line.colour, "line_dash": line.dash}
        step = Step(x="x", y="y", mode="after", line_width=width, **look)
        drawn.append(made.add_glyph(source, step, name=line.name))
        data.append({"x": whole.x, "y": whole.y, "source": source,
                     "far": {"x": far.x, "y": far.y}})  # fmt: skip
    tops = [float(line.series.y.max()) for line in lines if len(line.series.y)]
    for height in levels:
        made.hspan(height, line_dash="dashed", line_color=INK)
        tops.append(height)
    top = max(tops, default=0) or 1.0
    made.y_range.start, made.y_range.end = low, top + 0.1 * (top - low)
    made.yaxis.ticker.desired_num_ticks = 3
    made.yaxis.ticker.min_interval = least
    if len(lines) <= MOST_READ:
        level = f"@y{{{numeral(top)}}} {unit}"
        rows = {"line": "$name", "level": level, "from": f"@x{{{numeral(end)}}} s"}
        hover(
            made,
            drawn,
            rows,
            mode="vline",
            line_policy="prev",
            point_policy="snap_to_data",
            attachment="horizontal",
        )
    return made


def stack_panel(
    title: str,
    seconds: Range1d,
    stack: AllocationSeries,
    colours: Sequence[str],
    data: list[dict[str, Any]],
    *,
    top: float,
    end: float,
) -> Panel:
    """Step functions one upon the other, in their colours, from 0 to ``top``.

    ``data`` takes the whole stack for the page's script, as of :func:`line_panel`; seen from far
    away it is the mean over each of many spans.
    """
    from bokeh.models import ColumnDataSource, VAreaStep

    made = panel(title, seconds, 104)
    made.xaxis.visible = False
    whole, far = (_bounds(some) for some in (stack_until(stack, end), meaned(stack, end)))
    source = ColumnDataSource(far)
    for k, colour in enumerate(colours):
        area = VAreaStep(x="x", y1=f"y{k}", y2=f"y{k + 1}", step_mode="after", fill_color=colour)
        made.add_glyph(source, area)
    data.append({**whole, "source": source, "far": far})
    made.y_range.start, made.y_range.end = 0, top
    made.yaxis.ticker.desired_num_ticks = 3
    made.yaxis.ticker.min_interval = 1
    return made


def _bounds(stack: AllocationSeries) -> dict[str, Any]:
    """Columns of a stack: times, and the bounds between its layers, from 0 up."""
    import numpy as np

    bounds = np.cumsum(stack.y, axis=1).T
    return {"x": stack.x, "y0": np.zeros(len(stack.x))} | {
        f"y{k + 1}": bound for k, bound in enumerate(bounds)
    }
