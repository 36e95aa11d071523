"""The trade-off that a sweep of latency prices shows, as curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pats_opt.report.collect import Table
from pats_opt.report.figures.looks import Looks, Picture, legend_above
from pats_opt.report.tradeoff import Step, Tradeoff, tradeoffs
from pats_opt.views import style
from pats_opt.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Instances that are drawn; the tables hold all of them.
MOST_DRAWN = 6

#: What is drawn against the other losses, one panel each.
MEASURES = (("latency_mean_s", "mean latency, s"), ("latency_p95_s", "p95 latency, s"))


def picture(table: Table, looks: Looks) -> Picture | None:
    """A row of panels an instance; None where no run of a sweep has a result."""
    shown = [t for t in tradeoffs(table) if any(s.other is not None for s in t.steps)]
    shown = shown[:MOST_DRAWN]
    if not shown:
        return None
    drawn = style.figure(6.6, 0.7 + 2.4 * len(shown))
    axes = drawn.subplots(len(shown), len(MEASURES), squeeze=False, sharey="row")
    for tradeoff, panels in zip(shown, axes, strict=True):
        for ax, (name, title) in zip(panels, MEASURES, strict=True):
            curves(ax, tradeoff, name, looks)
            ax.set_xlabel(title)
        panels[0].set_title(label(tradeoff.case.label, 40))
        panels[0].set_ylabel("loss without latency")
    specs = [s.spec for s in table.solvers if any(t.line(s.spec) for t in shown)]
    handles = [
        axes[0][0].plot([], [], color=looks[spec].colour, marker=looks[spec].marker, linewidth=1.6)[
            0
        ]
        for spec in specs
    ]
    legend_above(drawn, handles, specs)
    return Picture(
        title="Latency against everything else",
        svg=style.svg(drawn, "tradeoff", "Loss without latency against latency, a line a solver"),
        caption="Each line: one solver as the latency price rises from right to left. Lower and "
        "further left is better. A policy that does not look at the price stays where it is. "
        f"At most {MOST_DRAWN} instances are drawn.",
    )


def curves(ax: Axes, tradeoff: Tradeoff, name: str, looks: Looks) -> None:
    """Draw a line a solver through its runs, from the lowest latency price to the highest."""
    for spec in dict.fromkeys(step.row.solver.spec for step in tradeoff.steps):
        points = _points(tradeoff.line(spec), name)
        ax.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=looks[spec].colour,
            marker=looks[spec].marker,
            markersize=5,
            linewidth=1.6,
        )
    ax.grid(True)


def _points(line: Sequence[Step], name: str) -> list[tuple[float, float]]:
    """Latency and other loss of each run that serves anybody."""
    found = [(step.metric(name), step.other) for step in line]
    return [(x, y) for x, y in found if x is not None and y is not None]
