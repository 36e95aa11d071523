"""Every instance with each solver's loss over the optimum or the best bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pats_opt.report.collect import Case, Table
from pats_opt.report.figures.looks import Looks, Picture, legend_above
from pats_opt.runs.record import SolverInfo
from pats_opt.views import style
from pats_opt.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection

#: Instances drawn one by one; of more, those that differ most.
MOST_INSTANCES = 40


def picture(table: Table, looks: Looks) -> Picture | None:
    """The instances that have an optimum or a bound; None where none has."""
    cases = [case for case in table.cases if case.best is not None and _reference(case)]
    if not cases:
        return None
    cut = len(cases) > MOST_INSTANCES
    if cut:
        widest = sorted(cases, key=_width, reverse=True)[:MOST_INSTANCES]
        cases = [case for case in cases if case in widest]
    drawn = style.figure(6.6, 1.4 + 0.26 * len(cases))
    ax = drawn.add_subplot()
    legend_above(drawn, *instances(ax, cases, table.solvers, looks))
    which = f"The {MOST_INSTANCES} instances on which solvers differ most. " if cut else ""
    return Picture(
        title="Instance by instance",
        svg=style.svg(drawn, "instances", "Each solver's loss over the optimum, by instance"),
        caption=which + "Loss divided by the proven optimum; where it is not proven (name in "
        "brackets), by the best bound, so that the true ratio is at most what is shown. 1 is best.",
    )


def _reference(case: Case) -> float:
    """What losses of an instance are divided by: its optimum, else its best bound."""
    return (case.optimum if case.optimum is not None else case.bound) or 0.0


def _width(case: Case) -> float:
    return max((row.loss or 0.0) for row in case.rows) / _reference(case)


def instances(
    ax: Axes,
    cases: Sequence[Case],
    solvers: Sequence[SolverInfo],
    looks: Looks,
) -> tuple[list[PathCollection], list[str]]:
    """Draw a row an instance and a mark a solver; returns the marks with their solvers."""
    for y, case in enumerate(cases):
        ratios = [row.loss / _reference(case) for row in case.rows if row.loss is not None]
        ax.plot([min(1.0, *ratios), max(ratios)], [y, y], color=style.GRID, linewidth=3, zorder=1)
    dots, names = [], []
    for solver in solvers:
        found = [
            (row.loss / _reference(case), y)
            for y, case in enumerate(cases)
            if (row := case.row(solver.spec)) is not None and row.loss is not None
        ]
        if found:
            dots.append(
                ax.scatter(
                    [x for x, _ in found],
                    [y for _, y in found],
                    s=34,
                    color=looks[solver.spec].colour,
                    marker=looks[solver.spec].marker,
                    alpha=0.9,
                    linewidths=0,
                    zorder=2,
                )
            )
            names.append(solver.spec)
    ax.axvline(1.0, color=style.FAINT, linewidth=0.8, zorder=0)
    shown = [c.label if c.optimum is not None else f"({c.label})" for c in cases]
    ax.set_yticks(range(len(cases)), [label(text, 34) for text in shown])
    ax.set_ylim(len(cases) - 0.5, -0.5)
    ax.set_xlabel("loss / optimum (or best bound)")
    ax.grid(True, axis="x")
    return dots, names
