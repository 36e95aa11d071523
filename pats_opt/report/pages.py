"""Writes the table as ``report.html``, ``report.md`` and ``runs.csv``.

Names, ids and messages come from files: templates escape them (:mod:`pats_opt.views.page`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from msgspec.structs import asdict

from pats_opt import __version__
from pats_opt.model.files import write_bytes
from pats_opt.report import columns
from pats_opt.report.collect import Table
from pats_opt.report.config import DEFAULT_LIMIT_S, ReportConfig
from pats_opt.report.curves import GapsOverTime, attainments, gaps_over_time, value
from pats_opt.report.dispatch import RATIOS, prices_of_binding
from pats_opt.report.figures import figures
from pats_opt.report.frame import AGAINST, DECISIONS, METRICS, TERMS
from pats_opt.report.levels import level_shares
from pats_opt.report.pictures import links
from pats_opt.report.service import Row, glance, services, starvations, tradeoffs
from pats_opt.report.summary import sentences
from pats_opt.runs.statistics import GAP_SHIFT, ROUGH_BELOW, TIME_SHIFT_S
from pats_opt.spreadsheet import csv_text
from pats_opt.tables.service_levels import MULTIPLES
from pats_opt.views.page import environment
from pats_opt.wording import counted, number, percent

#: The columns of ``runs.csv``: figures in full, empty where there is none.
CSV = (
    *("instance", "sha256", "class", "requests", "adapters", "gpus", "solver", "kind"),
    *("time_limit_s", "seed", "latency_price_per_s", "end", "stop", "point"),
    *("loss", "bound", *AGAINST, "gap", "against"),
    *(*RATIOS, "utility", "runtime_s", "wall_s"),
    *TERMS,
    *METRICS,
    *DECISIONS,
    *("started", "schedule", "error"),
)


def write_pages(table: Table, config: ReportConfig, folder: Path) -> list[str]:
    """Write the three files into a folder; returns the summary's sentences.

    The page links to the pictures of schedules that are in the folder.
    """
    context = _context(table, config)
    templates = environment("pats_opt.report")
    markdown = templates.get_template("report.md.j2").render(**context)
    html = templates.get_template("report.html.j2").render(
        **context, figures=figures(table), runs=columns.run_table(table, links(folder))
    )
    write_bytes(folder / "runs.csv", runs_csv(table).encode("utf-8", "backslashreplace"))
    write_bytes(folder / "report.md", markdown.encode("utf-8", "backslashreplace"))
    write_bytes(folder / "report.html", html.encode("utf-8"))
    summary: list[str] = context["sentences"]
    return summary


def runs_csv(table: Table) -> str:
    """One line for each run."""
    return csv_text(CSV, table.runs.select(CSV).iter_rows())


def _context(table: Table, config: ReportConfig) -> dict[str, Any]:
    """The names and texts of both templates."""
    records = table.records.values()
    compared, served = services(table)
    over_time, swept = gaps_over_time(table), tradeoffs(table)
    _, levels = level_shares(table)
    machines = {tuple(r.machine.items()): r.machine for r in records}
    versions = {tuple(r.versions.items()): r.versions for r in records}
    return {
        "title": config.title,
        "sentences": sentences(table),
        "broken": len(table.contradictions),
        "config": config,
        "version": __version__,
        "limits": _limits(config),
        "by_class": [
            (
                group or "all classes",
                "",
                [{**asdict(t), "solver": t.solver.spec} for t in table.totals if t.group == group],
            )
            for group in dict.fromkeys(t.group for t in table.totals)
        ],
        "totals": columns.totals_columns(table),
        "duels": table.duels,
        "own": table.own.to_dicts(),
        "ticks": _ticks(table),
        "results": columns.result_columns(table),
        "service": (*columns.SERVICE, *columns.by_feature(table)),
        "compared": compared,
        "by_service": served,
        "glance": glance(table),
        "at_a_glance": columns.glance_columns(table),
        "means": (*columns.MEANS, *columns.by_feature(table)),
        "by_policy": starvations(table),
        "waiting": columns.WAITING,
        "bound_early": prices_of_binding(table.solvers, table.own),
        "binding": columns.BINDING,
        "attained": [
            {"solver": one.solver.spec, **{f"{x:g}": value(one.curve, 0.0, x) for x in MULTIPLES}}
            for one in attainments(table)[1]
        ],
        "within": columns.attainment_columns(),
        "by_level": [
            {"solver": one.solver.spec, "unserved": one.unserved}
            | {str(level): share for level, share in one.shares.items()}
            for one in levels
        ],
        "levels": columns.level_columns(levels[0].shares if levels else ()),
        "anytime": over_time,
        "over_time": columns.ANYTIME,
        "lines_over_time": _lines_over_time(over_time) if over_time else [],
        "by_price": [_at_prices(case.to_dicts()) for case in swept],
        "tradeoff": columns.TRADEOFF,
        "failures": _failures(table).to_dicts(),
        "failures_alike": failures_alike(table),
        "shifts": (percent(GAP_SHIFT), f"{TIME_SHIFT_S:g} s"),
        "rough_below": ROUGH_BELOW,
        "started": min((r.started for r in records), default=number(None)),
        "machines": [", ".join(f"{k}: {v}" for k, v in m.items()) for m in machines.values()],
        "versions": [", ".join(f"{k} {v}" for k, v in m.items()) for m in versions.values()],
    }


def _limits(config: ReportConfig) -> str:
    """The time limits of runs, in words."""
    if config.time_limit is None:
        return f"{DEFAULT_LIMIT_S:g} s per run, none for online policies"
    return f"{config.time_limit:g} s per run"


def _ticks(table: Table) -> list[str]:
    """Distortion by ticks, of the first instance of each class that has one."""
    instances = [record.config.instance for record in table.records.values()]
    lines = {i.group: f"{i.group or i.name}: {i.ticks}" for i in reversed(instances) if i.ticks}
    return [lines[group] for group in sorted(lines)]


def _lines_over_time(found: GapsOverTime) -> list[Row]:
    """A row for each solver, with its primal and dual gaps."""
    return [
        {
            "solver": solver.spec,
            **{
                f"{name}_{field}": getattr(side.lines.get(solver.spec), field, None)
                for name, side in (("primal", found.primal), ("dual", found.dual))
                for field in ("integral_s", "final")
            },
        }
        for solver in found.solvers
    ]


def _at_prices(runs: list[Row]) -> tuple[str, str, list[Row]]:
    """An instance's name, its size, and its runs at all latency prices."""
    first = runs[0]
    size = ", ".join(
        counted(first[name], noun)
        for name, noun in (("requests", "request"), ("adapters", "adapter"), ("gpus", "GPU"))
    )
    return first["label"], f"{size}; its own latency price {number(first['own_price'])}", runs


def _failures(table: Table) -> pl.DataFrame:
    return table.runs.filter(pl.col("message").is_not_null())


def failures_alike(table: Table) -> list[Row]:
    """Failed runs by solver, verdict and message, with the ``labels`` of their instances."""
    alike = _failures(table).group_by("solver", "verdict", "message", maintain_order=True)
    return alike.agg(labels="label").to_dicts()
