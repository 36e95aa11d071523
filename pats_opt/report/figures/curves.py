"""Figures with a line for each solver: performance profiles, gaps over time, latencies, prices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from pats_opt.report.collect import Table
from pats_opt.report.curves import (
    UNKNOWN_GAP,
    GapCurves,
    LatencyCurve,
    PerformanceProfile,
    attainments,
    gaps_over_time,
    latencies,
    loss_profiles,
    time_profiles,
    value,
)
from pats_opt.report.figures.solver_style import (
    ReportFigure,
    SolverStyle,
    SolverStyles,
    legend_above,
    log_axis,
    nested_widths,
)
from pats_opt.report.frame import by_solver
from pats_opt.report.service import tradeoffs
from pats_opt.runs.statistics import thinned
from pats_opt.views import style
from pats_opt.wording import counted, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

#: Ratio to the best beyond which a profile is cut off.
LARGEST_RATIO = 1e3

#: Seconds at which the axis of time begins at the earliest.
EARLIEST_S = 1e-3

#: Instances whose trade-off is drawn; the tables have all.
MOST_DRAWN = 6

#: Steps that are drawn of a curve.
MOST_STEPS = 400

#: Metrics drawn against the other losses, one panel each.
MEASURES = (("latency_mean_s", "mean latency, s"), ("latency_p95_s", "p95 latency, s"))


def losses_figure(table: Table, styles: SolverStyles) -> ReportFigure | None:
    """The profile of losses; None where no instance has a schedule."""
    found = loss_profiles(table)
    if not found:
        return None
    return ReportFigure(
        title="Performance profile",
        svg=_profiles_svg(
            found,
            styles,
            "profile",
            "loss / lowest loss of these solvers",
            "Share of instances by loss over the lowest, one line per solver",
        ),
        caption=f"Each line: on what share of the {counted(found[0].instances, 'instance')} the "
        "solver's loss is at most this many times the lowest that any of them found (Dolan and "
        "Moré, Mathematical Programming 91, 2002). Higher and further left is better. Where a run "
        "failed or the solver refused, the instance never counts, so that its line ends below "
        "100 %.",
    )


def times_figure(table: Table, styles: SolverStyles) -> ReportFigure | None:
    """The profile of seconds to proof; None unless several exact solvers proved something."""
    found = time_profiles(table)
    if not found:
        return None
    return ReportFigure(
        title="Time to a proven optimum",
        svg=_profiles_svg(
            found,
            styles,
            "times",
            "seconds to the proof / seconds of the fastest",
            "Share of instances by seconds to a proven optimum over the fastest's",
        ),
        caption=f"The same profile of the seconds until the optimum is proven, over all "
        f"{counted(found[0].instances, 'instance')}; 1 is the fastest of the exact solvers. A line "
        "ends at the share that the solver proved within its time limit.",
    )


def _profiles_svg(
    found: Sequence[PerformanceProfile],
    styles: SolverStyles,
    name: str,
    xlabel: str,
    description: str,
) -> str:
    drawn = style.figure(style.PAGE, 3.6)
    ax = drawn.add_subplot()
    lines = profiles(ax, found, styles)
    legend_above(drawn, lines, [p.solver.spec for p in found])
    ax.set_xlabel(xlabel)
    return style.svg(drawn, name, description)


def profiles(ax: Axes, found: Sequence[PerformanceProfile], styles: SolverStyles) -> list[Line2D]:
    """Draw the profiles of some solvers, one line each; returns the lines."""
    capped = [[100 * (r - 1) for r in p.ratios if r <= LARGEST_RATIO] for p in found]
    furthest = 1.3 * max([1.0, *(x for beyond in capped for x in beyond)])
    lines = []
    widths = nested_widths(len(found))
    for p, beyond, width in zip(found, capped, widths, strict=True):
        shares = [100 * (k + 1) / p.instances for k in range(len(beyond))]
        end = shares[-1] if shares else 0.0
        x, y = [0, *beyond, furthest], [0, *shares, end]
        lines.append(_steps(ax, x, y, styles[p.solver.spec], width))
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(0, furthest)
    ticks = [0, *(10**k for k in range(1 + int(math.log10(furthest))))]
    ax.set_xticks(ticks, [f"{1 + x / 100:g}" for x in ticks])
    ax.set_ylim(0, 104)
    ax.set_ylabel("share of instances, %")
    ax.grid(True)
    return lines


def _steps(
    ax: Axes, x: Sequence[float], y: Sequence[float], drawn: SolverStyle, width: float
) -> Line2D:
    (line,) = ax.step(x, y, where="post", color=drawn.colour, linestyle=drawn.dash, linewidth=width)
    return line


def gaps_figure(table: Table, styles: SolverStyles) -> ReportFigure | None:
    """The gaps of losses, and below them those of bounds; None where no run has a trace."""
    found = gaps_over_time(table)
    if found is None:
        return None
    both = (("to the best known", found.primal), ("of the best known to the bound", found.dual))
    sides = [(name, side) for name, side in both if side.lines]
    drawn = style.figure(style.PAGE, 0.5 + 2.9 * len(sides))
    axes = drawn.subplots(len(sides), 1, squeeze=False, sharex=True)[:, 0]
    for ax, (name, side) in zip(axes, sides, strict=True):
        gaps(ax, side, styles, found.limit_s)
        ax.set_title(f"gap {name}, {counted(side.instances, 'instance')}")
        ax.set_ylabel("gap, %")
    specs = [solver.spec for solver in found.solvers]
    handles = [
        axes[0].plot([], [], linestyle=styles[s].dash, color=styles[s].colour, linewidth=2)[0]
        for s in specs
    ]
    legend_above(drawn, handles, specs)
    over = [
        f"the gap {name} over the {counted(side.instances, 'instance')} that all of its solvers "
        "were run on"
        for name, side in sides
    ]
    return ReportFigure(
        title="Gap over time",
        svg=style.svg(
            drawn, "anytime", "Mean gaps of losses and bounds by seconds, one line per solver"
        ),
        caption=f"Means of {' and '.join(over)}. The best known loss is the lowest of any run; a "
        "gap is 100 % as long as there is no schedule or bound and where a run failed (primal and "
        "dual gap of Berthold, Operations Research Letters 41, 2013). Lower and further left is "
        "better. The integrals below are the areas under the lines, up to the time limit of "
        f"{found.limit_s:g} s, in seconds.",
    )


def gaps(ax: Axes, side: GapCurves, styles: SolverStyles, limit_s: float) -> None:
    """Draw a line for each solver, from the first change on any of them to the time limit."""
    lines = side.lines.values()
    first = min((x for line in lines for x, _ in line.curve if x > 0), default=EARLIEST_S)
    begin = min(max(EARLIEST_S, first), limit_s / 10)
    for line, width in zip(lines, nested_widths(len(lines)), strict=True):
        steps = thinned([(x, y) for x, y in line.curve if x < limit_s], MOST_STEPS)
        _steps(
            ax,
            [begin / 2, *(max(x, begin / 2) for x, _ in steps), limit_s],
            [100 * UNKNOWN_GAP, *(100 * y for _, y in steps), 100 * line.final],
            styles[line.solver.spec],
            width,
        )
    ax.set_xscale("log")
    ax.set_xlim(begin / 1.5, limit_s)
    log_axis(ax.xaxis, begin, limit_s)
    ax.set_xlabel("seconds")
    ax.set_yscale("symlog", linthresh=1)
    ax.set_ylim(0, 130)
    ax.set_yticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    ax.grid(True)


def latency_figure(table: Table, styles: SolverStyles) -> ReportFigure | None:
    """The share of requests served within x seconds; None where no record has latencies."""
    count, found = latencies(table)
    if not found:
        return None
    drawn = style.figure(style.PAGE, 3.6)
    lines = served_shares(drawn.add_subplot(), found, styles)
    legend_above(drawn, lines, [one.solver.spec for one in found])
    return ReportFigure(
        title="Latency",
        svg=style.svg(drawn, "latency", "Share of requests by latency, one line per solver"),
        caption="Each line: the share of all requests that the solver has served within so many "
        f"seconds of their arrival, mean over the {counted(count, 'instance')} that all of these "
        "solvers have a schedule for, each counting alike. Higher and further left is better. A "
        "request that is rejected is never served. Solvers with a schedule for less than half of "
        "the instances are left out.",
    )


def attainment_figure(table: Table, styles: SolverStyles) -> ReportFigure | None:
    """The share of requests served within x deadlines; None where no record has any."""
    count, found = attainments(table)
    if not found:
        return None
    drawn = style.figure(style.PAGE, 3.6)
    ax = drawn.add_subplot()
    lines = served_shares(ax, found, styles, "latency / deadline")
    ax.axvline(1.0, color=style.FAINT, linewidth=0.8, linestyle="--", zorder=0)
    legend_above(drawn, lines, [one.solver.spec for one in found])
    return ReportFigure(
        title="Deadlines",
        svg=style.svg(
            drawn, "attainment", "Share of requests by latency over deadline, one line per solver"
        ),
        caption="Service level attainment. Each line: the share of the requests with a deadline "
        "that the solver has served within so many times that deadline, mean over the "
        f"{counted(count, 'instance')} that all of these solvers have a schedule for, each "
        "counting alike. At 1, the dashed line, it is the share served in time. Higher and "
        "further left is better. A request that is rejected is never served.",
    )


def served_shares(
    ax: Axes, found: Sequence[LatencyCurve], styles: SolverStyles, xlabel: str = "latency, s"
) -> list[Line2D]:
    """Draw a line for each solver; returns the lines."""
    positive = [x for one in found for x, _ in one.curve if x > 0]
    begin, end = min(positive, default=1.0) / 1.15, max(positive, default=1.0) * 1.15
    lines = []
    for one, width in zip(found, nested_widths(len(found)), strict=True):
        steps = thinned(one.curve, MOST_STEPS)
        # A slot may serve a request in the tick that it arrives in: that is at the left end.
        x = [begin, *(max(x, begin) for x, _ in steps), end]
        y = [0, *(100 * y for _, y in steps), 100 * value(one.curve, 0.0, end)]
        lines.append(_steps(ax, x, y, styles[one.solver.spec], width))
    ax.set_xscale("log")
    ax.set_xlim(begin, end)
    log_axis(ax.xaxis, begin, end)
    ax.set_xlabel(xlabel)
    ax.set_ylim(0, 104)
    ax.set_ylabel("requests served, %")
    ax.grid(True)
    return lines


def tradeoff_figure(table: Table, styles: SolverStyles) -> ReportFigure | None:
    """A row of panels for each instance; None where no run of a sweep has a result."""
    found = [runs.drop_nulls("loss_without_latency") for runs in tradeoffs(table)]
    shown = [runs for runs in found if len(runs)][:MOST_DRAWN]
    if not shown:
        return None
    drawn = style.figure(style.PAGE, 0.7 + 2.4 * len(shown))
    axes = drawn.subplots(len(shown), len(MEASURES), squeeze=False, sharey="row")
    for runs, panels in zip(shown, axes, strict=True):
        for ax, (name, title) in zip(panels, MEASURES, strict=True):
            tradeoff(ax, table, runs, name, styles)
            ax.set_xlabel(title)
        panels[0].set_title(label(runs["label"][0], 40))
        panels[0].set_ylabel("loss without latency")
    specs = [solver.spec for solver, _ in by_solver(table.solvers, pl.concat(shown))]
    handles = [
        axes[0][0].plot([], [], color=styles[s].colour, marker=styles[s].marker, linewidth=1.6)[0]
        for s in specs
    ]
    legend_above(drawn, handles, specs)
    return ReportFigure(
        title="Latency against everything else",
        svg=style.svg(
            drawn, "tradeoff", "Loss without latency against latency, one line per solver"
        ),
        caption="Each line: one solver as the latency price rises from right to left. Lower and "
        "further left is better. A policy that does not look at the price stays where it is. "
        f"At most {MOST_DRAWN} instances are drawn.",
    )


def tradeoff(ax: Axes, table: Table, runs: pl.DataFrame, name: str, styles: SolverStyles) -> None:
    """Draw a line for each solver through an instance's runs, by rising latency price."""
    for solver, part in by_solver(table.solvers, runs):
        served = part.drop_nulls(name)
        ax.plot(
            served[name].to_list(),
            served["loss_without_latency"].to_list(),
            color=styles[solver.spec].colour,
            marker=styles[solver.spec].marker,
            markersize=5,
            linewidth=1.6,
        )
    ax.grid(True)
