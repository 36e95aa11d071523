"""Figures that compare solvers by class, by instance and by loss term."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from pats_opt.report.collect import SolverTotal, Table
from pats_opt.report.figures.solver_style import ReportFigure, SolverStyles, legend_above
from pats_opt.report.frame import SCHEDULED, TERMS, against, by_solver, shared
from pats_opt.runs.statistics import DRAWS, GAP_SHIFT, ROUGH_BELOW
from pats_opt.views import style
from pats_opt.wording import counted, label, percent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.container import BarContainer

#: Panels that are drawn; the table has every class.
MOST_PANELS = 12

#: Instances drawn one by one; of more, those that differ most.
MOST_INSTANCES = 40

#: Gaps are drawn linearly up to this, in per cent, and logarithmically from there.
LINEAR_BELOW = 100 * GAP_SHIFT


def intervals_figure(table: Table, styles: SolverStyles) -> ReportFigure | None:
    """The mean gap of each solver with its interval, by class; None where no run has a gap."""
    groups = list(dict.fromkeys(total.group for total in table.totals))
    members = {g: [t for t in table.totals if t.group == g] for g in groups}
    shown = [g for g in groups if any(t.gap is not None for t in members[g])][:MOST_PANELS]
    if not shown:
        return None
    columns = 1 if len(shown) < 4 else 2
    lines = -(-len(shown) // columns)
    height = lines * (0.75 + 0.24 * len(table.solvers))
    drawn = style.figure(style.PAGE, height)
    axes = drawn.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flatten()
    for ax, group in zip(axes, shown, strict=False):
        intervals(ax, members[group], styles)
        ax.set_title(label(group, 30) if group else "all classes")
    for ax in axes[len(shown) :]:
        ax.remove()
    for i, ax in enumerate(axes[: len(shown)]):
        if i + columns >= len(shown):
            ax.set_xlabel(f"gap to {against(table.own)}, %")
            ax.xaxis.set_tick_params(labelbottom=True)
    thin = ""
    if any(t.gap_interval and t.gaps < ROUGH_BELOW for g in shown for t in members[g]):
        thin = f"; thin and hollow where there are fewer than {ROUGH_BELOW} instances, so that the "
        thin += "interval is rough"
    left = len(groups) - len(shown)
    return ReportFigure(
        title="Gap by solver and class",
        svg=style.svg(drawn, "intervals", "Mean gap of each solver with its interval, by class"),
        caption=f"Dots: the shifted geometric mean of the gaps (shift {percent(GAP_SHIFT)}; a run "
        "without a schedule counts as 100 %), over the runs that the table counts. Lines: 95 % "
        "bootstrap intervals over instances "
        f"({DRAWS} draws){thin}. The further left, the better; solvers whose intervals overlap "
        "need not differ."
        + (f" {left} classes without a gap or beyond the first are not drawn." if left else ""),
    )


def intervals(ax: Axes, totals: Sequence[SolverTotal], styles: SolverStyles) -> None:
    """Draw a row for each solver: its mean gap and the interval."""
    for y, total in enumerate(totals):
        if total.gap is None:
            continue
        mark, rough = styles[total.solver.spec], total.gaps < ROUGH_BELOW
        if total.gap_interval is not None:
            ends = [100 * end for end in total.gap_interval]
            ax.plot(ends, [y, y], color=mark.colour, linewidth=0.9 if rough else 2.4, zorder=2)
        ax.plot(
            100 * total.gap,
            y,
            mark.marker,
            color=mark.colour,
            markersize=6.5,
            markerfacecolor="white" if rough else mark.colour,
            zorder=3,
        )
    ax.set_yticks(range(len(totals)), [label(total.solver.spec) for total in totals])
    ax.set_ylim(len(totals) - 0.4, -0.6)
    ax.set_xscale("symlog", linthresh=LINEAR_BELOW)
    ax.set_xlim(-0.15 * LINEAR_BELOW, 130)
    ax.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    ax.grid(True)
    ax.tick_params(axis="y", length=0)


def instances_figure(table: Table, styles: SolverStyles) -> ReportFigure | None:
    """Each solver's gap by instance; None where no instance has a schedule and a gap."""
    runs = table.own.filter(SCHEDULED & pl.col("gap").is_not_null())
    if runs.is_empty():
        return None
    widths = runs.group_by("case", maintain_order=True).agg(pl.col("gap").max())
    cut = len(widths) > MOST_INSTANCES
    if cut:
        widest = widths.sort("gap", descending=True, maintain_order=True).head(MOST_INSTANCES)
        runs = runs.filter(pl.col("case").is_in(widest["case"].to_list()))
    drawn = style.figure(style.PAGE, 1.4 + 0.26 * runs["case"].n_unique())
    legend_above(drawn, *instances(drawn.add_subplot(), table, runs, styles))
    which = f"The {MOST_INSTANCES} instances on which solvers differ most. " if cut else ""
    return ReportFigure(
        title="Instance by instance",
        svg=style.svg(drawn, "instances", "Each solver's gap, by instance"),
        caption=which + "Gaps are to the proven optimum; where it is not proven (name in "
        "brackets), to the best bound, so that the true gap is at most what is shown, and without "
        "a bound to the lowest loss of these solvers. 0 is best.",
    )


