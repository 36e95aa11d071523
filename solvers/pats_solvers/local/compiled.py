"""How the functions of this package are compiled.

Compiling takes longer than most solves, so it is done once and kept on disk; only what Python calls
gets the code that turns Python's objects into compiled ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numba import config, njit

F = TypeVar("F", bound=Callable[..., object])

#: Numbers to call compiled functions with: a literal would be a type of its own, and the function
#: would be compiled once more for it.
NONE: Any = np.int64(-1)
ZERO: Any = np.int64(0)


def _forget_stale() -> None:
    """Delete what was compiled before any source of this package was last changed.

    Numba compares a function's own file only, and would go on with old code of the functions that
    it calls in other files.
    """
    here = Path(__file__).parent
    with contextlib.suppress(OSError):  # another process may be at it, or may own the files
        newest = max(source.stat().st_mtime for source in here.glob("*.py"))
        places = [here / "__pycache__"]
        if elsewhere := getattr(config, "CACHE_DIR", ""):  # NUMBA_CACHE_DIR
            places.extend(Path(elsewhere).glob(f"{here.name}_*"))
        for index in (index for place in places for index in place.glob("*.nbi")):
            if index.stat().st_mtime < newest:
                index.unlink(missing_ok=True)


_forget_stale()


def _with(**options: Any) -> Callable[[F], F]:
    return cast("Callable[[F], F]", njit(nogil=True, error_model="numpy", **options))


def compiled(function: F) -> F:
    """Compile a function that other compiled functions call."""
    return _with(cache=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def entry(function: F) -> F:
    """Compile a function that Python calls too."""
    return _with(cache=True, no_cfunc_wrapper=True)(function)


def inlined(function: F) -> F:
    """Compile a function into the one function that calls it.

    A function that is called is optimised again with each that calls it, and with their callers;
    for long ones this saves some of the time.
    """
    return _with(inline="always")(function)
