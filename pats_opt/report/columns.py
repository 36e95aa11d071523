"""The columns of the report's tables: a heading, and the text of a row's cell."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from pats_opt.report.collect import Table
from pats_opt.report.frame import NOT_RUN, against
from pats_opt.report.service import Row
from pats_opt.runs.record import RunOutcome
from pats_opt.runs.statistics import ROUGH_BELOW, Spread
from pats_opt.tables.service_levels import MULTIPLES
from pats_opt.tables.specs import METRICS
from pats_opt.wording import DASH, milliseconds, number, percent

if TYPE_CHECKING:
    from markupsafe import Markup


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        value: Value of a row.
        show: Text of a value; ``str`` makes a column of words, sorted as such.
        choices: Those of :data:`CHOICES` which show it.
    """

    heading: str
    value: Callable[[Any], Any]
    show: Callable[[Any], str] = number
    choices: tuple[str, ...] = ()

    @property
    def is_words(self) -> bool:
        """Whether its values are words."""
        return self.show is str

    def text(self, row: Any) -> str:
        """The cell of a row."""
        return self.show(self.value(row))

    def order(self, row: Any) -> str:
        """The figure that a row is sorted by; empty where there is none."""
        value = self.value(row)
        return "" if value is None else f"{value:.9g}"


def column(heading: str, name: str, show: Callable[[Any], str] = number) -> Column:
    """A column of a field."""
    return Column(heading, itemgetter(name), show)


def metric(name: str, heading: str = "") -> Column:
    """A column of a metric, formatted and by default named as everywhere."""
    spec = METRICS[name]
    if spec.unit == "%":
        return column(heading or spec.label, name, percent)
    return column(heading or f"{spec.label} {spec.unit}".rstrip(), name)


def _three(value: float | None) -> str:
    return number(value, 3)


def _seconds(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}"


def _ms(seconds: float | None) -> str:
    return milliseconds(seconds, 3)


def spread_text(values: Spread | None, show: Callable[[float], str] = percent) -> str:
    """The median, with the range where there is one."""
    if values is None:
        return DASH
    if values.low == values.high:
        return show(values.median)
    return f"{show(values.median)} (median; {show(values.low)} to {show(values.high)})"


def times_text(values: Spread | None) -> str:
    """The same of ratios."""
    return spread_text(values, _three)


#: Words for what a run's gap is to.
NAMED = {"optimum": "optimum", "best_bound": "bound", "best": "best known"}

#: Results of each run.
RESULTS = (
    column("end", "verdict", str),
    column("loss", "loss"),
    column("bound", "bound"),
    column("gap", "gap", percent),
    Column("to", lambda run: NAMED.get(run["against"], DASH), str),
    column("utility", "utility"),
    column("seconds", "seconds", _seconds),
)

#: Properties of an instance.
INSTANCES = (
    column("requests", "requests"),
    column("adapters", "adapters"),
    column("GPUs", "gpus"),
    column("best bound", "best_bound"),
    column("best loss", "best"),
    column("optimum", "optimum"),
)

#: Service of each run's schedule.
SERVICE = (
    metric("latency_mean_s"),
    metric("latency_p50_s", "p50"),
    metric("latency_p95_s", "p95"),
    metric("latency_p99_s", "p99"),
    metric("latency_max_s", "max"),
    metric("wait_mean_s"),
    metric("wait_p99_s", "p99"),
    metric("wait_max_s", "max"),
    metric("switches"),
    metric("switching_s"),
    metric("hit_share", "cache hits"),
    metric("busy_share", "GPU busy"),
    metric("switching_share", "switching"),
    metric("throughput_per_s", "requests/s"),
    metric("jain", "Jain"),
    metric("worst_adapter_p95_s"),
    metric("vram_peak_gib"),
    metric("deadline_misses", "late"),
    metric("rejected"),
    metric("steps_saved_share", "steps saved"),
    metric("quality_mean", "quality"),
    column("decision p99 ms", "decision_p99_s", _ms),
)

#: Service of each solver, means over instances.
MEANS = (
    metric("busy_share", "GPU serving"),
    metric("switching_share", "switching"),
    metric("idle_share", "idle"),
    metric("serving_of_used"),
    metric("throughput_per_s", "requests/s"),
    metric("steps_per_s", "steps/s"),
    metric("loads"),
    metric("hit_share", "cache hits"),
    metric("quality_mean", "quality"),
    metric("latency_mean_s"),
    metric("wait_mean_s"),
    metric("wait_p99_s", "p99"),
    metric("wait_max_s", "worst"),
    metric("queue_mean", "queue"),
    metric("jain", "Jain"),
    metric("worst_adapter_p95_s"),
    column("decision mean ms", "decision_mean_s", _ms),
    column("p99", "decision_p99_s", _ms),
)

