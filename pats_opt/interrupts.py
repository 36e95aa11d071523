"""Interrupts of the command line: Ctrl-C, and SIGTERM as batch systems and containers send it."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType

#: Signals that interrupt a command.
SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Seconds after which a lost interrupt comes again.
AGAIN_S = 0.05

#: Set once an interrupt was raised. Large packages catch it while they are imported, and fail later
#: with an error of their own.
raised = threading.Event()


def take_interrupts() -> None:
    """Note interrupts that are raised, and let what handles Ctrl-C at the time handle SIGTERM."""
    # What is registered first runs last. Python itself ends with the signals' default actions.
    atexit.register(_too_late)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _raise)
    signal.signal(signal.SIGTERM, _handle_as_ctrl_c)
    sys.unraisablehook = _again


def _again(lost: sys.UnraisableHookArgs) -> None:
    """Interrupt again where the interrupt was lost: no caller of a callback in C gets it."""
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    later = threading.Timer(AGAIN_S, os.kill, (os.getpid(), signal.SIGINT))
    later.daemon = True
    later.start()


def _raise(*_: object) -> None:
    raised.set()
    raise KeyboardInterrupt


def _handle_as_ctrl_c(_: int, frame: FrameType | None) -> None:
    handle = signal.getsignal(signal.SIGINT)
    if not callable(handle):  # a shell lets its background jobs ignore Ctrl-C
        handle = _raise
    handle(signal.SIGINT, frame)


def leave(status: int) -> None:
    """Exit. From now on an interrupt ends the process at once, with the status that it has."""
    for each in SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, lambda *_: os._exit(status))
    # Python remembers an interrupt within `exec` (of a dataclass, say), though it was caught, and
    # would end with the status of that; another `exec` makes it forget.
    exec("")  # noqa: S102
    sys.exit(status)


def _too_late() -> None:
    """Ignore interrupts: nothing is left that could take long."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
