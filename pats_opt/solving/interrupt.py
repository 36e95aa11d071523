"""Ctrl-C during a run: the first one ends the run with the best so far, the second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pats_opt.core.solver import Run


@contextmanager
def interruptible(run: Run) -> Iterator[None]:
    """Turn the first Ctrl-C into ``run.interrupted``; let the second one raise.

    Signals reach the main thread only, so that other threads run without a handler.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed twice.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(*_: object) -> None:
        if run.interrupted.is_set():
            raise KeyboardInterrupt
        run.interrupted.set()

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
