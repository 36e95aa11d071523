"""Starts, monitors and stops the GPU workers."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from pats_opt.errors import InputError, UnfinishedError
from pats_opt.execute.inbox import BeginCommand, FinishCommand, StopCommand
from pats_opt.execute.work import ClockStart, LoadOrder, Order, RunClock
from pats_opt.execute.worker import Broken, EngineReady, Message, Saved, WorkerEnded
from pats_opt.execute.workers import GpuWorkers

#: Seconds between two checks whether the user wants to stop.
POLL_S = 0.1


class Interrupts:
    """Counts Ctrl-C and SIGTERM: the first asks to end soon, the second to end at once."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Catch them for a while, where signals can be caught at all."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def count(*_: object) -> None:
            self.count += 1

        before = {s: signal.signal(s, count) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


class Supervisor:
    """The workers of a session, by the number of their GPU.

    Args:
        pool: The worker processes, threads or actors.
        gpus: GPU number of each worker.
        names: Id of every GPU.
        interrupts: Whether the user wants to stop.
        saved: Called for each request that has left its batch.
    """

    def __init__(
        self,
        pool: GpuWorkers,
        gpus: Sequence[int],
        names: Sequence[str],
        interrupts: Interrupts,
        saved: Callable[[Saved], None],
    ) -> None:
        self._pool, self._gpus, self._names = pool, gpus, names
        self._places = {gpu: place for place, gpu in enumerate(gpus)}
        self._interrupts, self._saved = interrupts, saved
        self._working = set(range(len(gpus)))
        self.clock = RunClock()

    def begin(self, second: float) -> None:
        """Wait until every worker is ready, then start the clock at ``second``."""
        getting_ready = set(self._gpus)
        while getting_ready:
            found = self.listen(POLL_S)
            if found is not None and isinstance(found[1], EngineReady):
                getting_ready.discard(found[0])
        start = ClockStart.soon(second, self._pool.ahead_s)
        self.clock.set(start)
        for place in range(len(self._gpus)):
            self._pool.send(place, BeginCommand(start))

    def send(self, gpu: int, order: Order | LoadOrder) -> None:
        """Hand an order, or a load beside the batches, to a GPU's worker."""
        self._pool.send(self._places[gpu], order)

    def listen(self, timeout_s: float) -> tuple[int, Message] | None:
        """The next message with its GPU's number, or None where none comes for a while.

        Raises:
            UnfinishedError: The user interrupts, or a worker is broken.
            InputError: A worker cannot use what it was given.
        """
        until = time.monotonic() + timeout_s
        while True:
            if self._interrupts.count:
                raise UnfinishedError("interrupted")
            left = until - time.monotonic()
            found = self._pool.receive(max(0.0, min(POLL_S, left)))
            if found is not None:
                break
            if left <= 0:
                return None
        place, message = found
        gpu = self._gpus[place]
        if isinstance(message, Saved):
            self._saved(message)
        elif isinstance(message, WorkerEnded):
            self._working.discard(place)
        elif isinstance(message, Broken):
            self._working.discard(place)
            if message.bad_input:
                raise InputError(message.error)
            raise UnfinishedError(f"GPU {self._names[gpu]!r}: {message.error}")
        return gpu, message

    def finish(self) -> None:
        """Let every worker do the orders it has, and wait until all is on disk."""
        for place in range(len(self._gpus)):
            self._pool.send(place, FinishCommand())
        while self._working:
            self.listen(POLL_S)

    def stop(self) -> None:
        """End what still runs: soon, or at once where the user interrupts again."""
        for place in self._working:
            self._pool.send(place, StopCommand())
        while self._working and self._interrupts.count < 2:
            found = self._pool.receive(POLL_S)
            if found is not None:
                place, message = found
                if isinstance(message, Saved):
                    self._saved(message)
                elif isinstance(message, WorkerEnded | Broken):
                    self._working.discard(place)
        self._pool.close()
