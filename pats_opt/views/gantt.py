"""The still Gantt chart of a schedule, on a given ``ax``.

The x axis is in seconds. Everything comes from :class:`pats_opt.views.view.Chart` and so from what
the checker replays: a picture shows what the rules make of a schedule, not what its file says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pats_opt.model.problem import Problem, ids
from pats_opt.tables.levels import request_levels
from pats_opt.views import style
from pats_opt.views.bars import bar_legend
from pats_opt.views.style import BarLegend
from pats_opt.views.view import LOADER, Chart, LaneBoxes
from pats_opt.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Members beyond which a batch is one block whose height is its size.
MOST_MEMBERS = 2000

#: Batches beyond which blocks are drawn as pixels, and none has a tooltip.
MOST_BATCHES = 1000

#: Members up to which each bar carries its request's id.
MOST_LABELS = 80

#: Opacity of a load beside serving.
PALE = 0.45

#: GPUs up to which each loader's lane has a tick.
MOST_LOADERS = 8

#: Adapters or levels that the legend names.
MOST_KEYS = 14


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
    title(ax, name, "GPUs" if many else "GPUs (nothing is served)")
    if keys:
        known = bar_legend(chart.table, MOST_KEYS)
        columns = 4 if known.of == "batches" else 8  # beside the title
        legend_above(ax, *_keys(known, loads=chart.loads is not None), columns=columns)


def title(ax: Axes, name: str, text: str) -> None:
    """Give a panel a title, after the name of one of several schedules."""
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
    return _keys(style.adapter_legend(problem, MOST_KEYS), loads=loads)


def _keys(known: BarLegend, *, loads: bool) -> tuple[list[Any], list[str]]:
    from matplotlib.patches import Patch

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
    bars, requests = chart.style, len(chart.table.requests.job)
    whole = requests > MOST_MEMBERS
    boxes, keys = (chart.batches, bars.batches) if whole else (chart.requests, bars.requests)
    for key in sorted({*keys.tolist()} - {-1}):
        add_bars(ax, boxes.where(keys == key), bars.colours[key], raster=raster)
    if requests <= MOST_LABELS:
        _labels(ax, chart)


def _labels(ax: Axes, chart: Chart) -> None:
    """Request ids on their bars, with their levels where colours do not mean them."""
    bars, names = chart.style, [label(job.id, 20) for job in chart.table.jobs]
    if chart.levels and not bars.by_level:
        levels = request_levels(chart.table).tolist()
        names = [f"{name}, K{k}" for name, k in zip(names, levels, strict=True)]
    _write(ax, chart.requests, names, [style.on(bars.colours[k]) for k in bars.requests.tolist()])


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
    bars, raster = chart.style, len(loads.gpu) > MOST_BATCHES
    own = [bars.colours[a] if bars.by_adapter else style.OTHER for a in loads.adapter.tolist()]
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
