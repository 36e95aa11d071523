"""Event simulation of online policies on the tick grid."""

from pats_opt.simulate.engine import Simulation, simulate
from pats_opt.simulate.policy_solver import PolicySolver

__all__ = ["PolicySolver", "Simulation", "simulate"]
