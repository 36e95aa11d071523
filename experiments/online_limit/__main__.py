"""Writes ``experiments/online_limit/result.md``."""

from __future__ import annotations

from experiments.online_limit.page import main

main()
