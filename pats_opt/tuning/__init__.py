"""Parameter search: policies and solvers tuned on train instances, judged on test instances.

A :class:`~plan.TunePlan` has the search :mod:`space` of a policy and its :mod:`instances`. In
:mod:`search` Optuna proposes the parameters of each trial (:mod:`trials`), and :mod:`runner` runs
it. :mod:`verdict` compares the best parameters with the defaults on the test instances, and
:mod:`pages` writes the result. :mod:`tune` does all of it in order.
"""
