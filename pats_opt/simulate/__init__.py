"""Event simulation of online policies on the tick grid."""

from pats_opt.simulate.engine import PolicySolver, Simulation, simulate

__all__ = ["PolicySolver", "Simulation", "simulate"]
