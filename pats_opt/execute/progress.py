"""Progress of the batch that runs: asked for at a bounded rate by a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType

log = logging.getLogger(__name__)

#: Seconds between two looks at a batch.
EVERY_S = 0.5


class ProgressSender(AbstractContextManager["ProgressSender"]):
    """Sends how many steps each request of a batch has, whenever that has changed.

    The batch itself does nothing for it: a thread looks twice a second.

    Args:
        progress: Gives the steps that are done, by request.
        send: Sends them.
    """

    def __init__(
        self,
        progress: Callable[[], Mapping[str, int]],
        send: Callable[[dict[str, int]], None],
    ) -> None:
        self._progress, self._send = progress, send
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def __enter__(self) -> ProgressSender:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        sent: dict[str, int] = {}
        while not self._ended.wait(EVERY_S):
            try:
                found = dict(self._progress())
            except Exception:  # a device that has failed: the batch says so
                log.debug("progress", exc_info=True)
                return
            if found != sent:
                self._send(found)
                sent = found
