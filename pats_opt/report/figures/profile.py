"""Performance profiles: how often a solver is how near to the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pats_opt.report.collect import Table
from pats_opt.report.figures.looks import Looks, Picture, legend_above, nested_widths, plural
from pats_opt.report.profiles import Profile, loss_profiles, time_profiles
from pats_opt.views import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

#: Ratio to the best beyond which a profile is cut off.
LARGEST_RATIO = 1e3

SOURCE = "Dolan and Moré, Mathematical Programming 91, 2002"


def picture(table: Table, looks: Looks) -> Picture | None:
    """The profile of losses; None where no instance has a schedule."""
    found = loss_profiles(table)
    if not found:
        return None
    drawn = _drawn(found, looks, "loss above the best of these solvers, %")
    description = "Share of instances by loss above the best, a line a solver"
    return Picture(
        title="Performance profile",
        svg=style.svg(drawn, "profile", description),
        caption=f"Each line: on what share of the {plural(found[0].instances)} the solver's loss "
        f"is within this much of the lowest that any of them found ({SOURCE}; their ratio is 1 + x "
        "/ 100). Higher and further left is better. Where a run failed or the solver refused, the "
        "instance never counts, so that its line ends below 100 %.",
    )


def times_picture(table: Table, looks: Looks) -> Picture | None:
    """The profile of seconds to proof; None unless several exact solvers proved something."""
    found = time_profiles(table)
    if not found:
        return None
    drawn = _drawn(found, looks, "seconds to the proof, above the fastest of these solvers, %")
    description = "Share of instances by seconds to a proven optimum over the fastest's"
    return Picture(
        title="Time to a proven optimum",
        svg=style.svg(drawn, "times", description),
        caption=f"The same profile of the seconds until the optimum is proven, over all "
        f"{plural(found[0].instances)}; 0 is the fastest of the exact solvers. A line ends at the "
        "share that the solver proved within its time limit.",
    )


def _drawn(found: Sequence[Profile], looks: Looks, xlabel: str) -> Figure:
    """The profiles with their legend, as a figure."""
    drawn = style.figure(6.6, 3.6)
    ax = drawn.add_subplot()
    lines = profile(ax, found, looks)
    legend_above(drawn, lines, [p.solver.spec for p in found])
    ax.set_xlabel(xlabel)
    return drawn


def profile(ax: Axes, profiles: Sequence[Profile], looks: Looks) -> list[Line2D]:
    """Draw the profiles of some solvers, a line each; returns the lines."""
    capped = {
        p.solver.spec: [100 * (r - 1) for r in p.ratios if r <= LARGEST_RATIO] for p in profiles
    }
    furthest = 1.3 * max([1.0, *(x for excess in capped.values() for x in excess)])
    lines = []
    for p, width in zip(profiles, nested_widths(len(profiles)), strict=True):
        look, excess = looks[p.solver.spec], capped[p.solver.spec]
        shares = [100 * (k + 1) / p.instances for k in range(len(excess))]
        end = shares[-1] if shares else 0.0
        (line,) = ax.step(
            [0, *excess, furthest],
            [0, *shares, end],
            where="post",
            color=look.colour,
            linestyle=look.dash,
            linewidth=width,
        )
        lines.append(line)
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(0, furthest)
    ticks = [0, *(10**k for k in range(1 + int(math.log10(furthest))))]
    ax.set_xticks(ticks, [f"{x:g}" for x in ticks])
    ax.set_ylim(0, 104)
    ax.set_ylabel("share of instances, %")
    ax.grid(True)
    return lines
