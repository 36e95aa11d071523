"""How solvers serve: means over instances, and what becomes of those who wait longest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from pats_opt.core.solver import Kind
from pats_opt.report.collect import Row, Table, shared
from pats_opt.runs.record import Record, SolverInfo
from pats_opt.runs.statistics import Spread, ratio, spread
from pats_opt.tables import Metrics, bound_on_waiting

#: Parameters that bound waiting: what a policy is compared without.
BOUNDS = ("max_wait_s", "adaptive_wait")


class Deciding(Struct, frozen=True):
    """What a policy's decisions took in one run; None where the run does not tell.

    Attributes:
        decisions: How often it was asked.
        decision_s: Seconds of all answers.
        decision_mean_s: Seconds of an answer, mean; then the median and the 99 % quantile.
        longest_decision_s: Seconds of the slowest answer.
    """

    decisions: float | None = None
    decision_s: float | None = None
    decision_mean_s: float | None = None
    decision_p50_s: float | None = None
    decision_p99_s: float | None = None
    longest_decision_s: float | None = None


def deciding(record: Record | None) -> Deciding:
    """What deciding took, from what a run tells in its details."""
    told = record.details if record else {}
    known: dict[str, float] = {
        name: told[name]
        for name in Deciding.__struct_fields__
        if isinstance(told.get(name), int | float)
    }
    if known.get("decisions") and "decision_s" in known:
        known["decision_mean_s"] = known["decision_s"] / known["decisions"]
    return Deciding(**known)


class Service(Struct, frozen=True, kw_only=True):
    """A solver's figures, means over the instances that the solvers compared share.

    Attributes:
        solver: The solver.
        means: By the name of each field of :class:`Metrics` and :class:`Deciding` that is a number;
            None where no run has it.
    """

    solver: SolverInfo
    means: dict[str, float | None]


class Starvation(Struct, frozen=True, kw_only=True):
    """How long an online policy lets requests wait, and what its bound on that costs.

    Attributes:
        solver: The policy.
        runs: Instances that it has a schedule for.
        bound_s: Its hard bound on waiting, or None.
        wait_mean_s: Mean wait, mean over the instances.
        wait_p99_s: 99 % quantile of waits, mean over the instances.
        worst_s: The worst wait on any instance.
        starved: Requests that waited longer than the bound, on all instances; None without one.
        jain: Jain's index over adapters' mean latencies, mean over the instances.
        without: The same policy without a bound, where it is among the solvers.
        worst_shared_s: The worst wait on the instances that both have a schedule for.
        worst_without_s: That of the policy without a bound.
        cost: Loss / its loss - 1 on these: what the bound costs.
    """

    solver: SolverInfo
    runs: int
    bound_s: float | None
    wait_mean_s: float | None
    wait_p99_s: float | None
    worst_s: float | None
    starved: int | None
    jain: float | None
    without: SolverInfo | None
    worst_shared_s: float | None
    worst_without_s: float | None
    cost: Spread | None


def services(table: Table) -> tuple[int, list[Service]]:
    """The solvers' figures, and over how many instances they are means."""
    cases, solvers = shared(table.cases, table.solvers)
    found = []
    for solver in solvers:
        lines = [_figures(row) for case in cases if (row := case.row(solver.spec))]
        names = lines[0] if lines else {}
        found.append(
            Service(solver=solver, means={n: _mean([line[n] for line in lines]) for n in names})
        )
    return len(cases), found


def _figures(row: Row) -> dict[str, Any]:
    """The numbers of one run, by name."""
    record = row.record
    metrics, decided = record.metrics if record else None, deciding(record)
    values = {name: getattr(metrics, name, None) for name in Metrics.__struct_fields__}
    values |= {name: getattr(decided, name) for name in Deciding.__struct_fields__}
    return {name: None if isinstance(v, str) else v for name, v in values.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def starvations(table: Table) -> list[Starvation]:
    """Every online policy that has a schedule for any instance."""
    policies = [solver for solver in table.solvers if solver.kind == Kind.ONLINE]
    found = (_starvation(table, policy, policies) for policy in policies)
    return [starvation for starvation in found if starvation.runs]


def _starvation(table: Table, policy: SolverInfo, policies: Sequence[SolverInfo]) -> Starvation:
    own = dict(_metrics(table, policy))
    bound = bound_on_waiting(policy.params)
    without = next((p for p in policies if bound is not None and _unbounded(policy, p)), None)
    other = dict(_metrics(table, without)) if without else {}
    both = [digest for digest in own if digest in other]
    costs = [ratio(own[d][0], other[d][0]) - 1 for d in both]
    starved = [made.starved for _, made in own.values() if made.starved is not None]
    return Starvation(
        solver=policy,
        runs=len(own),
        bound_s=bound,
        wait_mean_s=_mean([made.wait_mean_s for _, made in own.values()]),
        wait_p99_s=_mean([made.wait_p99_s for _, made in own.values()]),
        worst_s=_worst([made for _, made in own.values()]),
        starved=sum(starved) if starved else None,
        jain=_mean([made.jain for _, made in own.values()]),
        without=without,
        worst_shared_s=_worst([own[d][1] for d in both]),
        worst_without_s=_worst([other[d][1] for d in both]),
        cost=spread(costs),
    )


def _metrics(table: Table, solver: SolverInfo) -> Iterator[tuple[str, tuple[float, Metrics]]]:
    """Loss and figures of a solver by instance, where it has a schedule."""
    for case in table.cases:
        row = case.row(solver.spec)
        if row and row.record and row.loss is not None and row.record.metrics is not None:
            yield case.instance.sha256, (row.loss, row.record.metrics)


def _worst(made: Sequence[Metrics]) -> float | None:
    return max((m.wait_max_s for m in made if m.wait_max_s is not None), default=None)


def _unbounded(policy: SolverInfo, other: SolverInfo) -> bool:
    """Whether ``other`` is ``policy`` without its bound on waiting."""

    def rest(solver: SolverInfo) -> tuple[str, dict[str, Any]]:
        return solver.name, {k: v for k, v in solver.params.items() if k not in BOUNDS}

    return bound_on_waiting(other.params) is None and rest(policy) == rest(other)
