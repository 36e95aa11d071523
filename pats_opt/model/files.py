"""Reading and writing files: strict, one-line errors, and never half a file.

``read_*`` refuse what PROBLEM.md does not allow, with the place and a hint; ``write_*`` replace a
regular file only when the new one is complete. Every output of the project is written here.
"""

from __future__ import annotations

import os
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EACCES, EBUSY, EPERM, EROFS
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from pats_opt.errors import InputError, expect, in_file
from pats_opt.memory import collector_paused
from pats_opt.model.instance import Instance, digest, validate
from pats_opt.model.parsing import convert, parse, parse_json
from pats_opt.model.reading import read_in_parts
from pats_opt.model.schedule import Schedule

StrPath = str | os.PathLike[str]
T = TypeVar("T")

#: Errors where a file cannot be replaced, but perhaps be written into: of its folder (no right to
#: it, read-only), of its owner, or of a file that is mounted by itself, as containers do.
_KEPT_IN_PLACE = frozenset({EACCES, EPERM, EROFS, EBUSY})


def read_instance(path: StrPath) -> Instance:
    """Read an instance file.

    Raises:
        InputError: The file cannot be read or is no instance.
    """
    data = read_bytes(path)
    with in_file(path):
        return parse_instance(data)


def parse_instance(data: bytes | str) -> Instance:
    """The instance in a JSON text, checked as strictly as :func:`read_instance` does."""
    data = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    with collector_paused():
        found = read_in_parts(data)
        if found is None:
            document, compact = parse(data)
            found = _stated(document, Instance), digest(document, compact)
        instance, sha256 = found
        validate(instance)
        # The digest is that of the text as given (a default may be spelled out in it or not), so
        # the text is kept for writing the instance again.
        instance.__dict__["sha256"] = sha256
        instance.__dict__["text"] = zlib.compress(data, 1)
    return instance


def read_schedule(path: StrPath) -> Schedule:
    """Read a schedule file.

    Raises:
        InputError: The file cannot be read or is no schedule.
    """
    data = read_bytes(path)
    with in_file(path), collector_paused():
        return _stated(parse_json(data), Schedule)


def read_document(path: StrPath, kind: type[T]) -> T:
    """Read a JSON file as a document of a type.

    Raises:
        InputError: The file cannot be read or is no such document.
    """
    data = read_bytes(path)
    with in_file(path):
        return convert(parse_json(data), kind)


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
    expect(instance, Instance, "give an instance, then the path")
    text: bytes | None = instance.__dict__.get("text")
    write_bytes(path, zlib.decompress(text) if text is not None else encode(instance))


def write_schedule(schedule: Schedule, path: StrPath) -> None:
    """Write a schedule."""
    expect(schedule, Schedule, "give result.schedule, then the path")
    write_bytes(path, encode(schedule))


def encode(document: object) -> bytes:
    """A document as indented JSON in UTF-8, ending in a line break."""
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def read_bytes(path: StrPath) -> bytes:
    """A file's bytes, or an :class:`InputError` that says why they cannot be read."""
    with _one_line_read_errors(path):
        return Path(path).read_bytes()


def refuse_unreadable(path: StrPath) -> None:
    """Raise now what reading this file would raise; a pipe is not opened, which its writer sees."""
    with _one_line_read_errors(path):
        mode = Path(path).stat().st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            Path(path).open("rb").close()


@contextmanager
def _one_line_read_errors(path: StrPath) -> Iterator[None]:
    try:
        yield
    except IsADirectoryError:
        raise InputError("this is a folder", file=str(path), hint="name a file in it") from None
    except FileNotFoundError:
        raise InputError("no such file", file=str(path), hint="check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be read ({reason})", file=str(path)) from None


def write_bytes(path: StrPath, data: bytes) -> None:
    """Write a file, a regular one whole or not at all.

    Links are followed, a file keeps its mode and owner, and folders that are missing are made.
    Devices, pipes and regular files that cannot be replaced are written into.

    Raises:
        InputError: It cannot be written; folders that were made for it are removed again.
    """
    with _one_line_errors(path):
        before = _status(path)
        stream = None if before is None else _standard_output(before)
        if stream is not None:
            stream.write(data)
            stream.flush()
            return
        if before is None or stat.S_ISREG(before.st_mode):
            try:
                _replace(Path(path).resolve(), data, before)
                return
            except OSError as error:
                if before is None or error.errno not in _KEPT_IN_PLACE:
                    raise
        Path(path).write_bytes(data)


def replace_bytes(path: StrPath, data: bytes) -> None:
    """Put a new file in the place of whatever has this name: a link is not followed.

    Raises:
        InputError: It cannot be written.
    """
    with _one_line_errors(path):
        _replace(Path(path), data, None)


def refuse_unwritable(path: StrPath) -> None:
    """Raise now what writing this file would raise later: before hours of solving, not after."""
    with _one_line_errors(path):
        before = _status(path)
        if before is None:
            with _part_of(Path(path).resolve(), 0o666):
                _status(path)  # its name may be too long for the folder
        elif not os.access(path, os.W_OK):
            raise PermissionError(EACCES, os.strerror(EACCES))


def _status(path: StrPath) -> os.stat_result | None:
    """The status of a file to write, None for a new one; raises if a regular one is protected."""
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        return None
    if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
        os.close(os.open(path, os.O_WRONLY))
    return status


def _standard_output(file: os.stat_result) -> BinaryIO | None:
    """Standard output, if it is this file (``/dev/stdout``): what else is printed stays in it."""
    try:
        same = os.path.samestat(file, os.fstat(sys.stdout.fileno()))
    except (AttributeError, OSError, ValueError):  # closed, or replaced by no file
        return None
    if not same:
        return None
    sys.stdout.flush()
    return sys.stdout.buffer


def _replace(path: Path, data: bytes, before: os.stat_result | None) -> None:
    """Put a new file in a place, with the mode and owner of the one that was there."""
    with _part_of(path, 0o666 if before is None else 0o600) as (part, file):
        if before is not None:
            made = part.stat()
            if (made.st_uid, made.st_gid) != (before.st_uid, before.st_gid):
                os.chown(part, before.st_uid, before.st_gid)
            part.chmod(stat.S_IMODE(before.st_mode))
        file.write(data)
        file.close()
        part.replace(path)


@contextmanager
def _part_of(path: Path, mode: int) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside ``path``: unless moved there, it and folders made for it are removed."""
    missing = list(takewhile(lambda folder: not folder.exists(), path.parents))
    part = path.parent / f".{os.urandom(8).hex()}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(part, flags, mode), "wb") as file:
            yield part, file
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        for folder in missing:
            with suppress(OSError):  # not empty: the file is in it
                folder.rmdir()


@contextmanager
def _one_line_errors(path: StrPath) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot be written ({reason})", file=str(path)) from None
