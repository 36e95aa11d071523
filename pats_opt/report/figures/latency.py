"""Distributions of latency: how soon requests are served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pats_opt.report.collect import Table
from pats_opt.report.figures.looks import (
    Looks,
    Picture,
    legend_above,
    log_axis,
    nested_widths,
    plural,
)
from pats_opt.report.latency import Served, latencies
from pats_opt.report.steps import drawable
from pats_opt.views import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def picture(table: Table, looks: Looks) -> Picture | None:
    """The share of requests served within x seconds; None where no record tells it."""
    count, served = latencies(table)
    if not served:
        return None
    drawn = style.figure(6.6, 3.6)
    ax = drawn.add_subplot()
    lines = shares(ax, served, looks)
    legend_above(drawn, lines, [one.solver.spec for one in served])
    return Picture(
        title="Latency",
        svg=style.svg(drawn, "latency", "Share of requests by latency, a line a solver"),
        caption="Each line: the share of all requests that the solver has served within so many "
        f"seconds of their arrival, mean over the {plural(count)} that all of these solvers have a "
        "schedule for, each counting alike. Higher and further left is better. A request that is "
        "rejected is never served. Solvers with a schedule for less than half of the instances are "
        "left out.",
    )


def shares(ax: Axes, served: Sequence[Served], looks: Looks) -> list[Line2D]:
    """Draw a line a solver; returns the lines."""
    positive = [x for one in served for x, _ in one.curve if x > 0]
    begin, end = min(positive, default=1.0) / 1.15, max(positive, default=1.0) * 1.15
    lines = []
    for one, width in zip(served, nested_widths(len(served)), strict=True):
        look, steps = looks[one.solver.spec], drawable(one.curve)
        (line,) = ax.step(
            # A slot may serve a request in the tick that it arrives in: that is at the left end.
            [begin, *(max(x, begin) for x, _ in steps), end],
            [0, *(100 * y for _, y in steps), 100 * one.curve[-1][1]],
            where="post",
            color=look.colour,
            linestyle=look.dash,
            linewidth=width,
        )
        lines.append(line)
    ax.set_xscale("log")
    ax.set_xlim(begin, end)
    log_axis(ax.xaxis, begin, end)
    ax.set_xlabel("latency, s")
    ax.set_ylim(0, 104)
    ax.set_ylabel("requests served, %")
    ax.grid(True)
    return lines
