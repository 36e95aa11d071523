"""The document's claims as rules: which way an inequality lies, with its interval over seeds.

A claim is a *margin* on each seed, above 0 where it holds. It reproduces where the interval of the
mean margin is above 0, does not where that is below 0, and cannot be told where it contains 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from experiments.prompt_aware.reading import Figures, average, differences, throughputs
from experiments.questions.statistics import Interval, student
from experiments.questions.words import ratio

REPRODUCES, DOES_NOT, UNTOLD = "reproduces", "does not", "cannot be told"
VERDICTS = (REPRODUCES, DOES_NOT, UNTOLD)

#: What the document claims.
MORE_THROUGHPUT, FEWER_VIOLATIONS, MORE_QUALITY = 1.4, 10.0, 0.10
MOST_VIOLATIONS, LEAST_QUALITY = 0.05, 0.90


@dataclass(frozen=True)
class Comparison:
    """A claim against a baseline.

    Attributes:
        title: The claim.
        margin: Above 0 where it holds on a seed, of our figures and the baseline's.
        figure: What was found, as text.
    """

    title: str
    margin: Callable[[Figures, Figures], float]
    figure: Callable[[Sequence[Figures], Sequence[Figures]], str]

    def verdict(self, ours: Sequence[Figures], theirs: Sequence[Figures]) -> str:
        """Whether it holds, seed by seed."""
        return verdict(self.margin(a, b) for a, b in zip(ours, theirs, strict=True))


@dataclass(frozen=True)
class Promise:
    """A claim about the system itself; as :class:`Comparison`."""

    title: str
    margin: Callable[[Figures], float]
    figure: Callable[[Sequence[Figures]], str]

    def verdict(self, ours: Sequence[Figures]) -> str:
        """Whether it holds, over the seeds."""
        return verdict(map(self.margin, ours))


def verdict(margins: Iterable[float]) -> str:
    """The verdict of a margin on each seed."""
    return side(student(list(margins)))


def side(found: Interval) -> str:
    """The verdict of the interval of a margin."""
    if found.low > 0:
        return REPRODUCES
    return DOES_NOT if found.high < 0 else UNTOLD


def tally(verdicts: Iterable[str]) -> str:
    """How often each verdict comes, such as ``8 / 3 / 1`` in the order of :data:`VERDICTS`."""
    counts = Counter(verdicts)
    return " / ".join(str(counts[name]) for name in VERDICTS)


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f} %"


def points(found: Interval) -> str:
    """A difference of shares in points, with its interval."""
    mid, low, high = (signed(100 * value) for value in (found.mean, found.low, found.high))
    return f"{mid} ({low} to {high})"


def signed(value: float) -> str:
    """A difference with its sign; a rounded 0 has none."""
    text = f"{value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def _throughput(ours: Sequence[Figures], theirs: Sequence[Figures]) -> str:
    found = throughputs(ours, theirs)
    mid, low, high = (signed(100 * value - 100) for value in (found.mean, found.low, found.high))
    return f"{mid} % ({low} to {high})"


def _violations(ours: Sequence[Figures], theirs: Sequence[Figures]) -> str:
    mine, other = (average(each, lambda f: f.violations) for each in (ours, theirs))
    fold = f"{ratio(other / mine)} times" if mine else "none left"
    return f"{percent(other)} to {percent(mine)}, {fold}"


def _quality(ours: Sequence[Figures], theirs: Sequence[Figures]) -> str:
    return points(differences(ours, theirs, lambda f: f.quality))


COMPARISONS = (
    Comparison(
        "40 % more throughput",
        lambda a, b: (a.in_time - MORE_THROUGHPUT * b.in_time) / a.requests,
        _throughput,
    ),
    Comparison(
        "ten times fewer violations",
        lambda a, b: b.violations - FEWER_VIOLATIONS * a.violations,
        _violations,
    ),
    Comparison(
        "ten points of quality",
        lambda a, b: a.quality - b.quality - MORE_QUALITY,
        _quality,
    ),
)

PROMISES = (
    Promise(
        "violations below 5 %",
        lambda a: MOST_VIOLATIONS - a.violations,
        lambda found: percent(average(found, lambda f: f.violations)),
    ),
    Promise(
        "quality above 90 %, of those served",
        lambda a: a.quality - LEAST_QUALITY,
        lambda found: percent(average(found, lambda f: f.quality)),
    ),
    Promise(
        "quality above 90 %, unserved 0",
        lambda a: a.quality_of_all - LEAST_QUALITY,
        lambda found: percent(average(found, lambda f: f.quality_of_all)),
    ),
)
