"""The frame of a report's runs: a row for each run, compared with all runs of its case.

A *case* is an instance at one latency price: its own, or one of a sweep. The columns of
the frame that are not those of ``runs.csv`` (see :data:`pats_opt.report.pages.CSV`):

======================== ===========================================================================
case, label              number of the case; the instance's name, made unique where two share it
swept, own_price         whether the price is one of a sweep; the instance's own price
key                      key of the run's record, whether or not it is there
verdict, message         how the run ended, in a word or two; its error
proven, claim            whether it proved its schedule optimal; the bound that it claims
counts                   whether it enters means: it was done, not refused, and not of an infeasible
                         instance
infeasible               whether a run proved that the case has no schedule
seconds, charged_s       time of the run; the same with failures at their time limit or more
loss_without_latency     loss without its latency term
central                  the same policy with a central queue (see :mod:`pats_opt.report.dispatch`)
======================== ===========================================================================

A run's ``gap`` is that of :func:`pats_opt.model.loss.gap` to the first of :data:`AGAINST` that is
known of its case; ``against`` names it. A run without a schedule has a gap of 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, get_args, get_type_hints

import polars as pl
from msgspec import Struct

from pats_opt.model.checker import TOLERANCE
from pats_opt.model.loss import LossTerms
from pats_opt.model.schedule import SolutionStatus
from pats_opt.runs.record import FAILURES, InstanceInfo, Record, RunOutcome, SolverInfo, Task
from pats_opt.solving.budget_curve import without_latency
from pats_opt.tables import Metrics

#: The outcome of a run that has no record.
NOT_RUN = "not run"

#: What a gap is to, the first that is known. They are the proven optimum, the best bound that any
#: run proved, and the lowest loss of any run.
AGAINST = ("optimum", "best_bound", "best")

#: Whether a run has a schedule.
SCHEDULED = pl.col("loss").is_not_null()


class DecisionTimes(Struct, frozen=True):
    """Number of a policy's decisions in one run and their seconds, in all and each.

    None where the record has none.
    """

    decisions: int | None = None
    decision_s: float | None = None
    decision_mean_s: float | None = None
    decision_p50_s: float | None = None
    decision_p99_s: float | None = None
    longest_decision_s: float | None = None


def frame_of(tasks: Sequence[Task], records: Mapping[str, Record]) -> pl.DataFrame:
    """The runs of tasks, those of a sweep last, from the records by key."""
    runs = pl.DataFrame(_rows(tasks, records), schema=_SCHEMA, orient="row")
    return _with_worth(runs.sort("swept", "case", maintain_order=True))


def by_solver(
    solvers: Sequence[SolverInfo], runs: pl.DataFrame
) -> Iterator[tuple[SolverInfo, pl.DataFrame]]:
    """The runs of each solver that has any, in the solvers' order."""
    parts = runs.partition_by("solver", as_dict=True)
    return ((s, parts[s.spec,]) for s in solvers if (s.spec,) in parts)


def shared(runs: pl.DataFrame, good: pl.Expr = SCHEDULED) -> pl.DataFrame:
    """The good runs of the cases on which every solver has one.

    Solvers with a good run on less than half of the cases are left out.
    """
    kept = runs.filter(good)
    cases = runs["case"].n_unique()
    kept = kept.filter(2 * pl.len().over("solver") >= cases)
    return kept.filter(pl.len().over("case") == kept["solver"].n_unique())


def ratio(loss: pl.Expr, reference: pl.Expr) -> pl.Expr:
    """``loss / reference`` as in :func:`pats_opt.runs.statistics.ratio`; null without either."""
    at_zero = pl.when(loss <= TOLERANCE).then(1.0).when(loss.is_not_null()).then(float("inf"))
    return pl.when(reference > 0).then(loss / reference).when(reference <= 0).then(at_zero)


def decision_times(record: Record | None) -> DecisionTimes:
    """The times of decisions in a run's details."""
    details = record.details if record else {}
    known: dict[str, Any] = {
        name: details[name]
        for name in DecisionTimes.__struct_fields__
        if isinstance(details.get(name), int | float)
    }
    if known.get("decisions") and "decision_s" in known:
        known["decision_mean_s"] = known["decision_s"] / known["decisions"]
    return DecisionTimes(**known)


def _columns(kind: type[Struct], prefix: str = "") -> dict[str, Any]:
    hints = get_type_hints(kind)
    types = {
        name: next(t for t in get_args(hint) if t is not type(None))
        if isinstance(hint, UnionType)
        else hint
        for name, hint in hints.items()
        if name in kind.__struct_fields__
    }
    return {f"{prefix}{name}": found for name, found in types.items()}


TERMS, METRICS, DECISIONS = (
    _columns(LossTerms, "loss_"),
    _columns(Metrics),
    _columns(DecisionTimes),
)

