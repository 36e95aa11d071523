"""Writes ``experiments/answers.md`` and the pictures in ``experiments/answers/``."""

from __future__ import annotations

from experiments.questions.page import main

main()
