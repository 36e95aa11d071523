"""Solver ``milp``: the documents' MILP over batch shapes, solved by HiGHS, SCIP or CBC."""

from pats_solvers.milp.solver import Milp, build

__all__ = ["Milp", "build"]
