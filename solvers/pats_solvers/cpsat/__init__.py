"""The ``cpsat`` solver: every feature of the problem, on a model that ticks do not enlarge."""

from pats_solvers.cpsat.solver import CpSat

__all__ = ["CpSat"]
