"""The journal: a JSON line for everything that a GPU has done, on disk before anybody relies on it.

There is one file per GPU, which only that GPU's worker appends to. Its first line names the run;
then comes a line for each session, each image (or failure) and each batch. A line that was being
written when the process was killed is not there. The journals of all sessions make the executed
batches of ``execution.json``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from types import TracebackType
from typing import Literal

import msgspec
from filelock import FileLock, Timeout
from msgspec import Struct
from msgspec.structs import replace

from pats_opt.errors import InputError
from pats_opt.execute.loading import hidden_share
from pats_opt.execute.output import ImageFolder, open_to_append, sync_folder, write_all
from pats_opt.execute.record import (
    BatchRun,
    GpuRun,
    LoadRun,
    MemberRun,
    ModelRef,
    Seconds,
    Span,
    highest_gib,
)
from pats_opt.model.files import read_bytes


class JournalHead(Struct, frozen=True, kw_only=True, tag="run"):
    """The first line: the run that the journal is of.

    Attributes:
        key: All that decides the images and the measures; see :func:`pats_opt.execute.options`.
        gpu: Id of the GPU.
        started: When the run was begun, ISO 8601 with a time zone.
    """

    format: Literal["pats-opt/journal"] = "pats-opt/journal"
    version: Literal[1] = 1
    key: dict[str, str]
    gpu: str
    started: str


class SessionStarted(Struct, frozen=True, kw_only=True, tag="sitting"):
    """The worker was ready and began, or went on: with what, and at which second."""

    number: int
    second: Seconds
    engine: str
    device: str
    model: ModelRef
    versions: dict[str, str]
    primed: tuple[Span, ...] = ()


class RequestFinished(Struct, frozen=True, kw_only=True, tag="left"):
    """A request left a batch, with its image (the part file is on disk) or its error."""

    batch: int
    member: MemberRun


class BatchEnded(Struct, frozen=True, kw_only=True, tag="batch"):
    """A batch ended, and the lines of all its members are above."""

    batch: BatchRun


class LoadEnded(Struct, frozen=True, kw_only=True, tag="load"):
    """A load beside the batches ended."""

    load: LoadRun


class SessionStopped(Struct, frozen=True, kw_only=True, tag="stopped"):
    """The session ended early, at this second."""

    second: Seconds


JournalLine = SessionStarted | RequestFinished | BatchEnded | LoadEnded | SessionStopped


class Journal(Struct, frozen=True):
    """Content of a journal file.

    Attributes:
        head: Its first line.
        lines: The others.
        size: Bytes up to the end of the last whole line.
    """

    head: JournalHead
    lines: tuple[JournalLine, ...]
    size: int

    @property
    def second(self) -> float:
        """The last second that any line speaks of."""
        return max((_second(line) for line in self.lines), default=0.0)

    @property
    def empty(self) -> bool:
        """Whether nothing was done, so that nothing is lost without it."""
        return not any(isinstance(line, RequestFinished | BatchEnded) for line in self.lines)


def _second(line: JournalLine) -> float:
    match line:
        case RequestFinished(member=member):
            return member.completion_s or 0.0
        case BatchEnded(batch=batch):
            return batch.end_s
        case LoadEnded(load=load):
            return load.end_s
        case _:
            return line.second


def create(path: Path, head: JournalHead) -> None:
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
    lines: list[JournalLine] = []
    head: JournalHead | None = None
    for number, text in enumerate(data[:size].splitlines(), 1):
        try:
            if head is None:
                head = msgspec.json.decode(text, type=JournalHead)
            else:
                lines.append(msgspec.json.decode(text, type=JournalLine))
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
        self._lock = FileLock(path.with_suffix(".lock"))
        try:
            self._lock.acquire(timeout=patience_s, poll_interval=0.02)
        except Timeout:
            raise InputError(
                "another run is using this folder",
                file=str(path),
                hint="wait for it, or name another",
            ) from None
        try:
            self._handle = open_to_append(path)
        except BaseException:
            self._lock.release()
            raise
        try:
            # Half a line that a kill left behind would spoil the next one.
            os.ftruncate(self._handle, read(path).size)
        except BaseException:
            self._close()
            raise

    def append(self, line: JournalLine) -> None:
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
        self._close()

    def _close(self) -> None:
        os.close(self._handle)
        self._lock.release()


def journals(files: Sequence[Path]) -> list[Journal | None]:
    """The journals of the GPUs whose files these are; None where one has not begun."""
    return [read(file) if file.exists() or file.is_symlink() else None for file in files]


def made(
    images: Path, journals: Sequence[Journal | None], since: Sequence[Journal | None] = ()
) -> set[str]:
    """Requests whose image is there with the digest that the journal has; part files are settled.

    Args:
        images: The images' folder.
        journals: The journals.
        since: The journals as they were, to look at nothing but what has come since.

    Raises:
        OSError: A part file cannot be given its name.
    """
    folder, found = ImageFolder(images), set()
    for now, before in zip_longest(journals, since):
        lines = now.lines[len(before.lines) if before is not None else 0 :] if now else ()
        last = {line.member.id: line.member for line in lines if isinstance(line, RequestFinished)}
        for member in last.values():
            if member.image is None or member.sha256 is None:
                continue
            if folder.settled(Path(member.image).name, member.sha256):
                found.add(member.id)
    return found


def images(gpus: Iterable[GpuRun]) -> set[str]:
    """Requests that have an image."""
    return {m.id for gpu in gpus for batch in gpu.batches for m in batch.members if m.image}


def sessions(journals: Iterable[Journal | None]) -> list[SessionStarted]:
    """Every worker's sessions."""
    lines = [line for journal in journals if journal is not None for line in journal.lines]
    return [line for line in lines if isinstance(line, SessionStarted)]


