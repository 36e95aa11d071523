"""Levels of approximate caching at which each solver serves: mean shares over instances."""

from __future__ import annotations

from msgspec import Struct

from pats_opt.report.collect import Table
from pats_opt.report.curves import comparable
from pats_opt.report.frame import by_solver
from pats_opt.runs.record import Record, SolverInfo


class SolverLevels(Struct, frozen=True, kw_only=True):
    """Shares of a solver's requests by level, mean over instances.

    Attributes:
        shares: Share served at each level (steps skipped), those at no level of 0 too.
        unserved: Share that is not served; all shares add up to 1.
    """

    solver: SolverInfo
    shares: dict[int, float]
    unserved: float


def level_shares(table: Table) -> tuple[int, list[SolverLevels]]:
    """The number of instances with levels, and the mean shares over them by solver."""
    runs = comparable(table, lambda record: bool(record.levels))
    parts = [
        (solver, [table.records[key] for key in part["key"]])
        for solver, part in by_solver(table.solvers, runs)
    ]
    levels = sorted({level for _, some in parts for r in some for level, _ in r.levels})
    return runs["case"].n_unique(), [_mean(s, levels, some) for s, some in parts]


def _mean(solver: SolverInfo, levels: list[int], records: list[Record]) -> SolverLevels:
    shares = dict.fromkeys(levels, 0.0)
    for record in records:
        for level, count in record.levels:
            shares[level] += count / record.config.instance.requests / len(records)
    return SolverLevels(solver=solver, shares=shares, unserved=max(0.0, 1 - sum(shares.values())))
