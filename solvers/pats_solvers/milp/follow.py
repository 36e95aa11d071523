"""Following a solver that runs as a child: its log, the clock, the user's wish to stop."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Queue

from pats_opt.schedule import Stop
from pats_solvers.milp.backends import Limits

#: Seconds between two looks at the user's wish to stop.
POLL = 0.05

#: Seconds past the time limit after which a child that should have seen it is asked to stop.
LATE = 1.0

#: Lines of the log that are kept for an error's text.
TAIL = 40


def follow(
    child: subprocess.Popen[str],
    limits: Limits,
    read: Callable[[str], None],
    ask: Callable[[], None],
    grace: float,
) -> tuple[Stop | None, str]:
    """Wait until ``child`` has ended, and make sure that it does.

    Args:
        child: A process with its log on standard output.
        limits: The time limit and the user's wish to stop.
        read: Called with each line of the log.
        ask: Asks the child to stop.
        grace: Seconds it then has before it is ended.

    Returns:
        Why it was asked to stop, or None where it ended by itself; and the end of its log.
    """
    lines: Queue[str | None] = Queue()

    def listen() -> None:
        assert child.stdout is not None
        for line in child.stdout:
            lines.put(line)
        lines.put(None)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    tail: deque[str] = deque(maxlen=TAIL)
    asked: Stop | None = None
    until = late = float("inf")
    try:
        while time.monotonic() < until:
            if late == float("inf") and limits.remaining() == 0.0:
                late = time.monotonic() + LATE
            if asked is None and (limits.interrupted() or time.monotonic() > late):
                asked = Stop.INTERRUPTED if limits.interrupted() else Stop.TIME_LIMIT
                until = time.monotonic() + grace
                with suppress(OSError):  # it has just ended
                    ask()
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
        child.kill()
        child.wait()
        listener.join()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
    return asked, " ".join(" ".join(tail).split())
