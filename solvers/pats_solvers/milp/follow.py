"""Following a solver that runs as a child: its log, the clock, the user's wish to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Queue

from pats_opt.model.schedule import StopReason
from pats_solvers.milp.contract import Limits

#: Seconds between two looks at the user's wish to stop.
POLL = 0.05

#: Seconds past the time limit after which a child that should have seen it is asked to stop.
LATE = 3.0

#: Lines of the log that are kept for an error's text.
TAIL = 40


def start(command: list[str], **environment: str) -> subprocess.Popen[str]:
    """Start a child in a session of its own, so that Ctrl-C in a terminal reaches us alone."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    )


def follow(
    child: subprocess.Popen[str],
    limits: Limits,
    read: Callable[[str], None],
    grace: float,
) -> tuple[StopReason | None, str]:
    """Wait until ``child`` has ended, and make sure that it does.

    Args:
        child: What :func:`start` started: its log is on standard output, and the line "stop" on
            its standard input asks it to stop.
        limits: The time limit and the user's wish to stop.
        read: Called with each line of the log.
        grace: Seconds it has to end, once asked to, before it and its own children are ended.

    Returns:
        Why it was asked to stop, or None where it ended by itself; and the end of its log.
    """
    lines: Queue[str | None] = Queue()

    assert child.stdin is not None
    assert child.stdout is not None
    output = child.stdout

    def listen() -> None:
        for line in output:
            lines.put(line)
        lines.put(None)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    tail: deque[str] = deque(maxlen=TAIL)
    asked: StopReason | None = None
    until = late = float("inf")
    try:
        while time.monotonic() < until:
            if late == float("inf") and limits.remaining() == 0.0:
                late = time.monotonic() + LATE
            if asked is None and (limits.interrupted() or time.monotonic() > late):
                asked = StopReason.INTERRUPTED if limits.interrupted() else StopReason.TIME_LIMIT
                until = time.monotonic() + grace
                with suppress(OSError):  # it has just ended
                    child.stdin.write("stop\n")
                    child.stdin.flush()
            try:
                line = lines.get(timeout=POLL)
            except Empty:
                continue
            if line is None:
                child.wait()
                break
            tail.append(line)
            read(line)
    finally:
        with suppress(OSError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        listener.join()
        for stream in (child.stdin, child.stdout):
            with suppress(OSError):
                stream.close()
    return asked, " ".join(" ".join(tail).split())
