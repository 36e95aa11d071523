"""Columns of a plan's tables, on the page, on the terminal and in ``cells.csv``."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

from msgspec.structs import asdict

from pats_opt.planning.config import ServiceObjective
from pats_opt.planning.result import CellFigures, PlanResult
from pats_opt.report.columns import Column
from pats_opt.runs.statistics import Interval
from pats_opt.spreadsheet import csv_text
from pats_opt.wording import DASH, number, percent

#: Parts of a cell besides its GPUs: heading, field, and the text of a value.
PARTS = (
    ("policy", "policy"),
    ("resident", "residents"),
    ("adapters on", "tier"),
    ("load channels", "channels"),
    ("batch limit", "batch"),
    ("dispatch", "dispatch"),
)


def parts(cells: Sequence[CellFigures]) -> list[Column]:
    """The columns that say which cell it is, without those that no cell has a value for."""
    return [
        Column(heading, attrgetter(name), _text)
        for heading, name in PARTS
        if name == "policy" or any(getattr(f, name) is not None for f in cells)
    ]


def gpus() -> Column:
    """The column of GPUs."""
    return Column("GPUs", lambda f: f.gpus, str)


def service(objective: ServiceObjective | None) -> list[Column]:
    """The columns of service."""
    name = "served" if objective is None else f"within {objective.seconds:g} s"
    return [
        Column(name, lambda f: f.in_time if f.loss is not None else None, share),
        Column("95 % interval", lambda f: f.in_time_interval, _shares),
        Column("mean latency s", lambda f: f.latency_mean_s, _three),
        Column("p95 s", lambda f: f.latency_p95_s, _three),
        Column("p99 s", lambda f: f.latency_p99_s, _three),
    ]


def use(price: float | None) -> list[Column]:
    """The columns of cost and of the GPUs' use."""
    cost = (
        Column("GPU hours per 1000 images", lambda f: f.gpu_hours_per_1000, _three)
        if price is None
        else Column("cost per 1000 images", lambda f: f.cost_per_1000, _three)
    )
    return [
        cost,
        Column("GPU serving", lambda f: f.busy_share, percent),
        Column("switching", lambda f: f.switching_share, percent),
        Column("cache hits", lambda f: f.hit_share, percent),
        Column("loss", lambda f: f.loss, number),
    ]


def cells_csv(result: PlanResult) -> str:
    """One line for each cell simulated, figures in full."""
    rows = [asdict(cell) for cell in result.cells]
    names = [name for name in CellFigures.__struct_fields__ if not name.endswith("_interval")]
    return csv_text(names, ([row[name] for name in names] for row in rows))


def share(value: float | None) -> str:
    """A share close to 1 with the digits that tell it from 1."""
    if value is None:
        return DASH
    if not 0.9 <= value < 0.99995:
        return percent(value)
    return f"{100 * value:.{2 if value >= 0.99 else 1}f} %"


def _text(value: object) -> str:
    return DASH if value is None else str(value)


def _three(value: float | None) -> str:
    return number(value, 3)


def _shares(interval: Interval | None) -> str:
    return DASH if interval is None else " to ".join(map(share, interval))
