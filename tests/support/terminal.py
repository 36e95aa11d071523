"""Runs the command line as a person sees it: in a pseudo-terminal of some width."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

#: An escape sequence: colours, movements of the cursor, what hides it.
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

#: A sequence that sets a colour.
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-79]|4[0-79]|9[0-7]|10[0-7]|[34]8;[0-9;]+)[0-9;]*m")

#: Variables that say how a terminal is to be used.
LOOKS = ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "LINES", "COLORTERM", "TTY_COMPATIBLE")


class Shown(NamedTuple):
    """Output sent to a terminal, the same without escapes, and the exit status."""

    raw: str
    text: str
    status: int


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command, that of an ordinary terminal but for ``extra``."""
    plain = {name: value for name, value in os.environ.items() if name not in LOOKS}
    return {**plain, "TERM": "xterm-256color", **(extra or {})}


def in_terminal(
    arguments: Sequence[str],
    *,
    columns: int = 80,
    extra: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Shown:
    """Run ``pats-opt`` in a terminal that is its standard output and standard error."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "pats_opt", *arguments]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(extra), cwd=cwd
    ) as process:
        os.close(theirs)
        parts = []
        while part := _read(ours):
            parts.append(part)
        status = process.wait()
    os.close(ours)
    raw = b"".join(parts).decode().replace("\r\n", "\n")
    return Shown(raw, ESCAPE.sub("", raw), status)


def _read(end: int) -> bytes:
    """Output so far; nothing once the other end is closed, which Linux reports as an error."""
    try:
        return os.read(end, 65536)
    except OSError:
        return b""
