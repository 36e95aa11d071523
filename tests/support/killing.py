"""Processes that kill themselves at a chosen call of the system, and workers to be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds processes in /proc"
)


def workers_of(pid: int) -> list[int]:
    """The worker processes of a process, whichever of its threads has started them."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended
            found += map(int, path.read_text().split())
    return [child for child in found if _is_worker(child)]


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


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
