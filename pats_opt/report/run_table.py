"""The table of all runs on the page: plain HTML that DataTables lets people sort and filter.

DataTables (https://datatables.net, MIT) comes with the package itables; its script and style stand
in the page itself, so that it works without a network. Without scripts all rows and columns show.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from pats_opt.report.collect import Case, Row, Table
from pats_opt.report.columns import CHOICES, Entry, RunColumn, run_columns
from pats_opt.report.pictures import Links

if TYPE_CHECKING:
    from markupsafe import Markup


class Cell(NamedTuple):
    """A cell: what it shows, and what it is sorted by (empty where it shows nothing)."""

    text: str
    order: str


class Line(NamedTuple):
    """A row: the instance and the run, its cells, and its place in each filter's choices."""

    case: Case
    row: Row
    cells: list[Cell]
    link: str | None
    places: dict[str, int]


class Filter(NamedTuple):
    """A choice of rows: its name, and what can be chosen."""

    name: str
    options: list[str]


class RunTable(Struct, frozen=True, kw_only=True):
    """The table of all runs as the template writes it.

    Attributes:
        columns: The columns behind instance, class and solver.
        choices: Choices of columns, the first shown at first.
        lines: The rows.
        filters: What rows can be chosen by.
        linked: Whether any run has a picture to link to.
    """

    columns: list[RunColumn]
    choices: tuple[str, ...]
    lines: list[Line]
    filters: list[Filter]
    linked: bool

    @property
    def script(self) -> Markup:
        """DataTables' module as a JSON string that can stand in a page."""
        return _markup(json.dumps(_bundled("js")).replace("<", "\\u003c"))

    @property
    def style(self) -> Markup:
        """Its style."""
        return _markup(_bundled("css").replace("</", "<\\/"))


def run_table(table: Table, links: Links) -> RunTable | None:
    """The table of all runs, with links to their pictures; None where there are no runs."""
    entries = [Entry(case, row) for case, row in table.rows]
    if not entries:
        return None
    columns = run_columns(table)
    picks = {
        "class": _places(case.instance.group for case, _ in entries),
        "solver": _places(row.solver.spec for _, row in entries),
        "end": _places(row.verdict for _, row in entries),
    }
    lines = [
        Line(
            case=entry.case,
            row=entry.row,
            cells=[_cell(entry, c) for c in columns],
            link=links.get(entry.row.record.config.key) if entry.row.record else None,
            places={
                "class": picks["class"][entry.case.instance.group],
                "solver": picks["solver"][entry.row.solver.spec],
                "end": picks["end"][entry.row.verdict],
            },
        )
        for entry in entries
    ]
    return RunTable(
        columns=columns,
        choices=CHOICES,
        lines=lines,
        filters=[Filter(name, list(places)) for name, places in picks.items()],
        linked=any(line.link for line in lines),
    )


def _places(texts: Iterable[str]) -> dict[str, int]:
    """Each text's place among the different ones, in the order they come in."""
    return {text: place for place, text in enumerate(dict.fromkeys(texts))}


def _cell(entry: Entry, shown: RunColumn) -> Cell:
    column = shown.column
    if column.value is None:
        return Cell(column.text(entry), "")
    value = column.value(entry)
    return Cell(column.text(entry), "" if value is None else f"{value:.9g}")


def _bundled(suffix: str) -> str:
    """A file of DataTables as itables brings it."""
    from importlib.resources import files

    return (files("itables") / "html" / f"dt_bundle.{suffix}").read_text(encoding="utf-8")


def _markup(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 (a library's own file)
