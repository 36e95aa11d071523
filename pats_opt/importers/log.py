"""A request log as a lazy table: formats, columns, times, filters, the window.

Only the columns asked for are read and only the window is kept in memory; plain files are streamed.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pats_opt.errors import InputError, one_line
from pats_opt.generate.parts import Part
from pats_opt.model.files import StrPath
from pats_opt.nearest import nearest

if TYPE_CHECKING:
    import polars as pl

#: Name of the column that holds a row's number in the file, from 1, without the header.
ROW = "\0row"

#: Name of the column that holds a row's time in seconds.
TIME = "\0time"

#: Name of the column that holds the time as the file has it.
STAMP = "\0stamp"

#: Seconds in one unit of a numeric time.
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}

#: How an ISO time may be written, once its zone is taken off.
ISO = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")

#: A zone at the end of a time of day: Z, +02:00, -0800.
ZONE = r"(\d\d:\d\d.*?)\s*(Z|[+-]\d\d:?\d\d)$"

LogFormat = Literal["csv", "tsv", "jsonl", "parquet"]

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


class Window(Part, frozen=True, kw_only=True):
    """Which rows of a log to take.

    Attributes:
        time_format: ``auto``, a unit of numbers (s, ms, us, ns, min, h), ``iso``, or a pattern with
            % as strftime writes it. ``auto`` takes numbers as seconds and text as ISO times; a time
            without zone is UTC.
        since: First time taken, as the log writes times; None for the log's first.
        until: Last time taken.
        count: At most this many rows, the earliest.
        where: Conditions ``column=value`` or ``column!=value`` that rows must meet, as text.
    """

    time_format: str = "auto"
    since: str | None = None
    until: str | None = None
    count: int | None = None
    where: tuple[str, ...] = ()


@contextmanager
def plain_errors(file: StrPath) -> Iterator[None]:
    """Turn the table library's errors into one line about the file."""
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
    """A log's format, as given or by its name, and whether it is gzip.

    Raises:
        InputError: the name does not tell.
    """
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    zipped = bool(suffixes) and suffixes[-1] == ".gz"
    last = suffixes[:-1] if zipped else suffixes
    kind = given or SUFFIXES.get(last[-1] if last else "")
    if kind is None:
        raise InputError(
            "the name does not tell the format",
            file=str(path),
            hint="add --as csv, tsv, jsonl or parquet",
        )
    return kind, zipped


def scan(path: StrPath, given: LogFormat | None = None) -> pl.LazyFrame:
    """A log as a lazy table with the column :data:`ROW`; text columns only, where it is CSV.

    Raises:
        InputError: no such file, a folder, or a format that its name does not tell.
    """
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
        else:
            table = pl.scan_csv(
                file, separator="\t" if kind == "tsv" else ",", infer_schema=False, glob=False
            )
        table.collect_schema()
    return table.with_row_index(ROW, offset=1)


