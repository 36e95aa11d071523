"""Solver ``cpsat``: every feature of the problem, on models that ticks do not enlarge."""

from pats_solvers.cpsat.solver import CpSat, build, leads

__all__ = ["CpSat", "build", "leads"]