_SCHEMA: dict[str, Any] = {
    "instance": str,
    "sha256": str,
    "class": str,
    "requests": int,
    "adapters": int,
    "gpus": int,
    "solver": str,
    "kind": str,
    "time_limit_s": float,
    "seed": int,
    "latency_price_per_s": float,
    "end": str,
    "stop": str,
    "point": str,
    "loss": float,
    "bound": float,
    "utility": float,
    "runtime_s": float,
    "wall_s": float,
    **TERMS,
    **METRICS,
    **DECISIONS,
    "started": str,
    "schedule": str,
    "error": str,
    "case": int,
    "label": str,
    "swept": bool,
    "own_price": float,
    "key": str,
    "verdict": str,
    "message": str,
    "seconds": float,
    "loss_without_latency": float,
}


def _rows(tasks: Sequence[Task], done: Mapping[str, Record]) -> list[tuple[object, ...]]:
    instances = {t.config.instance.sha256: t.config.instance for t in tasks}
    names = Counter(instance.name for instance in instances.values())
    cases: dict[tuple[str, float | None], int] = {}
    rows = []
    for task in tasks:
        config = task.config
        instance = instances[config.instance.sha256]
        alone = names[instance.name] == 1
        label = instance.name if alone else f"{instance.name} ({instance.sha256[:6]})"
        price = config.latency_price
        case = cases.setdefault((instance.sha256, price), len(cases))
        place = (case, label, price is not None, instance.latency_price, config.key)
        record = done.get(config.key)
        rows.append((*_run(instance, task, record), *place, *_ending(record)))
    return rows


def _run(instance: InstanceInfo, task: Task, record: Record | None) -> tuple[object, ...]:
    """The columns of a run in ``runs.csv``, except those that compare it."""
    config = task.config
    swept = config.latency_price is not None
    status = record.status if record else None
    error = record.error if record else None
    return (
        *(instance.name, instance.sha256, instance.group),
        *(instance.requests, instance.adapters, instance.gpus),
        *(config.solver.spec, config.solver.kind),
        *((config.time_limit, config.seed) if record else (None, None)),
        config.latency_price if swept else instance.latency_price,
        str(record.end) if record else NOT_RUN,
        *((str(status.stop), str(status.point)) if status else (None, None)),
        *_fields(record, "loss", "bound", "utility", "runtime_s", "wall_s"),
        *_fields(record.terms if record else None, *LossTerms.__struct_fields__),
        *_fields(record.metrics if record else None, *METRICS),
        *_fields(decision_times(record), *DECISIONS),
        *_fields(record, "started", "schedule"),
        f"{error.type}: {error.message}" if error else None,
    )


def _ending(record: Record | None) -> tuple[str, str | None, float | None, float | None]:
    """Verdict, message, seconds, and loss without latency."""
    if record is None:
        return NOT_RUN, None, None, None
    verdict = str(record.end)
    if record.status is not None and record.end is RunOutcome.SOLVED:
        optimal = record.status.point is SolutionStatus.OPTIMAL
        verdict = "optimal" if optimal else str(record.status.stop)
    other = None if record.terms is None else without_latency(record.terms)
    return verdict, record.error.message if record.error else None, record.seconds, other


def _fields(values: object, *names: str) -> list[Any]:
    return [None if values is None else getattr(values, name) for name in names]


def _with_worth(runs: pl.DataFrame) -> pl.DataFrame:
    """Add the columns that compare each run with the runs of its case."""
    loss, end = pl.col("loss"), pl.col("end")
    proven = (pl.col("point") == SolutionStatus.OPTIMAL).fill_null(value=False)
    runs = runs.with_columns(
        proven=proven,
        claim=pl.coalesce("bound", pl.when(proven).then("loss")),
        infeasible=(end == RunOutcome.INFEASIBLE).any().over("case"),
    )
    refused = end.is_in([NOT_RUN, RunOutcome.NOT_APPLICABLE, RunOutcome.INFEASIBLE])
    limit = pl.when(end.is_in(list(FAILURES))).then("time_limit_s")
    runs = runs.with_columns(
        best_bound=pl.col("claim").max().over("case"),
        optimum=loss.filter("proven").min().over("case"),
        best=loss.min().over("case"),
        counts=~refused & ~pl.col("infeasible"),
        charged_s=pl.max_horizontal("seconds", limit),
    )

    known = pl.coalesce(AGAINST)
    gap = pl.when(loss <= 0).then(0.0).otherwise((loss - known) / loss).clip(0.0)
    return runs.with_columns(
        gap=pl.when("counts").then(gap.fill_null(1.0)),
        against=pl.when("counts").then(
            pl.coalesce(pl.when(pl.col(c).is_not_null()).then(pl.lit(c)) for c in AGAINST)
        ),
    )


def against(runs: pl.DataFrame) -> str:
    """Name the reference of the gaps of these runs."""
    found = set(runs["against"].drop_nulls())
    if found <= {"optimum"}:
        return "the optimum" if found else "the bound"
    if found == {"best"}:
        return "the best known"
    return "the bound or best known" if "best" in found else "the bound"
