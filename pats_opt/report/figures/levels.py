"""Figure of the levels of approximate caching at which each solver serves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pats_opt.report.collect import Table
from pats_opt.report.figures.solver_style import ReportFigure, SolverStyles, legend_above
from pats_opt.report.levels import SolverLevels, level_shares
from pats_opt.views import style
from pats_opt.wording import counted, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer


def levels_figure(table: Table, _: SolverStyles) -> ReportFigure | None:
    """The share of requests at each level, a bar for each solver; None without levels."""
    count, found = level_shares(table)
    if not found:
        return None
    drawn = style.figure(style.PAGE, 1.3 + 0.34 * len(found))
    legend_above(drawn, *levels(drawn.add_subplot(), found))
    return ReportFigure(
        title="Levels",
        svg=style.svg(drawn, "levels", "Share of requests by steps skipped, one bar per solver"),
        caption="The share of all requests served at each level of approximate caching, by steps "
        f"skipped, mean over the {counted(count, 'instance')} that all of these solvers have a "
        "schedule for. Grey: not served.",
    )


def levels(ax: Axes, found: Sequence[SolverLevels]) -> tuple[list[BarContainer], list[str]]:
    """Draw a bar for each solver, stacked by level; returns the levels' bars and names."""
    known = list(found[0].shares)
    parts = [[100 * one.shares[level] for one in found] for level in known]
    names, colours = [f"{level} skipped" for level in known], style.level_colours(known)
    if any(one.unserved > 0 for one in found):
        parts.append([100 * one.unserved for one in found])
        names, colours = [*names, "not served"], [*colours, style.OTHER]
    left, bars = [0.0] * len(found), []
    for widths, colour in zip(parts, colours, strict=True):
        bars.append(ax.barh(range(len(found)), widths, left=left, color=colour, height=0.7))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ax.set_yticks(range(len(found)), [label(one.solver.spec) for one in found])
    ax.set_ylim(len(found) - 0.5, -0.5)
    ax.set_xlim(0, 100)
    ax.set_xlabel("requests, %")
    ax.grid(True, axis="x")
    return bars, names
