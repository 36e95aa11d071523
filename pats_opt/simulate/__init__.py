"""Event simulation of online policies on the tick grid."""

from pats_opt.simulate.policy_run import Simulation, simulate
from pats_opt.simulate.policy_solver import PolicySolver

__all__ = ["PolicySolver", "Simulation", "simulate"]
