"""How kernels are compiled, and where the compiled code is kept.

Numba keeps compiled code on disk, but looks at a function's own file only to tell whether it is
still valid, and would go on with old code of the functions that it calls in other files. So the
code is kept in a folder named after a digest of all files with kernels: another version, another
folder. ``NUMBA_CACHE_DIR`` says where these folders are; by default, in the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numba.core import config as numba_config

F = TypeVar("F", bound=Callable[..., object])

#: numba's settings, which its type information leaves out.
config: Any = numba_config

#: Numbers to call compiled functions with: a literal would be a type of its own, and the function
#: would be compiled once more for it.
NONE: Any = np.int64(-1)
ZERO: Any = np.int64(0)

#: Days after which the compiled code of another version is deleted.
KEPT_DAYS = 30


def compiled(function: F) -> F:
    """Compile a function that other compiled functions call."""
    return _njit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


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
    with _kept_in(FOLDER):
        made = numba.njit(nogil=True, error_model="numpy", cache=FOLDER is not None, **options)(
            function
        )
    return cast("F", made)


@contextlib.contextmanager
def _kept_in(folder: Path | None) -> Iterator[None]:
    """Numba chooses the folder when a function is decorated."""
    before = config.CACHE_DIR
    config.CACHE_DIR = "" if folder is None else str(folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


def _folder() -> Path | None:
    """Where this version's code is kept, or None where nothing can be written."""
    name = f"kernels-{_digest()}"
    for base in _bases():
        folder = base / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            os.utime(folder)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            _forget_others(folder)
            return folder
    return None


def _bases() -> Iterator[Path]:
    """Folders to try, best first."""
    if config.CACHE_DIR:
        yield Path(config.CACHE_DIR)
        return
    home = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(RuntimeError):  # there may be no home
        yield (Path(home) if home else Path.home() / ".cache") / "pats-opt"
    user = os.getuid() if hasattr(os, "getuid") else "user"
    yield Path(tempfile.gettempdir()) / f"pats-opt-{user}"


def _digest() -> str:
    """A digest of the sources of all kernels and of what compiles them."""
    seen = hashlib.sha256(f"{sys.version} {numba.__version__}".encode())
    here = Path(__file__).parent
    for source in sorted(here.rglob("*.py")):
        text = source.read_bytes()
        if b"pats_solvers.kernel import" in text:
            seen.update(str(source.relative_to(here)).encode() + b"\0" + text)
    return seen.hexdigest()[:16]


def _forget_others(folder: Path) -> None:
    """Delete the code of versions that nobody has used for long."""
    for other in folder.parent.glob("kernels-*"):
        with contextlib.suppress(OSError):
            if other != folder and time.time() - other.stat().st_mtime > KEPT_DAYS * 86400:
                shutil.rmtree(other, ignore_errors=True)


FOLDER = _folder()
