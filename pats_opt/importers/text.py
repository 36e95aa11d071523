"""Numbers in plain text files, with the place of whatever is wrong."""

from __future__ import annotations

import math
from typing import NamedTuple

from pats_opt.errors import InputError
from pats_opt.model.files import StrPath, read_bytes
from pats_opt.model.instance import LARGEST


class Word(NamedTuple):
    """What stands between two spaces, and the line it is on (from 1)."""

    text: str
    line: int


def read_lines(path: StrPath) -> list[str]:
    """The lines of a text file; bytes that are no UTF-8 can only be in its comments.

    Raises:
        InputError: The file cannot be read, or holds nothing.
    """
    text = read_bytes(path).decode("utf-8", "replace").removeprefix("\ufeff")
    if not text.strip():
        raise InputError("the file is empty", file=str(path), hint="name a file with an instance")
    return text.splitlines()


class Words:
    """The words of some lines, taken one after another.

    Args:
        file: Name of the file, for errors.
        lines: Its lines, or some of them in a row.
        first: Number of the first of these lines in the file.
    """

    def __init__(self, file: StrPath, lines: list[str], first: int = 1) -> None:
        self.file = str(file)
        self._words = [Word(t, n) for n, line in enumerate(lines, first) for t in line.split()]
        self._at, self._last = 0, first + max(0, len(lines) - 1)

    @property
    def left(self) -> int:
        """How many words have not been taken yet."""
        return len(self._words) - self._at

    @property
    def line(self) -> int:
        """The line of the word taken last."""
        return self._words[self._at - 1].line if self._at else self._last

    def peek(self) -> str | None:
        """The next word, or None at the end."""
        return self._words[self._at].text if self.left else None

    def word(self, what: str) -> Word:
        """The next word; ``what`` it should be is told where the file ends before it."""
        if not self.left:
            raise InputError(
                f"the file ends where {what} should be",
                file=self.file,
                place=f"line {self._last}",
                hint="add what is missing",
            )
        self._at += 1
        return self._words[self._at - 1]

    def number(self, what: str, low: float = 0.0, high: float = LARGEST) -> float:
        """The next word as a number from ``low`` to ``high``."""
        word = self.word(what)
        try:
            value = float(word.text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise self.wrong(word, what, f"a number from {low:g} to {high:g}")
        return value

    def whole(self, what: str, low: int = 0, high: int = 1_000_000) -> int:
        """The next word as a whole number from ``low`` to ``high``."""
        word = self.word(what)
        try:
            value = int(word.text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise self.wrong(word, what, f"a whole number from {low} to {high}")
        return value

    def wrong(self, word: Word, what: str, wanted: str) -> InputError:
        """The error of a word that is not what it should be."""
        return InputError(
            f"{word.text[:40]!r} is no {what}",
            file=self.file,
            place=f"line {word.line}",
            hint=f"write {wanted}",
        )

    def end(self, what: str) -> None:
        """Refuse words that are left; ``what`` says what should have been the last thing."""
        if self.left:
            word = self._words[self._at]
            raise InputError(
                f"{self.left} words follow {what}, the first one is {word.text[:40]!r}",
                file=self.file,
                place=f"line {word.line}",
                hint="remove them, or correct the counts before them",
            )
