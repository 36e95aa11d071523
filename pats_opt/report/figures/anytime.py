"""Gaps over time: how soon solvers have good schedules and bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pats_opt.report.anytime import NOTHING, Side, anytime
from pats_opt.report.collect import Table
from pats_opt.report.figures.looks import (
    Looks,
    Picture,
    legend_above,
    log_axis,
    nested_widths,
    plural,
)
from pats_opt.report.steps import drawable
from pats_opt.views import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Seconds at which the axis of time begins at the earliest.
EARLIEST_S = 1e-3


def picture(table: Table, looks: Looks) -> Picture | None:
    """The primal side, and beside it the dual; None where no run has a trace."""
    found = anytime(table)
    if found is None:
        return None
    sides = [
        (side, label)
        for side, label in ((found.primal, "primal gap, %"), (found.dual, "dual gap, %"))
        if side.lines
    ]
    drawn = style.figure(9.0 if len(sides) > 1 else 6.6, 3.9)
    axes = drawn.subplots(1, len(sides), squeeze=False, sharex=True)[0]
    for ax, (side, label) in zip(axes, sides, strict=True):
        curves(ax, side, looks, found.limit_s)
        ax.set_title(f"{label.removesuffix(', %')}, {plural(side.instances)}")
        ax.set_ylabel(label)
    specs = [solver.spec for solver in found.solvers]
    handles = [
        axes[0].plot([], [], linestyle=looks[s].dash, color=looks[s].colour, linewidth=2)[0]
        for s in specs
    ]
    legend_above(drawn, handles, specs)
    told = [
        f"the {name} gap over the {plural(side.instances)} that all of its solvers were run on"
        for name, side in (("primal", found.primal), ("dual", found.dual))
        if side.lines
    ]
    return Picture(
        title="Gap over time",
        svg=style.svg(drawn, "anytime", "Mean primal and dual gaps over seconds, a line a solver"),
        caption=f"Means of {' and '.join(told)}. The primal gap is |loss - best| / max(loss, best) "
        "with the best loss that any run found, 100 % as long as there is no schedule and where a "
        "run failed (Berthold, Operations Research Letters 41, 2013); the dual gap is the same of "
        "the bound. Lower and further left is better. The integrals below are the areas under the "
        f"lines, up to the time limit of {found.limit_s:g} s, in seconds.",
    )


def curves(ax: Axes, side: Side, looks: Looks, limit_s: float) -> None:
    """Draw a line a solver, from the first change on any of them to the time limit."""
    first = min((x for line in side.lines for x, _ in line.curve if x > 0), default=EARLIEST_S)
    begin = min(max(EARLIEST_S, first), limit_s / 10)
    for line, width in zip(side.lines, nested_widths(len(side.lines)), strict=True):
        look = looks[line.solver.spec]
        steps = drawable([(x, y) for x, y in line.curve if x < limit_s])
        ax.step(
            [begin / 2, *(max(x, begin / 2) for x, _ in steps), limit_s],
            [100 * NOTHING, *(100 * y for _, y in steps), 100 * line.final],
            where="post",
            color=look.colour,
            linestyle=look.dash,
            linewidth=width,
        )
    ax.set_xscale("log")
    ax.set_xlim(begin / 1.5, limit_s)
    log_axis(ax.xaxis, begin, limit_s)
    ax.set_xlabel("seconds")
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(0, 130)
    ax.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    ax.grid(True)
