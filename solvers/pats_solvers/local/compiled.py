"""How the functions of this package are compiled.

Compiling takes longer than most solves, so it is done once and kept on disk; only what Python calls
gets the code that turns Python's objects into compiled ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """Compile a function that other compiled functions call."""
    made: F = njit(
        cache=True, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True
    )(function)
    return made


def entry(function: F) -> F:
    """Compile a function that Python calls too."""
    made: F = njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
    return made
