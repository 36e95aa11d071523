"""Progress of the batch that runs: asked for at a bounded rate by a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

log = logging.getLogger(__name__)

#: Seconds between two looks at a batch.
EVERY_S = 0.5


@contextmanager
def progress_sent(
    progress: Callable[[], Mapping[str, int]], send: Callable[[dict[str, int]], None]
) -> Iterator[None]:
    """Send how many steps each request of a batch has, whenever that has changed.

    The batch itself does nothing for it: a thread looks twice a second.

    Args:
        progress: Gives the steps that are done, by request.
        send: Sends them.
    """
    ended = threading.Event()

    def look() -> None:
        sent: dict[str, int] = {}
        while not ended.wait(EVERY_S):
            try:
                found = dict(progress())
            except Exception:  # a device that has failed: the batch says so
                log.debug("progress", exc_info=True)
                return
            if found != sent:
                send(found)
                sent = found

    thread = threading.Thread(target=look, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
