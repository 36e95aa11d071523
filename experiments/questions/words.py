"""Figures as text, tables as Markdown, and what a page's answer is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from experiments.questions.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture: file name without suffix, what it shows, and how it is drawn, as an SVG file."""

    name: str
    caption: str
    draw: Callable[[], str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A question with its answer.

    Attributes:
        question: The heading.
        experiment: Folder of the runs.
        verdict: Sentences of the answer, the first one the short answer.
        tables: Tables as Markdown lines.
        pictures: Pictures below them.
        ran: What was run.
        not_shown: What the figures do not show.
    """

    question: str
    experiment: str
    verdict: Sequence[str]
    tables: Sequence[list[str]]
    pictures: Sequence[Picture] = field(default=())
    ran: str
    not_shown: Sequence[str]


def ratio(value: float) -> str:
    """A ratio: two decimals, fewer where it is large."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def percent(share: float) -> str:
    """A share with one decimal; no sign of what rounds to 0."""
    return f"{100.0 * share:z.1f} %"


def interval(found: Interval) -> str:
    """A mean ratio with its interval."""
    return f"{ratio(found.mean)} ({ratio(found.low)} to {ratio(found.high)})"


def more(value: float) -> str:
    """Distance of a ratio from 1, in words."""
    percent = 100 * abs(value - 1)
    if percent < 0.5:
        return "the same"
    size = f"{percent:.0f} %" if percent < 300 else f"{ratio(value)} times as much"
    return size if percent >= 300 else f"{size} {'more' if value > 1 else 'less'}"


def clear(found: Interval) -> int:
    """1 where the whole interval is above 1, -1 where it is below, else 0."""
    return (found.low > 1.0) - (found.high < 1.0)


def code(text: str) -> str:
    """Text as code."""
    return f"`{text}`"


def plain(value: float) -> str:
    """A number of an axis."""
    return f"{value:g}"


def listed(items: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
