"""Interactive figures of schedules, drawn by Bokeh in the browser.

All panels share one range of seconds. Only the bars in view are drawn: the page's own
script (``schedule.js``) slices the columns that travel with the figure, so that a schedule of a
hundred thousand requests is never drawn as a whole. From far away a GPU's lane shows shares of time
(:mod:`overview`), then batches, and near enough every request.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from pats_opt.model.problem import ids
from pats_opt.tables.levels import batch_levels
from pats_opt.views import style
from pats_opt.views.lines import (
    DASHES,
    StepLine,
    floor_of,
    memory_line,
    price_lines,
    quality_lines,
)
from pats_opt.views.panels import LanePanel, Panel, hover, lanes, line_panel, numeral, stack_panel
from pats_opt.views.strips import memory_strips, strip_panel, strips_title
from pats_opt.views.style import BASE_COLOURS
from pats_opt.views.view import Chart, NamedChart
from pats_opt.wording import label

#: Bars that are drawn at a time; where more are in view, they are taken together.
MOST_BARS = 1500

#: Requests beyond which prompts stay out of the page.
MOST_PROMPTS = 20_000


def figure_json(shown: Sequence[NamedChart]) -> str:
    """Return the figure of schedules of one instance, one below the other, as JSON for a page."""
    from bokeh.embed import json_item
    from bokeh.models import Column, Range1d

    problem = shown[0].chart.problem
    tick_s, bars = problem.site.tick_s, shown[0].chart.style
    end = max(_end(one.chart) for one in shown)
    full = (-0.01 * end, 1.01 * end)
    seconds = Range1d(start=full[0], end=full[1], bounds=full, min_interval=min(tick_s, end))
    sides = [lanes(one, seconds) for one in shown]
    lines: list[dict[str, Any]] = []
    figures = [side.panel for side in sides]
    over_time = partial(line_panel, seconds=seconds, data=lines, end=end)
    for one in shown:
        title = f"{one.letter}: " if len(shown) > 1 else ""
        if strips := memory_strips(one.chart):
            figures.append(strip_panel(strips, title + strips_title(strips), seconds, lines, end))
        else:
            figures.append(_memory(one, title, over_time))
    queue, rug = _queue(shown, over_time)
    figures += [queue, *_prices(shown, over_time)]
    if shown[0].chart.levels:
        figures += [_allocation(one, len(shown) > 1, seconds, lines, end) for one in shown]
        figures.append(_quality(shown, over_time))
    figures[-1].xaxis.visible = True
    figures[-1].xaxis.axis_label = "seconds"
    figures[-1].height += 48
    data = {
        "range": seconds,
        "full": list(full),
        "end": end,
        "least": min(tick_s, end),
        "most": MOST_BARS,
        "lane": shown[0].chart.lane,
        "repeat": bars.of == "batches" or len({*bars.colours}) < len(bars.colours),
        "gpus": [label(gpu.id) for gpu in problem.site.gpus],
        "adapters": [label(name) for name in problem.site.adapter_ids],
        "keys": bars.names if bars.by_level else [],
        "by_adapter": bars.by_adapter,
        "ink": [style.on(colour) for colour in bars.colours],  # of text on bars of each colour
        "charts": [_chart(one, side) for one, side in zip(shown, sides, strict=True)],
        "lines": lines,
        "rug": rug,
        "tools": {
            kind: [tool for made in figures for tool in made.tools if kind in type(tool).__name__]
            for kind in ("PanTool", "BoxZoomTool")
        },
    }
    # The page's script reads its input off a tag, and connects itself: callbacks of Bokeh are code
    # in texts, which the page's Content-Security-Policy forbids.
    column = Column(children=[*figures], name="figure", tags=[data])
    column.sizing_mode, column.spacing = "stretch_width", 6
    made = json_item(column)
    return json.dumps(made, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")


def _end(chart: Chart) -> float:
    """The last second that is shown."""
    last = max((job.arrival for job in chart.rejected), default=0) * chart.problem.site.tick_s
    return max(chart.end, last) or 1.0


def _chart(one: NamedChart, side: LanePanel) -> dict[str, Any]:
    """Input of the page's script for one schedule: whole columns, and where their slices go."""
    members = _members(one.chart)
    return {
        "panel": side.panel,
        "sources": side.sources,
        "levels": side.levels,
        "hover": side.hover,
        "prompts": members.pop("prompts"),
        "members": members,
        "batches": _batches(one.chart),
        "switches": _switches(one.chart),
        "loads": _loads(one.chart),
    }


