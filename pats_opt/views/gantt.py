"""Still pictures of a schedule: Gantt chart, memory, queue and prices, each on a given ``ax``.

The x axis is in seconds. Everything comes from :class:`pats_opt.views.view.Chart` and so from what
the checker replays: a picture shows what the rules make of a schedule, not what its file says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pats_opt.model.problem import Job, Problem, ids
from pats_opt.views import style
from pats_opt.views.lines import DASHES, StepLine, memory_lines, price_lines, until
from pats_opt.views.view import LOADER, Chart, LaneBoxes, NamedChart
from pats_opt.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Members beyond which a batch is one block whose height is its size.
MOST_MEMBERS = 2000

#: Batches beyond which blocks are drawn as pixels, and none has a tooltip.
MOST_BATCHES = 1000

#: Members up to which each bar carries its request's id.
MOST_LABELS = 80

#: Members a tooltip lists.
MOST_LISTED = 12

#: Opacity of a load beside serving.
PALE = 0.45

#: GPUs up to which each loader's lane has a tick.
MOST_LOADERS = 8

#: Adapters that the legend names.
MOST_KEYS = 14


def draw(shown: Sequence[NamedChart], heading: str = "") -> Figure:
    """Draw the panels of one or more schedules of an instance, on one time axis."""
    site = shown[0].chart.problem.site
    lanes = max(1, len(site.gpus))
    priced = any(one.chart.prices for one in shown)
    tall = 0.75 if shown[0].chart.loads is None else 1.05
    each = [min(9.0, 0.6 + tall * lanes), 1.5]
    heights = [height for height in each for _ in shown] + [1.2] * (1 + priced)
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
        end = max(one.chart.end for one in shown)
        axes[-1].set_xlim(0, end * 1.01 or 1.0)
        axes[-1].set_xlabel("seconds")
        for ax in axes:
            ax.grid(True, axis="x")
    return drawn


def gantt(ax: Axes, chart: Chart, name: str = "", *, keys: bool = True) -> None:
    """Draw a lane per GPU: batches as stacked requests, each to its own end, and hatched switches.

    Where loads run beside serving, a GPU's loader has a lane below it, with what each load evicts.
    One of several schedules has a ``name``; ``keys`` adds a legend of the adapters.
    """
    site, many = chart.problem.site, len(chart.table.batches.size)
    raster = many > MOST_BATCHES
    _bars(ax, chart, raster)
    _switches(ax, chart, raster)
    _loads(ax, chart)
    if not raster:
        _outlines(ax, chart)
    ticks = [(g.index + chart.lane / 2, label(g.id, 16)) for g in site.gpus]
    if chart.loads is not None and len(ticks) <= MOST_LOADERS:
        ticks += [(g.index + sum(LOADER) / 2, "loads") for g in site.gpus]
    ax.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    ax.set_ylim(max(1, len(site.gpus)), -0.08)
    ax.tick_params(axis="y", length=0)
    _title(ax, name, "GPUs" if many else "GPUs (nothing is served)")
    if keys:
        legend_above(ax, *adapter_keys(chart.problem, loads=chart.loads is not None))


def _title(ax: Axes, name: str, text: str) -> None:
    ax.set_title(f"{label(name)}: {text}" if name else text)


def legend_above(
    ax: Axes, handles: Sequence[Any], labels: Sequence[str], columns: int = 8, **place: Any
) -> None:
    """Draw a legend above a panel, on the right unless ``place`` says otherwise."""
    settings: dict[str, Any] = {
        "loc": "lower right",
        "bbox_to_anchor": (1, 1),
        "fontsize": 8,
        "handlelength": 1.2,
        "columnspacing": 1.0,
    }
    style.legend(ax, handles, labels, ncols=min(columns, len(labels)), **settings | place)


def adapter_keys(problem: Problem, *, loads: bool = False) -> tuple[list[Any], list[str]]:
    """Return handles and labels of the adapters' legend, then switches, then ``loads``."""
    from matplotlib.patches import Patch

    known = style.adapter_legend(problem, MOST_KEYS)
    handles = [Patch(facecolor=key.colour) for key in known.keys]
    labels = [key.name for key in known.keys]
    if known.more:
        handles.append(Patch(facecolor="none"))
        labels.append(f"and {known.more} more" + (", colours repeat" if known.repeat else ""))
    handles.append(Patch(facecolor="white", edgecolor=style.FAINT, hatch="//////"))
    labels.append("switching")
    if loads:
        handles.append(Patch(facecolor=style.OTHER, edgecolor=style.INK, alpha=PALE))
        labels.append("loading")
    return handles, labels


