"""Attacks on the toolkit: random tries that are reproduced by their seeds, and their findings."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

#: Counts of what was tried, as ``what`` or ``what/of which``: ``exact runs/dp``, ``kills/SIGTERM``.
Counts = Counter[str]


class Finding(msgspec.Struct, kw_only=True):
    """Something wrong, with all that reproduces it.

    Attributes:
        kind: Short text that equal findings share, such as ``dp: loss above the optimum``.
        problem: What is wrong, with its figures.
        files: Documents and texts by file name: the instance, the schedule, the command line.
        attack: Name of the attack; the campaign sets it, as it sets ``seed``.
        seed: Seed of the try.
    """

    kind: str
    problem: str
    files: dict[str, Any] = {}
    attack: str = ""
    seed: int = 0

    @property
    def command(self) -> str:
        """Command line that repeats the try."""
        return f"python -m tests.campaign --only {self.attack} --repeat {self.seed}"


@dataclass(frozen=True)
class Attack:
    """One way to attack.

    Attributes:
        name: Name on the command line.
        about: Its one line in the table.
        attempt: One try: yields what it finds, deterministic in its seed, and counts what it did.
            An exception that it raises is a finding as well.
        weight: Share of the campaign's time, relative to the other attacks.
        aims: Least counts that an hour on two cores aims at.
        quick: Tries in the quick form, which is part of the tests.
        shrink: Makes a finding smaller; it must keep the kind.
        timeout_s: Seconds after which a try is killed and counts as a hang.
    """

    name: str
    about: str
    attempt: Callable[[int, Counts], Iterator[Finding]]
    weight: float = 1.0
    aims: Mapping[str, int] = field(default_factory=dict)
    quick: int = 1
    shrink: Callable[[Finding], Finding] | None = None
    timeout_s: float = 300.0

    def found(self, seed: int, counts: Counts) -> list[Finding]:
        """Run one try; return its findings."""
        found: list[Finding] = []
        try:
            found.extend(self.attempt(seed, counts))
        except Exception as error:  # the campaign goes on
            kind = f"{type(error).__name__} in {Path(_innermost(error).filename).name}"
            trace = {"traceback.txt": "".join(traceback.format_exception(error))}
            found.append(Finding(kind=kind, problem=str(error), files=trace))
        for finding in found:
            finding.attack, finding.seed = self.name, seed
        return found


def _innermost(error: Exception) -> traceback.FrameSummary:
    return traceback.extract_tb(error.__traceback__)[-1]
