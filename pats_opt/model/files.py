"""Reading and writing files: strict, one-line errors, and never half a file.

``read_*`` refuse what PROBLEM.md does not allow, with the place and a hint; ``write_*`` replace the
target only when the new file is complete.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import EISDIR
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pats_opt.errors import InputError
from pats_opt.memory import collector_paused
from pats_opt.model.instance import Instance, digest, validate
from pats_opt.model.parsing import convert, parse, parse_json
from pats_opt.model.schedule import Schedule

StrPath = str | os.PathLike[str]
T = TypeVar("T")


def read_instance(path: StrPath) -> Instance:
    """Read an instance file.

    Raises:
        InputError: The file cannot be read or is no instance.
    """
    data = read_bytes(path)
    try:
        return parse_instance(data)
    except InputError as error:
        raise error.in_file(str(path)) from None


def parse_instance(data: bytes | str) -> Instance:
    """The instance in a JSON text, checked as strictly as :func:`read_instance` does."""
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    with collector_paused():
        document, compact = parse(data)
        instance = _stated(document, Instance)
        validate(instance)
        # The digest is that of the text as given (a default may be spelled out in it or not), so
        # the text is kept for writing the instance again.
        instance.__dict__["sha256"] = digest(document, compact)
        instance.__dict__["text"] = data
    return instance


def read_schedule(path: StrPath) -> Schedule:
    """Read a schedule file.

    Raises:
        InputError: The file cannot be read or is no schedule.
    """
    data = read_bytes(path)
    try:
        with collector_paused():
            return _stated(parse_json(data), Schedule)
    except InputError as error:
        raise error.in_file(str(path)) from None


def _stated(document: Any, kind: type[T]) -> T:
    """Convert a document, which has to state its format and version."""
    typed = convert(document, kind)
    for key in ("format", "version"):
        if key not in document:
            hint = f"add it: {getattr(typed, key)!r}"
            raise InputError(f"missing key {key!r}", hint=hint)
    return typed


def write_instance(instance: Instance, path: StrPath) -> None:
    """Write an instance: as it was read where it was read, else with every key spelled out."""
    text: bytes | None = instance.__dict__.get("text")
    write_bytes(path, text if text is not None else encode(instance))


def write_schedule(schedule: Schedule, path: StrPath) -> None:
    """Write a schedule."""
    write_bytes(path, encode(schedule))


def encode(document: object) -> bytes:
    """A document as indented JSON in UTF-8, ending in a line break."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def csv_text(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Write a table as CSV."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def read_bytes(path: StrPath) -> bytes:
    """A file's bytes, or an :class:`InputError` that says why they cannot be read."""
    try:
        return Path(path).read_bytes()
    except IsADirectoryError:
        raise InputError("this is a folder", file=str(path), hint="name a file in it") from None
    except FileNotFoundError:
        raise InputError("no such file", file=str(path), hint="check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read ({reason})", file=str(path)) from None


def write_bytes(path: StrPath, data: bytes) -> None:
    """Write a file whole or not at all."""
    with _partial_file(path) as part:
        part.write_bytes(data)
        part.replace(path)


def refuse_unwritable(path: StrPath) -> None:
    """Raise now what writing this file would raise later: before hours of solving, not after."""
    with _partial_file(path):
        if Path(path).is_dir():
            raise IsADirectoryError(EISDIR, os.strerror(EISDIR))


@contextmanager
def _partial_file(path: StrPath) -> Iterator[Path]:
    """A new file beside ``path``, removed unless it is moved; an error is one line."""
    try:
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f".{os.urandom(8).hex()}.part"
        part.touch(exist_ok=False)
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be written ({reason})", file=str(path)) from None
