"""``gap-report``: instances x solvers, one process and one JSON file a run, and pages made of them.

Data flows one way: :mod:`config` says what to run, :mod:`workers` runs it in processes that
:mod:`worker` is the inside of, :mod:`runs` is what each leaves on disk, with what it knew when
(:mod:`trace`). :mod:`collect` joins the records into a table with :mod:`statistics`;
:mod:`profiles`, :mod:`anytime` and :mod:`latency` compare solvers over it, :mod:`service` says how
they serve and what waits, and :mod:`summary` puts the main results into sentences.
:mod:`pictures` draws each schedule, and :mod:`pages` writes ``report.html``, ``report.md`` and
``runs.csv`` with the tables of :mod:`columns` and :mod:`run_table` and the pictures of
:mod:`figures`.
"""
