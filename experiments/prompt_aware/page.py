"""The page ``experiments/prompt_aware/result.md``: the answers, in the order of the document."""

from __future__ import annotations

import json
from pathlib import Path

from experiments.prompt_aware import alone, fleets, held, limits
from experiments.prompt_aware.reading import RESULT, lines, runs
from experiments.questions import page
from experiments.questions.words import Answer

PAGE = Path(__file__).parent / "result.md"

INTRODUCTION = """# Prompt-aware serving: what of the document holds

Written by `python -m experiments.prompt_aware` from the tables in
`experiments/prompt_aware/result/`: every figure and every verdict below is computed, none is typed.
All is simulated. Policies are compared on the same requests, seed by seed, under the same rules;
what stands in brackets is a 95 % confidence interval (Student's, over seeds or windows). A claim
*reproduces* where the interval of its margin is above 0, *does not* where it is below, and *cannot
be told* where it contains 0.

Assumed, not measured: 0.084 s a step and a gain of 1.65 of batches of 8 (code of Argus), the
published curve of quality, a spread of prompts of 1 where none is named, the hit shares of Argus'
log, and latency objectives of 3 and 5 times an image at K = 0. No other number is fitted.
[The guide](../../docs/prompt-aware-fleets.md) has the sources."""


def main() -> None:
    """Write the page and its pictures."""
    page.write(answers(), PAGE, INTRODUCTION)


def answers() -> list[Answer]:
    """The answers in the order of the page."""
    found = runs(lines("runs"))
    config = json.loads((RESULT / "config.json").read_text(encoding="utf-8"))
    return [
        held.answer(found),
        alone.answer(found),
        fleets.division(found),
        fleets.hits(found),
        limits.capacity(lines("capacity")),
        limits.dispatch(),
        limits.windows(lines("windows"), config["seconds_of_a_bound"]),
    ]