def _members(chart: Chart) -> dict[str, Any]:
    import numpy as np

    jobs, bars, requests = chart.table.jobs, chart.requests, chart.seconds.requests
    tick_s, of = chart.problem.site.tick_s, chart.problem.instance.requests
    chosen = [job.options[o] for job, o in zip(jobs, requests.option.tolist(), strict=True)]
    allowed = [np.nan if job.deadline is None else job.deadline * tick_s for job in jobs]
    prompts: dict[str, int] = {}  # each is in the page once
    keep, grouped = len(of) <= MOST_PROMPTS, any(request.group for request in of)
    texts = [of[job.position].prompt if keep else "" for job in jobs]
    prompt = [prompts.setdefault(label(t, 60), len(prompts)) if t else -1 for t in texts]
    small = {
        "top": bars.top,
        "bottom": bars.bottom,
        "quality": [option.quality for option in chosen],
        "loss": chart.table.losses.total,
    }
    whole = {
        "gpu": chart.table.batches.gpu[requests.batch],
        "adapter": requests.adapter,
        "steps": [option.steps for option in chosen],
        "prompt": prompt,
    }
    if chart.levels:
        whole["skip"] = [option.skip for option in chosen]
    if not chart.style.by_adapter:
        whole["key"] = chart.style.requests
    return {
        "start": requests.start,
        "end": bars.right,
        "arrival": requests.arrival,
        "done": requests.completion,
        "deadline": np.array(allowed, dtype=np.float64),
        **{name: np.array(values, dtype=np.float32) for name, values in small.items()},
        **{name: np.array(values, dtype=np.int32) for name, values in whole.items()},
        "id": [label(job.id) for job in jobs],
        "group": [label(of[job.position].group or "") for job in jobs] if grouped else [],
        "prompts": list(prompts),
    }


def _batches(chart: Chart) -> dict[str, Any]:
    import numpy as np

    batches = chart.seconds.batches
    return {
        "start": batches.start,
        "end": batches.end,
        "top": chart.batches.top.astype(np.float32),
        "gpu": batches.gpu.astype(np.int32),
        "adapter": chart.table.main_adapter.astype(np.int32),
        "size": batches.size.astype(np.int32),
        **({} if chart.style.by_adapter else {"key": chart.style.batches.astype(np.int32)}),
        **({"skip": batch_levels(chart.table).astype(np.int32)} if chart.levels else {}),
    }


def _switches(chart: Chart) -> dict[str, Any]:
    import numpy as np

    switches, site = chart.seconds.switches, chart.problem.site
    return {
        "start": switches.start,
        "end": switches.end,
        "seconds": switches.seconds,
        "gpu": switches.gpu.astype(np.int32),
        "load": [label(", ".join(ids(site, some)), 60) for some in switches.load],
        "evict": [label(", ".join(ids(site, some)), 60) for some in switches.evict],
    }


def _loads(chart: Chart) -> dict[str, Any]:
    """Columns of the loads beside serving; empty without."""
    import numpy as np

    loads, boxes, site = chart.seconds.loads, chart.loads, chart.problem.site
    if loads is None or boxes is None:
        return {"start": [], "end": []}
    order = np.argsort(loads.start, kind="stable")
    whole = {"gpu": loads.gpu, "adapter": loads.adapter}
    small = {"top": boxes.top, "bottom": boxes.bottom, "hidden": chart.hidden}
    return {
        "start": loads.start[order],
        "end": loads.end[order],
        **{name: values[order].astype(np.int32) for name, values in whole.items()},
        **{name: values[order].astype(np.float32) for name, values in small.items()},
        "evict": [label(", ".join(ids(site, loads.evict[k])), 60) for k in order.tolist()],
    }


