"""Pictures of a comparison, as inline SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pats_opt.execute.compare.document import ExecutionComparison, TimedLoad, TimesBySize
from pats_opt.execute.compare.sentences import promised
from pats_opt.model.problem import Problem
from pats_opt.tables.schedule_table import ScheduleTable, TimedBatch
from pats_opt.views import style
from pats_opt.views.gantt import MOST_BATCHES, adapter_keys, add_bars, add_switches, legend_above
from pats_opt.views.view import LANE, LaneBoxes
from pats_opt.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PREDICTED, MEASURED = style.BASE_COLOURS[1], style.BASE_COLOURS[0]


class InlinePicture(NamedTuple):
    """A picture of the page, with its name, heading and caption."""

    name: str
    title: str
    svg: str
    caption: str
    wide: bool = False


def pictures(comparison: ExecutionComparison, problem: Problem) -> Iterator[InlinePicture]:
    """Yield the pictures that there are figures for."""
    with style.drawing():
        if comparison.measured:
            yield _gantt(comparison, problem)
        if comparison.constants.steps.sizes:
            drawn = style.figure(style.PAGE, 3.6)
            step_times(drawn.add_subplot(), comparison.constants.steps)
            yield InlinePicture(
                "steps",
                "Seconds a step",
                style.svg(drawn, "steps", "Milliseconds a denoising step by active batch size"),
                "Points are medians, their bars quartiles of the steps measured.",
            )
        if any(row.batch_ratio is not None for row in comparison.batches):
            drawn = style.figure(style.PAGE, 4.4)
            batch_times(drawn.add_subplot(), comparison)
            yield InlinePicture(
                "batches",
                "Seconds a batch",
                style.svg(drawn, "batches", "Measured over predicted seconds of each batch"),
                "A point a batch: on the line where it took what was predicted, above it where "
                "longer.",
            )
        if comparison.differences is not None:
            drawn = style.figure(style.PAGE, 3.2)
            latency_differences(drawn.add_subplot(), comparison)
            alt = "Share of requests by measured less predicted latency"
            yield InlinePicture(
                "latencies",
                "How far latencies are off",
                style.svg(drawn, "latencies", alt),
                "The share of requests whose latency is at most this much above its prediction; "
                "right of 0 they took longer.",
            )


def _gantt(comparison: ExecutionComparison, problem: Problem) -> InlinePicture:
    """Each GPU with two lanes on one time axis."""
    drawn = style.figure(10.0, min(14.0, 1.6 + 1.05 * len(problem.site.gpus)))
    predicted = () if comparison.slotted else comparison.predicted
    sides = [
        PictureLanes("predicted", predicted, comparison.predicted_loads),
        PictureLanes("measured", comparison.measured, comparison.measured_loads),
    ]
    titles = gantt(drawn.add_subplot(), problem, [s for s in sides if s.batches or s is sides[1]])
    lanes = (
        "Each GPU as it was"
        if comparison.slotted
        else f"Each GPU twice: {promised(comparison)} above, as it was below"
    )
    return InlinePicture(
        "lanes",
        "As predicted and as it was",
        style.svg(drawn, "lanes", "Batches of each GPU over time, predicted and measured", titles),
        f"{lanes}. A bar a batch, in the colour of the adapter that most of its members use; "
        "hatched: the GPU switches adapters. "
        + ("Thin bars below: loads beside serving. " if comparison.measured_loads else "")
        + ("Fainter bars are estimated. " if any(b.estimated for b in comparison.measured) else "")
        + ("Point at a bar to read what it is." if titles else ""),
        wide=True,
    )


class PictureLanes(NamedTuple):
    """The predicted or the measured lanes."""

    name: str
    batches: Sequence[TimedBatch]
    loads: Sequence[TimedLoad] = ()


def gantt(ax: Axes, problem: Problem, sides: Sequence[PictureLanes]) -> dict[str, str]:
    """Draw the lanes; return the tooltip of each bar by its gid."""
    import numpy as np
    from matplotlib.patches import Rectangle

    raster = max([len(side.batches) for side in sides]) > MOST_BATCHES
    height, titles, ticks = LANE / len(sides), dict[str, str](), list[tuple[float, str]]()
    for lane, (name, batches, loads) in enumerate(sides):
        for gpu in problem.site.gpus:
            ticks.append((gpu.index + (lane + 0.5) * height, f"{label(gpu.id, 16)} {name}"))
        rows = ScheduleTable.from_execution(problem, batches).batches
        top = rows.gpu.astype(np.float64) + lane * height
        colours = _colours(problem, batches)
        if raster:
            boxes = LaneBoxes(rows.start, rows.end, top, top + height)
            for colour in dict.fromkeys(colours):
                mine = boxes.where(np.array([other == colour for other in colours]))
                add_bars(ax, mine, colour, raster=True)
        for k, batch in enumerate(batches if not raster else ()):
            gid = f"{name}-{k}"
            titles[gid] = "\n".join(_tooltip(name, batch))
            ax.add_patch(
                Rectangle(
                    (batch.start_s, top[k]),
                    batch.end_s - batch.start_s,
                    height,
                    facecolor=colours[k],
                    edgecolor="white",
                    linewidth=0.6,
                    alpha=0.45 if batch.estimated else 1.0,
                    gid=gid,
                )
            )
        if not raster:
            titles |= _add_loads(ax, problem, name, loads, (lane * height, height))
        switches = LaneBoxes(rows.switch_start, rows.switch_end, top, top + height)
        add_switches(ax, switches.where(rows.switch_end > rows.switch_start), raster=raster)
    ax.set_yticks([y for y, _ in ticks], [text for _, text in ticks])
    ax.set_ylim(max(1, len(problem.site.gpus)), -0.08)
    ends = [b.end_s for side in sides for b in side.batches]
    ends += [load.end_s for side in sides for load in side.loads]
    ax.set_xlim(0, max(ends, default=0.0) * 1.01 or 1.0)
    ax.tick_params(axis="y", length=0)
    ax.grid(True, axis="x")
    ax.set_xlabel("seconds")
    legend_above(ax, *adapter_keys(problem), loc="lower left", bbox_to_anchor=(0, 1))
    return titles


#: Height of a load beside serving, as a share of its lane's.
LOAD_HEIGHT = 0.22


def _add_loads(
    ax: Axes,
    problem: Problem,
    name: str,
    loads: Sequence[TimedLoad],
    lane: tuple[float, float],
) -> dict[str, str]:
    """Draw loads at the bottom of their lanes, of this offset and height; return the tooltips."""
    from matplotlib.patches import Rectangle

    site, known, titles = problem.site, style.adapter_colours(problem), dict[str, str]()
    gpus, height = {gpu.id: gpu.index for gpu in site.gpus}, lane[1] * LOAD_HEIGHT
    for k, load in enumerate(loads):
        gid = f"{name}-load-{k}"
        titles[gid] = "\n".join(
            [
                f"{load.gpu}, load {load.index} of {load.adapter}, {name}",
                f"{load.start_s:.4g} s to {load.end_s:.4g} s, {100 * load.hidden:.3g} % hidden",
                *([f"evicts {', '.join(load.evict)}"] if load.evict else []),
            ]
        )
        ax.add_patch(
            Rectangle(
                (load.start_s, gpus[load.gpu] + lane[0] + lane[1] - height),
                load.seconds,
                height,
                facecolor=known[site.adapter_index[load.adapter]],
                edgecolor="white",
                linewidth=0.6,
                zorder=3,
                gid=gid,
            )
        )
    return titles


def _colours(problem: Problem, batches: Iterable[TimedBatch]) -> list[str]:
    """The colour of the adapter that most members of each batch use; grey of an empty batch."""
    known = style.adapter_colours(problem)
    adapter = {job.id: job.adapter for job in problem.jobs}
    used = (Counter(adapter[m.id] for m in batch.members).most_common(1) for batch in batches)
    return [known[most[0][0]] if most else style.OTHER for most in used]


def _tooltip(side: str, batch: TimedBatch) -> Iterator[str]:
    yield (
        f"{batch.gpu}, batch {batch.index}, {side}: {batch.start_s:.4g} s to {batch.end_s:.4g} s"
        + (" (estimated)" if batch.estimated else "")
    )
    if batch.load:
        yield f"loads {', '.join(batch.load)} in {batch.paid_s:.3g} s"
    yield f"{len(batch.members)} members, {', '.join(batch.adapters)}"


def step_times(ax: Axes, steps: TimesBySize) -> None:
    """Draw medians with quartiles, the line through them, and the instance's step time."""
    from matplotlib.ticker import MaxNLocator

    n = [size.n for size in steps.sizes]
    median = [1000 * size.median_s for size in steps.sizes]
    spread = [
        [1000 * (size.median_s - size.q25_s) for size in steps.sizes],
        [1000 * (size.q75_s - size.median_s) for size in steps.sizes],
    ]
    handles: list[object] = [
        ax.errorbar(n, median, yerr=spread, fmt="o", color=MEASURED, capsize=3, zorder=3)
    ]
    labels = ["measured"]
    if steps.line is not None:
        ends = [n[0], n[-1]]
        handles += ax.plot(ends, [1000 * steps.line(x) for x in ends], color=MEASURED, linewidth=1)
        labels.append("line through the medians")
    known = [(s.n, 1000 * s.predicted_s) for s in steps.sizes if s.predicted_s is not None]
    if known:
        handles += ax.plot(
            *zip(*known, strict=True), "s--", color=PREDICTED, markerfacecolor="white"
        )
        labels.append("the instance says")
    ax.set_ylim(bottom=0)
    ax.set_xlim(min(n) - 0.5, max(n) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("active batch size n")
    ax.set_ylabel("milliseconds a step")
    ax.grid(True, axis="y")
    style.legend(ax, handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)


def batch_times(ax: Axes, comparison: ExecutionComparison) -> None:
    """Draw batch seconds, measured over predicted."""
    known = [
        (row.batch_unrounded_s, row.batch_s)
        for row in comparison.batches
        if row.batch_unrounded_s is not None and row.batch_ratio is not None
    ]
    largest = max(max(pair) for pair in known) * 1.05
    ax.plot([0, largest], [0, largest], color=style.FAINT, linewidth=0.8)
    x, y = zip(*known, strict=True)
    ax.scatter(x, y, s=22, color=MEASURED, alpha=0.7, linewidths=0, zorder=3)
    ax.set_xlim(0, largest)
    ax.set_ylim(0, largest)
    ax.set_xlabel("predicted, s (before rounding to ticks)")
    ax.set_ylabel("measured, s")
    ax.grid(True)


def latency_differences(ax: Axes, comparison: ExecutionComparison) -> None:
    """Draw the distribution of latency differences."""
    expected = {m.id: m.completion_s or 0.0 for b in comparison.predicted for m in b.members}
    # Both count from the same arrival, so completions differ as latencies do.
    apart = sorted(
        m.completion_s - expected[m.id]
        for b in comparison.measured
        for m in b.members
        if m.completion_s is not None and m.id in expected
    )
    shares = [100 * (k + 1) / len(apart) for k in range(len(apart))]
    margin = 0.05 * (apart[-1] - apart[0]) or 1.0
    x, y = [apart[0] - margin, *apart, apart[-1] + margin], [0, *shares, 100]
    ax.step(x, y, where="post", color=MEASURED, linewidth=2)
    ax.axvline(0, color=style.FAINT, linewidth=0.8)
    ax.set_xlabel("measured less predicted latency, s")
    ax.set_ylabel("share of requests, %")
    ax.set_ylim(0, 104)
    ax.grid(True)
