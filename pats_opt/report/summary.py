"""The report's main results as sentences, computed from the table and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from pats_opt.core.solver import Kind
from pats_opt.model.schedule import StopReason
from pats_opt.report.collect import Table
from pats_opt.report.columns import spread_text, times_text
from pats_opt.report.dispatch import prices_of_binding
from pats_opt.report.frame import AGAINST, NOT_RUN, SCHEDULED, against, by_solver
from pats_opt.report.service import starvations
from pats_opt.runs.record import FAILURES, RunOutcome, SolverInfo
from pats_opt.runs.statistics import Spread, spread
from pats_opt.wording import counted, number, percent


def sentences(table: Table) -> list[str]:
    """The main results, the most important first."""
    own = table.own
    if own.is_empty():
        return ["There are no instances."]
    headline = [*_headline(table, own), *_unbounded(own)]
    counting = own.filter("counts")
    found = {solver.spec: runs for solver, runs in by_solver(table.solvers, counting)}
    parts = [(s, found.get(s.spec, counting.clear())) for s in table.solvers]
    proofs = [_proofs(s, runs) for s, runs in parts if s.kind in {Kind.EXACT, Kind.BOUND}]
    losses = [_loss(s, runs) for s, runs in parts if s.kind == Kind.ONLINE]
    return [
        *table.contradictions,
        *(headline + proofs if headline else losses + proofs),
        *_incomplete(table, own),
        *_waits(table),
        *_bindings(table),
        *(losses if headline else ()),
        *(_loss(s, runs) for s, runs in parts if s.kind == Kind.HEURISTIC),
    ]


def _headline(table: Table, own: pl.DataFrame) -> Iterator[str]:
    """The online policies that lose least and most, where several have schedules everywhere."""
    feasible = own.filter(~pl.col("infeasible"))
    proven = feasible.filter(pl.col("optimum").is_not_null())
    instances = proven["case"].n_unique()
    online = proven.filter((pl.col("kind") == Kind.ONLINE) & SCHEDULED)
    medians = {}
    for solver, runs in by_solver(table.solvers, online):
        found = _gaps(runs)
        if found is not None and found.count == instances:  # else it failed where others did not
            medians[solver.spec] = found.median
    if len(medians) < 2:
        return
    least, most = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    yield (
        f"The optimum is proven on {instances} of {_instances(feasible['case'].n_unique())}; "
        f"of the online policies {least} has the smallest gap to it, {percent(medians[least])} in "
        f"the median, and {most} the largest, {percent(medians[most])}."
    )


def _unbounded(own: pl.DataFrame) -> Iterator[str]:
    """Say so where nothing is known of the best possible."""
    counting = own.filter(pl.col("counts") & SCHEDULED)
    if not counting.is_empty() and counting["best_bound"].null_count() == len(counting):
        yield (
            "No run gave a bound, so nothing says how much of these losses a better schedule could "
            "save: add auto or lagrangian to the solvers."
        )


def _loss(solver: SolverInfo, runs: pl.DataFrame) -> str:
    """The gaps of an online policy or a heuristic, by what they are to."""
    name = f"{'Online' if solver.kind == Kind.ONLINE else 'Heuristic'} {solver.spec}"
    held = runs.filter(SCHEDULED)
    if held.is_empty():
        return f"{name} has no schedule."
    parts = [
        f"{spread_text(_gaps(some))} to {against(some)} over {_instances(len(some))}"
        for column in AGAINST
        if not (some := held.filter(pl.col("against") == column)).is_empty()
    ]
    return f"{name} has a gap of {', and '.join(parts)}."


def _proofs(solver: SolverInfo, runs: pl.DataFrame) -> str:
    """The proofs of an exact solver, and how far it got without one."""
    if runs.is_empty():
        return f"{solver.spec} has no run that counts."
    proven = runs["proven"].sum()
    text = f"{solver.spec} proved its schedule optimal on {proven} of {_instances(len(runs))}"
    opened = runs.filter(~pl.col("proven"))
    if not opened.is_empty() and solver.kind == Kind.EXACT:
        text += f"; on the rest its gap to {against(opened)} is {spread_text(_gaps(opened))}"
    return text + "."


def _waits(table: Table) -> Iterator[str]:
    """The cost and the use of each bound on waiting."""
    for row in starvations(table):
        if row["cost"] is not None:
            yield (
                f"{row['solver']} against {row['without']}: a bound of {number(row['bound_s'])} s "
                f"on waiting costs {spread_text(row['cost'])} of loss over "
                f"{_instances(row['cost'].count)}; the worst wait is "
                f"{number(row['worst_shared_s'])} s with it, "
                f"{number(row['worst_without_s'])} s without."
            )


def _bindings(table: Table) -> Iterator[str]:
    """The price of binding requests on arrival, of each policy that also runs with one queue."""
    for row in prices_of_binding(table.solvers, table.own):
        latency = row["latency_over_central"]
        yield (
            f"{row['solver']} against {row['central']}: to bind requests to GPUs on arrival "
            f"multiplies the loss by {times_text(row['loss_over_central'])}"
            + (f" and the mean latency by {times_text(latency)}" if latency else "")
            + f" over {_instances(row['instances'])}."
        )


def _incomplete(table: Table, own: pl.DataFrame) -> Iterator[str]:
    """Runs without a schedule by their outcome, and instances without any."""
    runs = table.runs
    ends = dict(runs.group_by("end").len().rows())
    parts = [f"{ends[end]} {end}" for end in RunOutcome if end in FAILURES and end in ends]
    if refused := ends.get(RunOutcome.NOT_APPLICABLE):
        parts.append(f"{refused} not applicable (the solver lacks a feature)")
    if missing := ends.get(NOT_RUN):
        parts.append(f"{missing} not run")
    if limited := (runs["verdict"] == StopReason.TIME_LIMIT).sum():
        parts.append(f"{limited} stopped at the time limit with a schedule")
    if parts:
        yield f"Of {counted(len(runs), 'run')}: {', '.join(parts)}."
    if infeasible := own.filter("infeasible")["case"].n_unique():
        yield f"{_instances(infeasible)} proven infeasible."


def _gaps(runs: pl.DataFrame) -> Spread | None:
    return spread(runs["gap"].drop_nulls().to_list())


def _instances(count: int) -> str:
    return counted(count, "instance")
