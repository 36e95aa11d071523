"""``gap-report``: instances x solvers, one JSON file per run, and their pages.

Data flows one way: :mod:`config` makes the tasks, :mod:`pats_opt.runs` does them, and
:mod:`collect` joins the records into one frame, a row for each run. Over it :mod:`service` and
:mod:`curves` compare the solvers, and :mod:`summary` puts the main results into sentences.
:mod:`pictures` draws each schedule, and :mod:`pages` writes ``report.html``, ``report.md`` and
``runs.csv`` with the :mod:`columns` of the tables and the :mod:`figures`. :mod:`gap` is the way
from start to end.
"""
