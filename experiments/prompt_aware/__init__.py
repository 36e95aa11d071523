"""Prompt-aware serving against its baselines: what is run, what of the document holds.

    python -m experiments.prompt_aware.run
    python -m experiments.prompt_aware

The first writes the tables in ``result/``; the second reads them and writes ``result.md`` with its
pictures. Every figure and every verdict of the page follows from the runs.
"""
