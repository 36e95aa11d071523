"""A way to break work off in the middle."""

from __future__ import annotations

from collections.abc import Callable


class StopError(Exception):
    """The caller wanted to stop before the result was worked out."""


def check_stop(stop: Callable[[], bool]) -> None:
    """Go on unless the caller wants to stop.

    Raises:
        StopError: It does.
    """
    if stop():
        raise StopError


def never() -> bool:
    """Return False: go on to the end."""
    return False
