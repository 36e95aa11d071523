"""Workers as threads of this process: nothing is copied, and one GPU needs no more."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import Empty, SimpleQueue

from pats_opt.errors import UnfinishedError
from pats_opt.execute.worker import Command, Inbox, Job, Message, OpenEngine, Stop, work


class Hosted:
    """A worker in a thread of its own; what it tells goes to ``tell``."""

    def __init__(self, job: Job, open_engine: OpenEngine, tell: Callable[[Message], None]) -> None:
        self.inbox = Inbox()
        self.thread = threading.Thread(
            target=work,
            args=(job, open_engine, self.inbox, tell),
            name=f"worker-{job.gpu}",
            daemon=True,
        )
        self.thread.start()


class Threads:
    """The crew of threads."""

    ahead_s = 0.0

    def __init__(self, jobs: Sequence[Job], open_engine: OpenEngine) -> None:
        self._messages: SimpleQueue[tuple[int, Message]] = SimpleQueue()
        self._workers = [
            Hosted(job, open_engine, partial(self._told, place)) for place, job in enumerate(jobs)
        ]

    def _told(self, place: int, message: Message) -> None:
        self._messages.put((place, message))

    def send(self, worker: int, command: Command) -> None:
        """Pass a command."""
        self._workers[worker].inbox.put(command)

    def receive(self, timeout_s: float) -> tuple[int, Message] | None:
        """The next message."""
        try:
            return self._messages.get(timeout=timeout_s)
        except Empty:
            return None

    def close(self) -> None:
        """Tell what still runs to stop. A thread cannot be killed; it ends with the process."""
        for worker in self._workers:
            worker.inbox.put(Stop())
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
