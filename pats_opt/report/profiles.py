"""Performance profiles: on what share of the instances a solver is within a factor of the best.

E. D. Dolan and J. J. Moré, "Benchmarking optimization software with performance profiles",
Mathematical Programming 91, 2002: on each instance a solver's ratio is its figure over the lowest
of all solvers compared, its profile the share of all instances on which the ratio is at most tau.
An instance on which it has no figure never counts, whatever tau.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

from msgspec import Struct

from pats_opt.core.solver import Kind
from pats_opt.report.collect import Case, Row, Table
from pats_opt.runs.record import SolverInfo
from pats_opt.runs.statistics import ratio


class Profile(Struct, frozen=True, kw_only=True):
    """The performance profile of one solver.

    Attributes:
        solver: The solver.
        ratios: Its ratios to the best, rising, one of each instance that it has a figure for.
        instances: How many instances are compared.
    """

    solver: SolverInfo
    ratios: tuple[float, ...]
    instances: int

    def share(self, tau: float) -> float:
        """The share of the instances on which the ratio is at most ``tau``."""
        return bisect_right(self.ratios, tau) / self.instances


def loss_profiles(table: Table) -> list[Profile]:
    """The profiles of the losses; a run that was refused or failed never counts."""
    return _profiles(table, table.solvers, lambda row: row.loss)


def time_profiles(table: Table) -> list[Profile]:
    """The profiles of the seconds to a proven optimum; empty unless two exact solvers have any."""
    exact = [solver for solver in table.solvers if solver.kind == Kind.EXACT]
    found = _profiles(table, exact, _seconds)
    return found if len(found) > 1 else []


def _seconds(row: Row) -> float | None:
    """What a run took to prove its schedule optimal, or None; a clock's tick at least."""
    return max(row.record.seconds, 1e-6) if row.record is not None and row.proven else None


def _profiles(
    table: Table, solvers: Sequence[SolverInfo], figure: Callable[[Row], float | None]
) -> list[Profile]:
    """The profiles of the solvers that have a figure at all, over the instances all were run on."""
    cases = [
        case
        for case in table.cases
        if case.best is not None
        and not case.infeasible
        and all(row.record is not None for row in case.rows)
    ]
    lowest = {id(case): _lowest(case, solvers, figure) for case in cases}
    found = []
    for solver in solvers:
        own = [(case, figure(row)) for case in cases if (row := case.row(solver.spec)) is not None]
        ratios = sorted(
            ratio(value, best)
            for case, value in own
            if value is not None and (best := lowest[id(case)]) is not None
        )
        if ratios:
            found.append(Profile(solver=solver, ratios=tuple(ratios), instances=len(cases)))
    return found


def _lowest(
    case: Case, solvers: Sequence[SolverInfo], figure: Callable[[Row], float | None]
) -> float | None:
    """The lowest figure of an instance among the solvers."""
    rows = (case.row(solver.spec) for solver in solvers)
    values = (figure(row) for row in rows if row is not None)
    return min((value for value in values if value is not None), default=None)
