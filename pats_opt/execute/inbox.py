"""Commands for a worker, and the inbox that they come in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

from msgspec import Struct

from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.work import ClockStart, LoadOrder, Order


class BeginCommand(Struct, frozen=True):
    """The session begins."""

    start: ClockStart


class FinishCommand(Struct, frozen=True):
    """No more orders come: end when those at hand are done."""


class StopCommand(Struct, frozen=True):
    """End as soon as something leaves its batch; orders at hand are dropped."""


class AdaptersCommand(Struct, frozen=True):
    """Read what is new among these adapters, and forget those that are not among them.

    Attributes:
        number: Number of the command, for the answer.
        adapters: All adapters that orders may name from now on.
    """

    number: int
    adapters: AdapterSet


Command = BeginCommand | Order | LoadOrder | FinishCommand | StopCommand | AdaptersCommand


class StoppedError(Exception):
    """A stop was commanded."""


class Inbox:
    """Commands for a worker; any one thread may put them in.

    Loads beside serving have a queue of their own, as they start while a batch runs. Each command
    comes with the number of those in the other queue that it follows. Changes of the adapters have
    one too, as adapters are read while a batch runs.
    """

    def __init__(self) -> None:
        self._commands: SimpleQueue[tuple[Command, int]] = SimpleQueue()
        self._loads: SimpleQueue[tuple[LoadOrder, int] | None] = SimpleQueue()
        self._changes: SimpleQueue[AdaptersCommand | None] = SimpleQueue()
        self._orders_put = self._loads_put = 0
        self.stopped = threading.Event()

    def put(self, command: Command) -> None:
        """Hand over a command; :class:`StopCommand` overtakes all others."""
        if isinstance(command, LoadOrder):
            self._loads_put += 1
            self._loads.put((command, self._orders_put))
            return
        if isinstance(command, AdaptersCommand):
            self._changes.put(command)
            return
        if isinstance(command, Order):
            self._orders_put += 1
        elif isinstance(command, StopCommand):
            self.stopped.set()
        self._commands.put((command, self._loads_put))

    def take(self) -> tuple[Command, int]:
        """The next order or end, waited for, and how many loads come before it."""
        command, loads = self._commands.get()
        return (StopCommand() if self.stopped.is_set() else command), loads

    def take_load(self) -> tuple[LoadOrder, int] | None:
        """The next load, waited for, and how many orders come before it; None where none comes."""
        found = self._loads.get()
        if found is None:
            self._loads.put(None)  # for other threads that wait
        return found

    def no_more_loads(self) -> None:
        """Say that no more loads come."""
        self._loads.put(None)

    def take_change(self) -> AdaptersCommand | None:
        """The next change of the adapters, waited for; None where none comes."""
        return self._changes.get()

    def no_more_changes(self) -> None:
        """Say that no more changes of the adapters come."""
        self._changes.put(None)

    def wait(self, second: float, clock: Callable[[], float]) -> None:
        """Wait until a second of the run.

        Raises:
            StoppedError: A stop was commanded.
        """
        while (left := second - clock()) > 0:
            # Very long waits overflow the system's timers.
            if self.stopped.wait(min(left, 3600.0)):
                break
        if self.stopped.is_set():
            raise StoppedError
