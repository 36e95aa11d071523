"""The trade-off that a sweep of latency prices shows: latency against every other loss."""

from __future__ import annotations

from typing import NamedTuple

from pats_opt.report.collect import Case, Row, Table
from pats_opt.solving.budget_curve import without_latency


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
