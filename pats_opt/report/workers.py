"""Runs tasks in worker processes, a fresh one each, so that no run can harm another.

A worker is its own process group and writes its own record. What this side adds is the limit: a
run that is busy past its hard limit is killed with everything it started, and a process that ends
without a record (killed, out of memory, crashed in native code) is recorded as crashed.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from pats_opt.errors import one_line
from pats_opt.report.runs import End, Failure, Record, Task, read_record, record_path, write_record
from pats_opt.report.worker import lost

COMMAND = (sys.executable, "-m", "pats_opt.report.worker")

#: Bytes of a crashed worker's output that are kept.
LAST_WORDS = 2000


def run_all(
    tasks: Sequence[Task],
    jobs: int,
    grace_s: float,
    done: Callable[[Record], None] = lambda _: None,
) -> None:
    """Run every task, at most ``jobs`` at once; each leaves its record on disk.

    Args:
        tasks: What to run.
        jobs: Worker processes at a time.
        grace_s: Seconds past its time limit after which a run is killed.
        done: Called in this thread with each record as it comes.

    Raises:
        KeyboardInterrupt: after all workers have been killed; finished runs stay on disk.
    """
    crew = _Crew()
    with ThreadPoolExecutor(max_workers=jobs) as threads:
        futures = [threads.submit(crew.run, task, grace_s) for task in tasks]
        try:
            for future in as_completed(futures):
                record = future.result()
                if record is not None:
                    done(record)
        except BaseException:
            crew.disband()
            threads.shutdown(cancel_futures=True)
            raise


class _Crew:
    """The processes alive now, so that an interrupt can end them all."""

    def __init__(self) -> None:
        self._alive: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._over = False

    def disband(self) -> None:
        """Kill every worker; none is started any more."""
        with self._lock:
            self._over = True
            for process in self._alive:
                _kill(process)

    def run(self, task: Task, grace_s: float) -> Record | None:
        """Run one task in a process of its own; None where the crew was disbanded meanwhile."""
        folder, config = Path(task.folder), task.config
        record_path(folder, config).unlink(missing_ok=True)
        began, overdue = time.monotonic(), False
        with tempfile.TemporaryFile() as words:
            process = self._start(words)
            if process is None:
                return None
            try:
                assert process.stdin is not None
                process.stdin.write(msgspec.json.encode(task) + b"\n")
                process.stdin.flush()
                process.wait(config.time_limit + grace_s)
            except subprocess.TimeoutExpired:
                overdue = True
            except BrokenPipeError:
                process.wait()  # it ended before it read its task; its last words say why
            finally:
                self._end(process)
            if self._over:
                return None
            record = read_record(folder, config)
            if record is None:
                wall_s = time.monotonic() - began
                record = _lost(task, process.returncode, overdue, wall_s, _tail(words))
                write_record(folder, record)
            return record

    def _start(self, words: IO[bytes]) -> subprocess.Popen[bytes] | None:
        with self._lock:
            if self._over:
                return None
            process = subprocess.Popen(
                COMMAND,
                stdin=subprocess.PIPE,
                stdout=words,
                stderr=words,
                start_new_session=True,
            )
            self._alive.add(process)
            return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Kill what is left of a worker and its children, and forget it."""
        _kill(process)
        process.wait()
        with self._lock:
            self._alive.discard(process)
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # the task may still be in the pipe's buffer
            process.stdin.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker's process group: a solver may have started processes of its own."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass  # all of it has ended already


def _tail(words: IO[bytes]) -> str:
    size = words.seek(0, os.SEEK_END)
    words.seek(max(0, size - LAST_WORDS))
    lines = words.read().decode("utf-8", "replace").splitlines()
    return "\n".join(one_line(line) for line in lines)


def _lost(task: Task, status: int, overdue: bool, wall_s: float, words: str) -> Record:
    """The record of a run that was killed or died."""
    limit = task.config.time_limit
    if overdue:
        message = f"still busy {wall_s - limit:.0f} s after its time limit of {limit:g} s; killed"
        return lost(
            task.config,
            End.TIMED_OUT,
            Failure(type="TimeoutError", message=message, detail=words),
            wall_s,
        )
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        message = f"its process was ended by {name}"
        if -status == signal.SIGKILL:
            message += " (out of memory?)"
    else:
        message = f"its process ended with status {status} and no result"
    return lost(
        task.config, End.CRASHED, Failure(type="Crash", message=message, detail=words), wall_s
    )
