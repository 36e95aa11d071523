"""The page: a short answer to each question, then each with its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from experiments.questions import (
    ablations,
    batching,
    best,
    caches,
    overlap,
    overlap_left,
    ranking,
    routing,
    timers,
    two_adapters,
    two_models,
)
from experiments.questions.reading import EXPERIMENTS
from experiments.questions.words import Answer
from pats_opt.model.files import write_bytes


class Question(Protocol):
    """A module that answers a question."""

    EXPERIMENT: str

    def answer(self) -> Answer:
        """The answer, from the runs."""
        ...


QUESTIONS: tuple[Question, ...] = (
    best,
    two_adapters,
    routing,
    ranking,
    timers,
    ablations,
    caches,
    batching,
    overlap,
    overlap_left,
    two_models,
)
PICTURES = "answers"

INTRODUCTION = """# Questions and answers

Written by `python -m experiments.questions` from the tables in `*/result/runs.csv`: every figure
and every verdict below is computed, none is typed. A ratio is the loss of one policy over that of
another on the same instance; ratios are averaged geometrically. What stands in brackets is a 95 %
confidence interval (percentile bootstrap over instances, seeded). A difference is called one only
where its interval leaves out equality. Losses are those of the simulator, at the prices of each
experiment's run file. The optimum is the offline one, which knows all arrivals; where the online
optimum, the best that knows only the past, can be computed too, losses against both are given."""


def main() -> None:
    """Write the page and its pictures."""
    write(answers(), EXPERIMENTS / "answers.md", INTRODUCTION)


def write(found: Sequence[Answer], page: Path, introduction: str) -> None:
    """Write a page, and its pictures into the folder ``answers`` beside it."""
    folder = page.parent / PICTURES
    folder.mkdir(exist_ok=True)
    for answer in found:
        for picture in answer.pictures:
            write_bytes(folder / f"{picture.name}.svg", picture.draw().encode())
    write_bytes(page, text(found, introduction).encode())


def answers() -> list[Answer]:
    """The answers in the order of the page."""
    return [question.answer() for question in QUESTIONS]


def text(found: Sequence[Answer], introduction: str = INTRODUCTION) -> str:
    """The page."""
    short = [f"- **{answer.question}** {answer.verdict[0]}" for answer in found]
    parts = [introduction, "## In short", "\n".join(short)]
    for answer in found:
        parts += [f"## {answer.question}", " ".join(answer.verdict[:1])]
        if answer.verdict[1:]:
            parts.append("\n".join(f"- {sentence}" for sentence in answer.verdict[1:]))
        parts += ["\n".join(table) for table in answer.tables]
        parts += [f"![{p.caption}]({PICTURES}/{p.name}.svg)" for p in answer.pictures]
        parts.append(
            f"What was run: {answer.ran} (`{answer.experiment}/`). "
            f"What this does not show: {'; '.join(answer.not_shown)}."
        )
    return "\n\n".join(parts) + "\n"
