"""The window of a request log: selection of rows by time and by conditions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.generate.config import ConfigTable
from pats_opt.importers.classic import as_number
from pats_opt.importers.guessing import unit_of
from pats_opt.importers.log import ROW, TIME, plain_errors, require_columns
from pats_opt.model.files import StrPath

if TYPE_CHECKING:
    import polars as pl

#: Column of a row's time as the file writes it.
STAMP = "\0stamp"

#: Seconds in one unit of a numeric time.
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}

#: Units of dates written as numbers, and the least number that is read so: as seconds it would be
#: a date thousands of years ahead.
EPOCHS = (("ns", 1e17), ("us", 1e14), ("ms", 1e11), ("s", 0.0))

#: Patterns of an ISO time without its zone.
ISO = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")

#: A zone at the end of a time of day: Z, +02:00, -0800.
ZONE = r"(\d\d:\d\d.*?)\s*(Z|[+-]\d\d:?\d\d)$"


class Window(ConfigTable, frozen=True, kw_only=True):
    """Selection of a log's rows.

    Attributes:
        time_format: ``auto``, a unit of numbers (s, ms, us, ns, min, h), ``iso``, or a strftime
            pattern. ``auto`` reads text as ISO times, and numbers in the unit with which the
            column's name ends (``t_ms``), else as seconds, or as milli-, micro- or nanoseconds
            where they would be thousands of years. A time without zone is UTC.
        since: First time, as the log writes times; None for the log's first.
        until: Last time, likewise.
        count: Most rows, the earliest.
        where: Conditions ``column=value`` or ``column!=value``, compared as text.
    """

    time_format: str = "auto"
    since: str | None = None
    until: str | None = None
    count: int | None = None
    where: tuple[str, ...] = ()


def select(
    table: pl.LazyFrame,
    columns: list[str],
    time: str,
    window: Window,
    file: StrPath,
    *,
    whole_rows: bool = False,
) -> pl.DataFrame:
    """Collect the rows of the window, by time, with ``columns``, :data:`ROW` and :data:`TIME`.

    ``whole_rows`` parses every column once. Otherwise a CSV row with too many cells (an unquoted
    comma) is not noticed, and its cells are shifted.

    Raises:
        InputError: a time that cannot be read, with its row; or an empty window.
    """
    import polars as pl

    kept = _where(table, window, file)
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
        chosen = chosen.filter(pl.col(TIME) >= _time_of(window.since, kind, seconds, "--from"))
    if window.until is not None:
        chosen = chosen.filter(pl.col(TIME) <= _time_of(window.until, kind, seconds, "--to"))
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
            times = f"the log has times {first} to {last}"
            raise InputError(
                "no request is in the window",
                file=str(file),
                hint=times if n else "the filters leave no row of the log",
            )
    return rows


def resolved(table: pl.LazyFrame, time: str, window: Window, file: StrPath) -> Window:
    """Return the window with the time format that ``auto`` means.

    Raises:
        InputError: there is no such format.
    """
    kept = _where(table, window, file)
    kind = kept.collect_schema()[time]
    return replace(window, time_format=_resolved(kept, time, kind, window.time_format, file))


def _where(table: pl.LazyFrame, window: Window, file: StrPath) -> pl.LazyFrame:
    """Keep the rows that meet the window's conditions."""
    conditions = [_condition(text, table, file) for text in window.where]
    return table.filter(conditions) if conditions else table


def _condition(text: str, table: pl.LazyFrame, file: StrPath) -> pl.Expr:
    """Parse a condition of ``where``."""
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
    """Return the time format; ``auto`` is decided by the column's type or its first value."""
    import polars as pl

    if given not in UNITS and given not in ("auto", "iso") and "%" not in given:
        raise InputError(
            f"there is no time format {given!r}",
            place="--time-format",
            hint=f"choose auto, iso, {', '.join(UNITS)}, or a pattern such as %d.%m.%Y %H:%M:%S",
        )
    if given != "auto":
        return given
    if kind.is_temporal():
        return "iso"
    with plain_errors(file):
        first = table.select(pl.col(time).drop_nulls()).head(1).collect(engine="streaming")
    value = as_number(str(first.item())) if first.height else 0.0
    if value is None:
        return "iso"
    return unit_of(time) or next((unit for unit, least in EPOCHS if abs(value) >= least), "s")


def time_expression(time_format: str, kind: Any) -> Callable[[str], pl.Expr]:
    """Return a function from a column's name to its time in seconds, null if unreadable."""
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
            read = text.str.to_datetime(time_format, strict=False, time_unit="us")
            return read.dt.timestamp("us") / 1e6
        text = text.str.replace("[Tt]", " ")
        naive = text.str.replace(ZONE, "$1")
        known = [naive.str.to_datetime(f, strict=False, time_unit="us") for f in ISO]
        zone = text.str.extract(ZONE, 2).str.replace(":", "").str.replace("Z", "+0000")
        sign = pl.when(zone.str.starts_with("-")).then(-1.0).otherwise(1.0)
        hours = zone.str.slice(1, 2).cast(pl.Float64)
        minutes = zone.str.slice(3, 2).cast(pl.Float64)
        offset = (sign * (hours * 3600.0 + minutes * 60.0)).fill_null(0.0)
        return pl.coalesce(known).dt.timestamp("us") / 1e6 - offset

    if kind.is_temporal():
        return stamped
    return counted if time_format in UNITS else written


def _time_of(text: str, kind: Any, seconds: Callable[[str], pl.Expr], option: str) -> float:
    """Read an option's time, in seconds, as the column's times are read."""
    import polars as pl

    if kind.is_temporal():
        seconds = time_expression("iso", pl.String())
    found = pl.DataFrame({STAMP: [text]}).select(seconds(STAMP)).item()
    if found is None:
        raise InputError(f"{text!r} is no time", place=option, hint="write it as the log does")
    return float(found)
