"""Workers as processes of this machine: each has its GPU, its interpreter and its fate to itself.

Each is joined to this process by a pipe of its own, so that one which is killed in the middle of a
message spoils no other's. A worker whose pipe breaks (this process was killed) ends at once, and
the journal and the images on disk are what a kill leaves anyway.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait

from typing_extensions import override

from pats_opt.execute.inbox import Command, Inbox
from pats_opt.execute.worker import Broken, Message, OpenEngine, WorkerEnded, WorkerJob, work
from pats_opt.execute.workers import GpuWorkers

#: Seconds that an ended worker's process gets to be gone.
GONE_S = 10.0


#: Signals that only the process in charge answers.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals back, here and in a process that is started meanwhile until it ignores them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class WorkerProcesses(GpuWorkers):
    """The pool of processes. They are spawned, not forked, as CUDA requires."""

    ahead_s = 0.05

    def __init__(self, jobs: Sequence[WorkerJob], open_engine: OpenEngine) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        self._over: set[int] = set()  # said WorkerEnded or Broken
        for job in jobs:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_main, args=(job, open_engine, theirs), name=f"worker-{job.gpu}", daemon=True
            )
            with _signals_held():
                process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    @override
    def send(self, worker: int, command: Command) -> None:
        with suppress(OSError):
            self._pipes[worker].send(command)

    @override
    def receive(self, timeout_s: float) -> tuple[int, Message] | None:
        open_pipes = {p: i for i, p in enumerate(self._pipes) if i not in self._over}
        for pipe in wait(list(open_pipes), timeout_s):
            assert isinstance(pipe, Connection)
            place = open_pipes[pipe]
            try:
                message: Message = pipe.recv()
            except (EOFError, OSError):
                message = self._death(place)
            if isinstance(message, WorkerEnded | Broken):
                self._over.add(place)
            return place, message
        return None

    def _death(self, place: int) -> Broken:
        process = self._processes[place]
        process.join(GONE_S)
        status = process.exitcode
        if status is None or status >= 0:
            return Broken(f"its process ended with status {status}")
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return Broken(
            f"its process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
        )

    @override
    def close(self) -> None:
        for place, process in enumerate(self._processes):
            if place in self._over:
                process.join(GONE_S)
            if process.is_alive():
                process.kill()
                process.join()
            process.close()
        for pipe in self._pipes:
            pipe.close()


def _main(job: WorkerJob, open_engine: OpenEngine, pipe: Connection) -> None:
    """A worker's process."""
    # Ctrl-C reaches every process of the terminal, and SIGTERM may reach a whole group; the one in
    # charge passes them on as a command.
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    inbox, writing = Inbox(), threading.Lock()

    def listen() -> None:
        while True:
            try:
                inbox.put(pipe.recv())
            except (EOFError, OSError):
                os._exit(1)  # nobody is in charge any more, and another run may take over

    def send(message: Message) -> None:
        with writing, suppress(OSError):  # the listener notices who is gone
            pipe.send(message)

    threading.Thread(target=listen, name="listener", daemon=True).start()
    work(job, open_engine, inbox, send)
