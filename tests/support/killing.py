"""Processes that kill themselves at a chosen call of the system."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any


def kill_at(call: int, names: Sequence[str]) -> None:
    """Let this process kill itself at so many calls from now; half of a write is still done.

    Args:
        call: The call at which it dies, from 1.
        names: The functions of :mod:`os` that count.
    """
    calls = 0

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def do(*arguments: Any, **others: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                if name == "write":
                    real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **others)

        return do

    for name in names:
        setattr(os, name, counted(name, getattr(os, name)))
