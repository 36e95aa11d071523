"""What each solver's loss is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pats_opt.model.loss import LossTerms
from pats_opt.report.collect import Case, Table, shared
from pats_opt.report.figures.looks import Looks, Picture, legend_above, plural
from pats_opt.runs.record import SolverInfo
from pats_opt.views import style
from pats_opt.wording import label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer


def picture(table: Table, _: Looks) -> Picture | None:
    """The mean loss by term, over the instances that can be compared; None without any."""
    cases = [case for case in table.cases if case.best]
    both, solvers = shared(cases, table.solvers)
    if not both or not solvers:
        return None
    drawn = style.figure(6.6, 1.3 + 0.34 * len(solvers))
    ax = drawn.add_subplot()
    legend_above(drawn, *terms(ax, both, solvers))
    return Picture(
        title="What the loss is made of",
        svg=style.svg(drawn, "terms", "Mean loss by term, a bar a solver"),
        caption=f"Mean over the {plural(len(both))} that all of these solvers have a schedule "
        "for, each instance's loss taken as a multiple of the lowest known. Solvers with a "
        "schedule for less than half of the instances are left out.",
    )


def terms(
    ax: Axes, cases: Sequence[Case], solvers: Sequence[SolverInfo]
) -> tuple[list[BarContainer], list[str]]:
    """Draw a bar a solver, stacked by loss term; returns the terms' bars and their names.

    Every solver must have a schedule for every case.
    """
    names = [
        name
        for name in LossTerms.__struct_fields__
        if any(_share(case, solver, name) > 0 for case in cases for solver in solvers)
    ]
    left, bars = [0.0] * len(solvers), []
    for name, colour in zip(names, style.palette(len(names)), strict=True):
        widths = [sum(_share(case, s, name) for case in cases) / len(cases) for s in solvers]
        bars.append(ax.barh(range(len(solvers)), widths, left=left, color=colour, height=0.7))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ax.set_yticks(range(len(solvers)), [label(s.spec) for s in solvers])
    ax.set_ylim(len(solvers) - 0.5, -0.5)
    ax.set_xlabel("loss / lowest known loss")
    ax.grid(True, axis="x")
    return bars, names


def _share(case: Case, solver: SolverInfo, term: str) -> float:
    """One term of a run's loss as a multiple of the instance's lowest known loss."""
    row = case.row(solver.spec)
    assert row is not None
    assert row.record is not None
    assert row.record.terms is not None
    value: float = getattr(row.record.terms, term)
    return value / (case.best or 1.0)
