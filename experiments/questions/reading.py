"""The runs of an experiment, instance by instance."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

EXPERIMENTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Case:
    """An instance with what each solver did on it.

    Attributes:
        group: Its class.
        name: Its name; instances of different classes may share it.
        requests: Requests in it.
        adapters: Adapters that they use.
        rows: Each solver's line of ``runs.csv`` that has a schedule, by spec.
    """

    group: str
    name: str
    requests: int
    adapters: int
    rows: dict[str, dict[str, str]]

    @property
    def seed(self) -> str:
        """What follows the class in a generated instance's name, or the whole name."""
        return self.name.removeprefix(f"{self.group}-")

    def figure(self, solver: str, column: str = "loss") -> float | None:
        """A figure of a solver's run, or None where there is none."""
        text = self.rows.get(solver, {}).get(column, "")
        return float(text) if text else None

    def ratio(self, solver: str, reference: str, column: str = "loss") -> float | None:
        """A solver's figure over that of another, or None where one is missing or 0."""
        top, bottom = self.figure(solver, column), self.figure(reference, column)
        return top / bottom if top and bottom else None

    @property
    def best(self) -> float:
        """The lowest loss that any solver reached."""
        return min(float(row["loss"]) for row in self.rows.values())


def read(experiment: str) -> list[Case]:
    """The instances of an experiment, in the order of its table."""
    path = EXPERIMENTS / experiment / "result" / "runs.csv"
    cases: dict[str, Case] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            known = cases.setdefault(
                row["sha256"],
                Case(row["class"], row["instance"], int(row["requests"]), int(row["adapters"]), {}),
            )
            if row["loss"]:
                known.rows[row["solver"]] = row
    return list(cases.values())


def groups(cases: Iterable[Case]) -> list[str]:
    """The classes, each once, in order."""
    return list(dict.fromkeys(case.group for case in cases))


def of(cases: Iterable[Case], *wanted: str) -> list[Case]:
    """The cases of some classes."""
    return [case for case in cases if case.group in wanted]


def ratios(cases: Iterable[Case], solver: str, reference: str) -> list[float]:
    """A solver's loss over that of another, of each case that has both."""
    found = (case.ratio(solver, reference) for case in cases)
    return [ratio for ratio in found if ratio is not None]


def number(group: str, key: str) -> float:
    """The number after ``key`` in a class's name: ``number("load0p3-r10", "load")`` is 0.3."""
    part = next(part for part in group.split("-") if part.startswith(key))
    return float(part.removeprefix(key).replace("p", "."))


def was_run(cases: Sequence[Case]) -> str:
    """Instances, requests and runs, for the line that says what was run."""
    sizes = sorted({case.requests for case in cases})
    runs = sum(len(case.rows) for case in cases)
    size = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return f"{len(cases)} instances of {size} requests, {runs} runs"