def _memory(one: NamedChart, title: str, over_time: Callable[..., Panel]) -> Panel:
    """GiB in use on the fullest GPU, and the capacities."""
    gpus, line = one.chart.problem.site.gpus, memory_line(one.chart)
    capacities = {gpu.capacity[0] / 1e9 for gpu in gpus if gpu.capacity[0] is not None}
    title += "VRAM in use, GiB" if len(gpus) < 2 else "VRAM in use on the fullest GPU, GiB"
    return over_time(title, lines=[line], unit="GiB", levels=sorted(capacities))


def _queue(
    shown: Sequence[NamedChart], over_time: Callable[..., Panel]
) -> tuple[Panel, dict[str, Any]]:
    """Requests that wait; below them a rug of arrivals, and crosses for those rejected."""
    import numpy as np
    from bokeh.core.properties import value
    from bokeh.models import ColumnDataSource, Scatter, Segment

    problem, tick_s = shown[0].chart.problem, shown[0].chart.problem.site.tick_s
    lines = [
        StepLine("waiting" if len(shown) == 1 else one.name, one.chart.queue, BASE_COLOURS[k], dash)
        for k, (one, dash) in enumerate(zip(shown, DASHES, strict=False))
    ]
    title = "Requests waiting" if len(shown) == 1 else "Requests waiting (A solid, B dashed)"
    made = over_time(title, lines=lines, unit="requests", filled=len(shown) == 1, least=1)
    strip = 0.2 * made.y_range.end
    made.y_range.start = -strip
    arrivals = np.unique([job.arrival * tick_s for job in problem.jobs]).astype(np.float64)
    far = arrivals
    if len(arrivals) > MOST_BARS:
        pixel = arrivals[-1] / MOST_BARS
        far = np.unique(np.floor(arrivals / pixel)) * pixel
    source = ColumnDataSource({"x": far})
    low, high = value(-0.85 * strip), value(-0.25 * strip)
    tick = Segment(x0="x", y0=low, x1="x", y1=high, line_color=style.FAINT, line_alpha=0.6)
    made.add_glyph(source, tick)
    given_up = [(one, job) for one in shown for job in one.chart.rejected]
    if given_up:
        site, last = problem.site, float(arrivals[-1])
        crosses = ColumnDataSource(
            {
                "x": [job.arrival * tick_s for _, job in given_up],
                "id": [label(job.id) for _, job in given_up],
                "name": [label(site.adapter_ids[job.adapter]) for _, job in given_up],
                "loss": [job.reject_loss or 0.0 for _, job in given_up],
                "by": [one.name for one, _ in given_up],
            }
        )
        at, red = value(-0.55 * strip), "#A33100"
        cross = Scatter(x="x", y=at, marker="x", size=8, line_color=red, line_width=2)
        marks = made.add_glyph(crosses, cross)
        most = max(job.reject_loss or 0.0 for _, job in given_up)
        rows = {"rejected": "@id", "adapter": "@name", "arrives": f"@x{{{numeral(last)}}} s",
                "loss": f"@loss{{{numeral(most)}}}"}  # fmt: skip
        hover(made, [marks], rows | {"by": "@by"} if len(shown) > 1 else rows, limit=3)
    return made, {"x": arrivals, "source": source, "far": {"x": far}}


def _allocation(
    one: NamedChart, several: bool, seconds: Any, data: list[dict[str, Any]], end: float
) -> Panel:
    """GPUs at each level of approximate caching."""
    chart = one.chart
    return stack_panel(
        f"{one.letter}: GPUs at each level" if several else "GPUs at each level",
        seconds,
        chart.allocation,
        style.level_colours(chart.levels),
        data,
        top=max(1, len(chart.problem.site.gpus)),
        end=end,
    )


def _quality(shown: Sequence[NamedChart], over_time: Callable[..., Panel]) -> Panel:
    """Mean quality of the requests done, over time."""
    lines = quality_lines(shown)
    title = (
        "Mean quality of requests done" if len(shown) == 1 else "Mean quality (A solid, B dashed)"
    )
    return over_time(title, lines=lines, unit="", low=floor_of(lines))


def _prices(shown: Sequence[NamedChart], over_time: Callable[..., Panel]) -> Iterable[Panel]:
    """Price of a second of GPU time, where a solver has it."""
    if lines := list(price_lines(shown)):
        title = "Price of GPU time, loss per second"
        yield over_time(title, lines=lines, unit="a second", filled=len(lines) == 1)
