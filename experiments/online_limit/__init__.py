"""What the future is worth, and what each policy gives away, on a grid of small systems.

    python -m experiments.online_limit.run
    python -m experiments.online_limit.beside
    python -m experiments.online_limit

The first two write the tables in ``result/``; the last reads them and writes ``result.md``. Every
figure and every verdict of the page follows from the runs.
"""
