"""Files of a call by the names of its caller: on another machine they are copies.

A run names the instance that it reads and the folder that it writes into. On the machine of the
caller :func:`here` returns these paths as they are. On another one, the worker holds a copy of the
instance, and what the call writes is sent back.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple, TypeVar

from pats_opt.model.files import write_bytes
from pats_opt.runs.record import RECORDS

T = TypeVar("T")

#: Paths of the caller -> paths of this machine.
_COPIES: dict[str, Path] = {}

#: The folder of all copies, once it is named.
_FOLDER: list[Path] = []


class OutputFile(NamedTuple):
    """A file that a call wrote: its path in the caller's folder, and its content."""

    path: str
    content: bytes


def keep_in(folder: str) -> None:
    """Keep copies in a folder from now on; the caller removes it."""
    _FOLDER[:] = [Path(folder)]


def here(path: str) -> Path:
    """Path on this machine of a file or folder of the caller."""
    return _COPIES.get(path, Path(path))


def hold(path: str, content: bytes) -> None:
    """Keep a copy of a caller's file."""
    copy = _folder() / Path(path).name
    write_bytes(copy, content)
    _COPIES[path] = copy


def call_remotely(
    function: Callable[..., T], args: tuple[Any, ...], folder: str | None
) -> tuple[T, list[OutputFile]]:
    """Call a function on another machine than its caller's.

    Args:
        function: The function.
        args: Its arguments.
        folder: Folder of the caller that it writes into, or None.

    Returns:
        Its result, and the files that it wrote. Records are the last of them, so that a caller who
        is killed while writing has no record without its schedule.
    """
    if folder is None:
        return function(*args), []
    _COPIES[folder] = copy = _folder()
    try:
        value = function(*args)
        files = sorted(path.relative_to(copy) for path in copy.rglob("*") if path.is_file())
        files.sort(key=lambda path: path.parts[0] == RECORDS)
        return value, [OutputFile(p.as_posix(), (copy / p).read_bytes()) for p in files]
    finally:
        del _COPIES[folder]
        shutil.rmtree(copy, ignore_errors=True)


def _folder() -> Path:
    """A new folder for copies."""
    return Path(mkdtemp(dir=_FOLDER[0]))
