"""Where workers run: threads of this process, processes of this machine, or Ray actors.

A pool starts one worker for each job and passes commands and messages. It knows nothing of what
they mean, except that a worker which dies is :class:`~pats_opt.execute.worker.Broken`.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

from typing_extensions import override

from pats_opt.errors import UnfinishedError
from pats_opt.execute.inbox import Command, Inbox, StopCommand
from pats_opt.execute.worker import Message, OpenEngine, WorkerJob, work


class WorkerKind(StrEnum):
    """Where workers run."""

    THREAD = "thread"
    PROCESS = "process"
    RAY = "ray"


class GpuWorkers(Protocol):
    """The workers of a run.

    Attributes:
        ahead_s: Seconds between the start command and the start.
    """

    ahead_s: float

    def send(self, worker: int, command: Command) -> None:
        """Pass a command to a worker (by its place among the jobs); a dead one gets nothing."""
        ...

    def receive(self, timeout_s: float) -> tuple[int, Message] | None:
        """The next message with its worker's place, or None where none comes in time."""
        ...

    def close(self) -> None:
        """End whatever still runs, at once."""
        ...


def start_workers(
    kind: WorkerKind, jobs: Sequence[WorkerJob], open_engine: OpenEngine
) -> GpuWorkers:
    """Start a worker for each job.

    Raises:
        InputError: Ray is to be used and not installed.
    """
    match kind:
        case WorkerKind.THREAD:
            return WorkerThreads(jobs, open_engine)
        case WorkerKind.PROCESS:
            from pats_opt.execute.workers.process import WorkerProcesses

            return WorkerProcesses(jobs, open_engine)
        case WorkerKind.RAY:
            from pats_opt.execute.workers.ray import RayActors

            return RayActors(jobs, open_engine)


class WorkerThread:
    """A worker in a thread; its messages go to ``send``."""

    def __init__(
        self, job: WorkerJob, open_engine: OpenEngine, send: Callable[[Message], None]
    ) -> None:
        self.inbox = Inbox()
        self.thread = threading.Thread(
            target=work,
            args=(job, open_engine, self.inbox, send),
            name=f"worker-{job.gpu}",
            daemon=True,
        )
        self.thread.start()


class WorkerThreads(GpuWorkers):
    """Workers as threads of this process: nothing is copied, and one GPU needs no more."""

    ahead_s = 0.0

    def __init__(self, jobs: Sequence[WorkerJob], open_engine: OpenEngine) -> None:
        self._messages: SimpleQueue[tuple[int, Message]] = SimpleQueue()
        self._workers = [
            WorkerThread(job, open_engine, partial(self._put, place))
            for place, job in enumerate(jobs)
        ]

    def _put(self, place: int, message: Message) -> None:
        self._messages.put((place, message))

    @override
    def send(self, worker: int, command: Command) -> None:
        self._workers[worker].inbox.put(command)

    @override
    def receive(self, timeout_s: float) -> tuple[int, Message] | None:
        try:
            return self._messages.get(timeout=timeout_s)
        except Empty:
            return None

    @override
    def close(self) -> None:
        # A thread cannot be killed; it ends with the process.
        for worker in self._workers:
            worker.inbox.put(StopCommand())
            worker.thread.join(0.2)
        if any(worker.thread.is_alive() for worker in self._workers):
            atexit.register(_leave, [worker.thread for worker in self._workers])


def _leave(threads: Sequence[threading.Thread]) -> None:
    """End the process where a thread is still at work.

    It may be in native code, which aborts the process if the interpreter goes away beneath it.
    """
    if any(thread.is_alive() for thread in threads):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(UnfinishedError.exit_code)
