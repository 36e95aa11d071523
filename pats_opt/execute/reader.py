"""A thread of a worker that reads further adapters while its batches run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType

from pats_opt.errors import InputError, one_line
from pats_opt.execute.adapter_set import AdapterSet
from pats_opt.execute.inbox import Inbox
from pats_opt.execute.work import Engine

log = logging.getLogger(__name__)


class AdapterReader:
    """The reader of one worker; a context in which its thread runs.

    Args:
        engine: Reads and holds the adapters.
        known: Those that it has.
        inbox: Where changes come from.
        changed: Called after each change with its number, and why adapters could not be read.
    """

    def __init__(
        self,
        engine: Engine,
        known: AdapterSet,
        inbox: Inbox,
        changed: Callable[[int, dict[str, str]], None],
    ) -> None:
        self._engine, self._known, self._inbox, self._changed = engine, known, inbox, changed
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def __enter__(self) -> AdapterReader:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inbox.no_more_changes()
        self._thread.join()

    def _run(self) -> None:
        while (command := self._inbox.take_change()) is not None:
            if not self._inbox.stopped.is_set():
                self._changed(command.number, self._change(command.adapters))

    def _change(self, wanted: AdapterSet) -> dict[str, str]:
        """Have these adapters and no others; why those that are missing could not be read.

        Each is read by itself, so that a faulty one keeps no other from being served.
        """
        removed = [name for name in self._known if name not in wanted]
        if removed:
            self._engine.change_adapters(AdapterSet(), removed)
            self._known = self._known.without(removed)
        errors: dict[str, str] = {}
        for name in [name for name in wanted if name not in self._known]:
            try:
                added = wanted.alone(name)
                for part in wanted.parts(name):
                    if part.name != name and part.name not in self._known:
                        raise InputError(f"its part {part.name!r} is not there")
                self._engine.change_adapters(added, ())
                self._known = self._known.joined(added)
            except Exception as error:
                log.debug("adapter %r", name, exc_info=True)
                errors[name] = one_line(str(error) or type(error).__name__)
        return errors