def session_count(journals: Iterable[Journal | None]) -> int:
    """The number of the last session; 0 before the first."""
    return max((session.number for session in sessions(journals)), default=0)


def gpu_run(gpu: str, device: str, journal: Journal | None) -> GpuRun:
    """All that one GPU did.

    Args:
        gpu: Its id.
        device: Its device, where the journal has none.
        journal: Its journal, or None where it has not begun.
    """
    if journal is None:
        return GpuRun(id=gpu, device=device, batches=())
    found, ran = sessions([journal]), tuple(batches(journal))
    return GpuRun(
        id=gpu,
        device=found[-1].device if found else device,
        batches=ran,
        loads=tuple(loads(journal, ran)),
        primed=tuple(span for session in found for span in session.primed),
    )


def batches(journal: Journal) -> list[BatchRun]:
    """The batches of a journal, each once, in the order they were begun.

    A batch that was interrupted, or whose failed members were tried again, has the members and
    spans of all sessions, and is marked as resumed.
    """
    members: dict[int, dict[str, MemberRun]] = {}
    ended: dict[int, BatchRun] = {}
    for line in journal.lines:
        if isinstance(line, RequestFinished):
            members.setdefault(line.batch, {})[line.member.id] = line.member
        elif isinstance(line, BatchEnded):
            before = ended.get(line.batch.index)
            ended[line.batch.index] = line.batch if before is None else _joined(before, line.batch)
    found = [
        _cut_short(index, list(left.values()))
        if index not in ended
        else replace(ended[index], members=tuple(left.values()))
        for index, left in members.items()
    ]
    return sorted(found, key=lambda batch: (batch.switch_start_s, batch.index))


def loads(journal: Journal, ran: Sequence[BatchRun]) -> list[LoadRun]:
    """The loads of a journal by start, each as it was run last, beside these batches of its GPU."""
    last = {line.load.index: line.load for line in journal.lines if isinstance(line, LoadEnded)}
    found = [replace(load, hidden=hidden_share(load, ran)) for load in last.values()]
    return sorted(found, key=lambda load: (load.start_s, load.index))


def _joined(first: BatchRun, then: BatchRun) -> BatchRun:
    """A batch that ended, and was taken up again for its failed members."""
    return replace(
        first,
        end_s=then.end_s,
        spans=(*first.spans, *then.spans),
        peak_gib=highest_gib(first.peak_gib, then.peak_gib),
        splits=first.splits + then.splits,
        resumed=True,
    )


def _cut_short(index: int, members: Sequence[MemberRun]) -> BatchRun:
    """A batch that was never seen to end: only when its images were made is known."""
    times = [m.completion_s for m in members if m.completion_s is not None] or [0.0]
    return BatchRun(
        index=index,
        switch_start_s=min(times),
        start_s=min(times),
        end_s=max(times),
        members=tuple(members),
        resumed=True,
    )
