"""The columns of the report's tables: a heading, and the text of a row's cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pats_opt.report.anytime import Line
from pats_opt.report.collect import Case, Row, Table, Total
from pats_opt.report.service import deciding
from pats_opt.report.summary import spread_text
from pats_opt.report.tradeoff import Step
from pats_opt.runs.record import RunOutcome
from pats_opt.runs.statistics import ROUGH_BELOW
from pats_opt.wording import milliseconds, number, percent


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        heading: Its heading.
        text: The text of a row's cell.
        value: What a row is sorted by; None for a column of words.
    """

    heading: str
    text: Callable[[Any], str]
    value: Callable[[Any], float | None] | None = None


def figure(
    heading: str,
    value: Callable[[Any], float | None],
    show: Callable[[float | None], str] = number,
) -> Column:
    """A column of figures, sorted by what they are and not by how they are shown."""
    return Column(heading, lambda row: show(value(row)), value)


def metric(heading: str, name: str, show: Callable[[float | None], str] = number) -> Column:
    """A column that shows one of the metrics."""

    def value(row: Row) -> float | None:
        metrics = row.record.metrics if row.record else None
        return None if metrics is None else getattr(metrics, name)

    return figure(heading, value, show)


def recorded(heading: str, name: str, show: Callable[[float | None], str] = number) -> Column:
    """A column that shows a figure of the record."""
    return figure(heading, lambda row: getattr(row.record, name) if row.record else None, show)


def _five(value: float | None) -> str:
    """A figure to five digits."""
    return number(value, 5)


def seconds(value: float | None) -> str:
    """Seconds to a hundredth."""
    return number(None) if value is None else f"{value:.2f}"


def _ms(seconds: float | None) -> str:
    """Seconds as milliseconds, to three digits."""
    return milliseconds(seconds, 3)


#: What each run achieved.
RESULTS = (
    Column("end", lambda row: row.verdict),
    figure("loss", lambda row: row.loss, _five),
    recorded("bound", "bound", _five),
    figure("gap to best bound", lambda row: row.gap, percent),
    figure("gap to optimum", lambda row: row.optimum_gap, percent),
    figure("loss above optimum", lambda row: row.excess, percent),
    recorded("utility", "utility"),
    recorded("seconds", "seconds", seconds),
)

#: What is known of an instance.
INSTANCES = (
    figure("requests", lambda case: case.instance.requests),
    figure("adapters", lambda case: case.instance.adapters),
    figure("GPUs", lambda case: case.instance.gpus),
    figure("best bound", lambda case: case.bound, _five),
    figure("best loss", lambda case: case.best, _five),
    figure("optimum", lambda case: case.optimum, _five),
)

#: How each run's schedule serves.
SERVICE = (
    metric("latency mean s", "latency_mean_s"),
    metric("p50", "latency_p50_s"),
    metric("p95", "latency_p95_s"),
    metric("p99", "latency_p99_s"),
    metric("max", "latency_max_s"),
    metric("wait mean s", "wait_mean_s"),
    metric("p99", "wait_p99_s"),
    metric("max", "wait_max_s"),
    metric("switches", "switches"),
    metric("switching s", "switching_s"),
    metric("cache hits", "hit_share", percent),
    metric("GPU busy", "busy_share", percent),
    metric("switching", "switching_share", percent),
    metric("requests/s", "throughput_per_s"),
    metric("Jain", "jain"),
    metric("worst adapter p95 s", "worst_adapter_p95_s"),
    metric("VRAM peak GiB", "vram_peak_gib"),
    metric("late", "deadline_misses"),
    metric("rejected", "rejected"),
    metric("steps saved", "steps_saved_share", percent),
    figure("decision p99 ms", lambda row: deciding(row.record).decision_p99_s, _ms),
)


class Entry(NamedTuple):
    """A run in the table of all runs."""

    case: Case
    row: Row


def _of_case(column: Column) -> Column:
    """A column about an instance, for entries."""
    value = column.value
    return Column(
        column.heading,
        lambda entry: column.text(entry.case),
        None if value is None else lambda entry: value(entry.case),
    )


def _of_row(column: Column) -> Column:
    """A column about a run, for entries."""
    value = column.value
    return Column(
        column.heading,
        lambda entry: column.text(entry.row),
        None if value is None else lambda entry: value(entry.row),
    )


class RunColumn(NamedTuple):
    """A column of the table of all runs, and the choices of columns that show it."""

    column: Column
    choices: frozenset[str]


#: Choices of columns of the table of all runs; the first is shown at first.
CHOICES = ("results", "service", "everything")


def run_columns(table: Table) -> list[RunColumn]:
    """The columns of the table of all runs, behind instance, class and solver."""
    always, results, service, rest = (frozenset((*shown, "everything")) for shown in (
        ("results", "service"), ("results",), ("service",), ()
    ))  # fmt: skip
    short = {"latency mean s": always, "p95": always, "switches": always}
    second = {"gap to optimum": rest, "utility": rest}
    named = {"gap to best bound": "gap", "loss above optimum": "above optimum"}
    price = figure("latency price", lambda case: case.price)
    return [
        *([RunColumn(_of_case(price), always)] if table.sweeps else ()),
        RunColumn(_of_row(Column("kind", lambda row: row.solver.kind)), results),
        *(
            RunColumn(
                _of_row(c._replace(heading=named.get(c.heading, c.heading))),
                second.get(c.heading, results),
            )
            for c in RESULTS
        ),
        *(RunColumn(_of_row(c), short.get(c.heading, service)) for c in SERVICE),
        *(RunColumn(_of_case(c), rest) for c in INSTANCES),
    ]


