"""A request log as a lazy table: formats, columns and checked cells.

Only the needed columns are read and only the window is kept in memory; plain files are streamed.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pats_opt.errors import InputError, one_line
from pats_opt.memory import require_address_space
from pats_opt.model.files import StrPath
from pats_opt.nearest import nearest

if TYPE_CHECKING:
    import polars as pl

#: Column of a row's number in the file, from 1, without the header.
ROW = "\0row"

#: Column of a row's time in seconds.
TIME = "\0time"

LogFormat = Literal["csv", "tsv", "jsonl", "parquet", "timestamps"]

#: Columns of a file of timestamps, which has no header; those on the right may be missing.
TIMESTAMPS = ("ms", "qos", "deadline_ms")

SUFFIXES: dict[str, LogFormat] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}


@contextmanager
def plain_errors(file: StrPath) -> Iterator[None]:
    """Turn errors of the table library into one line about the file."""
    import polars as pl

    try:
        yield
    except FileNotFoundError:
        raise InputError("no such file", file=str(file), hint="check the path") from None
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        text = str(error).strip().splitlines()
        reason = one_line(text[0]) if text else type(error).__name__
        raise InputError(
            f"cannot be read as a log ({reason})",
            file=str(file),
            hint="check the file, or name its format with --as",
        ) from None


def format_of(path: StrPath, given: LogFormat | None = None) -> tuple[LogFormat, bool]:
    """Return a log's format, as given or by its name, and whether it is gzip.

    Raises:
        InputError: the name has no known ending.
    """
    file = Path(Path(path).name.lower())
    zipped = file.suffix == ".gz"
    kind = given or SUFFIXES.get(Path(file.stem).suffix if zipped else file.suffix)
    if kind is None:
        hint = "add --as csv, tsv, jsonl or parquet"
        raise InputError("the name has no known ending", file=str(path), hint=hint)
    return kind, zipped


def scan(path: StrPath, given: LogFormat | None = None) -> pl.LazyFrame:
    """Open a log as a lazy table with the column :data:`ROW`; the columns of CSV are text.

    Raises:
        InputError: no such file, a folder, or an unknown format.
    """
    require_address_space("reading a log")
    import polars as pl

    file = Path(path)
    if file.is_dir():
        raise InputError("this is a folder", file=str(path), hint="name a file in it")
    kind, zipped = format_of(path, given)
    with plain_errors(path):
        if file.stat().st_size == 0:
            raise InputError("this file is empty", file=str(path), hint="name a log with rows")
        if kind == "parquet":
            source = io.BytesIO(gzip.decompress(file.read_bytes())) if zipped else file
            table = pl.scan_parquet(source, glob=False)
        elif kind == "jsonl":
            table = pl.scan_ndjson(file, infer_schema_length=None)
        elif kind == "timestamps":
            table = _timestamps(file)
        else:
            separator = "\t" if kind == "tsv" else ","
            table = pl.scan_csv(file, separator=separator, infer_schema=False, glob=False)
        table.collect_schema()
    return table.with_row_index(ROW, offset=1)


def _timestamps(file: Path) -> pl.LazyFrame:
    """Open a file of timestamps with the columns :data:`TIMESTAMPS`, as many as it has."""
    import polars as pl

    table = pl.scan_csv(file, has_header=False, infer_schema=False, glob=False)
    width = len(table.collect_schema().names())
    if width > len(TIMESTAMPS):
        raise InputError(
            f"rows have {width} cells",
            file=str(file),
            hint=f"a row is {'[,'.join(TIMESTAMPS)}]]; import other logs with 'import trace'",
        )
    return table.rename(dict(zip(table.collect_schema().names(), TIMESTAMPS, strict=False)))


def require_columns(table: pl.LazyFrame, names: dict[str, str], file: StrPath) -> None:
    """Refuse a log that lacks a column; ``names`` maps options to columns.

    Raises:
        InputError: with the nearest names.
    """
    there = [name for name in table.collect_schema().names() if name != ROW]
    for option, name in names.items():
        if name not in there:
            raise InputError(
                f"there is no column {name!r} ({option})",
                file=str(file),
                hint=f"choose one of: {nearest(name, there, cutoff=0.5)}",
            )


def has_adapter(table: pl.LazyFrame, column: str) -> pl.Expr:
    """Test whether a cell of adapters, a text or a list, is not empty."""
    import polars as pl

    cell = pl.col(column)
    if isinstance(table.collect_schema()[column], pl.List):
        return cell.list.len() > 0
    return cell.cast(pl.String).str.strip_chars().fill_null("") != ""


class Cells:
    """Cells of the window by column, checked; an error names the row of the file."""

    def __init__(self, table: pl.DataFrame, file: str) -> None:
        self._table, self._file = table, file

    @property
    def count(self) -> int:
        """Number of rows."""
        return self._table.height

    def column(self, name: str) -> list[Any]:
        """Cells of a column as the table holds them; :data:`TIME` is rising."""
        return self._table[name].to_list()

    def error(self, i: int, column: str, problem: str, hint: str) -> InputError:
        """Return the error of a cell: row ``i`` of the window, from 0."""
        place = f"row {self._table[ROW][i]}, column {column!r}"
        return InputError(problem, file=self._file, place=place, hint=hint)

    def text(self, column: str | None) -> list[str]:
        """Texts; empty where the column or the cell is missing."""
        cells = [None] * self.count if column is None else self.column(column)
        return ["" if cell is None else str(cell).strip() for cell in cells]

    def ids(self, column: str) -> list[str]:
        """Ids, each in one row.

        Raises:
            InputError: an id is missing or repeated.
        """
        found = self.text(column)
        rows: dict[str, int] = {}
        for i, name in enumerate(found):
            first = rows.setdefault(name, i)
            if name and first == i:
                continue
            row = self._table[ROW][first]
            problem = f"the id {name!r} is already in row {row}" if name else "the id is missing"
            raise self.error(i, column, problem, "give each row its own id, or leave out --id")
        return found

    def numbers(
        self, column: str | None, low: float, high: float, missing: Sequence[float]
    ) -> list[float]:
        """Numbers from ``low`` to ``high``; ``missing[i]`` where the column or the cell is missing.

        Raises:
            InputError: a cell is no such number.
        """
        if column is None:
            return list(missing)
        values = []
        for i, cell in enumerate(self.column(column)):
            if cell is None or (isinstance(cell, str) and not cell.strip()):
                values.append(missing[i])
                continue
            try:
                value = float(cell)
            except (TypeError, ValueError):
                value = float("nan")
            if not low <= value <= high:
                problem = f"{cell!r} is no number from {low:g} to {high:g}"
                raise self.error(i, column, problem, "correct it, or leave the cell empty")
            values.append(value)
        return values