def add_bars(ax: Axes, boxes: LaneBoxes, colour: str, *, raster: bool) -> None:
    """Draw bars of one colour, as pixels where there are very many."""
    from matplotlib.collections import PolyCollection

    ax.add_collection(
        PolyCollection(
            boxes.corners,
            facecolors=colour,
            edgecolors="none" if raster else "white",
            linewidths=0 if raster else 0.5,
            rasterized=raster,
        )
    )


def add_switches(ax: Axes, boxes: LaneBoxes, *, raster: bool) -> None:
    """Draw switches, hatched."""
    from matplotlib.collections import PolyCollection

    ax.add_collection(
        PolyCollection(
            boxes.corners,
            facecolors=style.OTHER if raster else "white",
            edgecolors=style.FAINT,
            linewidths=0 if raster else 0.6,
            hatch=None if raster else "//////",
            rasterized=raster,
        )
    )


def _bars(ax: Axes, chart: Chart, raster: bool) -> None:
    """Bars of requests, or of whole batches where there are too many."""
    table, colours = chart.seconds, style.colour_list(chart.problem)
    requests = len(table.requests.job)
    boxes, adapters = (
        (chart.batches, table.main_adapter)
        if requests > MOST_MEMBERS
        else (chart.requests, table.requests.adapter)
    )
    for adapter in sorted({*adapters.tolist()} - {-1}):
        add_bars(ax, boxes.where(adapters == adapter), colours[adapter], raster=raster)
    if requests <= MOST_LABELS:
        _labels(ax, chart, colours)


def _labels(ax: Axes, chart: Chart, colours: Sequence[str]) -> None:
    """Request ids on their bars."""
    names = [label(job.id, 20) for job in chart.table.jobs]
    _write(ax, chart.requests, names, [style.on(colours[job.adapter]) for job in chart.table.jobs])


