"""Writes ``experiments/held_out/result.md``."""

from __future__ import annotations

from experiments.held_out.page import main

main()
