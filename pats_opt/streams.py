"""Standard streams of the command line, also where they are full, closed or a broken pipe."""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

from pats_opt.errors import InputError

#: Exit status of what SIGPIPE ends, as shells give it: 128 + 13.
BROKEN_PIPE = 141


class _StandardOutput(io.FileIO):
    """Standard output, whose errors are one line; one that nobody reads ends the process."""

    def write(self, data: Any, /) -> int:
        """Write bytes, or raise as PROBLEM.md section 8 has it."""
        try:
            return super().write(data)
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # where what is still buffered goes at the end
            os.close(nowhere)
            if isinstance(error, BrokenPipeError):
                raise SystemExit(BROKEN_PIPE) from None
            problem = f"cannot be written ({error.strerror})"
            raise InputError(problem, file="standard output") from None


class _StandardError(io.FileIO):
    """Standard error; messages that cannot be written are lost, and nothing else is."""

    def write(self, data: Any, /) -> int:
        """Write bytes if that is possible."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def take_standard_streams() -> None:
    """Let standard output and error behave as above, for this process.

    A closed stream is opened, so that no other file gets its number: standard output such that
    writing fails, standard error such that what is written is lost.
    """
    if os.name != "posix":
        return
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # the lowest number that is free
    sys.stdout = _text(_StandardOutput(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_StandardError(2, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, before: TextIO | Any) -> TextIO:
    """A text stream as the one before, which is None where it was closed.

    Names of files may hold bytes that are no text; they are written as escapes.
    """
    errors = getattr(before, "errors", "strict")
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", "utf-8"),
        errors="backslashreplace" if errors == "strict" else errors,
        line_buffering=getattr(before, "line_buffering", False),
    )
