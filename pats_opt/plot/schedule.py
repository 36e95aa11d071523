"""A schedule as a picture: who is served when on which GPU, memory, and who waits.

Each function draws one panel on the ``ax`` it is given, in seconds on the x axis. Batches come as
the checker replays them, so a picture shows what the rules make of a schedule, not what its file
says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pats_opt.checker import Replayed
from pats_opt.metrics import queue_steps
from pats_opt.plot import style
from pats_opt.problem import Job, Problem, ids

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

LANE = 0.84  #: height of a GPU's lane, of 1


class Bar(NamedTuple):
    """A member of a batch, or a whole batch as a block: seconds, and heights of its lane."""

    start: float
    end: float
    bottom: float
    height: float
    adapter: int
    text: str


def draw(problem: Problem, batches: Sequence[Replayed], heading: str = "") -> Figure:
    """All panels below each other, on one time axis."""
    lanes = max(1, len(problem.site.gpus))
    heights = [min(9.0, 0.6 + 0.75 * lanes), 1.6, 1.2]
    with style.look():
        drawn = style.figure(10.0, sum(heights) + 1.0)
        if heading:
            drawn.suptitle(heading, x=0.01, ha="left", fontsize=11)
        axes = drawn.subplots(3, 1, sharex=True, height_ratios=heights)
        gantt(axes[0], problem, batches)
        memory(axes[1], problem, batches)
        queue(axes[2], problem, batches)
        end = max((b.end for b in batches), default=0) * problem.site.tick_s
        axes[2].set_xlim(0, end * 1.01 or 1.0)
        axes[2].set_xlabel("seconds")
        for ax in axes:
            ax.grid(True, axis="x")
    return drawn


def adapter_colours(problem: Problem) -> dict[int, str]:
    """A colour for each adapter that is asked for, the most wanted first."""
    wanted = Counter(job.adapter for job in problem.jobs)
    order = [adapter for adapter, _ in wanted.most_common()]
    return dict(zip(order, style.palette(len(order)), strict=True))


def gantt(ax: Axes, problem: Problem, batches: Sequence[Replayed]) -> None:
    """A lane a GPU: batches as stacked members, each to its own end, and hatched switches."""
    from matplotlib.collections import PolyCollection
    from matplotlib.patches import Patch

    site, colours = problem.site, adapter_colours(problem)
    raster = len(batches) > MOST_BATCHES
    shown = list(bars(problem, batches))
    for adapter, colour in colours.items():
        corners = [_corners(b) for b in shown if b.adapter == adapter]
        ax.add_collection(
            PolyCollection(
                corners,
                facecolors=colour,
                edgecolors="none" if raster else "white",
                linewidths=0 if raster else 0.5,
                rasterized=raster,
            )
        )
    if sum(len(b.members) for b in batches) <= MOST_LABELS:
        _labels(ax, shown, colours)
    _switches(ax, problem, batches, raster)
    if not raster:
        _outlines(ax, problem, batches)
    ax.set_yticks(
        [g.index + LANE / 2 for g in site.gpus], [style.label(g.id, 16) for g in site.gpus]
    )
    ax.set_ylim(max(1, len(site.gpus)), -0.08)
    ax.tick_params(axis="y", length=0)
    ax.set_title("GPUs" if batches else "GPUs (nothing is served)")
    keys = list(colours.items())
    named = [(a, c) for a, c in keys if c != style.OTHER]
    handles = [Patch(facecolor=c) for _, c in named]
    labels = [site.adapter_ids[a] for a, _ in named]
    if len(named) < len(keys):
        handles.append(Patch(facecolor=style.OTHER))
        labels.append(f"{len(keys) - len(named)} other adapters")
    handles.append(Patch(facecolor="white", edgecolor=style.FAINT, hatch="//////"))
    style.legend(
        ax,
        handles,
        [*labels, "switching"],
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=min(8, len(labels) + 1),
        fontsize=8,
        handlelength=1.2,
        columnspacing=1.0,
    )


def bars(problem: Problem, batches: Sequence[Replayed]) -> Iterable[Bar]:
    """The bars of all batches: their members, the longest below, or blocks where there are many."""
    tick_s, slotted = problem.site.tick_s, problem.site.clock.slotted
    largest: Counter[int] = Counter()
    for batch in batches:
        largest[batch.gpu] = max(largest[batch.gpu], len(batch.members))
    blocks = in_blocks(batches)
    for batch in batches:
        if not batch.members:
            continue  # an invalid batch whose members nobody knows
        height = LANE / largest[batch.gpu]
        floor = batch.gpu + LANE
        start = batch.batch.start * tick_s
        if blocks:
            size = height * len(batch.members)
            most = Counter(job.adapter for job, _, _ in batch.members).most_common(1)[0][0]
            yield Bar(start, batch.end * tick_s, floor - size, size, most, "")
            continue
        longest = sorted(batch.members, key=lambda member: -member[2])
        for k, (job, _, completion) in enumerate(longest):
            end = (batch.end if slotted else completion) * tick_s
            yield Bar(start, end, floor - (k + 1) * height, height, job.adapter, job.id)


def in_blocks(batches: Sequence[Replayed]) -> bool:
    """Whether there are too many requests for a bar each."""
    return sum(len(b.members) for b in batches) > MOST_MEMBERS


def caption(batches: Sequence[Replayed]) -> str:
    """How to read the picture."""
    bar = (
        "A block a batch, as high as it has members"
        if in_blocks(batches)
        else ("A bar a request, from its batch's start to its own end")
    )
    if len(batches) > MOST_BATCHES:
        return f"{bar}. Grey, full height: the GPU switches adapters and serves nobody."
    return (
        f"{bar}; point at a batch to read what is in it. Hatched: the GPU switches adapters and "
        "serves nobody."
    )


def _corners(bar: Bar) -> list[tuple[float, float]]:
    top = bar.bottom + bar.height
    return [
        (bar.start, bar.bottom),
        (bar.end, bar.bottom),
        (bar.end, top),
        (bar.start, top),
    ]


def _labels(ax: Axes, shown: Iterable[Bar], colours: Mapping[int, str]) -> None:
    """Request ids on their bars, cut off where a bar is too short."""
    from matplotlib.patches import Rectangle

    for bar in shown:
        area = Rectangle((bar.start, bar.bottom), bar.end - bar.start, bar.height, visible=False)
        ax.add_patch(area)
        text = ax.annotate(
            style.label(bar.text, 20),
            (bar.start, bar.bottom + bar.height / 2),
            (2, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color=style.on(colours[bar.adapter]),
        )
        text.set_clip_path(area)


def _switches(ax: Axes, problem: Problem, batches: Iterable[Replayed], raster: bool) -> None:
    """Switches, hatched; where they take no time, a line at the batch that they are for."""
    from matplotlib.collections import PolyCollection

    tick_s = problem.site.tick_s
    taken, sudden = [], []
    for batch in batches:
        start = batch.batch.switch_start * tick_s
        bar = Bar(start, start + batch.switch.ticks * tick_s, batch.gpu, LANE, 0, "")
        if batch.switch.ticks:
            taken.append(_corners(bar))
        elif batch.switch.load:
            sudden.append((batch.batch.start * tick_s, batch.gpu))
    ax.add_collection(
        PolyCollection(
            taken,
            facecolors=style.OTHER if raster else "white",
            edgecolors=style.FAINT,
            linewidths=0 if raster else 0.6,
            hatch=None if raster else "//////",
            rasterized=raster,
        )
    )
    if sudden:
        ax.vlines(
            [x for x, _ in sudden],
            [y for _, y in sudden],
            [y + LANE for _, y in sudden],
            colors=style.INK,
            linewidths=1.2,
            rasterized=raster,
        )


def _outlines(ax: Axes, problem: Problem, batches: Sequence[Replayed]) -> None:
    """A frame around each batch and its switch; its gid is what a tooltip hangs on."""
    from matplotlib.patches import Rectangle

    tick_s = problem.site.tick_s
    for number, batch in enumerate(batches):
        start = min(batch.batch.switch_start, batch.batch.start) * tick_s
        ax.add_patch(
            Rectangle(
                (start, batch.gpu),
                max(batch.end * tick_s - start, 0),
                LANE,
                facecolor=(1, 1, 1, 0.01),  # nearly nothing, so that the pointer finds all of it
                edgecolor=style.FAINT,
                linewidth=0.5,
                gid=f"batch-{number}",
            )
        )


def tooltips(problem: Problem, batches: Sequence[Replayed]) -> dict[str, str]:
    """What a batch is, by the gid of its frame."""
    if len(batches) > MOST_BATCHES:
        return {}
    return {f"batch-{n}": "\n".join(_told(problem, batch)) for n, batch in enumerate(batches)}


def _told(problem: Problem, batch: Replayed) -> Iterable[str]:
    site = problem.site
    start, end = batch.batch.start * site.tick_s, batch.end * site.tick_s
    yield f"{site.gpus[batch.gpu].id}: {start:g} s to {end:g} s, {len(batch.members)} served"
    load, evict = (", ".join(ids(site, some)) for some in (batch.switch.load, batch.switch.evict))
    if load or evict or batch.switch.seconds:
        changes = [f"loads {load}" if load else "", f"evicts {evict}" if evict else ""]
        yield f"switch {batch.switch.seconds:g} s {', '.join(filter(None, changes))}".rstrip()
    for job, option, completion in batch.members[:MOST_LISTED]:
        yield _member(problem, job, option, completion)
    if len(batch.members) > MOST_LISTED:
        yield f"and {len(batch.members) - MOST_LISTED} more"


def _member(problem: Problem, job: Job, option: int, completion: int) -> str:
    site, chosen = problem.site, job.options[option]
    prompt = problem.instance.requests[job.position].prompt
    return (
        f"{style.label(job.id)}: {site.adapter_ids[job.adapter]}, {chosen.steps} steps, quality "
        f"{chosen.quality:g}, done at {completion * site.tick_s:g} s, "
        f"latency {(completion - job.arrival) * site.tick_s:g} s"
        + (f": {style.label(prompt, 60)}" if prompt else "")
    )


def memory(ax: Axes, problem: Problem, batches: Sequence[Replayed]) -> None:
    """Memory in use on each GPU, and what it has."""
    site = problem.site
    colours = style.palette(len(site.gpus))
    lines = []
    for gpu, colour in zip(site.gpus, colours, strict=True):
        mine = [b for b in batches if b.gpu == gpu.index]
        held = site.base_vram + sum(site.adapter_vram[a] for a in gpu.resident)
        times, levels = _levels(problem, mine, held)
        lines += ax.step(times, levels, where="post", color=colour, linewidth=1.2)
    for capacity in {gpu.capacity[0] for gpu in site.gpus} - {None}:
        assert capacity is not None
        ax.axhline(capacity / 1e9, color=style.INK, linewidth=1.0, linestyle="--")
    ax.set_ylim(bottom=0)
    ax.set_title("VRAM in use, GiB (dashed: capacity)")
    if 1 < len(lines) <= 16:
        names = [g.id for g in site.gpus]
        place = {"loc": "lower right", "bbox_to_anchor": (1, 1), "ncols": min(8, len(lines))}
        style.legend(ax, lines, names, **place, fontsize=8, handlelength=1.2)


def _levels(
    problem: Problem, batches: Iterable[Replayed], held: int
) -> tuple[list[float], list[float]]:
    """Seconds and the GiB in use from each on: residents from a switch's start, members inside."""
    site = problem.site
    changes = {0: held}  # by tick: what holds from its end on
    for batch in batches:
        held = site.base_vram + sum(site.adapter_vram[a] for a in batch.resident)
        changes[batch.batch.switch_start] = held
        used = held + sum(job.demand[0] for job, _, _ in batch.members)
        changes[batch.batch.start] = used
        for job, _, completion in sorted(batch.members, key=lambda member: member[2]):
            used -= job.demand[0]
            changes[batch.end if site.clock.slotted else completion] = used
    ticks = sorted(changes)
    return [tick * site.tick_s for tick in ticks], [changes[tick] / 1e9 for tick in ticks]


def queue(ax: Axes, problem: Problem, batches: Sequence[Replayed]) -> None:
    """Requests that have arrived and wait to be served (those that are rejected do not)."""
    from matplotlib.ticker import MaxNLocator

    ticks, levels = queue_steps(problem, batches)
    ax.fill_between(
        ticks * problem.site.tick_s,
        levels,
        step="post",
        color=style.BASE_COLOURS[4],
        linewidth=0,
    )
    ax.set_ylim(bottom=0, top=max(1, int(levels.max())) * 1.08)
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set_title("Requests waiting")