def _write(ax: Axes, boxes: LaneBoxes, texts: Sequence[str], colours: Sequence[str]) -> None:
    """Write on bars; a text is cut off where its bar is too short."""
    from matplotlib.patches import Rectangle

    edges = [side.tolist() for side in boxes]
    for said, colour, left, right, top, bottom in zip(texts, colours, *edges, strict=True):
        area = Rectangle((left, top), right - left, bottom - top, visible=False)
        ax.add_patch(area)
        text = ax.annotate(
            said,
            (left, (top + bottom) / 2),
            (2, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=colour,
        )
        text.set_clip_path(area)


def _loads(ax: Axes, chart: Chart) -> None:
    """Loads beside serving, pale, with what they evict; a line where one takes no time."""
    from matplotlib.patches import Rectangle

    loads, boxes = chart.seconds.loads, chart.loads
    if loads is None or boxes is None:
        return
    colours, raster = style.colour_list(chart.problem), len(loads.gpu) > MOST_BATCHES
    own = [colours[a] for a in loads.adapter.tolist()]
    for k, (left, right, top, bottom) in enumerate(zip(*map(_plain, boxes), strict=True)):
        ax.add_patch(
            Rectangle(
                (left, top),
                right - left,
                bottom - top,
                facecolor=own[k],
                edgecolor=own[k] if raster else style.INK,
                linewidth=0.5,
                alpha=PALE,
                rasterized=raster,
                gid=f"load-{k}",
            )
        )
    if len(own) <= MOST_LABELS:
        _write(ax, boxes, [_change(chart, k) for k in range(len(own))], [style.INK] * len(own))


def _plain(side: Any) -> list[float]:
    found: list[float] = side.tolist()
    return found


def _change(chart: Chart, load: int) -> str:
    """The adapter that a load brings and those that it evicts, as ``+b -a``."""
    loads, site = chart.seconds.loads, chart.problem.site
    assert loads is not None
    names = [f"\N{MINUS SIGN}{label(name, 20)}" for name in ids(site, loads.evict[load])]
    return " ".join([f"+{label(site.adapter_ids[int(loads.adapter[load])], 20)}", *names])


def _switches(ax: Axes, chart: Chart, raster: bool) -> None:
    """Switches; where they take no time, a line at the batch that they are for."""
    switches = chart.seconds.switches
    top = switches.gpu.astype(float)
    boxes = LaneBoxes(switches.start, switches.end, top, top + chart.lane)
    taken = switches.end > switches.start
    add_switches(ax, boxes.where(taken), raster=raster)
    if not taken.all():
        left, _, top, bottom = boxes.where(~taken)
        ax.vlines(left, top, bottom, colors=style.INK, linewidths=1.2, rasterized=raster)


def _outlines(ax: Axes, chart: Chart) -> None:
    """A frame around each batch and its switch; its tooltip is found by its gid."""
    from matplotlib.patches import Rectangle

    batches = chart.seconds.batches
    columns = (batches.switch_start, batches.start, batches.end, batches.gpu)
    for k, (switch, start, end, gpu) in enumerate(
        zip(*[column.tolist() for column in columns], strict=True)
    ):
        first = min(switch, start)
        ax.add_patch(
            Rectangle(
                (first, gpu),
                end - first,
                chart.lane,
                facecolor=(1, 1, 1, 0.01),  # nearly nothing, so that the pointer finds all of it
                edgecolor=style.FAINT,
                linewidth=0.5,
                gid=f"batch-{k}",
            )
        )


def tooltips(chart: Chart) -> dict[str, str]:
    """Return the description of each batch and load by its gid; none of very many batches."""
    batches = chart.seconds.batches
    if len(batches.size) > MOST_BATCHES:
        return {}
    gpus, sizes = chart.problem.site.gpus, batches.size.tolist()
    columns = (batches.gpu.tolist(), batches.start, batches.end, sizes)
    texts = [
        [f"{gpus[gpu].id}: {start:g} s to {end:g} s, {size} served"]
        for gpu, start, end, size in zip(*columns, strict=True)
    ]
    for place, batch in enumerate(chart.table.requests.batch.tolist()):
        if len(texts[batch]) <= MOST_LISTED:
            texts[batch].append(_member(chart, place))
    for lines, size in zip(texts, sizes, strict=True):
        if size > MOST_LISTED:
            lines.append(f"and {size - MOST_LISTED} more")
    for batch, line in _changes(chart):
        texts[batch].insert(1, line)
    told = {f"batch-{k}": "\n".join(lines) for k, lines in enumerate(texts)}
    return told | {f"load-{k}": "\n".join(lines) for k, lines in enumerate(_loaded(chart))}


def _changes(chart: Chart) -> Iterable[tuple[int, str]]:
    """Description of each switch, with the row of the batch that it is for."""
    switches, site = chart.seconds.switches, chart.problem.site
    for batch, seconds, load, evict in zip(
        switches.batch.tolist(), switches.seconds, switches.load, switches.evict, strict=True
    ):
        changes = [
            f"{verb} {', '.join(ids(site, some))}"
            for verb, some in (("loads", load), ("evicts", evict))
            if some
        ]
        yield batch, f"switch {seconds:g} s {', '.join(changes)}".rstrip()


def _loaded(chart: Chart) -> Iterable[list[str]]:
    """Description of each load beside serving; none of very many."""
    loads, site = chart.seconds.loads, chart.problem.site
    if loads is None or len(loads.gpu) > MOST_BATCHES:
        return
    columns = (loads.gpu.tolist(), loads.adapter.tolist(), loads.start, loads.end, chart.hidden)
    for evict, (gpu, adapter, start, end, hidden) in zip(
        loads.evict, zip(*columns, strict=True), strict=True
    ):
        leaving = ", ".join(ids(site, evict))
        yield [
            f"{site.gpus[gpu].id}: loads {label(site.adapter_ids[adapter])}, {start:g} s to "
            f"{end:g} s",
            *([f"evicts {leaving}"] if leaving else []),
            f"{hidden:g} s hidden behind serving",
        ]


def _member(chart: Chart, place: int) -> str:
    """One line on a member."""
    problem, requests = chart.problem, chart.seconds.requests
    job, arrival = problem.jobs[requests.job[place]], requests.arrival[place]
    chosen, done = job.options[requests.option[place]], requests.completion[place]
    prompt = problem.instance.requests[job.position].prompt
    return (
        f"{label(job.id)}{_of_group(problem, job)}: "
        f"{label(problem.site.adapter_ids[job.adapter])}, {chosen.steps} steps, "
        f"quality {chosen.quality:g}, done at {done:g} s, "
        f"latency {done - arrival:g} s" + (f": {label(prompt, 60)}" if prompt else "")
    )


def _of_group(problem: Problem, job: Job) -> str:
    """The user's request that an image belongs to, where it names one."""
    group = problem.instance.requests[job.position].group
    return f" of group {label(group)}" if group else ""


def memory(ax: Axes, chart: Chart, name: str = "") -> None:
    """Draw the memory in use on each GPU, and its capacity."""
    lines = memory_lines(chart)
    drawn = [_step(ax, line, chart.end) for line in lines]
    known = [gpu.capacity[0] for gpu in chart.problem.site.gpus]
    for capacity in sorted({amount for amount in known if amount is not None}):
        ax.axhline(capacity / 1e9, color=style.INK, linewidth=1.0, linestyle="--")
    ax.set_ylim(bottom=0)
    _title(ax, name, "VRAM in use, GiB (dashed: capacity)")
    if len(lines) > 1:
        legend_above(ax, drawn, [line.name for line in lines])


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
