"""Answers to the questions that the experiments ask, computed from their committed results.

    python -m experiments.questions

reads ``experiments/*/result/runs.csv`` and writes ``experiments/answers.md`` with its pictures.
Every figure and every verdict in the page follows from the runs; there is one module a question.
"""
