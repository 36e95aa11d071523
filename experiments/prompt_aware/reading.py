"""The tables of the runs, seed by seed, so that comparisons are paired."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.questions.statistics import Interval, student, student_ratio

RESULT = Path(__file__).parent / "result"

Row = Mapping[str, str]


@dataclass(frozen=True)
class Figures:
    """What became of some requests under a policy, on one seed.

    Attributes:
        requests: Requests that arrived.
        served: Those served, and ``in_time`` those served in time.
        quality_sum: Quality of those served, summed.
        level_sum: Steps skipped of those served, summed.
        redirected: Those served that skip more than their look-up found.
    """

    requests: int = 0
    served: int = 0
    in_time: int = 0
    quality_sum: float = 0.0
    level_sum: float = 0.0
    redirected: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(
            self.requests + other.requests,
            self.served + other.served,
            self.in_time + other.in_time,
            self.quality_sum + other.quality_sum,
            self.level_sum + other.level_sum,
            self.redirected + other.redirected,
        )

    @property
    def violations(self) -> float:
        """Share of requests that are late or not served."""
        return 1.0 - self.in_time / self.requests

    @property
    def quality(self) -> float:
        """Mean quality of those served; 0 of none."""
        return self.quality_sum / self.served if self.served else 0.0

    @property
    def quality_of_all(self) -> float:
        """Mean quality of all, 0 for those not served."""
        return self.quality_sum / self.requests

    @property
    def level(self) -> float:
        """Mean K of those served."""
        return self.level_sum / self.served if self.served else 0.0


#: Figures of each seed, by experiment, case, policy and phase.
Runs = Mapping[tuple[str, str, str, str], Mapping[int, Figures]]


def lines(name: str) -> list[dict[str, str]]:
    """The lines of a table."""
    with (RESULT / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def runs(rows: Iterable[Row]) -> Runs:
    """The lines of ``runs.csv`` by what they are of."""
    found: dict[tuple[str, str, str, str], dict[int, Figures]] = defaultdict(dict)
    for row in rows:
        key = row["experiment"], row["case"], row["policy"], row["phase"]
        served = int(row["served"])
        found[key][int(row["seed"])] = Figures(
            requests=int(row["requests"]),
            served=served,
            in_time=int(row["in_time"]),
            quality_sum=float(row["quality"]),
            level_sum=float(row["level"]) * served,
            redirected=int(row["redirected"]),
        )
    return found


def each(
    found: Runs, experiment: str, case: str, policy: str, phases: Sequence[str] = ("steady",)
) -> list[Figures]:
    """Figures of some phases together, a seed each, in the order of the seeds."""
    by_seed: dict[int, Figures] = {}
    for phase in phases:
        for seed, figures in found[experiment, case, policy, phase].items():
            by_seed[seed] = by_seed.get(seed, Figures()) + figures
    return [by_seed[seed] for seed in sorted(by_seed)]


def differences(
    ours: Sequence[Figures], theirs: Sequence[Figures], of: Callable[[Figures], float]
) -> Interval:
    """Mean difference of a figure, seed by seed."""
    return student([of(a) - of(b) for a, b in zip(ours, theirs, strict=True)])


def throughputs(ours: Sequence[Figures], theirs: Sequence[Figures]) -> Interval:
    """Mean ratio of requests in time, seed by seed; seeds with none of theirs are left out."""
    pairs = zip(ours, theirs, strict=True)
    return student_ratio([a.in_time / b.in_time for a, b in pairs if a.in_time and b.in_time])


def average(figures: Sequence[Figures], of: Callable[[Figures], float]) -> float:
    """Mean of a figure over the seeds."""
    return sum(of(one) for one in figures) / len(figures)