def require_columns(table: pl.LazyFrame, names: dict[str, str], file: StrPath) -> None:
    """Refuse a log that lacks a column; ``names`` maps the option to the column it names.

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


def select(
    table: pl.LazyFrame,
    columns: list[str],
    time: str,
    window: Window,
    file: StrPath,
    *,
    whole_rows: bool = False,
) -> pl.DataFrame:
    """The rows of the window, by time, with ``columns``, :data:`ROW`, :data:`TIME`.

    ``whole_rows`` has every column parsed once: a CSV row with too many cells (a comma that is not
    quoted) goes unnoticed where only some are, and would shift the others.

    Raises:
        InputError: a time that cannot be read, with its row; or an empty window.
    """
    import polars as pl

    conditions = [_condition(text, table, file) for text in window.where]
    kept = table.filter(conditions) if conditions else table
    kind = kept.collect_schema()[time]
    seconds = time_expression(_resolved(kept, time, kind, window.time_format, file), kind)
    kept = kept.with_columns(pl.col(time).alias(STAMP)).with_columns(seconds(STAMP).alias(TIME))
    with plain_errors(file):
        unread = kept.filter(pl.col(TIME).is_null())
        if not whole_rows:
            unread = unread.select(ROW, STAMP)
        bad = unread.head(1).collect(engine="streaming").select(ROW, STAMP)
    if bad.height:
        row, stamp = bad.row(0)
        raise InputError(
            f"{stamp!r} is no time",
            file=str(file),
            place=f"row {row}, column {time!r}",
            hint="correct it, filter it out with --where, or set --time-format",
        )
    chosen = kept
    if window.since is not None:
        chosen = chosen.filter(pl.col(TIME) >= _moment(window.since, kind, seconds, "--from"))
    if window.until is not None:
        chosen = chosen.filter(pl.col(TIME) <= _moment(window.until, kind, seconds, "--to"))
    wanted = list(dict.fromkeys([ROW, TIME, *columns]))
    chosen = chosen.select(wanted).sort(TIME, ROW)
    if window.count is not None:
        chosen = chosen.head(window.count)
    with plain_errors(file):
        rows = chosen.collect(engine="streaming")
        if not rows.height:
            ends = kept.sort(TIME, ROW).select(
                pl.len().alias("n"), pl.first(STAMP).alias("a"), pl.last(STAMP).alias("b")
            )
            n, first, last = ends.collect(engine="streaming").row(0)
            raise InputError(
                "no request is in the window",
                file=str(file),
                hint=f"the log has times {first} to {last}"
                if n
                else "the filters leave no row of the log",
            )
    return rows


def has_adapter(table: pl.LazyFrame, column: str | None) -> pl.Expr:
    """Whether the cell of a column of adapters, a text or a list, is not empty."""
    import polars as pl

    cell = pl.col(column or "")
    if isinstance(table.collect_schema()[column or ""], pl.List):
        return cell.list.len() > 0
    return cell.cast(pl.String).str.strip_chars().fill_null("") != ""


def _condition(text: str, table: pl.LazyFrame, file: StrPath) -> pl.Expr:
    """``column=value`` or ``column!=value`` as an expression."""
    import polars as pl

    name, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--where {text!r}", hint="write it as column=value or column!=value")
    differs = name.endswith("!")
    name = name.removesuffix("!").strip()
    require_columns(table, {"--where": name}, file)
    cell = pl.col(name).cast(pl.String).str.strip_chars().fill_null("")
    return cell != value.strip() if differs else cell == value.strip()


def _resolved(table: pl.LazyFrame, time: str, kind: Any, given: str, file: StrPath) -> str:
    """The time format, with ``auto`` decided by the column's type or its first value."""
    import polars as pl

    if given not in UNITS and given not in ("auto", "iso") and "%" not in given:
        raise InputError(
            f"there is no time format {given!r}",
            place="--time-format",
            hint=f"choose auto, iso, {', '.join(UNITS)}, or a pattern such as %d.%m.%Y %H:%M:%S",
        )
    if given != "auto" or kind != pl.String:
        return "s" if given == "auto" else given
    with plain_errors(file):
        first = table.select(pl.col(time).drop_nulls()).head(1).collect(engine="streaming")
    text = str(first.item()) if first.height else ""
    return "iso" if first.height and not _is_number(text) else "s"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def time_expression(time_format: str, kind: Any) -> Any:
    """From a column's name to the expression of its time in seconds, null if unreadable."""
    import polars as pl

    def stamped(name: str) -> pl.Expr:
        # A zoned time is stored as UTC, which is what its timestamp counts.
        return pl.col(name).cast(pl.Datetime("us")).dt.timestamp("us") / 1e6

    def counted(name: str) -> pl.Expr:
        number = pl.col(name)
        if kind == pl.String:
            number = number.str.strip_chars()
        number = number.cast(pl.Float64, strict=False)
        return pl.when(number.is_finite()).then(number * UNITS[time_format])

    def written(name: str) -> pl.Expr:
        text = pl.col(name).cast(pl.String).str.strip_chars()
        if time_format != "iso":
            return (
                text.str.to_datetime(time_format, strict=False, time_unit="us").dt.timestamp("us")
                / 1e6
            )
        text = text.str.replace("[Tt]", " ")
        naive = text.str.replace(ZONE, "$1")
        read = [naive.str.to_datetime(f, strict=False, time_unit="us") for f in ISO]
        zone = text.str.extract(ZONE, 2).str.replace(":", "").str.replace("Z", "+0000")
        sign = pl.when(zone.str.starts_with("-")).then(-1.0).otherwise(1.0)
        hours = zone.str.slice(1, 2).cast(pl.Float64)
        minutes = zone.str.slice(3, 2).cast(pl.Float64)
        offset = (sign * (hours * 3600.0 + minutes * 60.0)).fill_null(0.0)
        return pl.coalesce(read).dt.timestamp("us") / 1e6 - offset

    if kind.is_temporal():
        return stamped
    return counted if time_format in UNITS else written


def _moment(text: str, kind: Any, seconds: Any, option: str) -> float:
    """A time given as an option, in seconds, read as the column is."""
    import polars as pl

    if kind.is_temporal():
        seconds = time_expression("iso", pl.String())
    found = pl.DataFrame({STAMP: [text]}).select(seconds(STAMP)).item()
    if found is None:
        raise InputError(f"{text!r} is no time", place=option, hint="write it as the log does")
    return float(found)