#: Service of each solver at a glance, behind its loss.
GLANCE = (
    metric("latency_mean_s"),
    metric("latency_p95_s", "p95"),
    metric("latency_p99_s", "p99"),
    metric("throughput_per_s", "requests/s"),
    metric("switching_share", "switching"),
    metric("quality_mean", "quality"),
    column("GPU s per request", "gpu_s_per_request"),
)

#: The same with deadlines, where an instance has them.
GLANCE_IN_TIME = (
    metric("violation_share"),
    metric("goodput_per_s", "goodput/s"),
    metric("quality_of_all"),
)

#: Service by group, for both of these tables where an instance has groups.
BY_GROUP = (
    metric("groups_rejected"),
    metric("group_latency_mean_s"),
    metric("group_latency_p95_s", "group p95"),
    metric("group_latency_p99_s", "group p99"),
)

#: Loads beside serving, for both of these tables where an instance has them.
BY_LOADER = (
    metric("loader_busy_share", "loader busy"),
    metric("hidden_load_share", "loads hidden"),
    metric("load_wait_s"),
)

#: Deadlines, for both of these tables where an instance has them.
BY_DEADLINE = (
    metric("goodput_per_s", "goodput/s"),
    metric("violation_share"),
    metric("quality_of_all"),
)

#: Approximate caching, for both of these tables where requests were looked up.
BY_LOOK_UP = (
    metric("look_up_hit_share"),
    metric("redirected_share"),
    metric("skipped_share"),
)

#: Waiting under each policy.
WAITING = (
    column("bound s", "bound_s"),
    column("instances", "instances"),
    metric("wait_mean_s"),
    metric("wait_p99_s", "p99"),
    column("worst on any", "worst_s"),
    column("beyond the bound", "starved"),
    metric("jain", "Jain"),
    column("worst without bound", "worst_without_s"),
    column("loss the bound costs", "cost", spread_text),
)

#: The price of binding early, by policy.
BINDING = (
    column("against", "central", str),
    column("instances", "instances"),
    column("loss / central's", "loss_over_central", times_text),
    column("mean latency / central's", "latency_over_central", times_text),
)

#: The same of each run.
BINDING_OF_RUN = (column("binding early", "loss_over_central", _three),)

#: Results of a sweep's run at its latency price.
TRADEOFF = (
    column("latency price", "latency_price_per_s"),
    metric("latency_mean_s"),
    metric("latency_p95_s", "p95"),
    column("loss without latency", "loss_without_latency"),
    column("quality", "loss_quality"),
    column("switching", "loss_switching"),
    column("late", "loss_late"),
    column("rejection", "loss_rejection"),
    column("gap at this price", "gap", percent),
    Column("to", lambda run: NAMED.get(run["against"], DASH), str),
    column("end", "verdict", str),
)


#: Gaps over time of each solver.
ANYTIME = (
    column("gap to the best known at the end", "primal_final", percent),
    column("primal integral s", "primal_integral_s", _three),
    column("gap of the best known to the bound at the end", "dual_final", percent),
    column("dual integral s", "dual_integral_s", _three),
)

#: Outcomes that the table of totals always shows; others where they occur.
ALWAYS = {RunOutcome.FAILED, RunOutcome.TIMED_OUT}


def glance_columns(table: Table) -> list[Column]:
    """The columns of the solvers at a glance."""
    in_time = GLANCE_IN_TIME if table.runs["violation_share"].count() else ()
    early = BINDING_OF_RUN if table.runs["loss_over_central"].count() else ()
    return [gap_column(table, "gap"), *early, *GLANCE, *in_time]


def gap_column(table: Table, name: str) -> Column:
    """The column of a gap over all instances; its heading says against what it is measured."""
    return column(f"gap to {against(table.own)}", name, percent)


def by_feature(table: Table) -> list[Column]:
    """The columns of some instances only, where a run has a schedule of such an instance."""
    known = {
        "groups_served": BY_GROUP,
        "loader_busy_share": BY_LOADER,
        "violation_share": BY_DEADLINE,
        "look_up_hit_share": BY_LOOK_UP,
    }
    return [c for name, some in known.items() if table.runs[name].count() for c in some]


def result_columns(table: Table) -> list[Column]:
    """The results of each run; with the price of binding early where any has one."""
    return [*RESULTS, *(BINDING_OF_RUN if table.runs["loss_over_central"].count() else ())]


