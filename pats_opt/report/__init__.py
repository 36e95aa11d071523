"""``gap-report``: instances x solvers, one process and one JSON file a run, and pages made of them.

Data flows one way: :mod:`config` says what to run, :mod:`workers` runs it in processes that
:mod:`worker` is the inside of, :mod:`runs` is what each leaves on disk, :mod:`collect` joins the
records into a table with :mod:`statistics`, :mod:`service` says how solvers serve and what waits,
:mod:`summary` puts the main results into sentences, and :mod:`pages` writes ``report.html``,
``report.md`` and ``runs.csv`` with the tables of :mod:`columns`.
"""
