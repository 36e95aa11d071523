"""Child processes that can be stopped, and that end with their parent.

Run as ``python process.py FOLDER COMMAND...``, this file guards a program that does not know how to
do either: a line on standard input interrupts it, and where standard input is closed, because the
parent has gone, it is ended and ``FOLDER`` removed. It needs nothing but the standard library, so
that it starts at once.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Queue

#: Seconds between two looks at the user's wish to stop.
POLL = 0.05

#: Seconds past its time limit after which a child that keeps one itself is stopped.
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
    remaining: Callable[[], float | None],
    interrupted: Callable[[], bool],
    read: Callable[[str], None],
    grace: float,
    *,
    late: float = 0.0,
) -> tuple[str | None, str]:
    """Wait until ``child`` has ended, and make sure that it does.

    Args:
        child: A child from :func:`start`: its log is on standard output, and the line "stop" on
            its standard input asks it to stop.
        remaining: Returns the seconds left, or None.
        interrupted: Returns whether the user wants the best so far.
        read: Called with each line of the log.
        grace: Seconds it has to end, once asked to, before it and its own children are ended.
        late: Seconds past the time limit after which it is asked to end.

    Returns:
        The :class:`StopReason` value for which it was asked to stop, or None where it ended by
        itself; and the end of its log.
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
    asked: str | None = None
    until = overdue = float("inf")
    try:
        while time.monotonic() < until:
            if overdue == float("inf") and remaining() == 0.0:
                overdue = time.monotonic() + late
            if asked is None and (interrupted() or time.monotonic() >= overdue):
                asked = "interrupted" if interrupted() else "time-limit"
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


def guard(folder: str, command: list[str]) -> int:
    """Run ``command`` as the module's docstring says, and return its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    orphaned = threading.Event()

    def obey() -> None:
        if sys.stdin.readline():
            child.send_signal(signal.SIGINT)
            sys.stdin.readline()
        orphaned.set()
        child.kill()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)

    listener = threading.Thread(target=obey, daemon=True)
    listener.start()
    status = child.wait()
    if orphaned.is_set():
        listener.join()  # it removes the folder and ends this process
    return status


if __name__ == "__main__":
    exit_status = guard(sys.argv[1], sys.argv[2:])
    sys.stdout.flush()
    os._exit(exit_status & 0xFF)  # not waiting for the thread that listens