def level_columns(levels: Iterable[int]) -> list[Column]:
    """Shares of requests by level (steps skipped), and of those not served."""
    by_level = (column(f"{level} skipped", str(level), percent) for level in levels)
    return [*by_level, column("not served", "unserved", percent)]


def attainment_columns() -> list[Column]:
    """Shares of requests served within multiples of their deadline."""
    return [column(f"within {x:g}", f"{x:g}", percent) for x in MULTIPLES]


def totals_columns(table: Table) -> list[Column]:
    """The table by class and solver; outcomes that no run had are left out but for the failures."""

    def ended(end: str) -> Column:
        return Column(end, lambda row: row["ends"].get(end, 0), str)

    found = {end for total in table.totals for end in total.ends}
    shown = [str(e) for e in RunOutcome if e is not RunOutcome.SOLVED and e in found | ALWAYS]
    return [
        column("runs", "runs", str),
        column("proven optimal", "proven", str),
        column("stopped at a limit", "stopped", str),
        *(ended(end) for end in [*shown, *({NOT_RUN} & found)]),
        gap_column(table, "gap")._replace(value=_mean_gap, show=str),
        Column("95 % interval", _interval, str),
        column("seconds", "time_s", _seconds),
    ]


def _interval(total: Row) -> str:
    if total["gap_interval"] is None:
        return DASH
    low, high = map(percent, total["gap_interval"])
    return f"{low} to {high}{' (rough)' if total['gaps'] < ROUGH_BELOW else ''}"


def _mean_gap(total: Row) -> str:
    """A mean gap, with the number of its runs unless that is all."""
    share, count = percent(total["gap"]), total["gaps"]
    return share if count in {0, total["runs"]} else f"{share} (of {count})"


# -- the table of all runs -------------------------------------------------------------------------

#: Choices of columns of the table of all runs; the first is shown at first.
CHOICES = ("results", "service", "everything")


def run_columns(table: Table) -> list[Column]:
    """The columns of the table of all runs, behind instance, class and solver."""
    always, results, service, rest = CHOICES, ("results", "everything"), CHOICES[1:], CHOICES[2:]
    short = {"latency mean s", "p95", "switches"}
    swept = table.runs["swept"].any()
    return [
        *([column("latency price", "latency_price_per_s")._replace(choices=always)] * swept),
        column("kind", "kind", str)._replace(choices=results),
        *(
            c._replace(choices=rest if c.heading == "utility" else results)
            for c in result_columns(table)
        ),
        *(
            c._replace(choices=always if c.heading in short else service)
            for c in (*SERVICE, *by_feature(table))
        ),
        *(c._replace(choices=rest) for c in INSTANCES),
    ]


class RunTable(NamedTuple):
    """The table of all runs, which DataTables makes sortable.

    DataTables (https://datatables.net, MIT) comes with the package itables; its script and style
    are part of the page, which thus works offline. Without scripts all rows and columns show.

    Attributes:
        columns: The columns behind instance, class and solver.
        choices: :data:`CHOICES`.
        rows: The runs, each with the ``link`` to its picture or None.
        filters: The values by which rows can be chosen, by the column.
        linked: Whether any run has a picture.
    """

    columns: list[Column]
    choices: tuple[str, ...]
    rows: list[Row]
    filters: dict[str, list[str]]
    linked: bool

    @property
    def script(self) -> Markup:
        """DataTables' module as a JSON string that can stand in a page."""
        return _markup(json.dumps(_bundled("js")).replace("<", "\\u003c"))

    @property
    def style(self) -> Markup:
        """Its style."""
        return _markup(_bundled("css").replace("</", "<\\/"))


def run_table(table: Table, links: Mapping[str, str]) -> RunTable | None:
    """The table of all runs, with links to their pictures; None where there are no runs."""
    rows = [{**row, "link": links.get(row["key"])} for row in table.runs.iter_rows(named=True)]
    if not rows:
        return None
    filters = {
        name: table.runs[column].unique(maintain_order=True).to_list()
        for name, column in (("class", "class"), ("solver", "solver"), ("end", "verdict"))
    }
    linked = any(row["link"] for row in rows)
    return RunTable(run_columns(table), CHOICES, rows, filters, linked)


def _bundled(suffix: str) -> str:
    """A file of DataTables from itables."""
    from importlib.resources import files

    return (files("itables") / "html" / f"dt_bundle.{suffix}").read_text(encoding="utf-8")


def _markup(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 (a library's own file)
