"""Writes the table as ``report.html``, ``report.md`` and ``runs.csv``.

Names, ids and messages come from files: templates
escape them (:mod:`pats_opt.views.page`).
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, NamedTuple

from pats_opt import __version__
from pats_opt.model.files import write_bytes
from pats_opt.model.loss import LossTerms
from pats_opt.report.anytime import anytime
from pats_opt.report.collect import Case, Row, Table
from pats_opt.report.columns import (
    ANYTIME,
    MEANS,
    RESULTS,
    SERVICE,
    TRADEOFF,
    WAITING,
    totals_columns,
)
from pats_opt.report.config import Config
from pats_opt.report.pictures import Links, links
from pats_opt.report.service import Deciding, deciding, services, starvations
from pats_opt.report.summary import sentences
from pats_opt.report.tradeoff import tradeoffs
from pats_opt.runs.statistics import GAP_SHIFT, ROUGH_BELOW, TIME_SHIFT_S
from pats_opt.tables import Metrics
from pats_opt.views.page import environment
from pats_opt.wording import number, percent


def write_pages(table: Table, config: Config, folder: Path) -> list[str]:
    """Write the three files into a folder; returns the summary's sentences.

    The page links to the pictures of schedules that are in the folder.
    """
    told = sentences(table)
    context = _context(table, config, told)
    write_bytes(folder / "runs.csv", runs_csv(table).encode("utf-8", "backslashreplace"))
    write_bytes(folder / "report.md", report_md(context).encode("utf-8", "backslashreplace"))
    write_bytes(folder / "report.html", report_html(context, table, links(folder)).encode("utf-8"))
    return told


def report_html(context: dict[str, Any], table: Table, links: Links) -> str:
    """The page: one file, nothing fetched, with a link from each run to its picture's page."""
    from pats_opt.report.figures import pictures
    from pats_opt.report.run_table import run_table

    return (
        environment("pats_opt.report")
        .get_template("report.html.j2")
        .render(**context, pictures=pictures(table), runs=run_table(table, links))
    )


def report_md(context: dict[str, Any]) -> str:
    """The same tables as Markdown."""
    return environment("pats_opt.report").get_template("report.md.j2").render(**context)


def _context(table: Table, config: Config, told: list[str]) -> dict[str, Any]:
    """What both templates show, as plain names and texts."""
    records = [row.record for _, row in table.rows if row.record is not None]
    compared, served = services(table)
    over_time, swept, starved = anytime(table), tradeoffs(table), starvations(table)
    machines = {tuple(r.machine.items()): r.machine for r in records}
    versions = {tuple(r.versions.items()): r.versions for r in records}
    return {
        "title": config.title,
        "sentences": told,
        "broken": len(table.contradictions),
        "config": config,
        "version": __version__,
        "by_class": [
            (
                group or "all classes",
                "",
                [(t.solver, t) for t in table.totals if t.group == group],
            )
            for group in dict.fromkeys(t.group for t in table.totals)
        ],
        "totals": totals_columns(table.totals),
        "duels": table.duels,
        "cases": table.cases,
        "results": RESULTS,
        "service": SERVICE,
        "compared": compared,
        "by_service": [(s.solver, s) for s in served],
        "means": MEANS,
        "by_policy": [(s.solver, s) for s in starved],
        "waiting": WAITING,
        "anytime": over_time,
        "over_time": ANYTIME,
        "lines_over_time": [
            (s, (over_time.primal.line(s.spec), over_time.dual.line(s.spec)))
            for s in over_time.solvers
        ]
        if over_time
        else [],
        "by_price": [
            (
                t.case.label,
                f"{size(t.case)}; its own latency price {number(t.case.instance.latency_price)}",
                [(step.row.solver, step) for step in t.steps],
            )
            for t in swept
        ],
        "tradeoff": TRADEOFF,
        "failures": [
            (case.label, row)
            for case, row in table.rows
            if row.record is not None and row.record.error is not None
        ],
        "failures_alike": failures_alike(table),
        "shifts": (percent(GAP_SHIFT), f"{TIME_SHIFT_S:g} s"),
        "rough_below": ROUGH_BELOW,
        "started": min((r.started for r in records), default=number(None)),
        "machines": [", ".join(f"{k}: {v}" for k, v in m.items()) for m in machines.values()],
        "versions": [", ".join(f"{k} {v}" for k, v in m.items()) for m in versions.values()],
    }


class Failures(NamedTuple):
    """Runs of one solver without a result that ended alike, and the instances they are of."""

    spec: str
    verdict: str
    message: str
    labels: list[str]


def failures_alike(table: Table) -> list[Failures]:
    """The runs without a result, in the order of the first of each kind."""
    found: dict[tuple[str, str, str], Failures] = {}
    for case, row in table.rows:
        if row.record is not None and row.record.error is not None:
            kind = (row.solver.spec, row.verdict, row.record.error.message)
            found.setdefault(kind, Failures(*kind, [])).labels.append(case.label)
    return list(found.values())


def size(case: Case) -> str:
    """How large an instance is."""
    instance = case.instance
    counts = {"request": instance.requests, "adapter": instance.adapters, "GPU": instance.gpus}
    return ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items())


def runs_csv(table: Table) -> str:
    """One line a run, figures in full, empty where there is none."""
    terms, metrics = LossTerms.__struct_fields__, Metrics.__struct_fields__
    decided = Deciding.__struct_fields__
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            *("instance", "sha256", "class", "requests", "adapters", "gpus"),
            *(
                "solver",
                "kind",
                "time_limit_s",
                "seed",
                "latency_price_per_s",
                "end",
                "stop",
                "point",
            ),
            *("loss", "bound", "best_bound", "optimum", "gap_best_bound", "gap_optimum"),
            *("loss_above_optimum", "loss_above_best_bound", "utility", "runtime_s", "wall_s"),
            *(f"loss_{name}" for name in terms),
            *metrics,
            *decided,
            *("started", "schedule", "error"),
        ]
    )
    for case, row in table.rows:
        writer.writerow(["" if value is None else value for value in _line(case, row)])
    return out.getvalue()


def _line(case: Case, row: Row) -> list[object]:
    record, instance = row.record, case.instance
    config = record.config if record else None
    status = record.status if record else None
    return [
        *(instance.name, instance.sha256, instance.group),
        *(instance.requests, instance.adapters, instance.gpus),
        *(row.solver.spec, row.solver.kind),
        *((config.time_limit, config.seed) if config else (None, None)),
        case.price,
        str(record.end) if record else "not run",
        *((str(status.stop), str(status.point)) if status else (None, None)),
        *(row.loss, record.bound if record else None, case.bound, case.optimum),
        *(row.gap, row.optimum_gap, row.excess, row.bound_excess),
        *((record.utility, record.runtime_s, record.wall_s) if record else (None, None, None)),
        *_fields(record.terms if record else None, LossTerms),
        *_fields(record.metrics if record else None, Metrics),
        *_fields(deciding(record), Deciding),
        *((record.started, record.schedule) if record else (None, None)),
        f"{record.error.type}: {record.error.message}" if record and record.error else None,
    ]


def _fields(values: object, kind: type[LossTerms | Metrics | Deciding]) -> list[object]:
    """The fields of a struct in order, empty for None."""
    return [None if values is None else getattr(values, name) for name in kind.__struct_fields__]
