"""The ``cpsat`` solver: every feature of the problem, on models that ticks do not enlarge."""

from pats_solvers.cpsat.formulations import leads
from pats_solvers.cpsat.solver import CpSat

__all__ = ["CpSat", "leads"]
