"""Parameter search: policies and solvers tuned on train instances, judged on test instances.

- :mod:`~pats_opt.tuning.space`: what is searched, read off a policy's own parameters.
- :mod:`~pats_opt.tuning.split`: train and test instances kept apart.
- :mod:`~pats_opt.tuning.plan`: all that decides a search, kept in ``config.json``.
- :mod:`~pats_opt.tuning.measure`: one run, in this process or in workers.
- :mod:`~pats_opt.tuning.draws`: the space in Optuna's terms (only this and ``search`` import it).
- :mod:`~pats_opt.tuning.prune`: when a trial is ended early.
- :mod:`~pats_opt.tuning.search`: the trials.
- :mod:`~pats_opt.tuning.verdict`: what came out, on the test instances above all.
- :mod:`~pats_opt.tuning.pages`: ``trials.csv``, ``report.md`` and the table on the terminal.
- :mod:`~pats_opt.tuning.tune`: all of it in order.
"""
