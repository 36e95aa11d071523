"""The workers of a server: one pool for each GPU, so that one which dies is started again alone."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from msgspec import Struct
from msgspec.structs import replace

from pats_opt.errors import InputError, UnfinishedError, one_line
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.adapters import FileMark, file_mark
from pats_opt.execute.inbox import (
    AdaptersCommand,
    BeginCommand,
    Command,
    FinishCommand,
    StopCommand,
)
from pats_opt.execute.work import ClockStart, RunClock
from pats_opt.execute.worker import (
    Broken,
    EngineReady,
    Message,
    OpenEngine,
    WorkerEnded,
    WorkerJob,
    reason,
)
from pats_opt.execute.workers import GpuWorkers, WorkerKind, start_workers

log = logging.getLogger(__name__)

#: Seconds between two looks whether a worker is to end.
POLL_S = 0.5

#: Seconds before a worker that died is started again: at first, and at most after many deaths.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 30.0


class WorkerMessage(Struct, frozen=True):
    """A message of the worker that a GPU had as its ``session``-th."""

    gpu: int
    session: int
    message: Message


class WorkerFleet:
    """Workers by their GPU.

    Args:
        kind: Where workers run.
        jobs: The job of each GPU's worker.
        open_engine: Opens the engine of a worker.
        mailbox: Where their messages go.

    Attributes:
        clock: The clock that all workers share.
    """

    def __init__(
        self,
        kind: WorkerKind,
        jobs: Sequence[WorkerJob],
        open_engine: OpenEngine,
        mailbox: SimpleQueue[object],
    ) -> None:
        self._kind, self._jobs, self._open, self._mailbox = kind, jobs, open_engine, mailbox
        self.clock = RunClock()
        self._pools: list[GpuWorkers | None] = [None for _ in jobs]
        self._sessions = [0 for _ in jobs]
        self._threads: list[threading.Thread | None] = [None for _ in jobs]
        self._closing = threading.Event()
        self._marks: dict[str, FileMark | None] = {}  # of the files by adapter, as they were named
        if jobs:
            self._note(jobs[0].settings.adapters)

    def open(self, names: Sequence[str]) -> dict[int, str]:
        """Start all workers, and wait until every engine is open; the names of their devices.

        Args:
            names: Name of each GPU, for messages.

        Raises:
            InputError: The model or an adapter is not fit.
            UnfinishedError: A worker cannot start.
        """
        devices: dict[int, str] = {}
        try:
            for gpu in range(len(self._jobs)):
                self.start(gpu)
            while len(devices) < len(self._jobs):
                item = self._mailbox.get()
                if not isinstance(item, WorkerMessage):
                    continue
                if isinstance(item.message, EngineReady):
                    devices[item.gpu] = item.message.device
                elif isinstance(item.message, Broken):
                    if item.message.bad_input:
                        raise InputError(item.message.error)
                    raise UnfinishedError(f"GPU {names[item.gpu]!r}: {item.message.error}")
        except BaseException:
            self.close()
            raise
        return devices

    def start(self, gpu: int, deaths: int = 0) -> None:
        """Start a GPU's worker, after a pause if it has died before."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(deaths, 10)) if deaths else 0.0
        self._sessions[gpu] += 1
        session = self._sessions[gpu]
        thread = threading.Thread(
            target=self._listen, args=(gpu, session, pause_s), name=f"gpu-{gpu}", daemon=True
        )
        self._threads[gpu] = thread
        thread.start()

    def is_current(self, message: WorkerMessage) -> bool:
        """Whether a message is of the worker that its GPU has now."""
        return message.session == self._sessions[message.gpu]

    def begin(self, gpu: int) -> None:
        """Let a worker that is ready begin, on the clock of all."""
        second = max(0.0, self.clock())
        self.send(gpu, BeginCommand(ClockStart.soon(second, 0.0)))

    def send(self, gpu: int, command: Command) -> None:
        """Hand a command to a GPU's worker; one that is dead gets nothing."""
        pool = self._pools[gpu]
        if pool is not None:
            try:
                pool.send(0, command)
            except (OSError, ValueError):  # it has just died
                log.debug("GPU %d: a command was lost", gpu)

    def _note(self, adapters: AdapterSet) -> None:
        for name, path in adapters.files.items():
            if name not in self._marks:
                self._marks[name] = file_mark(path)

    def intact(self, adapters: AdapterSet) -> AdapterSet:
        """Return those adapters whose files are as they were when they were first named."""
        files = adapters.files.items()
        good = {name for name, path in files if file_mark(path) == self._marks.get(name)}
        return adapters.only(
            [n for n in adapters if all(part.name in good for part in adapters.parts(n))]
        )

    def change_adapters(self, command: AdaptersCommand) -> None:
        """Let every worker have these adapters and no others, those that are started later too."""
        adapters = command.adapters
        self._note(adapters)
        self._marks = {name: self._marks[name] for name in adapters.files}
        self._jobs = [_job_with(job, adapters) for job in self._jobs]
        for gpu in range(len(self._jobs)):
            self.send(gpu, command)

    def finish(self, timeout_s: float) -> None:
        """Let every worker do what it has, and wait until it has ended."""
        for gpu in range(len(self._jobs)):
            self.send(gpu, FinishCommand())
        for thread in self._threads:
            if thread is not None:
                thread.join(timeout_s)
        self.close()

    def close(self) -> None:
        """End whatever still runs, at once."""
        self._closing.set()
        for gpu in range(len(self._jobs)):
            self.send(gpu, StopCommand())
        for thread in self._threads:
            if thread is not None:
                thread.join(10 * POLL_S)

    def _listen(self, gpu: int, session: int, pause_s: float) -> None:
        """Start a worker and pass on its messages, until it ends or dies."""
        if self._closing.wait(pause_s):
            return
        pool = None
        try:
            job = self._jobs[gpu]
            if session > 1:  # one file that is gone must not keep a worker from starting
                job = _job_with(job, self.intact(job.settings.adapters))
            pool = start_workers(self._kind, [job], self._open)
            self._pools[gpu] = pool
            while not self._closing.is_set():
                found = pool.receive(POLL_S)
                if found is None:
                    continue
                self._mailbox.put(WorkerMessage(gpu, session, found[1]))
                if isinstance(found[1], WorkerEnded | Broken):
                    break
        except Exception as error:
            log.debug("GPU %d", gpu, exc_info=True)
            broken = Broken(one_line(reason(error)))
            self._mailbox.put(WorkerMessage(gpu, session, broken))
        finally:
            self._pools[gpu] = None
            if pool is not None:
                pool.close()


def _job_with(job: WorkerJob, adapters: AdapterSet) -> WorkerJob:
    """Return a worker's job with other adapters."""
    files, combined = dict(adapters.files), dict(adapters.compositions)
    return replace(job, settings=replace(job.settings, adapter_files=files, compositions=combined))
