"""The mean gap of each solver with its interval, a panel a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pats_opt.report.collect import Table, Total
from pats_opt.report.figures.looks import Looks, Picture
from pats_opt.runs.statistics import DRAWS, GAP_SHIFT, ROUGH_BELOW
from pats_opt.views import style
from pats_opt.wording import label, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Panels that are drawn; the table below them has every class.
MOST_PANELS = 12

#: Gaps are drawn linearly up to this, in per cent, and logarithmically from there.
LINEAR_BELOW = 100 * GAP_SHIFT


def picture(table: Table, looks: Looks) -> Picture | None:
    """Gap by solver and class; None where no run has a gap."""
    groups = list(dict.fromkeys(total.group for total in table.totals))
    members = {g: [t for t in table.totals if t.group == g] for g in groups}
    shown = [g for g in groups if any(t.gap is not None for t in members[g])][:MOST_PANELS]
    if not shown:
        return None
    columns = {1: 1, 2: 2, 4: 2}.get(len(shown), 3)
    lines = -(-len(shown) // columns)
    height = lines * (0.75 + 0.24 * len(table.solvers))
    drawn = style.figure(9.0 if columns > 1 else 6.6, height)
    axes = drawn.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for ax, group in zip(axes, shown, strict=False):
        intervals(ax, members[group], looks)
        ax.set_title(label(group, 30) if group else "all classes")
    for ax in axes[len(shown) :]:
        ax.remove()
    for i, ax in enumerate(axes[: len(shown)]):
        if i + columns >= len(shown):
            ax.set_xlabel("gap to the best bound, %")
            ax.xaxis.set_tick_params(labelbottom=True)
    rough = any(t.gap_interval and t.gaps < ROUGH_BELOW for g in shown for t in members[g])
    left = len(groups) - len(shown)
    return Picture(
        title="Gap by solver and class",
        svg=style.svg(drawn, "intervals", "Mean gap of each solver with its interval, by class"),
        caption="Dots: the shifted geometric mean of the gaps to the best bound that any run "
        f"proved (shift {percent(GAP_SHIFT)}; a run without a schedule counts as 100 %), over the "
        "runs that the table counts. Lines: 95 % bootstrap intervals over instances "
        f"({DRAWS} draws)"
        + (
            f"; thin and hollow where there are fewer than {ROUGH_BELOW} instances, so that the "
            "interval is rough."
            if rough
            else "."
        )
        + " The further left, the better; solvers whose intervals overlap need not differ."
        + (f" {left} classes without a gap or beyond the first are not drawn." if left else ""),
    )


def intervals(ax: Axes, totals: Sequence[Total], looks: Looks) -> None:
    """Draw a row a solver: its mean gap, and the interval that it is in."""
    for y, total in enumerate(totals):
        if total.gap is None:
            continue
        look, rough = looks[total.solver.spec], total.gaps < ROUGH_BELOW
        if total.gap_interval is not None:
            ends = [100 * end for end in total.gap_interval]
            ax.plot(ends, [y, y], color=look.colour, linewidth=0.9 if rough else 2.4, zorder=2)
        ax.plot(
            100 * total.gap,
            y,
            look.marker,
            color=look.colour,
            markersize=6.5,
            markerfacecolor="white" if rough else look.colour,
            zorder=3,
        )
    ax.set_yticks(range(len(totals)), [label(total.solver.spec) for total in totals])
    ax.set_ylim(len(totals) - 0.4, -0.6)
    ax.set_xscale("symlog", linthresh=LINEAR_BELOW)
    ax.set_xlim(-0.15 * LINEAR_BELOW, 130)
    ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    ax.grid(True)
    ax.tick_params(axis="y", length=0)
