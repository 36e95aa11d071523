"""The journal: what each GPU has done, a JSON line each, on the disk before anybody relies on it.

There is one file a GPU, which only that GPU's worker appends to. Its first line says which run it
is of; then comes a line for each sitting, each image (or failure) and each batch. A line that was
being written when the process was killed is not there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec
from msgspec import Struct

from pats_opt.errors import InputError
from pats_opt.execute.output import lock, open_to_append, sync_folder, write_all
from pats_opt.execute.record import BatchRun, MemberRun, ModelRef, Seconds, Span
from pats_opt.model.files import read_bytes


class Head(Struct, frozen=True, kw_only=True, tag="run"):
    """The first line: the run that the journal is of.

    Attributes:
        key: All that decides the images and the measures; see :func:`pats_opt.execute.key`.
        gpu: Id of the GPU.
        started: When the run was begun, ISO 8601 with a time zone.
    """

    format: Literal["pats-opt/journal"] = "pats-opt/journal"
    version: Literal[1] = 1
    key: dict[str, str]
    gpu: str
    started: str


class Sitting(Struct, frozen=True, kw_only=True, tag="sitting"):
    """The worker was ready and began, or went on: with what, and at which second."""

    number: int
    second: Seconds
    engine: str
    device: str
    model: ModelRef
    versions: dict[str, str]
    primed: tuple[Span, ...] = ()


class Left(Struct, frozen=True, kw_only=True, tag="left"):
    """A request left a batch, with its image (the part file is on disk) or its error."""

    batch: int
    member: MemberRun


class Ended(Struct, frozen=True, kw_only=True, tag="batch"):
    """A batch ended, and the lines of all its members are above."""

    batch: BatchRun


class Stopped(Struct, frozen=True, kw_only=True, tag="stopped"):
    """The sitting ended early, at this second."""

    second: Seconds


Line = Sitting | Left | Ended | Stopped


class Journal(Struct, frozen=True):
    """What a journal file says.

    Attributes:
        head: Its first line.
        lines: The others.
        size: Bytes up to the end of the last whole line.
    """

    head: Head
    lines: tuple[Line, ...]
    size: int

    @property
    def second(self) -> float:
        """The last second that any line speaks of."""
        return max((_second(line) for line in self.lines), default=0.0)

    @property
    def empty(self) -> bool:
        """Whether nothing was done, so that nothing is lost without it."""
        return not any(isinstance(line, Left | Ended) for line in self.lines)


def _second(line: Line) -> float:
    match line:
        case Left(member=member):
            return member.completion_s or 0.0
        case Ended(batch=batch):
            return batch.end_s
        case _:
            return line.second


def create(path: Path, head: Head) -> None:
    """Begin a journal: whole with its first line, or not at all."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    handle = open_to_append(part, new=True)
    try:
        write_all(handle, msgspec.json.encode(head) + b"\n")
        os.fsync(handle)
    finally:
        os.close(handle)
    part.replace(path)
    sync_folder(path.parent)


def read(path: Path) -> Journal:
    """Read a journal; a last line that is not whole is left out.

    Raises:
        InputError: It cannot be read, or a line before the last is no journal's.
    """
    if path.is_symlink():
        raise InputError("this is a symbolic link", file=str(path), hint="name another folder")
    data = read_bytes(path)
    size = data.rfind(b"\n") + 1
    lines: list[Line] = []
    head: Head | None = None
    for number, text in enumerate(data[:size].splitlines(), 1):
        try:
            if head is None:
                head = msgspec.json.decode(text, type=Head)
            else:
                lines.append(msgspec.json.decode(text, type=Line))
        except msgspec.MsgspecError as error:
            raise InputError(
                f"this is no line of a journal ({error})",
                file=str(path),
                place=f"line {number}",
                hint="run again into another folder",
            ) from None
    if head is None:
        raise InputError("this journal is empty", file=str(path), hint="name another folder")
    return Journal(head, tuple(lines), size)


#: Seconds that the worker of a killed run may take to notice that it is alone.
ORPHAN_S = 5.0


class JournalWriter:
    """Appends lines to a journal; each is on disk when :meth:`append` returns.

    Args:
        path: The journal, which has its first line.
        patience_s: How long to wait for another writer to end.

    Raises:
        InputError: Another process still writes it.
        OSError: It cannot be written.
    """

    def __init__(self, path: Path, patience_s: float = ORPHAN_S) -> None:
        self._handle = open_to_append(path)
        try:
            lock(self._handle, path, patience_s)
            # Half a line that a kill left behind would spoil the next one.
            os.ftruncate(self._handle, read(path).size)
        except BaseException:
            os.close(self._handle)
            raise

    def append(self, line: Line) -> None:
        """Append a line, and see it to the disk."""
        write_all(self._handle, msgspec.json.encode(line) + b"\n")
        os.fsync(self._handle)

    def __enter__(self) -> JournalWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._handle)


def journals(files: Sequence[Path]) -> list[Journal | None]:
    """The journals of the GPUs whose files these are; None where one has not begun."""
    return [read(file) if file.exists() or file.is_symlink() else None for file in files]
