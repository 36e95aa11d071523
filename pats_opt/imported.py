"""Functions of the user, named as ``module:function``."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from pats_opt.errors import InputError


def import_function(spec: str, noun: str, takes: str) -> Callable[..., Any]:
    """Import the function that ``module:function`` names.

    Args:
        spec: Module and function.
        noun: What it is to be, for messages.
        takes: What the function has to map, for messages: ``a prompt to ...``.

    Raises:
        InputError: There is no such module or function.
    """
    module, _, name = spec.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"there is no {noun} {spec!r} ({error})",
            hint="write it as module:function, with the module on PYTHONPATH",
        ) from None
    if not callable(found):
        raise InputError(f"{spec!r} is no function", hint=f"name a function from {takes}")
    function: Callable[..., Any] = found
    return function
