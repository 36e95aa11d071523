"""The output folder: nothing is written outside it, and no two runs write into it at once.

Everything below the folder is opened by names that :func:`file_names` made, never through a
symbolic link that somebody has put there. ::

    images/<request>.png     the images; <request>.png.part while one is written
    journal/<gpu>.jsonl      what was done, a line each
    adapters/  latents/      random adapters, and latents for options that skip steps
    execution.json  trace.json  report.html  latent_distances.csv
    .lock
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from pats_opt.model.files import StrPath, replace_bytes
from pats_opt.runs.folder import RunFolder

#: An id that is a good file name as it is.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")

#: How the names end that are made for other ids; an id that ends so by itself is one of those.
_MADE = re.compile(r"-[0-9a-fA-F]{16}$")

#: Device names of Windows, with whatever suffix.
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


def file_names(ids: Iterable[str], suffix: str) -> dict[str, str]:
    """A file name for each id, different even where upper and lower case are one.

    An id of letters, digits, dots, hyphens and underscores is its own name; any other gets what is
    left of it and a digest. No name has a separator, begins with a dot or is longer than 120.
    """
    named = dict.fromkeys(ids)
    plain: dict[str, int] = {}
    for name in named:
        if _is_plain(name):
            plain[name.lower()] = plain.get(name.lower(), 0) + 1
    return {
        name: (name if _is_plain(name) and plain[name.lower()] == 1 else _made(name)) + suffix
        for name in named
    }


def _is_plain(name: str) -> bool:
    return bool(_PLAIN.fullmatch(name)) and not _MADE.search(name) and not _RESERVED.match(name)


def _made(name: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:60]
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{readable or 'x'}-{digest}"


IMAGES, JOURNAL, ADAPTERS, LATENTS = "images", "journal", "adapters", "latents"
EXECUTION, TRACE, REPORT = "execution.json", "trace.json", "report.html"
DISTANCES = "latent_distances.csv"
#: All that runs leave in the folder; earlier ones had their lock under that name.
OWN = frozenset({IMAGES, JOURNAL, ADAPTERS, LATENTS, EXECUTION, TRACE, REPORT, DISTANCES, "lock"})

_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class Output(RunFolder):
    """An output folder, made if need be.

    Raises:
        InputError: It cannot be made, or a part of it is a symbolic link.
    """

    def __init__(self, path: StrPath) -> None:
        super().__init__(Path(path).absolute())  # workers may be elsewhere
        with self.usable():
            self.path.mkdir(parents=True, exist_ok=True)
        self.images = self.folder(IMAGES)
        self.journals = self.folder(JOURNAL)

    def folder(self, name: str) -> Path:
        """A folder in the output folder, made if need be."""
        path = self.path / name
        with self.usable():
            if path.is_symlink():
                raise OSError(errno.ELOOP, f"{name} is a symbolic link")
            path.mkdir(exist_ok=True)
        return path

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the folder whole or not at all; a link of its name is replaced."""
        replace_bytes(self.path / name, data)


class ImageFolder:
    """Where images are kept, each whole or not at all.

    An image is first a *part* file, on disk; once the journal has its digest it is *settled*: it
    gets its name. Whatever interrupts this, the journal and the two files show what there is.
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
