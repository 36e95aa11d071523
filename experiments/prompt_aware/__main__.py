"""Writes ``experiments/prompt_aware/result.md`` and its pictures."""

from __future__ import annotations

from experiments.prompt_aware.page import main

main()
