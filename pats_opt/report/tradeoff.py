"""The trade-off that a sweep of latency prices shows: latency against every other loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pats_opt.budget_curve import without_latency
from pats_opt.plot import style
from pats_opt.report.collect import Case, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Instances that are drawn; the tables hold all of them.
MOST_DRAWN = 6

#: What is drawn against the other losses, one panel each.
MEASURES = (("latency_mean_s", "mean latency, s"), ("latency_p95_s", "p95 latency, s"))


class Step(NamedTuple):
    """A solver's run at one latency price."""

    price: float
    row: Row

    @property
    def other(self) -> float | None:
        """The loss without its latency term, or None without a schedule."""
        terms = self.row.record.terms if self.row.record else None
        return None if terms is None else without_latency(terms)

    def metric(self, name: str) -> float | None:
        """A figure of the schedule, or None."""
        metrics = self.row.record.metrics if self.row.record else None
        return None if metrics is None else getattr(metrics, name)


class Tradeoff(NamedTuple):
    """An instance's runs at all latency prices: by solver, then by rising price."""

    case: Case
    steps: tuple[Step, ...]

    def line(self, spec: str) -> list[Step]:
        """A solver's runs that have a schedule, by rising price."""
        return [s for s in self.steps if s.row.solver.spec == spec and s.other is not None]


def tradeoffs(table: Table) -> list[Tradeoff]:
    """The trade-off of every instance that was run at other prices than its own."""
    swept: dict[str, list[Case]] = {}
    for case in table.sweeps:
        swept.setdefault(case.instance.sha256, []).append(case)
    found = []
    for case in table.cases:
        others = swept.get(case.instance.sha256)
        if others:
            own = (case.instance.latency_price or 0.0, case)
            cases = sorted([own, *((other.latency_price or 0.0, other) for other in others)],
                           key=lambda pair: pair[0])  # fmt: skip
            steps = [
                Step(price, row)
                for solver in table.solvers
                for price, at in cases
                if (row := at.row(solver.spec)) is not None
            ]
            found.append(Tradeoff(case, tuple(steps)))
    return found


def picture(table: Table, colours: dict[str, str], markers: dict[str, str]) -> str | None:
    """The curves as SVG, a row of panels an instance; None where no run of a sweep has a result."""
    shown = [t for t in tradeoffs(table) if any(s.other is not None for s in t.steps)]
    shown = shown[:MOST_DRAWN]
    if not shown:
        return None
    drawn = style.figure(6.6, 0.7 + 2.4 * len(shown))
    axes = drawn.subplots(len(shown), len(MEASURES), squeeze=False, sharey="row")
    for tradeoff, panels in zip(shown, axes, strict=True):
        for ax, (name, label) in zip(panels, MEASURES, strict=True):
            curves(ax, tradeoff, name, colours, markers)
            ax.set_xlabel(label)
        panels[0].set_title(style.label(tradeoff.case.label, 40))
        panels[0].set_ylabel("loss without latency")
    specs = [s.spec for s in table.solvers if any(t.line(s.spec) for t in shown)]
    handles = [
        axes[0][0].plot([], [], color=colours[spec], marker=markers[spec], linewidth=1.6)[0]
        for spec in specs
    ]
    style.legend(axes[0][0], handles, specs, loc="lower left", bbox_to_anchor=(0, 1.12), ncols=4)
    return style.svg(drawn, "tradeoff", "Loss without latency against latency, a line a solver")


def curves(
    ax: Axes,
    tradeoff: Tradeoff,
    name: str,
    colours: dict[str, str],
    markers: dict[str, str],
) -> None:
    """Draw a line a solver through its runs, from the lowest latency price to the highest."""
    for spec in dict.fromkeys(step.row.solver.spec for step in tradeoff.steps):
        points = _points(tradeoff.line(spec), name)
        ax.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=colours[spec],
            marker=markers[spec],
            markersize=5,
            linewidth=1.6,
        )
    ax.grid(True)


def _points(line: Sequence[Step], name: str) -> list[tuple[float, float]]:
    """Latency and other loss of each run that serves anybody."""
    found = [(step.metric(name), step.other) for step in line]
    return [(x, y) for x, y in found if x is not None and y is not None]
