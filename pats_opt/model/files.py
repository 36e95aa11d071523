"""Reading and writing files: strict, one-line errors, and never half a file.

``read_*`` refuse what PROBLEM.md does not allow and say where and how to mend it; ``write_*``
replace the target only when the new file is complete.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pats_opt.errors import InputError
from pats_opt.memory import collector_paused
from pats_opt.model.instance import Instance, digest, validate
from pats_opt.model.parsing import convert, parse, parse_json
from pats_opt.model.schedule import Schedule

__all__ = [
    "StrPath",
    "convert",
    "csv_text",
    "encode",
    "parse_instance",
    "parse_json",
    "read_bytes",
    "read_instance",
    "read_schedule",
    "write_bytes",
    "write_instance",
    "write_schedule",
]

StrPath = str | os.PathLike[str]
T = TypeVar("T")


def read_instance(path: StrPath) -> Instance:
    """Read an instance file.

    Raises:
        InputError: naming the file, the place in it and the hint.
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
        InputError: naming the file, the place in it and the hint.
    """
    data = read_bytes(path)
    try:
        with collector_paused():
            return _stated(parse_json(data), Schedule)
    except InputError as error:
        raise error.in_file(str(path)) from None


def _stated(document: Any, kind: type[T]) -> T:
    """A document as typed data; unlike code, a file has to state its format and version."""
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
    target = Path(path)
    with _writing(path), _part_of(target) as (handle, part):
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        part.chmod(0o666 & ~_umask())
        part.replace(target)


def refuse_unwritable(path: StrPath) -> None:
    """Raise now what writing this file would raise later: before hours of solving, not after."""
    with _writing(path):
        if Path(path).is_dir():
            raise IsADirectoryError(21, "Is a directory")
        with _part_of(Path(path)) as (handle, part):
            os.close(handle)
            part.unlink()


@contextmanager
def _part_of(target: Path) -> Iterator[tuple[int, Path]]:
    """A new file beside ``target``, open for writing; removed where an error comes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
    try:
        yield handle, Path(name)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def _writing(path: StrPath) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be written ({reason})", file=str(path)) from None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
