"""Figures of a plan: service by GPUs, and cost against service."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pats_opt.planning.grid import PlanLine
from pats_opt.planning.result import CellFigures, PlanResult, describe
from pats_opt.report.figures.solver_style import (
    COLOURS,
    DASHES,
    MARKERS,
    ReportFigure,
    SolverStyle,
    legend_above,
    nested_widths,
)
from pats_opt.views import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Inches of a figure, so that its text can be read on a telephone.
SIZE = (style.PAGE, 3.4)

#: Lines that are drawn of service by GPUs.
MOST_LINES = 8


def figures(result: PlanResult) -> dict[str, ReportFigure]:
    """The figures that the result has the numbers for, by name."""
    with style.drawing():
        made = {"gpus": gpus_figure(result), "cost": cost_figure(result)}
    return {name: figure for name, figure in made.items() if figure is not None}


def _styles(names: list[str]) -> dict[str, SolverStyle]:
    return {
        name: SolverStyle(
            COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)]
        )
        for i, name in enumerate(dict.fromkeys(names))
    }


def gpus_figure(result: PlanResult) -> ReportFigure | None:
    """Service by GPUs, a line for each policy; None where there is one number of GPUs."""
    lines = _best_lines(result)
    if len({f.gpus for f in result.cells}) < 2 or not lines:
        return None
    drawn = style.figure(*SIZE)
    ax = drawn.add_subplot()
    marks = _styles([describe(line) for line in lines])
    handles = []
    for (line, points), width in zip(lines.items(), nested_widths(len(lines)), strict=True):
        mark = marks[describe(line)]
        (handle,) = ax.plot(
            [f.gpus for f in points],
            [_service(f, result) for f in points],
            color=mark.colour,
            marker=mark.marker,
            linestyle=mark.dash,
            markersize=5,
            linewidth=width,
        )
        handles.append(handle)
    legend_above(drawn, handles, [describe(line) for line in lines])
    _service_axis(ax, result)
    numbers = sorted({f.gpus for f in result.cells})
    if len(numbers) <= 16:
        ax.set_xticks(numbers, [str(g) for g in numbers])
    ax.set_xlabel("GPUs")
    return ReportFigure(
        title="Service by GPUs",
        svg=style.svg(drawn, "gpus", "Service by number of GPUs, one line per policy"),
        caption="Marks are simulations; the search leaves out numbers of GPUs that decide "
        "nothing. " + _caption(result),
    )


def _best_lines(result: PlanResult) -> Mapping[PlanLine, list[CellFigures]]:
    """Of each policy and dispatch rule the line that serves best at the fewest GPUs."""
    by_line: dict[PlanLine, list[CellFigures]] = {}
    for found in result.cells:
        if found.loss is not None:
            by_line.setdefault(found.cell.line, []).append(found)
    best: dict[str, PlanLine] = {}

    def rank(line: PlanLine) -> tuple[float, float, float]:
        points = by_line[line]
        first = min([f for f in points if f.meets], key=lambda f: f.gpus, default=None)
        if first is None:
            return (math.inf, -max(f.in_time for f in points), 0.0)
        return (first.gpus, -first.in_time, first.loss or 0.0)

    for line in by_line:
        if line.spec not in best or rank(line) < rank(best[line.spec]):
            best[line.spec] = line
    chosen = sorted(best.values(), key=rank)[:MOST_LINES]
    return {line: by_line[line] for line in chosen}


def cost_figure(result: PlanResult) -> ReportFigure | None:
    """Cost against service of every cell, with the frontier; None without two cells."""
    cells = [f for f in result.cells if f.loss is not None]
    if len(cells) < 2:
        return None
    drawn = style.figure(*SIZE)
    ax = drawn.add_subplot()
    marks = _styles([f.policy for f in cells])
    handles = []
    for name, mark in marks.items():
        some = [f for f in cells if f.policy == name]
        handles.append(
            ax.scatter(
                [f.cost for f in some],
                [_service(f, result) for f in some],
                s=26,
                color=mark.colour,
                marker=mark.marker,
                alpha=0.85,
                linewidths=0,
                zorder=3,
            )
        )
    edge = [f for f in result.frontier if f.loss is not None]
    ax.step(
        [f.cost for f in edge],
        [_service(f, result) for f in edge],
        where="post",
        color=style.FAINT,
        linewidth=1.2,
        zorder=2,
    )
    legend_above(drawn, handles, list(marks))
    _service_axis(ax, result)
    ax.set_xlabel(f"{cost_name(result)} per 1000 images")
    ax.set_xlim(left=0)
    return ReportFigure(
        title="Cost against service",
        svg=style.svg(drawn, "cost", "Cost per thousand images against service, by policy"),
        caption="Each mark is a simulated cell; the grey line joins those that no other beats in "
        "cost and service at once. " + _caption(result),
    )


def cost_name(result: PlanResult) -> str:
    """The unit of cost."""
    return "GPU hours" if result.gpu_hour is None else "cost"


def _service(found: CellFigures, result: PlanResult) -> float:
    if result.objective is not None:
        return 100 * found.in_time
    return math.nan if found.latency_mean_s is None else found.latency_mean_s


def _service_axis(ax: Axes, result: PlanResult) -> None:
    ax.grid(True)
    if result.objective is None:
        ax.set_ylabel("mean latency, s")
        ax.set_ylim(bottom=0)
        return
    ax.set_ylabel(f"requests within {result.objective.seconds:g} s, %")
    ax.axhline(100 * result.objective.share, color=style.INK, linewidth=0.9, linestyle=":")
    ax.set_ylim(top=101)


def _caption(result: PlanResult) -> str:
    if result.objective is None:
        return "Lower and further left is better."
    return "The dotted line is the objective; higher and further left is better."