def mean(heading: str, name: str, show: Callable[[float | None], str] = number) -> Column:
    """A column that shows the mean of one of the metrics over instances."""
    return Column(heading, lambda service: show(service.means[name]))


#: How each solver serves, over instances.
MEANS = (
    mean("GPU serving", "busy_share", percent),
    mean("switching", "switching_share", percent),
    mean("idle", "idle_share", percent),
    mean("serving of used", "serving_of_used", percent),
    mean("requests/s", "throughput_per_s"),
    mean("steps/s", "steps_per_s"),
    mean("loads", "loads"),
    mean("cache hits", "hit_share", percent),
    mean("latency mean s", "latency_mean_s"),
    mean("wait mean s", "wait_mean_s"),
    mean("p99", "wait_p99_s"),
    mean("worst", "wait_max_s"),
    mean("queue", "queue_mean"),
    mean("Jain", "jain"),
    mean("worst adapter p95 s", "worst_adapter_p95_s"),
    mean("decision mean ms", "decision_mean_s", _ms),
    mean("p99", "decision_p99_s", _ms),
)

#: How long each policy lets requests wait.
WAITING = (
    Column("bound s", lambda starvation: number(starvation.bound_s)),
    Column("instances", lambda starvation: str(starvation.runs)),
    Column("wait mean s", lambda starvation: number(starvation.wait_mean_s)),
    Column("p99", lambda starvation: number(starvation.wait_p99_s)),
    Column("worst on any", lambda starvation: number(starvation.worst_s)),
    Column("beyond the bound", lambda starvation: number(starvation.starved)),
    Column("Jain", lambda starvation: number(starvation.jain)),
    Column("worst without bound", lambda starvation: number(starvation.worst_without_s)),
    Column("loss the bound costs", lambda s: spread_text(s.cost) if s.cost else percent(None)),
)


def term(heading: str, name: str) -> Column:
    """A column that shows one term of the loss at a latency price."""

    def text(step: Step) -> str:
        terms = step.row.record.terms if step.row.record else None
        return number(None if terms is None else getattr(terms, name))

    return Column(heading, text)


#: What a sweep's run achieved at its latency price.
TRADEOFF = (
    Column("latency price", lambda step: number(step.price)),
    Column("latency mean s", lambda step: number(step.metric("latency_mean_s"))),
    Column("p95", lambda step: number(step.metric("latency_p95_s"))),
    Column("loss without latency", lambda step: number(step.other, 5)),
    term("quality", "quality"),
    term("switching", "switching"),
    term("late", "late"),
    term("rejection", "rejection"),
    Column("gap at this price", lambda step: percent(step.row.gap)),
    Column("end", lambda step: step.row.verdict),
)


#: How soon each solver has good schedules and bounds.
ANYTIME = (
    Column("primal integral s", lambda pair: number(_side(pair[0], "integral_s"), 3)),
    Column("primal gap at the end", lambda pair: percent(_side(pair[0], "final"))),
    Column("dual integral s", lambda pair: number(_side(pair[1], "integral_s"), 3)),
    Column("dual gap at the end", lambda pair: percent(_side(pair[1], "final"))),
)


def _side(line: Line | None, name: str) -> float | None:
    return None if line is None else getattr(line, name)


#: Ends that the table of totals always tells; it tells others where they occur.
ALWAYS = (RunOutcome.FAILED, RunOutcome.TIMED_OUT)


def totals_columns(totals: Sequence[Total]) -> list[Column]:
    """The table by class and solver; ends that no run had are left out but for the failures."""

    def ended(end: str) -> Column:
        return Column(end, lambda total: str(total.ends.get(end, 0)))

    seen = {end for total in totals for end in total.ends}
    told = [
        str(end)
        for end in RunOutcome
        if end is not RunOutcome.SOLVED and (end in seen or end in ALWAYS)
    ]
    return [
        Column("runs", lambda total: str(total.runs)),
        Column("proven optimal", lambda total: str(total.proven)),
        Column("stopped at a limit", lambda total: str(total.stopped)),
        *(ended(end) for end in [*told, *(["not run"] if "not run" in seen else [])]),
        Column("gap to best bound", lambda t: _over(percent(t.gap), t.gaps, t.runs)),
        Column("95 % interval", interval),
        Column(
            "loss above optimum, median",
            lambda t: (
                _over(percent(t.excess.median), t.excess.count, t.runs)
                if t.excess
                else percent(None)
            ),
        ),
        Column("seconds", lambda total: seconds(total.time_s)),
    ]


def interval(total: Total) -> str:
    """The interval of a class's mean gap; rough where it is of few instances."""
    if total.gap_interval is None:
        return percent(None)
    low, high = map(percent, total.gap_interval)
    return f"{low} to {high}{' (rough)' if total.gaps < ROUGH_BELOW else ''}"


def _over(text: str, count: int, of: int) -> str:
    """A mean, with how many runs it is over where that is not all of them."""
    return text if count in (0, of) else f"{text} (of {count})"
