"""Where workers run: threads of this process, processes of this machine, or Ray actors.

A crew starts one worker for each job and passes commands and messages. It knows nothing of what
they mean, except that a worker which dies is :class:`~pats_opt.execute.worker.Broken`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from pats_opt.execute.worker import Command, Job, Message, OpenEngine


class CrewKind(StrEnum):
    """What workers are."""

    THREAD = "thread"
    PROCESS = "process"
    RAY = "ray"


class Crew(Protocol):
    """The workers of a run.

    Attributes:
        ahead_s: How long before it the workers must be told of the start.
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


def start_crew(kind: CrewKind, jobs: Sequence[Job], open_engine: OpenEngine) -> Crew:
    """Start a worker for each job.

    Raises:
        InputError: Ray is asked for and not installed.
    """
    return _CREWS[kind](jobs, open_engine)


def _threads(jobs: Sequence[Job], open_engine: OpenEngine) -> Crew:
    from pats_opt.execute.workers.thread import Threads

    return Threads(jobs, open_engine)


def _processes(jobs: Sequence[Job], open_engine: OpenEngine) -> Crew:
    from pats_opt.execute.workers.process import Processes

    return Processes(jobs, open_engine)


def _actors(jobs: Sequence[Job], open_engine: OpenEngine) -> Crew:
    from pats_opt.execute.workers.ray import Actors

    return Actors(jobs, open_engine)


_CREWS: dict[CrewKind, Callable[[Sequence[Job], OpenEngine], Crew]] = {
    CrewKind.THREAD: _threads,
    CrewKind.PROCESS: _processes,
    CrewKind.RAY: _actors,
}
