"""How latencies are distributed: the share of requests that are served within x seconds."""

from __future__ import annotations

from msgspec import Struct

from pats_opt.report.collect import Row, Table, shared
from pats_opt.report.steps import Steps, mean_steps
from pats_opt.runs.record import SolverInfo


class Served(Struct, frozen=True, kw_only=True):
    """A solver's requests over their latency, mean over instances.

    Attributes:
        solver: The solver.
        curve: From each latency on (seconds), the share of all requests that are served within it;
            it ends below 1 where requests are rejected.
    """

    solver: SolverInfo
    curve: Steps


def latencies(table: Table) -> tuple[int, list[Served]]:
    """The solvers' distributions, and over how many instances they are means.

    Each instance counts alike, however many requests it has.
    """
    cases, solvers = shared(table.cases, table.solvers, _told)
    if not cases:
        return 0, []
    found = []
    for solver in solvers:
        rows = [row for case in cases if (row := case.row(solver.spec)) is not None]
        found.append(Served(solver=solver, curve=mean_steps([_served(r) for r in rows], 0.0)))
    return len(cases), found


def _told(row: Row) -> bool:
    return row.record is not None and bool(row.record.latencies)


def _served(row: Row) -> list[tuple[float, float]]:
    """One run: the share of its requests served within each of the kept latencies."""
    record = row.record
    assert record is not None
    metrics = record.metrics
    share = 1.0 if metrics is None else metrics.served / (metrics.served + metrics.rejected)
    return [(seconds, share * part) for part, seconds in record.latencies]
