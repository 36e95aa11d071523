"""CSV tables in which texts are no formulas to a spreadsheet, and reading them again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import SimpleNamespace

#: Texts that a spreadsheet takes for a formula (OWASP, "CSV Injection"), also behind apostrophes,
#: which it takes away: all that begin so, but numbers and single characters.
_FORMULA = re.compile(
    r"""'* (?! [-+]? (\d+\.?\d*|\.\d+) (e[-+]?\d+)? \Z )
    [-=+@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}\N{FULLWIDTH HYPHEN-MINUS}"""
    r"""\N{FULLWIDTH COMMERCIAL AT}] .""",
    re.VERBOSE | re.IGNORECASE | re.ASCII | re.DOTALL,
)


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table as CSV; an apostrophe marks texts that would be formulas."""
    import csv

    lines: list[str] = []
    # Python 3.11 quotes a line break in a cell only if it is one of those that end the lines.
    writer = csv.writer(SimpleNamespace(write=lines.append), lineterminator="\r\n")
    writer.writerow(map(_cell, columns))
    writer.writerows(map(_cell, row) for row in rows)
    return "".join([line.removesuffix("\r\n") + "\n" for line in lines])


def original(cell: str) -> str:
    """Return the text of a cell, without the apostrophe that marks it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _cell(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value
