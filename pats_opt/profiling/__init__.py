"""Measuring what a device takes for steps, memory and switching, and writing it as a profile.

Everything is measured through the executor's engine (:class:`pats_opt.execute.work.Engine`), so a
profile's figures are those of the runs it is used to plan. Data flows one way: a
:class:`~plan.Plan` says what to measure; :mod:`sitting` measures it and keeps every part in a
:class:`~record.Raw`; :mod:`figures`, :mod:`write` and :mod:`tables` turn that into a service
profile and CSV tables; :mod:`refit` fits the quality model to such a table.
"""
