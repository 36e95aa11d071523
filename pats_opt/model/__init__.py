"""Documents, rules and the independent check: PROBLEM.md as code.

Rules of PROBLEM.md section 5, for those who build a schedule (:mod:`~pats_opt.model.checker` checks
all six):

1. Arrival; served or rejected once: :class:`~pats_opt.model.problem.Job` and the checker.
2. Residents, adapters per batch: :meth:`Site.fits <pats_opt.model.problem.Site.fits>`.
3. Memory and other resources: :meth:`Site.room <pats_opt.model.problem.Site.room>` and ``fits``.
4. Switching: :meth:`Site.switch <pats_opt.model.problem.Site.switch>` and ``Site.switches``.
5. Completion: :class:`pats_opt.model.timing.BatchClock`.
6. One thing at a time, hard horizon: :func:`pats_opt.model.plan.earliest` and the checker.

Section 2 (ticks) is in :mod:`~pats_opt.model.timing`, section 3 in :mod:`~pats_opt.model.instance`,
section 4 in :mod:`~pats_opt.model.schedule`, section 6 in :mod:`~pats_opt.model.loss`, and
section 7 in :mod:`pats_opt.core.policy`.
"""
