"""The index of a folder of latents: a JSON line for everything that was stored, used or dropped.

All processes that share the folder append to one file and replay it, each under the folder's lock.
A line that was being written when a process was killed is not there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from pats_opt.execute.output import open_to_append, write_all
from pats_opt.model.files import replace_bytes

#: Name of the index in its folder.
INDEX = "index.jsonl"

Key = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Level = Annotated[int, Meta(ge=1, le=1_000_000)]


class LatentFile(Struct, frozen=True, array_like=True):
    """The file of the latents of one level: its size in bytes, and the CRC-32 of its content."""

    level: Level
    size: Annotated[int, Meta(ge=1)]
    crc: int


class LatentsStored(Struct, frozen=True, kw_only=True, tag="stored"):
    """Latents of a prompt were stored.

    Attributes:
        key: Digest of scope and prompt; names of files begin with it.
        scope: Digest of all that latents must share, so that one can start from another's.
        request: Id of the request that made them.
    """

    key: Key
    scope: str
    prompt: str
    request: str
    files: tuple[LatentFile, ...]


class LatentsUsed(Struct, frozen=True, kw_only=True, tag="used"):
    """A request started from latents; several did where old lines were joined."""

    key: Key
    level: Level
    times: Annotated[int, Meta(ge=1)] = 1


class LatentEviction(Struct, frozen=True, kw_only=True, tag="dropped"):
    """Latents were given up, or are gone."""

    key: Key
    level: Level


IndexLine = LatentsStored | LatentsUsed | LatentEviction


class LatentIndex:
    """Reads and appends to the index. Every call needs the folder's lock.

    Args:
        folder: The folder.

    Attributes:
        count: Lines that were read or written since the file was last read from its beginning.
        spoilt: Lines among them that are none of an index.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / INDEX
        self._file: tuple[int, int] | None = None  # device and inode
        self._read = 0  # bytes up to the end of the last whole line
        self.count = self.spoilt = 0

    def news(self) -> tuple[bool, list[IndexLine]]:
        """Return the lines since the last call, and whether they are all there are.

        They are where the file was replaced meanwhile.

        Raises:
            OSError: The file cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                anew = self._file != (found.st_dev, found.st_ino) or found.st_size < self._read
                if anew:
                    self._file, self._read = (found.st_dev, found.st_ino), 0
                    self.count = self.spoilt = 0
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            anew, data, self._file, self._read = self._read > 0, b"", None, 0
        size = data.rfind(b"\n") + 1
        self._read += size
        return anew, self._parsed(data[:size].splitlines())

    def _parsed(self, texts: Iterable[bytes]) -> list[IndexLine]:
        lines: list[IndexLine] = []
        for text in texts:
            self.count += 1
            try:
                lines.append(msgspec.json.decode(text, type=IndexLine))
            except (msgspec.MsgspecError, RecursionError):
                self.spoilt += 1
        return lines

    def append(self, lines: Iterable[IndexLine]) -> None:
        """Append lines, after :meth:`news`; half a line that a kill left behind is removed.

        Raises:
            OSError: The file cannot be written.
        """
        data = b"".join([msgspec.json.encode(line) + b"\n" for line in lines])
        handle = open_to_append(self._path, new=self._file is None)
        try:
            os.ftruncate(handle, self._read)
            write_all(handle, data)
            found = os.fstat(handle)
        finally:
            os.close(handle)
        self._file, self._read = (found.st_dev, found.st_ino), found.st_size
        self.count += data.count(b"\n")

    def replace(self, lines: Iterable[IndexLine]) -> None:
        """Put these lines in the place of all others; other processes then read them anew.

        Raises:
            InputError: The file cannot be written.
        """
        replace_bytes(self._path, b"".join([msgspec.json.encode(line) + b"\n" for line in lines]))
