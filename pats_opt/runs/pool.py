"""A pool of worker processes in which a crash or a hang is an error of one call only.

A worker and all processes which it starts are one process group, that is killed as a whole: on a
timeout, on an interrupt, and when the pool's own process ends in any way. Ctrl-C reaches only the
pool's process. Process pools of libraries kill a worker alone, or import the caller's script again.
"""

from __future__ import annotations

import os
import pickle
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Future,
    ThreadPoolExecutor,
    wait,
)
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

from pats_opt.errors import one_line
from pats_opt.runs.worker import FRAME

T = TypeVar("T")

COMMAND = (sys.executable, "-m", "pats_opt.runs.worker")

#: Bytes of a worker's output that its error keeps.
OUTPUT_TAIL = 2000

#: Seconds in which an idle worker ends by itself.
EXIT_S = 5.0

#: Longest wait for a call between two looks for Ctrl-C, in seconds.
WAKE_S = 0.2


class WorkerError(RuntimeError):
    """A call ended without an answer.

    Attributes:
        seconds: Seconds from the call to its end.
        output: The last lines that the worker printed.
    """

    def __init__(self, problem: str, seconds: float, output: str) -> None:
        super().__init__(problem)
        self.seconds, self.output = seconds, output


class WorkerCrashError(WorkerError):
    """The worker died: of a signal, of too little memory, or in native code."""


class WorkerTimeoutError(WorkerError):
    """The worker was still busy at the timeout and was killed."""


class WorkerPool:
    """Calls functions in worker processes.

    Left without an exception, it waits for all calls; left by one, it kills its workers. A worker
    that crashed, was overdue, or was left with much memory, threads or children by its call is
    replaced.

    Args:
        jobs: Processes at a time.
        fresh: Whether each call has a process of its own.
    """

    def __init__(self, jobs: int, *, fresh: bool = False) -> None:
        self._fresh = fresh
        self._threads = ThreadPoolExecutor(jobs)
        self._idle: list[_WorkerProcess] = []
        self._alive: set[_WorkerProcess] = set()
        self._lock = threading.Lock()
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
        self._threads.shutdown(cancel_futures=kind is not None)
        for worker in self._idle:
            worker.close()

    def submit(
        self, function: Callable[..., T], *args: Any, timeout_s: float | None = None
    ) -> Future[T]:
        """Call a function in a worker.

        Args:
            function: A function that can be imported; its arguments and its result are pickled.
            args: Its arguments.
            timeout_s: Seconds after which the worker is killed.

        Returns:
            Its result in the future; or what it raised, or a :class:`WorkerError`.
        """
        return self._threads.submit(self._call, pickle.dumps((function, args)), timeout_s)

    def kill(self) -> None:
        """Kill every worker, and start no more."""
        with self._lock:
            self._over = True
            for worker in self._alive:
                worker.kill()

    def _call(self, call: bytes, timeout_s: float | None) -> Any:
        worker = self._worker()
        try:
            done, value, last = worker.call(call, timeout_s)
        except WorkerError:
            self._forget(worker)
            raise
        if self._fresh or last:
            self._forget(worker)
        else:
            self._idle.append(worker)
        if not done:
            raise value
        return value

    def _worker(self) -> _WorkerProcess:
        with self._lock:
            if self._over:
                raise CancelledError
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
                worker.close()  # killed from outside while it was idle
                self._alive.discard(worker)
            worker = _WorkerProcess()
            self._alive.add(worker)
            return worker

    def _forget(self, worker: _WorkerProcess) -> None:
        worker.close()
        with self._lock:
            self._alive.discard(worker)


def completed(futures: Iterable[Future[T]]) -> Iterator[Future[T]]:
    """Yield futures as they are done; a wait without end may not see Ctrl-C, so none is long."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, WAKE_S, FIRST_COMPLETED)
        yield from done


class _WorkerProcess:
    """One process, in a group of its own, with pipes for calls and answers."""

    def __init__(self) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the worker)
        self._printed = 0  # bytes of earlier calls in it
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._output,
            start_new_session=True,
        )

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def call(self, call: bytes, timeout_s: float | None) -> tuple[bool, Any, bool]:
        """Return whether the function returned, its result or what it raised, and the end.

        The end is whether the worker should be replaced.

        Raises:
            WorkerError: There is no answer.
        """
        process, began, overdue = self._process, time.monotonic(), threading.Event()
        assert process.stdin is not None
        assert process.stdout is not None

        def expire() -> None:
            overdue.set()
            self.kill()

        self._printed = os.fstat(self._output.fileno()).st_size
        timer = threading.Timer(timeout_s or 0.0, expire)
        try:
            if timeout_s is not None:
                timer.start()
            process.stdin.write(struct.pack(FRAME, len(call)) + call)
            process.stdin.flush()
            answer: tuple[bool, Any, bool] = pickle.load(process.stdout)  # noqa: S301 (our own worker)
        except (OSError, EOFError, pickle.UnpicklingError):
            self.kill()
            status, seconds = process.wait(), time.monotonic() - began
            if overdue.is_set():
                raise WorkerTimeoutError("killed at its timeout", seconds, self._tail()) from None
            raise WorkerCrashError(_ending(status), seconds, self._tail()) from None
        finally:
            timer.cancel()
        return answer

    def close(self) -> None:
        """Let an idle process end, and kill what is left of its group."""
        assert self._process.stdin is not None
        with suppress(OSError):  # a call may still be in its buffer
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_S)
        self.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._output.close()

    def kill(self) -> None:
        """Kill the process and all that it started."""
        try:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        except (ProcessLookupError, PermissionError):
            pass  # all of it has ended already

    def _tail(self) -> str:
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(self._printed, size - OUTPUT_TAIL))
        lines = self._output.read().decode("utf-8", "replace").splitlines()
        return "\n".join(one_line(line) for line in lines)


def _ending(status: int) -> str:
    """How a process ended, by its exit status."""
    if status >= 0:
        return f"its process ended with status {status} and no result"
    name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
    return f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
