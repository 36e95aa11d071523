"""The solvers and policies of PATS-opt. Which to choose, and their sources: ``solvers/README.md``.

Nothing is imported here: :mod:`pats_opt.core.registry` names each class and imports it when asked.
"""
