"""Compiled functions (kernels), and where their machine code is kept.

Numba keeps machine code on disk, but looks at a function's own file only to see whether it is still
valid, and names the folder after the path of that file. Here the folder is named after a digest of
all sources that the kernels of a package depend on: a change in one package leaves the code of the
others valid, and another checkout of the same sources finds it. ``NUMBA_CACHE_DIR`` is where these
folders are; by default they are in the user's cache. Numba unpickles what it finds there, so
nobody else may be able to write into them.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from stat import S_ISVTX
from typing import Any, TypeVar, cast

import numba
import numpy as np
import platformdirs
from numba.core import caching
from numba.core import config as numba_config

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., object])

#: numba's settings and caches, which have no types.
config: Any = numba_config
_Cache: Any = caching.FunctionCache
_CacheImpl: Any = caching.CompileResultCacheImpl
_CacheLocator: Any = caching._CacheLocator

#: Numbers to call kernels with: a literal would be a type of its own, and the kernel would be
#: compiled once more for it.
NONE: Any = np.int64(-1)
ZERO: Any = np.int64(0)

#: Days without use after which the code of another version is deleted.
KEPT_DAYS = 30

#: The folder of the solvers, how their modules import one another, and which have kernels.
ROOT = Path(__file__).resolve().parents[1]
_IMPORT = re.compile(rb"^from pats_solvers\.([\w.]+) import", re.MULTILINE)
_KERNELS = b".compiled import"


def compiled(function: F) -> F:
    """Compile a function that only other kernels call."""
    return _njit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def lean(function: F) -> F:
    """Compile a function that only other kernels call, and that neither makes nor returns arrays.

    It counts no references to the arrays that it is given: their owner is among its callers. Where
    it gets a tuple of many arrays, counting takes longer than all else.
    """
    return _njit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False)


def entry(function: F) -> F:
    """Compile a function that Python calls too."""
    return _njit(function, no_cfunc_wrapper=True)


def inlined(function: F) -> F:
    """Compile a function into those that call it.

    A function that is called is optimised again with each that calls it, and with their callers;
    for a long one with one caller this saves some of the time.
    """
    return cast("F", numba.njit(nogil=True, error_model="numpy", inline="always")(function))


def _njit(function: F, **options: Any) -> F:
    kernel: Any = numba.njit(nogil=True, error_model="numpy", **options)(function)
    if cache_folder(Path(function.__code__.co_filename).resolve().parent) is not None:
        kernel._cache = _KernelCache(function)
    return cast("F", kernel)


class _Locator(_CacheLocator):  # type: ignore[misc]
    """Locates a kernel's code by its package's sources, wherever these are."""

    def __init__(self, file: Path, line: int) -> None:
        self._folder = cache_folder(file.parent)
        self._py_file, self._lineno = str(file), line  # numba's names, for its warnings

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> _Locator:
        return cls(Path(py_file).resolve(), py_func.__code__.co_firstlineno)

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return ""  # the folder's name has it

    def get_disambiguator(self) -> str:
        return str(self._lineno)


class _KernelCacheImpl(_CacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _KernelCache(_Cache):  # type: ignore[misc]
    _impl_class = _KernelCacheImpl


def sources(package: Path) -> list[Path]:
    """Return the files that the kernels of a package depend on, imported ones included.

    Files with named tuples are among them, as numba keeps the types of arguments by name. What
    such a file imports is not, where it has no kernel: it does not change a type.
    """
    found = [
        file
        for file in sorted(package.glob("*.py"))
        if any(part in file.read_bytes() for part in (_KERNELS, b"(NamedTuple)"))
    ]
    following = [file for file in found if _KERNELS in file.read_bytes()]
    for file in following:  # grows
        for name in _IMPORT.findall(file.read_bytes()):
            imported = ROOT.joinpath(*name.decode().split(".")).with_suffix(".py")
            if imported.is_file() and imported not in following:
                following.append(imported)
    return sorted({*found, *following})


def digest(package: Path) -> str:
    """Return a digest of a package's kernels and of what compiles them.

    The processor is not in it: numba keeps the code of each under a key of its own.
    """
    made = hashlib.sha256(f"{sys.version} {numba.__version__} {np.__version__}".encode())
    for file in sources(package):
        made.update(f"\0{file.relative_to(ROOT).as_posix()}\0".encode() + file.read_bytes())
    return made.hexdigest()[:16]


@cache
def cache_folder(package: Path) -> Path | None:
    """Return the folder for the code of a package's kernels, or None where there is none.

    Whoever writes there runs code as this user, so every folder down to it must be the user's.
    """
    name = f"kernels-{package.name}-{digest(package)}"
    for base in _bases():
        with contextlib.suppress(OSError):
            # Links are followed once, before they are judged: they could be changed afterwards.
            folder = (base / name).resolve()
            for part in (*reversed(folder.parents), folder):
                part.mkdir(0o700, exist_ok=True)
            os.utime(folder)
            if _usable(folder):
                _delete_old(folder.parent)
                return folder
    return None


def _usable(folder: Path) -> bool:
    """Return whether code may be kept in a folder, and nobody else can put code there."""
    if not os.access(folder, os.W_OK):
        return False
    if not hasattr(os, "getuid"):
        return True  # Windows, where both folders are in the user's profile
    user, own = os.getuid(), folder.stat()
    return (own.st_uid == user and not own.st_mode & 0o022) and all(
        # Where the sticky bit is set, others cannot rename or replace what is not theirs.
        above.st_uid in {0, user} and (not above.st_mode & 0o022 or bool(above.st_mode & S_ISVTX))
        for above in (parent.stat() for parent in folder.parents)
    )


def _bases() -> Iterator[Path]:
    """Yield the folders to try, best first."""
    lasting = [Path(config.CACHE_DIR)] if config.CACHE_DIR else []
    if not lasting:
        with contextlib.suppress(RuntimeError):  # there may be no home
            lasting.append(platformdirs.user_cache_path("pats-opt", appauthor=False))
        with contextlib.suppress(OSError):  # or no folder for temporary files
            user = os.getuid() if hasattr(os, "getuid") else "user"
            lasting.append(Path(tempfile.gettempdir()) / f"pats-opt-{user}")
    yield from lasting
    if (private := _private_folder(*lasting)) is not None:
        yield private


@cache
def _private_folder(*refused: Path) -> Path | None:
    """Make a folder for this process and those that it starts, or None; warn of it once."""
    log.warning(
        "compiled code cannot be kept (%s: not writable, or others can write there), so each "
        "command compiles it again for some minutes; set NUMBA_CACHE_DIR to a folder of your own",
        ", ".join(map(str, refused)) or "no home",
    )
    try:
        folder = Path(tempfile.mkdtemp(prefix="pats-opt-"))
    except OSError:
        return None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    return folder


def _delete_old(base: Path) -> None:
    """Delete the code of versions that have not been used for long."""
    for folder in base.glob("kernels-*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(folder, ignore_errors=True)
