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


class PatsError(Exception):
    """Base class of all errors raised on purpose.

    Attributes:
        exit_code: Exit status of the command line.
    """

    exit_code = 1


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
        where = "".join(f"{part}: " for part in (file, place) if part)
        super().__init__(one_line(f"{where}{problem}" + (f"; {hint}" if hint else "")))

    def in_file(self, file: str) -> InputError:
        """Return the same error with the name of the file."""
        return type(self)(self.problem, file=file, place=self.place, hint=self.hint)


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


def one_line(text: str) -> str:
    """Escape control characters and line breaks, so that the text stays on one line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
