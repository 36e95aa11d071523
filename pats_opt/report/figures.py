"""The report's pictures: inline SVG made of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from pats_opt.loss import LossTerms
from pats_opt.plot import style
from pats_opt.report import tradeoff
from pats_opt.report.collect import Case, Table, shared
from pats_opt.report.runs import SolverInfo
from pats_opt.report.statistics import ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP*X"

#: Instances drawn one by one; of more, those that differ most.
MOST_INSTANCES = 40

#: Excess beyond which a profile is cut off.
LARGEST_EXCESS = 1e3


class Picture(Struct, frozen=True, kw_only=True):
    """A picture with its heading and the sentence below it."""

    title: str
    svg: str
    caption: str


def pictures(table: Table) -> list[Picture]:
    """The pictures that the table has the numbers for."""
    with style.look():
        return [
            picture
            for draw in (_profile, _instances, _terms, _tradeoff)
            if (picture := draw(table)) is not None
        ]


def _colours(table: Table) -> dict[str, str]:
    shown = style.palette(len(table.solvers))
    return {s.spec: colour for s, colour in zip(table.solvers, shown, strict=True)}


def _markers(table: Table) -> dict[str, str]:
    return {s.spec: MARKERS[i % len(MARKERS)] for i, s in enumerate(table.solvers)}


def _profile(table: Table) -> Picture | None:
    """Share of instances on which each solver is within x of the best known loss."""
    cases = [case for case in table.cases if case.best is not None and not case.infeasible]
    if not cases:
        return None
    drawn = style.figure(6.6, 3.6)
    ax = drawn.add_subplot()
    profile(ax, cases, table.solvers, _colours(table))
    ax.set_xlabel("loss above the best known, %")
    ax.set_ylabel("share of instances, %")
    description = "Share of instances by loss above the best known, a line a solver"
    return Picture(
        title="How often, how near",
        svg=style.svg(drawn, "profile", description),
        caption="Each line: on how many of the instances the solver could be asked for its loss is "
        "within this much of the lowest that any solver found. Higher and further left is better; "
        "a line that ends below 100 % had failures.",
    )


def profile(
    ax: Axes, cases: Sequence[Case], solvers: Sequence[SolverInfo], colours: dict[str, str]
) -> None:
    """Draw the performance profile of some solvers."""
    lines, names = [], []
    furthest = 1.0
    curves = {}
    for solver in solvers:
        rows = [(c, row) for c in cases if (row := c.row(solver.spec)) and row.counts]
        excess = sorted(
            min(LARGEST_EXCESS, max(0.0, ratio(row.loss, c.best or 0.0) - 1)) * 100
            for c, row in rows
            if row.loss is not None
        )
        if excess:
            curves[solver.spec] = (excess, len(rows))
            furthest = max(furthest, excess[-1])
    for i, (spec, (excess, count)) in enumerate(curves.items()):
        shares = [100 * (k + 1) / count for k in range(len(excess))]
        (line,) = ax.step(
            [0, *excess, furthest * 1.3],
            [0, *shares, shares[-1]],
            where="post",
            color=colours[spec],
            linestyle=("-", "--", "-.", ":")[i % 4],
            linewidth=2,
        )
        lines.append(line)
        names.append(spec)
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xlim(0, furthest * 1.3)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.set_ylim(0, 104)
    ax.grid(True)
    style.legend(ax, lines, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


def _instances(table: Table) -> Picture | None:
    """Every instance with each solver's loss over the optimum or the best bound."""
    cases = [case for case in table.cases if case.best is not None and _reference(case)]
    if not cases:
        return None
    cut = len(cases) > MOST_INSTANCES
    if cut:
        widest = sorted(cases, key=_width, reverse=True)[:MOST_INSTANCES]
        cases = [case for case in cases if case in widest]
    drawn = style.figure(6.6, 1.4 + 0.26 * len(cases))
    ax = drawn.add_subplot()
    instances(ax, cases, table.solvers, _colours(table), _markers(table))
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
    colours: dict[str, str],
    markers: dict[str, str],
) -> None:
    """Draw a row an instance and a mark a solver."""
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
                    color=colours[solver.spec],
                    marker=markers[solver.spec],
                    alpha=0.9,
                    linewidths=0,
                    zorder=2,
                )
            )
            names.append(solver.spec)
    ax.axvline(1.0, color=style.FAINT, linewidth=0.8, zorder=0)
    shown = [c.label if c.optimum is not None else f"({c.label})" for c in cases]
    ax.set_yticks(range(len(cases)), [style.label(text, 34) for text in shown])
    ax.set_ylim(len(cases) - 0.5, -0.5)
    ax.set_xlabel("loss / optimum (or best bound)")
    ax.grid(True, axis="x")
    style.legend(ax, dots, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)


def _terms(table: Table) -> Picture | None:
    """What each solver's loss is made of."""
    cases = [case for case in table.cases if case.best]
    both, solvers = shared(cases, table.solvers)
    if not both or not solvers:
        return None
    drawn = style.figure(6.6, 1.3 + 0.34 * len(solvers))
    ax = drawn.add_subplot()
    terms(ax, both, solvers)
    return Picture(
        title="What the loss is made of",
        svg=style.svg(drawn, "terms", "Mean loss by term, a bar a solver"),
        caption=f"Mean over the {len(both)} instances that all of these solvers have a schedule "
        "for, each instance's loss taken as a multiple of the lowest known. Solvers with a "
        "schedule for less than half of the instances are left out.",
    )


def terms(ax: Axes, cases: Sequence[Case], solvers: Sequence[SolverInfo]) -> None:
    """Draw a bar a solver, stacked by loss term; every solver has a schedule for every case."""
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
    ax.set_yticks(range(len(solvers)), [style.label(s.spec) for s in solvers])
    ax.set_ylim(len(solvers) - 0.5, -0.5)
    ax.set_xlabel("loss / lowest known loss")
    ax.grid(True, axis="x")
    style.legend(ax, bars, names, loc="lower left", bbox_to_anchor=(0, 1), ncols=5)


def _share(case: Case, solver: SolverInfo, term: str) -> float:
    """One term of a run's loss as a multiple of the instance's lowest known loss."""
    row = case.row(solver.spec)
    assert row is not None
    assert row.record is not None
    assert row.record.terms is not None
    value: float = getattr(row.record.terms, term)
    return value / (case.best or 1.0)


def _tradeoff(table: Table) -> Picture | None:
    """Latency against every other loss, as the latency price rises."""
    svg = tradeoff.picture(table, _colours(table), _markers(table))
    if svg is None:
        return None
    return Picture(
        title="Latency against everything else",
        svg=svg,
        caption="Each line: one solver as the latency price rises from right to left. Lower and "
        "further left is better. A "
        "policy that does not look at the price stays where it is. "
        f"At most {tradeoff.MOST_DRAWN} instances are drawn.",
    )
