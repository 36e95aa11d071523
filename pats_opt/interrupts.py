"""Interrupts of the command line: Ctrl-C, and SIGTERM as batch systems and containers send it."""

from __future__ import annotations

import signal
import sys
from types import FrameType

#: Signals that interrupt a command.
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def take_sigterm_as_ctrl_c() -> None:
    """Let whatever handles Ctrl-C at the time handle SIGTERM too."""
    signal.signal(signal.SIGTERM, _handle_as_ctrl_c)


def _handle_as_ctrl_c(_: int, frame: FrameType | None) -> None:
    handle = signal.getsignal(signal.SIGINT)
    if not callable(handle):  # a shell lets its background jobs ignore Ctrl-C
        handle = signal.default_int_handler
    handle(signal.SIGINT, frame)


def leave(status: int) -> None:
    """Exit. From now on an interrupt ends the process at once, without a traceback."""
    for each in SIGNALS:
        if signal.getsignal(each) is not signal.SIG_IGN:
            signal.signal(each, signal.SIG_DFL)
    # Python remembers an interrupt within `exec` (of a dataclass, say), though it was caught, and
    # would end with the status of that; another `exec` makes it forget.
    exec("")  # noqa: S102
    sys.exit(status)
