"""Every error a user can meet, each with the exit status PROBLEM.md section 8 gives it.

- PatsError, 1: the base; only a bug leaves it bare
    - InputError, 2: bad usage or bad input, with file, place and hint in one line
        - CapabilityError, 2: a solver was asked for what it cannot do
    - InfeasibleError, 3: proven, no schedule exists
    - NoScheduleError, 4: stopped (time, memory, interrupt, horizon) without a schedule
    - UnfinishedError, 4: an execution ended before it had made every image
    - SolverError, 1: a solver or policy returned something that breaks a rule
"""

from __future__ import annotations


class PatsError(Exception):
    """Base of every error raised on purpose; ``exit_code`` is the command line's status."""

    exit_code = 1


class InputError(PatsError):
    """Bad input or usage, told in one line.

    Args:
        problem: What is wrong.
        file: The file it is in, where there is one.
        place: The place in the file, such as ``requests[3].weight`` or ``line 7``.
        hint: What to do about it.
    """

    exit_code = 2

    def __init__(
        self, problem: str, *, file: str | None = None, place: str | None = None, hint: str = ""
    ) -> None:
        self.problem, self.file, self.place, self.hint = problem, file, place, hint
        where = "".join(f"{part}: " for part in (file, place) if part)
        super().__init__(one_line(f"{where}{problem}" + (f"; {hint}" if hint else "")))

    def in_file(self, file: str) -> InputError:
        """The same error with the file's name, for readers that learn it later."""
        return type(self)(self.problem, file=file, place=self.place, hint=self.hint)


class CapabilityError(InputError):
    """A solver was asked for a feature that its capability record lacks."""


class InfeasibleError(PatsError):
    """No schedule exists, and that is proven."""

    exit_code = 3


class NoScheduleError(PatsError):
    """A solver stopped without a schedule, and without a proof that none exists."""

    exit_code = 4


class UnfinishedError(PatsError):
    """An execution ended (failed requests, a dead worker, a full disk) before all images were made.

    What was made is kept, and the run can be resumed.
    """

    exit_code = 4


class SolverError(PatsError):
    """A solver or policy broke a rule of the problem: a bug in it, not in the input."""


def one_line(text: str) -> str:
    """``text`` with control characters and line breaks escaped, so that it stays one line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
