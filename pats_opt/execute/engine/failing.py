"""Trying something on a device, and what went wrong, without holding on to its tensors."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from pats_opt.errors import one_line


class Failure(Struct, frozen=True):
    """Why an attempt failed: in one line, and whether memory ran out."""

    reason: str
    out_of_memory: bool


def attempt(do: Callable[[], object]) -> Failure | None:
    """Do something; None where it went well.

    What to do about a failure is decided after this returns, as a traceback that is still handled
    holds every tensor of the failed call.
    """
    import torch

    try:
        do()
    except torch.OutOfMemoryError as error:
        return Failure(f"out of memory: {_first_line(error)}", out_of_memory=True)
    except Exception as error:  # whatever the model's code raises is this request's failure
        return Failure(f"{type(error).__name__}: {_first_line(error)}", out_of_memory=False)
    return None


def _first_line(error: Exception) -> str:
    return one_line((str(error).strip() or "no reason given").splitlines()[0])
