"""Workers as Ray actors: one GPU each, on this machine or others (the extra ``ray``).

An actor holds the same worker in a thread, so that it can take commands meanwhile. All machines
must see the output folder, the adapters and the model under the same paths, and have their clocks
set alike.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from queue import Empty, SimpleQueue
from typing import Any

from typing_extensions import override

from pats_opt.cluster import joined
from pats_opt.errors import one_line
from pats_opt.execute.inbox import Command
from pats_opt.execute.worker import Broken, Message, OpenEngine, WorkerEnded, WorkerJob
from pats_opt.execute.workers import GpuWorkers, WorkerThread

#: Seconds that an actor holds a question for messages before it says that there are none.
HELD_S = 1.0

#: Seconds in which the cluster must have found room for every actor; without a GPU it never does.
ROOM_S = 300.0


class RayActor:
    """The worker inside an actor."""

    def __init__(self) -> None:
        self._messages: SimpleQueue[Message] = SimpleQueue()
        self._hosted: WorkerThread | None = None
        self._early: dict[int, Command] = {}
        self._next = 0
        self._putting = threading.Lock()

    def open(self, job: WorkerJob, open_engine: OpenEngine) -> None:
        """Start the worker."""
        self._hosted = WorkerThread(job, open_engine, self._messages.put)

    def put(self, number: int, command: Command) -> None:
        """Pass a command to it; calls may overtake each other, and the numbers give their order."""
        assert self._hosted is not None
        with self._putting:
            self._early[number] = command
            while self._next in self._early:
                self._hosted.inbox.put(self._early.pop(self._next))
                self._next += 1

    def take(self, held_s: float) -> list[Message]:
        """Messages since the last call, waited for a little."""
        found: list[Message] = []
        try:
            found.append(self._messages.get(timeout=held_s))
            while True:
                found.append(self._messages.get_nowait())
        except Empty:
            return found


class RayActors(GpuWorkers):
    """The pool of Ray actors; joins the cluster that the environment names, else starts its own."""

    ahead_s = 0.5

    def __init__(self, jobs: Sequence[WorkerJob], open_engine: OpenEngine) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(joined())
        import ray

        self._ray = ray
        self._messages: SimpleQueue[tuple[int, Message]] = SimpleQueue()
        self._closed = threading.Event()
        self._actors: list[Any] = []
        self._sent = [0] * len(jobs)
        for job in jobs:
            gpu = 1 if job.settings.device.startswith("cuda") else 0
            made = ray.remote(RayActor).options(num_gpus=gpu, max_concurrency=3).remote()
            self._actors.append(made)
        for place, job in enumerate(jobs):
            threading.Thread(
                target=self._listen, args=(place, job, open_engine), daemon=True
            ).start()

    def _listen(self, place: int, job: WorkerJob, open_engine: OpenEngine) -> None:
        """Start a worker and pass on its messages, until it ends or dies."""
        actor, ray = self._actors[place], self._ray
        try:
            ray.get(actor.open.remote(job, open_engine), timeout=ROOM_S)
            while not self._closed.is_set():
                for message in ray.get(actor.take.remote(HELD_S)):
                    self._messages.put((place, message))
                    if isinstance(message, WorkerEnded | Broken):
                        return
        except ray.exceptions.GetTimeoutError:
            self._broken(place, f"the cluster has no room for it after {ROOM_S:g} s")
        except Exception as error:
            self._broken(place, f"its actor died ({type(error).__name__})")

    def _broken(self, place: int, why: str) -> None:
        if not self._closed.is_set():
            self._messages.put((place, Broken(one_line(why))))

    @override
    def send(self, worker: int, command: Command) -> None:
        self._actors[worker].put.remote(self._sent[worker], command)
        self._sent[worker] += 1

    @override
    def receive(self, timeout_s: float) -> tuple[int, Message] | None:
        try:
            return self._messages.get(timeout=timeout_s)
        except Empty:
            return None

    @override
    def close(self) -> None:
        self._closed.set()
        for actor in self._actors:
            self._ray.kill(actor)
        self._stack.close()
