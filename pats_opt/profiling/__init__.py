"""Measurement of a device's step times, memory and switching times, written as a profile.

Everything is measured through the executor's engine (:class:`pats_opt.execute.work.Engine`), so a
profile's figures are those of the runs that it is used to plan. A :class:`~plan.ProfilingPlan`
lists what to measure. :mod:`session` measures it and keeps every part in a
:class:`~measurements.Measurements` document. :mod:`figures`, :mod:`write` and :mod:`tables` turn
that into a service profile and CSV tables, and :mod:`refit` fits the quality model to such a table.
"""
