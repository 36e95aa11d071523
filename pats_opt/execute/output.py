"""The output folder: nothing is written outside it, and no two runs write into it at once.

Everything below the folder is opened by names that :mod:`pats_opt.execute.names` made, never
through a symbolic link that somebody has put there. ::

    images/<request>.png     the images; <request>.png.part while one is written
    journal/<gpu>.jsonl      what was done, a line each
    adapters/  latents/      random adapters, and latents for options that skip steps
    execution.json  trace.json  report.html
    lock
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pats_opt.errors import InputError
from pats_opt.model.files import write_bytes

IMAGES, JOURNAL, ADAPTERS, LATENTS = "images", "journal", "adapters", "latents"
EXECUTION, TRACE, REPORT = "execution.json", "trace.json", "report.html"
LOCK = "lock"

#: What a kill leaves of a document that was being written.
_LEFTOVER = re.compile(r"\.\w+\.part")

_MINE = frozenset({IMAGES, JOURNAL, ADAPTERS, LATENTS, EXECUTION, TRACE, REPORT, LOCK})

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Output:
    """An output folder, made if need be.

    Raises:
        InputError: It cannot be made, or a part of it is a symbolic link.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()  # workers may be elsewhere
        with _plainly(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        self.images = self.folder(IMAGES)
        self.journals = self.folder(JOURNAL)

    @staticmethod
    def in_use(path: str | Path) -> bool:
        """Whether there is anything in a folder.

        Raises:
            InputError: It is no folder, or cannot be read.
        """
        with _plainly(Path(path)):
            try:
                return any(True for _ in Path(path).iterdir())
            except FileNotFoundError:
                return False

    @staticmethod
    def is_mine(path: str | Path) -> bool:
        """Whether there is nothing in a folder but what runs leave there."""
        return all(e.name in _MINE or _LEFTOVER.fullmatch(e.name) for e in Path(path).iterdir())

    def folder(self, name: str) -> Path:
        """A folder in the output folder, made if need be."""
        path = self.path / name
        with _plainly(path):
            if path.is_symlink():
                raise OSError(errno.ELOOP, "it is a symbolic link")
            path.mkdir(exist_ok=True)
        return path

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the folder whole or not at all; a link of its name is replaced."""
        write_bytes(self.path / name, data)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder for a while.

        Raises:
            InputError: Another run is in it.
        """
        path = self.path / LOCK
        with _plainly(path):
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK, 0o666), "rb+")
        with file:
            lock(file, self.path)
            with _plainly(self.path):
                for entry in self.path.iterdir():
                    if _LEFTOVER.fullmatch(entry.name):
                        entry.unlink()
            yield


class ImageFolder:
    """Where images are kept, each whole or not at all.

    An image is first a *part* file, on disk; once the journal has its digest it is *settled*: it
    gets its name. Whatever interrupts this, the journal and the two files tell what there is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write_part(self, name: str, data: bytes) -> None:
        """Write a part file and see it to the disk."""
        part = self._part(name)
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, 0o666)
        try:
            write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_folder(self._path)  # its entry too, before the journal speaks of it

    def settle(self, name: str) -> None:
        """Give a part file its name."""
        self._part(name).replace(self._path / name)

    def settled(self, name: str, sha256: str) -> bool:
        """Whether the image with this digest is there; where only its part is, settle that."""
        if _digest(self._path / name) == sha256:
            return True
        if _digest(self._part(name)) == sha256:
            self.settle(name)
            return True
        return False

    def _part(self, name: str) -> Path:
        return self._path / f"{name}.part"


def _digest(path: Path) -> str | None:
    """Digest of a plain file; None where there is none."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | _NO_LINK), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def open_to_append(path: Path, *, new: bool = False) -> int:
    """A file opened to append to, never through a symbolic link."""
    flags = os.O_WRONLY | os.O_APPEND | _NO_LINK
    return os.open(path, flags | (os.O_CREAT | os.O_EXCL if new else 0), 0o666)


def write_all(handle: int, data: bytes) -> None:
    """Write all of it; a disk that is nearly full takes a part first."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def sync_folder(path: Path) -> None:
    """See a folder's entries to the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def lock(file: IO[bytes] | int, path: Path, patience_s: float = 0.0) -> None:
    """Lock an open file until it is closed, where the system can; a killed process lets go of it.

    Raises:
        InputError: Somebody else has locked it, and does not let go of it for so long.
    """
    try:
        import fcntl
    except ImportError:
        return
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.02)
                continue
            raise InputError(
                "another run is using this folder",
                file=str(path),
                hint="wait for it, or name another",
            ) from None
        except OSError:
            return  # a file system without locks
        return


@contextmanager
def _plainly(path: Path) -> Iterator[None]:
    """What goes wrong with the folder, in one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"cannot be used for the output ({reason})", file=str(path), hint="name another folder"
        ) from None