def instances(
    ax: Axes, table: Table, runs: pl.DataFrame, styles: SolverStyles
) -> tuple[list[PathCollection], list[str]]:
    """Draw a row for each instance and a mark for each solver at its gap.

    Returns:
        The marks, and the specs of their solvers.
    """
    runs = runs.with_columns(y=pl.col("case").rank("dense") - 1)
    cases = runs.group_by("case", maintain_order=True).agg(
        pl.first("label", "optimum", "y"),
        furthest=100 * pl.col("gap").max(),
    )
    for furthest, y in cases.select("furthest", "y").iter_rows():
        ax.plot([0, furthest], [y, y], color=style.GRID, linewidth=3, zorder=1)
    dots = {
        solver.spec: ax.scatter(
            (100 * part["gap"]).to_list(),
            part["y"].to_list(),
            s=34,
            color=styles[solver.spec].colour,
            marker=styles[solver.spec].marker,
            alpha=0.9,
            linewidths=0,
            zorder=2,
        )
        for solver, part in by_solver(table.solvers, runs)
    }
    ax.axvline(0.0, color=style.FAINT, linewidth=0.8, zorder=0)
    shown = [
        name if optimum is not None else f"({name})"
        for name, optimum in cases.select("label", "optimum").iter_rows()
    ]
    ax.set_yticks(range(len(shown)), [label(text, 34) for text in shown])
    ax.set_ylim(len(shown) - 0.5, -0.5)
    ax.set_xlabel(f"gap to {against(runs)}, %")
    ax.grid(True, axis="x")
    return list(dots.values()), list(dots)


def terms_figure(table: Table, _: SolverStyles) -> ReportFigure | None:
    """The mean loss by term, over the instances that can be compared; None without any."""
    runs = shared(table.own.filter(pl.col("best") != 0))
    if runs.is_empty():
        return None
    drawn = style.figure(style.PAGE, 1.3 + 0.34 * runs["solver"].n_unique())
    legend_above(drawn, *terms(drawn.add_subplot(), table, runs))
    return ReportFigure(
        title="What the loss is made of",
        svg=style.svg(drawn, "terms", "Mean loss by term, one bar per solver"),
        caption=f"Mean over the {counted(runs['case'].n_unique(), 'instance')} that all of these "
        "solvers have a schedule for, each instance's loss taken as a multiple of the lowest "
        "known. Solvers with a schedule for less than half of the instances are left out.",
    )


def terms(ax: Axes, table: Table, runs: pl.DataFrame) -> tuple[list[BarContainer], list[str]]:
    """Draw a bar for each solver, stacked by loss term; returns the terms' bars and names."""
    shares = runs.with_columns(pl.col(*TERMS) / pl.col("best"))
    names = [name for name in TERMS if (shares[name] > 0).any()]
    means = {
        s.spec: part.select(names).mean().row(0) for s, part in by_solver(table.solvers, shares)
    }
    left, bars = [0.0] * len(means), []
    by_term = zip(*means.values(), strict=True)
    for widths, colour in zip(by_term, style.palette(len(names)), strict=True):
        bars.append(ax.barh(range(len(means)), widths, left=left, color=colour, height=0.7))
        left = [a + b for a, b in zip(left, widths, strict=True)]
    ax.set_yticks(range(len(means)), [label(spec) for spec in means])
    ax.set_ylim(len(means) - 0.5, -0.5)
    ax.set_xlabel("loss / lowest known loss")
    ax.grid(True, axis="x")
    return bars, [name.removeprefix("loss_") for name in names]
