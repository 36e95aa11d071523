"""Pools of workers in which a crash or a hang is an error of one call only: here, processes.

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
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
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

from typing_extensions import override

from pats_opt.errors import one_line
from pats_opt.runs.worker import FRAME
from pats_opt.solving.preparing import compile_all
from pats_opt.solving.solve import runnable

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

    @override
    def __reduce__(self) -> tuple[type[WorkerError], tuple[str, float, str]]:
        return type(self), (str(self), self.seconds, self.output)


class WorkerCrashError(WorkerError):
    """The worker died: of a signal, of too little memory, or in native code."""


class WorkerTimeoutError(WorkerError):
    """The worker was still busy at the timeout and was killed."""


class RunPool(ABC):
    """Calls functions in workers.

    Left without an exception, it waits for all calls; left by one, it kills its workers.

    Args:
        jobs: Calls in progress at a time.
        fresh: Whether each call has a process of its own.
    """

    def __init__(self, jobs: int, *, fresh: bool = False) -> None:
        self.jobs, self._fresh = jobs, fresh
        self._threads = ThreadPoolExecutor(jobs)

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
        self.close()

    @abstractmethod
    def prepare(self, specs: Iterable[str]) -> None:
        """Compile what solvers need before the first call, so that no call pays for it."""

    @abstractmethod
    def submit(
        self,
        function: Callable[..., T],
        *args: Any,
        timeout_s: float | None = None,
        reads: Sequence[str] = (),
        writes: str | None = None,
    ) -> Future[T]:
        """Call a function in a worker.

        Args:
            function: A function that can be imported; its arguments and its result are pickled.
            args: Its arguments.
            timeout_s: Seconds after which the worker is killed.
            reads: Files that it reads, as :func:`pats_opt.runs.copies.here` finds them.
            writes: Folder that it writes files into, found likewise.

        Returns:
            Its result in the future, once its files are written; or what it raised, or a
            :class:`WorkerError`.
        """

    @abstractmethod
    def kill(self) -> None:
        """Kill every worker, and start no more."""

    @abstractmethod
    def close(self) -> None:
        """Let the workers end; no call is in progress."""


class WorkerPool(RunPool):
    """Calls functions in processes of this machine, which see the files as they are.

    A worker that crashed, was overdue, or was left with much memory, threads or children by its
    call is replaced.
    """

    def __init__(self, jobs: int, *, fresh: bool = False) -> None:
        super().__init__(jobs, fresh=fresh)
        self._idle: list[WorkerProcess] = []
        self._alive: set[WorkerProcess] = set()
        self._lock = threading.Lock()
        self._over = False

    @override
    def prepare(self, specs: Iterable[str]) -> None:
        prepare_all(specs)  # here: the workers find it in the cache

    @override
    def submit(
        self,
        function: Callable[..., T],
        *args: Any,
        timeout_s: float | None = None,
        reads: Sequence[str] = (),
        writes: str | None = None,
    ) -> Future[T]:
        return self._threads.submit(self._call, pickle.dumps((function, args)), timeout_s)

    @override
    def kill(self) -> None:
        with self._lock:
            self._over = True
            for worker in self._alive:
                worker.kill()

    @override
    def close(self) -> None:
        for worker in self._idle:
            worker.close()

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

    def _worker(self) -> WorkerProcess:
        with self._lock:
            if self._over:
                raise CancelledError
            while self._idle:
                worker = self._idle.pop()
                if worker.is_alive():
                    return worker
                worker.close()  # killed from outside while it was idle
                self._alive.discard(worker)
            worker = WorkerProcess()
            self._alive.add(worker)
            return worker

    def _forget(self, worker: WorkerProcess) -> None:
        worker.close()
        with self._lock:
            self._alive.discard(worker)


def prepare_all(specs: Iterable[str]) -> None:
    """Compile what solvers need on this machine."""
    compile_all(map(runnable, dict.fromkeys(specs)))


def completed(futures: Iterable[Future[T]]) -> Iterator[Future[T]]:
    """Yield futures as they are done; a wait without end may not see Ctrl-C, so none is long."""
    pending = set(futures)
    while pending:
        done, pending = wait(pending, WAKE_S, FIRST_COMPLETED)
        yield from done


class WorkerProcess:
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
