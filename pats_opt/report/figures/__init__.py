"""The report's figures: inline SVG made of the table.

Each figure has a function that draws into given axes, for notebooks and papers, and one that makes
the report's figure of it, or None where the table lacks the numbers.
"""

from __future__ import annotations

from pats_opt.report.collect import Table
from pats_opt.report.figures import comparisons, curves, levels
from pats_opt.report.figures.solver_style import ReportFigure, solver_styles
from pats_opt.views import style

__all__ = ["ReportFigure", "figures"]

#: The maker of each figure, by its name.
MAKERS = {
    "intervals": comparisons.intervals_figure,
    "profile": curves.losses_figure,
    "times": curves.times_figure,
    "anytime": curves.gaps_figure,
    "latency": curves.latency_figure,
    "attainment": curves.attainment_figure,
    "levels": levels.levels_figure,
    "instances": comparisons.instances_figure,
    "terms": comparisons.terms_figure,
    "tradeoff": curves.tradeoff_figure,
}


def figures(table: Table) -> dict[str, ReportFigure]:
    """The figures that the table has the numbers for, by name."""
    styles = solver_styles(table.solvers)
    with style.drawing():
        made = {name: make(table, styles) for name, make in MAKERS.items()}
    return {name: figure for name, figure in made.items() if figure is not None}
