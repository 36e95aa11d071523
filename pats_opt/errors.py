"""Errors that a user can meet, with their exit statuses (PROBLEM.md section 8).

- PatsError, 1: the base class; only a bug raises it directly
    - InputError, 2: bad usage or bad input; one line with file, place and hint
        - CapabilityError, 2: the solver lacks a feature that the instance uses
    - InfeasibleError, 3: proven, no schedule exists
    - NoScheduleError, 4: stopped (time, memory, interrupt, horizon) without a schedule
    - UnfinishedError, 4: interrupted, or an execution ended before every image was made
    - SolverError, 1: a solver or policy returned something that breaks a rule
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

#: Most characters of a part of a message, and of a name in quotes. A user's names may be longer.
LONGEST, LONGEST_QUOTE = 500, 80

_LONG_QUOTE = re.compile(rf"'[^'\s]{{{LONGEST_QUOTE + 1},}}'")


class PatsError(Exception):
    """Base class of all errors raised on purpose.

    Attributes:
        exit_code: Exit status of the command line.
    """

    exit_code = 1

    def __init__(self, problem: str) -> None:
        super().__init__(shortened(problem))


class InputError(PatsError):
    """Bad input or usage, described in one line.

    Args:
        problem: Description of the error.
        file: The file with the error, if there is one.
        place: The place in the file, such as ``requests[3].weight`` or ``line 7``.
        hint: Remedy.
    """

    exit_code = 2

    def __init__(
        self, problem: str, *, file: str | None = None, place: str | None = None, hint: str = ""
    ) -> None:
        self.problem, self.file, self.place, self.hint = problem, file, place, hint
        what = ": ".join(shortened(part) for part in (file, place, problem) if part)
        Exception.__init__(self, f"{what}; {shortened(hint)}" if hint else what)


class CapabilityError(InputError):
    """The solver lacks a feature that the instance uses."""


class InfeasibleError(PatsError):
    """No schedule exists, and that is proven."""

    exit_code = 3


class NoScheduleError(PatsError):
    """A solver stopped without a schedule, and without a proof that none exists."""

    exit_code = 4


class UnfinishedError(PatsError):
    """A command ended before all was done (an interrupt, failed requests, a full disk).

    What is done is kept, and the command can be resumed.
    """

    exit_code = 4


class SolverError(PatsError):
    """A solver or policy broke a rule of the problem. This is a bug in it, not in the input."""


def expect(value: object, kind: type, hint: str) -> None:
    """Refuse an argument of another type.

    Raises:
        InputError: It is of another type.
    """
    if not isinstance(value, kind):
        given = value.__name__ if isinstance(value, type) else type(value).__name__
        raise InputError(f"expected {kind.__name__}, got {given}", hint=hint)


@contextmanager
def in_file(file: object, place: str = "") -> Iterator[None]:
    """Add the name of a file, and the place in it, to errors of input that name no file.

    Args:
        file: The file, or None where there is none.
        place: The part of it that is being read, where the error is not more exact.
    """
    try:
        yield
    except InputError as error:
        if error.file is not None or file is None:
            raise
        where = ".".join(filter(None, (place, error.place)))
        raise type(error)(error.problem, file=str(file), place=where, hint=error.hint) from None


def one_line(text: str) -> str:
    """Escape control characters and line breaks, so that the text stays on one line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str, longest: int) -> str:
    """Cut the middle out of text that is too long."""
    if len(text) <= longest:
        return text
    head = (longest - 1) * 2 // 3
    return f"{text[:head]}…{text[head + 1 - longest :]}"


def shortened(text: str) -> str:
    """Return a part of a message on one line, with what is too long in it cut."""
    quotes = _LONG_QUOTE.sub(
        lambda quote: f"'{cut(quote[0][1:-1], LONGEST_QUOTE)}'", one_line(text)
    )
    return cut(quotes, LONGEST)
